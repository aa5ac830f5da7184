"""Speaker and listener: one knows where to go, the other can (CESMA, appendix D.3; `simple_speaker_listener`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from envs.particle.arena import EPISODE_LIMIT, check_settings
from envs.particle.messages import MessageEnv, check_symbols, check_team

#: In slot 0 and in slot 1.
SPEAKER, LISTENER = range(2)
LANDMARKS = SYMBOLS = 3


@dataclass(frozen=True)
class SpeakerListenerArgs:
    """The settings of `SpeakerListenerEnv`, `env_args` in the configuration."""

    #: how many symbols there are; 1: nothing can be told
    symbols: int = SYMBOLS
    #: steps until an episode is cut short
    episode_limit: int = EPISODE_LIMIT


class SpeakerListenerEnv(MessageEnv):
    """Reward: less the square of the listener's distance to the goal, in the paper as in `mpe2`."""

    Args = SpeakerListenerArgs

    def __init__(self, args: SpeakerListenerArgs, num_envs: int, seed: int, device: torch.device | str = "cpu") -> None:
        moves, speaks = (False, True), (True, False)
        sizes = LANDMARKS, args.symbols, args.episode_limit
        super().__init__("speaker_listener", moves, speaks, *sizes, num_envs, seed, device)

    @classmethod
    def resolve_args(cls, env_args: Mapping[str, Any], test_teams: Sequence[str]) -> SpeakerListenerArgs:
        args = SpeakerListenerArgs(**env_args)  # unknown keys and wrong types were refused before
        check_settings(args.episode_limit)
        check_symbols(args.symbols)
        check_team(2, test_teams)
        return args

    def _reward(self, distance: Tensor) -> Tensor:
        return -distance[LISTENER].square()
