"""What a controller is: the rule that turns what a team sees into its actions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from envs.base import EnvSpec, TimeStep
from utils.config import Config

#: What a controller carries from step to step: name -> tensor whose first axis is B.
ControllerState = dict[str, Tensor]


class Basis(NamedTuple):
    """What the decisions of one step came from, for whoever looks on; nothing is decided by it."""

    #: (B, A, E) bool, what each agent looked at
    sight: Tensor
    #: (B, N, A, E) the share of each entity in what an agent saw, head by head: sums to 1 over what a head looks at and
    #: is exactly 0 elsewhere; None where there is no attention
    attention: Tensor | None
    #: (B, A, U) what actions were chosen by, as `ActionSelector.figures` tells it; illegal ones may have anything
    figures: Tensor
    #: (B, A) how far each strategy has moved in this step (Euclidean distance); None where nobody sends any
    moved: Tensor | None = None


class Decision(NamedTuple):
    """What a controller decided in one step."""

    #: (B, A) int64, legal; 0 for absent agents
    actions: Tensor
    state: ControllerState
    #: (B, A) bool, the agents to whom a strategy was sent in this step; None where nobody sends any
    sent: Tensor | None = None
    #: None unless `Controller.explains`, and from controllers whose agents do not decide each for itself by a network
    basis: Basis | None = None


class Controller(ABC):
    """Chooses actions for a batch of environments. Controllers that learn are also `torch.nn.Module`s."""

    #: whether `Decision.basis` is asked for. It is computed beside the decision: the same actions, the same draws
    explains: bool = False

    @classmethod
    def build(cls, config: Config, spec: EnvSpec) -> Controller:
        """The controller of `config` for environments like `spec`, with fresh networks where it has any."""
        raise NotImplementedError(f"{cls.__name__} does not say how it is built")

    @classmethod
    def check(cls, config: Config) -> None:
        """Hook: refuse, before anything is written, settings that this controller does not go with.

        Raises:
            UserError: names the setting and what would do.
        """

    @abstractmethod
    def initial_state(self, num_envs: int, agents: int) -> ControllerState:
        """State before the first step of an episode, first axis `num_envs`, for as many agent slots."""

    @abstractmethod
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
        """Choose one action per agent, without gradients.

        Args:
            timestep: what the environments show, on the controller's device.
            last_actions (B, A): int64, each agent's own previous action, -1 for none (first step, just joined, absent).
            state: as returned by `initial_state` or by the last call.
            t_env: environment steps so far, for schedules.
            explore: True while training data are collected, False in tests (greedy, strategies not sampled).
            generator: the source of every random draw, on the controller's device.
        """
