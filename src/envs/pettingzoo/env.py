"""Games of PettingZoo's parallel interface. Shape letters: B games, A agent slots (`possible_agents`); E = A."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.action_selectors import random_legal
from envs.base import EntityEnv, EnvSpec, ScriptedPolicy, TimeStep
from envs.pettingzoo.games import EXAMPLE, build_game, kind_of, step_limit
from envs.teams import refuse_repeats
from utils.errors import UserError

#: The only team that there is: whoever the game has.
TEAM = "all"
REWARDS = ("mean", "sum")
#: Seeds of episodes are below this: what every generator of numbers takes.
SEEDS = 2**31


@dataclass(frozen=True)
class PettingZooArgs:
    """The settings of `PettingZooEnv`, `env_args` in the configuration."""

    #: the module that makes the game
    env: str = EXAMPLE
    #: what it is made with: `parallel_env(**kwargs)`
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    #: the team's reward of a step: the mean or the sum over the agents that acted
    reward: str = "mean"
    #: longest episode, in steps; 0: as long as the game says (`max_cycles`)
    episode_limit: int = 0


class PettingZooEnv(EntityEnv):
    """B games in this process, stepped one after the other.

    An agent is an entity that holds its observation, and sees itself alone: it knows what the game shows it. Its action
    u is the game's action u. Who has no legal action has to wait for its turn: with action 0, as the absent.
    """

    Args = PettingZooArgs

    def __init__(self, args: PettingZooArgs, num_envs: int, seed: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_envs, seed, device)
        self.args = args
        self.games = [build_game(args.env, args.kwargs) for _ in range(num_envs)]
        game = self.games[0]
        if not getattr(game, "possible_agents", None):
            raise UserError(f"env_args.env={args.env!r} does not name its possible_agents: choose one that does")
        self.agents: list[str] = list(game.possible_agents)
        self.slots = {agent: slot for slot, agent in enumerate(self.agents)}
        self.kinds = [kind_of(game, agent, args.env) for agent in self.agents]
        limit = args.episode_limit or step_limit(game)
        if not limit:
            raise UserError(
                f"env_args.episode_limit=0: {args.env} does not tell how long an episode may be (max_cycles); give the "
                "most steps that one may have"
            )
        different = [kind for i, kind in enumerate(self.kinds) if kind not in self.kinds[:i]]
        width = max(kind.width for kind in different)
        told = len(different) if len(different) > 1 else 0  # one kind need not be told
        slices = {"observation": slice(0, width), **({"kind": slice(width, width + told)} if told else {})}
        self._kind_rows = np.eye(told)[[different.index(kind) for kind in self.kinds]] if told else None
        self.spec = EnvSpec(
            name=args.env,
            agents=len(self.agents),
            entities=len(self.agents),
            features=width + told,
            private=0,
            basic=max(kind.actions for kind in different),
            episode_limit=limit,
            feature_slices=slices,
        )
        spec = self.spec
        self._entities = np.zeros((num_envs, spec.agents, spec.features), dtype=np.float32)
        self._present = np.zeros((num_envs, spec.agents), dtype=bool)
        self._avail = np.zeros((num_envs, spec.agents, spec.actions), dtype=bool)
        self._avail[..., 0] = True
        self._steps = np.zeros(num_envs, dtype=np.int64)
        # games that have never been reset are over
        self._terminated = np.ones(num_envs, dtype=bool)
        self._truncated = np.zeros(num_envs, dtype=bool)

    @classmethod
    def resolve_args(cls, env_args: Mapping[str, Any], test_teams: Sequence[str]) -> PettingZooArgs:
        args = PettingZooArgs(**env_args)  # unknown keys and wrong types were refused before
        if not isinstance(args.kwargs, Mapping) or not all(isinstance(key, str) for key in args.kwargs):
            raise UserError(f"env_args.kwargs={args.kwargs!r}: must be a mapping of names, such as {{'N': 5}}")
        if args.reward not in REWARDS:
            raise UserError(f"env_args.reward={args.reward!r}: must be one of {', '.join(REWARDS)}")
        if args.episode_limit < 0:
            raise UserError(f"env_args.episode_limit={args.episode_limit}: must be 0 (the game's own) or more")
        for team in test_teams:
            _check_team(team, "test_teams")
        refuse_repeats(test_teams, str)
        return args

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        if team is not None:
            _check_team(team, "team")
        # drawn for all games, then used for some: which ones are reset changes nothing that comes later
        seeds = torch.randint(SEEDS, (self.num_envs,), generator=self.generator, device=self.device).tolist()
        for i in env_mask.nonzero().flatten().tolist():
            observations, infos = self.games[i].reset(seed=seeds[i])
            self._steps[i] = 0
            self._terminated[i] = self._truncated[i] = False
            self._note(i, self.games[i].agents, observations, infos)
        return self._show(np.zeros(self.num_envs))

    def _step(self, actions: Tensor) -> TimeStep:
        reward = np.zeros(self.num_envs)
        chosen = actions.tolist()
        for i in np.flatnonzero(~(self._terminated | self._truncated)):
            reward[i] = self._play(i, chosen[i])
        return self._show(reward)

    def _play(self, i: int, chosen: Sequence[int]) -> float:
        """Play a step of game `i` and note what it has come to; return the team's reward."""
        game, slots = self.games[i], np.flatnonzero(self._present[i])
        words = {self.agents[slot]: self.kinds[slot].first + chosen[slot] for slot in slots}
        observations, rewards, terminations, truncations, infos = game.step(words)
        self._steps[i] += 1
        ended = {agent for agent, over in terminations.items() if over}
        cut = {agent for agent, over in truncations.items() if over} - ended
        left = [agent for agent in game.agents if agent not in ended | cut]
        if not left:
            # an agent whose time was up has a value to bootstrap from, and is shown; one that came to its end has none
            left = [agent for agent in words if agent in cut]
            self._truncated[i] = bool(left)
            self._terminated[i] = not left
        else:
            self._truncated[i] = self._steps[i] >= self.spec.episode_limit
        self._note(i, left, observations, infos)
        total = float(sum(rewards.get(agent, 0.0) for agent in words))
        return total / len(words) if self.args.reward == "mean" else total

    def _note(self, i: int, present: Iterable[str], observations: Mapping, infos: Mapping) -> None:
        """Write down what game `i` shows of the agents that are `present`."""
        self._entities[i], self._present[i], self._avail[i] = 0, False, False
        for agent in present:
            slot = self.slots[agent]
            kind, seen = self.kinds[slot], observations[agent]
            self._present[i, slot] = True
            self._entities[i, slot, : kind.width] = kind.flat(seen)
            if self._kind_rows is not None:
                self._entities[i, slot, -self._kind_rows.shape[1] :] = self._kind_rows[slot]
            self._avail[i, slot, : kind.actions] = kind.legal(seen, infos.get(agent, {}))
        # the absent, and those that must wait
        self._avail[i, :, 0] |= ~self._avail[i].any(axis=1)

    def _show(self, reward: np.ndarray) -> TimeStep:
        def tensor(value: np.ndarray, dtype: torch.dtype = torch.bool) -> Tensor:
            return torch.tensor(value, dtype=dtype, device=self.device)  # a copy

        present = tensor(self._present)
        return TimeStep(
            entities=tensor(self._entities, torch.float32),
            private=torch.zeros(*present.shape, 0, device=self.device),
            entity_mask=present,
            obs_mask=torch.diag_embed(present),
            avail_mask=tensor(self._avail),
            reward=tensor(reward, torch.float32),
            terminated=tensor(self._terminated),
            truncated=tensor(self._truncated),
            info={},
        )

    def render(self, index: int = 0, marked: Collection[int] = ()) -> np.ndarray:
        """The game's own picture, in which nobody is `marked`."""
        picture = self.games[index].render()
        if not isinstance(picture, np.ndarray):
            raise UserError(f"save_video: env_args.env={self.args.env!r} draws no pictures (render_mode='rgb_array')")
        return picture

    def close(self) -> None:
        while self.games:
            self.games.pop().close()


def _check_team(team: str, key: str) -> None:
    if team != TEAM:
        raise UserError(f"{key} = {team!r} is not possible: a PettingZoo game has one team, {TEAM!r}")


def random_team(spec: EnvSpec) -> ScriptedPolicy:
    """Uniform over the legal actions."""
    return lambda seen, generator: random_legal(seen.avail_mask, generator)


PettingZooEnv.SCRIPTED = {"random": random_team}
