"""Episodes from whoever has them: nobody waits for the slowest environment. Shape letters: B environments, T steps, A
agent slots, R environments of a moment, or episodes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from components.episodes import EpisodeBatch
from controllers.base import Controller
from envs.hosted import HostedEnv
from runners.runner import Rollout, device_of, moved
from runners.stream import OpenEpisodes, Running
from utils.seeding import make_generator


class Asynchronous:
    """Lets a controller play rounds of so many episodes, for training.

    Each environment steps as soon as it has answered, and begins its next episode as soon as one has ended. A round is
    over with its last episode; the others are played on in the next ones, by what has been learnt meanwhile. An
    episode's staleness is in how many rounds before this one it was begun.
    """

    def __init__(
        self,
        env: HostedEnv,
        controller: Controller,
        seed: int,
        episodes: int,
        max_staleness: int,
        device: torch.device | str | None = None,
    ) -> None:
        """
        Args:
            env: where to play; it is not closed. When others have played there, running episodes are given up.
            controller: who plays.
            seed: of the stream of numbers that actions are drawn from. In what order environments answer is chance.
            episodes: at least so many are in a round; more where several end at once.
            max_staleness: an episode that becomes staler is dropped.
            device: where the controller lives; as for `Runner`.
        """
        self.env, self.controller, self.episodes, self.max_staleness = env, controller, episodes, max_staleness
        self.device = torch.device(device) if device is not None else device_of(controller, env.device)
        self.generator = make_generator(seed, self.device)
        #: episodes that were dropped so far
        self.dropped = 0
        self._open = OpenEpisodes(env.spec, env.num_envs, env.spec.episode_limit, env.device)
        #: None before the first round
        self._now: Running | None = None
        self._resets = 0
        self._round = 0
        #: (B,) int64, the rounds in which the running episodes were begun
        self._begun = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
        #: (B,) bool, where an action is being played; the others are about to begin
        self._moving = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
        #: (B, A) int64, the last ones chosen
        self._actions = torch.zeros(env.num_envs, env.spec.agents, dtype=torch.int64, device=env.device)

    @torch.no_grad()
    def play(self, *, t_env: int = 0) -> Rollout:
        """Play a round of training.

        Args:
            t_env: environment steps so far, for the controller's schedules.

        Returns:
            as from `Runner.play`, its episodes in the order in which they ended; `info` tells their "staleness", too.
        """
        now = self._begin() if self._now is None or self._resets != self.env.resets else self._now
        self._round += 1
        figures: list[dict[str, Tensor]] = []
        batches: list[EpisodeBatch] = []
        count = 0
        while count < self.episodes:
            rows = self.env.arrivals()
            over, again = self._arrive(now, rows)
            if len(over):
                staleness = (self._round - self._begun[over]).float()
                figures.append({**now.figures(over), "staleness": staleness})
                batches.append(self._open.close(over, now.seen))
                count += len(over)
            if len(again):
                self._restart(now, again)
            going = rows[~torch.isin(rows, again)]
            if len(going):
                self._act(now, going, t_env)
        told = {name: torch.cat([part[name] for part in figures]) for name in figures[0]}
        lengths = told.pop("ep_length")
        return Rollout(
            batch=EpisodeBatch.joined(batches),
            returns=told.pop("return"),
            lengths=lengths,
            comm_frequency=told.pop("comm_frequency", None),
            info=told,
            steps=int(lengths.sum()),
        )

    def _begin(self) -> Running:
        every = torch.arange(self.env.num_envs, device=self.env.device)
        state = self.controller.initial_state(self.env.num_envs, self.env.spec.agents)
        self._now = now = Running(self.env.seen(), state)
        self._resets = self.env.resets
        self._restart(now, every)
        return now

    def _restart(self, now: Running, rows: Tensor) -> None:
        """Begin new episodes in the environments `rows (R,)`."""
        self.env.begin(rows)
        now.forget(rows, self.controller.initial_state(len(rows), self.env.spec.agents))
        self._open.begin(rows, now.last_actions[rows])
        self._moving[rows] = False

    def _arrive(self, now: Running, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Take in what `rows (R,)` show; those whose episodes ended and count, and those that are to begin anew."""
        env = self.env
        seen, stepped = env.seen(), rows[self._moving[rows]]
        self._open.add(now.seen, self._actions, seen, stepped)
        now.arrive(self._actions, seen, env.spec, stepped)
        lost = torch.zeros_like(self._moving) if env.lost is None else env.lost
        stale = (now.lengths > 0) & (self._round - self._begun > self.max_staleness)
        self.dropped += int((stale & ~lost)[stepped].sum())
        count = seen.done & ~lost & ~stale
        return stepped[count[stepped]], stepped[(seen.done | stale)[stepped]]

    def _act(self, now: Running, rows: Tensor, t_env: int) -> None:
        """Choose actions in the environments `rows (R,)`, and let them be played."""
        seen = now.seen._replace(
            **{name: value[rows] for name, value in now.seen._asdict().items() if name != "info"},
            info={name: value[rows] for name, value in now.seen.info.items()},
        )
        decision = self.controller.act(
            moved(seen, self.device),
            now.last_actions[rows].to(self.device),
            {name: value[rows.to(value.device)] for name, value in now.state.items()},
            t_env=t_env,
            explore=True,
            generator=self.generator,
        )
        now.decide(decision, rows)
        actions = decision.actions.to(self.env.device)
        self._begun[rows[now.lengths[rows] == 0]] = self._round
        self._actions[rows] = actions
        self._moving[rows] = True
        self.env.act(rows, actions)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint between two rounds needs: the random streams of environments and actions. Episodes that are
        running are not in it.
        """
        return {"env": self.env.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin new episodes, with the random streams as `state_dict` has them."""
        self.env.load_state_dict(state["env"])
        self.generator.set_state(state["generator"].cpu())
