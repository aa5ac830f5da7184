"""A scripted team behind the same interface as a learned one."""

import torch
from torch import Tensor

import envs
from controllers.base import Controller, ControllerState, Decision
from envs.base import EnvSpec, ScriptedPolicy, TimeStep
from utils.config import Config


class ScriptedController(Controller):
    """Plays one of an environment's `SCRIPTED` policies; it remembers nothing and does not explore."""

    def __init__(self, policy: ScriptedPolicy) -> None:
        """`policy(timestep, generator) -> actions (B, A)`, made for the environment that is played."""
        self.policy = policy

    @classmethod
    def build(cls, config: Config, spec: EnvSpec) -> "ScriptedController":
        return cls(envs.REGISTRY[config.env].SCRIPTED[config.policy](spec))

    def initial_state(self, num_envs: int, agents: int) -> ControllerState:
        return {}

    def act(
        self,
        timestep: TimeStep,
        last_actions: Tensor,
        state: ControllerState,
        *,
        t_env: int,
        explore: bool,
        generator: torch.Generator,
    ) -> Decision:
        return Decision(self.policy(timestep, generator), state)
