"""Reference: everybody moves and speaks, and each goal is known to the others (CESMA, D.4; `simple_reference`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from envs.particle.arena import EPISODE_LIMIT, LARGEST, check_settings
from envs.particle.messages import MessageEnv, check_symbols, check_team
from utils.errors import UserError

SYMBOLS = 10


@dataclass(frozen=True)
class ReferenceArgs:
    """The settings of `ReferenceEnv`, `env_args` in the configuration."""

    #: how many agents there are
    agents: int = 2
    landmarks: int = 3
    #: how many symbols there are; 1: nothing can be told
    symbols: int = SYMBOLS
    #: paper | mpe2
    reward: str = "paper"
    #: steps until an episode is cut short
    episode_limit: int = EPISODE_LIMIT


class ReferenceEnv(MessageEnv):
    """Reward: less the sum of the agents' distances to their goals; with `mpe2` less their mean."""

    Args = ReferenceArgs

    def __init__(self, args: ReferenceArgs, num_envs: int, seed: int, device: torch.device | str = "cpu") -> None:
        _check(args)
        self.args, can = args, (True,) * args.agents
        sizes = args.landmarks, args.symbols, args.episode_limit
        super().__init__("reference", can, can, *sizes, num_envs, seed, device)

    @classmethod
    def resolve_args(cls, env_args: Mapping[str, Any], test_teams: Sequence[str]) -> ReferenceArgs:
        args = ReferenceArgs(**env_args)  # unknown keys and wrong types were refused before
        _check(args)
        check_team(args.agents, test_teams)
        return args

    def _reward(self, distance: Tensor) -> Tensor:
        # `mpe2` gives an agent half of the mean and half of the distance of the one that it knows the goal of; the mean
        # over agents of that is the mean distance
        return -distance.sum(dim=0) if self.args.reward == "paper" else -distance.mean(dim=0)


def _check(args: ReferenceArgs) -> None:
    check_settings(args.episode_limit, args.reward)
    check_symbols(args.symbols)
    for key, value, most in (("agents", args.agents, LARGEST), ("landmarks", args.landmarks, SYMBOLS)):
        if not 2 <= value <= most:
            raise UserError(f"env_args.{key} = {value} must be from 2 to {most}")
