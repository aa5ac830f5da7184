"""How episodes are collected: one loop for every host. Shape letters: B environments, T steps, A agent slots."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from components.episodes import EpisodeBatch
from controllers.base import Controller, Decision
from envs.base import EntityEnv, EnvSpec, TimeStep
from utils.interrupt import GivenUp
from utils.seeding import derive_seed, make_generator
from utils.video import Film


@dataclass
class Rollout:
    """Episodes that were played, on the environment's device: one from each of B environments, or (`Stream`) B that
    ended.
    """

    #: the recorded episodes, T the longest one's steps, or (`Stream`) pieces of some; None where nothing was recorded
    batch: EpisodeBatch | None
    #: (B,) float32, undiscounted sum of rewards
    returns: Tensor
    #: (B,) int64, steps played
    lengths: Tensor
    #: name -> (B,) float32, the environment's figures at the end of the episode
    info: dict[str, Tensor]
    #: (B,) float32, strategies sent / (present agents, summed over the steps played); None where nobody sends any
    comm_frequency: Tensor | None
    #: played in all environments
    steps: int

    def replaced(self, rows: Tensor, other: "Rollout") -> "Rollout":
        """The same episodes, but those of `rows (B,)` (bool) from `other`."""

        def chosen(mine: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(rows, theirs, mine)

        batch, sent = self.batch, self.comm_frequency
        lengths = chosen(self.lengths, other.lengths)
        return Rollout(
            batch=None if batch is None or other.batch is None else batch.replaced(rows, other.batch),
            returns=chosen(self.returns, other.returns),
            lengths=lengths,
            steps=int(lengths.sum()),
            info={name: chosen(value, other.info[name]) for name, value in self.info.items()},
            comm_frequency=None if sent is None or other.comm_frequency is None else chosen(sent, other.comm_frequency),
        )


class Watcher(Protocol):
    """Looks on while a runner plays, and changes nothing."""

    def begin(self, team: str | None, rows: Tensor, seen: TimeStep) -> None:
        """Episodes of `team` begin with `seen` in the environments `rows (B,)` (bool)."""

    def step(self, seen: TimeStep, decision: Decision, after: TimeStep) -> None:
        """In all environments `decision` was the answer to `seen`, and led to `after`; those that are over stay."""


def never() -> bool:
    """For episodes that nobody stops."""
    return False


class Runner:
    """Lets a controller play whole episodes, in all environments at once."""

    def __init__(
        self, env: EntityEnv, controller: Controller, seed: int, device: torch.device | str | None = None
    ) -> None:
        """
        Args:
            env: where to play; the runner does not close it.
            controller: who plays.
            seed: of the stream that actions are drawn from.
            device: where the controller lives; None takes the device of its parameters, or the environment's
                where it has none.
        """
        self.env = env
        self.controller = controller
        self.device = torch.device(device) if device is not None else device_of(controller, env.device)
        self.generator = make_generator(seed, self.device)
        #: films what environment 0 plays
        self.film: Film | None = None
        self.watcher: Watcher | None = None

    def play(self, team: str | None = None, *, explore: bool = True, t_env: int = 0, record: bool = True) -> Rollout:
        """Play exactly one episode per environment; those that end early wait for the others.

        Args:
            team: which team to draw; None draws the training team.
            explore: True for training data, False for tests.
            t_env: environment steps so far, for the controller's schedules.
            record: False saves the memory of `Rollout.batch`.
        """
        return self._play(team, explore, t_env, record, self.generator)

    def evaluate(
        self, team: str | None, episodes: int, seed: int, *, t_env: int = 0, stopped: Callable[[], bool] = never
    ) -> dict[str, Tensor]:
        """Play exactly `episodes` episodes without exploration and return their figures.

        The episodes follow from `seed` alone (and the number of environments): every call plays the same ones. The
        random streams of environment and actions continue afterwards as if nothing had happened, so testing never
        changes training. Where `episodes` is no multiple of the number of environments, the last round's surplus is
        dropped by position; to drop whoever finishes last would favour short episodes.

        Args:
            team, t_env: as for `play`.
            episodes, seed: how many, and which ones.
            stopped: asked before every step; where it says True, the test is given up.

        Returns:
            "return", "ep_length", "comm_frequency" (where strategies are sent) and the environment's figures by their
            names, each `(episodes,)` float32 on the CPU.

        Raises:
            GivenUp: `stopped` said so.
        """
        if episodes < 1:
            raise ValueError(f"cannot evaluate on {episodes} episodes")
        saved = self.env.state_dict()
        generator = make_generator(derive_seed(seed, "evaluate", "actions"), self.device)
        rounds = []
        try:
            self.env.seed(derive_seed(seed, "evaluate", "env"))
            for _ in range(-(-episodes // self.env.num_envs)):
                rounds.append(self._play(team, False, t_env, False, generator, stopped))
        finally:
            self.env.load_state_dict(saved)
        figures = [_figures(rollout) for rollout in rounds]
        return {name: torch.cat([f[name] for f in figures])[:episodes] for name in figures[0]}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint between two rounds needs: the random streams of environments and actions."""
        return {"env": self.env.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the rounds that would have followed `state_dict`."""
        self.env.load_state_dict(state["env"])
        self.generator.set_state(state["generator"].cpu())

    def _play(
        self,
        team: str | None,
        explore: bool,
        t_env: int,
        record: bool,
        generator: torch.Generator,
        stopped: Callable[[], bool] = never,
    ) -> Rollout:
        every = torch.ones(self.env.num_envs, dtype=torch.bool, device=self.env.device)
        rollout = self._episodes(every, team, explore, t_env, record, generator, stopped)
        while (lost := self.env.lost) is not None and bool(lost.any()):
            again = self._episodes(lost, team, explore, t_env, record, generator, stopped)
            rollout = rollout.replaced(lost, again)
        return rollout

    @torch.no_grad()
    def _episodes(
        self,
        rows: Tensor,
        team: str | None,
        explore: bool,
        t_env: int,
        record: bool,
        generator: torch.Generator,
        stopped: Callable[[], bool],
    ) -> Rollout:
        """An episode from each environment of `rows (B,)` (bool); what the others show in the meantime is padding."""
        env, controller = self.env, self.controller
        seen = env.reset(env_mask=rows, team=team)
        history = _History(env.spec, seen) if record else None
        state = controller.initial_state(env.num_envs, env.spec.agents)
        last_actions = torch.full((env.num_envs, env.spec.agents), -1, dtype=torch.int64, device=env.device)
        alive = rows
        returns = torch.zeros(env.num_envs, device=env.device)
        lengths = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
        present = torch.zeros_like(returns)  # agents, summed over the steps
        sent: Tensor | None = None
        if self.film is not None and bool(alive[0]):
            self.film.shoot(env.render)
        if self.watcher is not None:
            self.watcher.begin(team, rows, seen)
        for _ in range(env.spec.episode_limit):
            if stopped():
                raise GivenUp
            decision = controller.act(
                moved(seen, self.device),
                last_actions.to(self.device),
                state,
                t_env=t_env,
                explore=explore,
                generator=generator,
            )
            state = decision.state
            actions = decision.actions.to(env.device)
            shown, before = seen, seen.agent_mask
            present += (before & alive[:, None]).sum(dim=1)
            sent = count_sent(decision, before & alive[:, None], sent)
            seen = env.step(actions)
            if self.watcher is not None:
                self.watcher.step(shown, decision, seen)
            returns += seen.reward * alive
            lengths += alive
            if self.film is not None and bool(alive[0]):
                heard = before[0].cpu() & (False if decision.sent is None else decision.sent[0].cpu())
                self.film.shoot(env.render, heard.nonzero()[:, 0].tolist())
            if history is not None:
                history.add(actions, alive, seen)
            # an agent that joins now did not do what its slot did before
            last_actions = actions.masked_fill(~(before & seen.agent_mask), -1)
            alive = alive & ~seen.done
            if not bool(alive.any()):
                break
        else:
            raise RuntimeError(f"{env.spec.name} plays on after its limit of {env.spec.episode_limit} steps")
        return Rollout(
            batch=history.finish() if history is not None else None,
            returns=returns,
            lengths=lengths,
            info=dict(seen.info),
            comm_frequency=None if sent is None else sent / present.clamp(min=1),
            steps=int(lengths.sum()),
        )


class _History:
    """Collects the steps of a round and stacks them into padded episodes."""

    def __init__(self, spec: EnvSpec, first: TimeStep) -> None:
        self.spec = spec
        self.seen = [first]
        self.actions: list[Tensor] = []
        self.played: list[Tensor] = []

    def add(self, actions: Tensor, alive: Tensor, seen: TimeStep) -> None:
        """`actions (B, A)` were played where `alive (B,)`, and led to `seen`."""
        self.actions.append(actions)
        self.played.append(alive)
        self.seen.append(seen)

    def finish(self) -> EpisodeBatch:
        filled = torch.stack(self.played, dim=1)  # (B, T)
        seen_mask = torch.cat([filled[:, :1], filled], dim=1)  # (B, T+1): observation t+1 belongs to step t

        def observed(name: str) -> Tensor:
            return _blank(torch.stack([getattr(seen, name) for seen in self.seen], dim=1), seen_mask)

        def stepped(name: str) -> Tensor:
            return _blank(torch.stack([getattr(seen, name) for seen in self.seen[1:]], dim=1), filled)

        avail_mask = observed("avail_mask")
        avail_mask[..., 0] |= ~seen_mask[:, :, None]
        return EpisodeBatch(
            entities=observed("entities"),
            private=observed("private"),
            entity_mask=observed("entity_mask"),
            obs_mask=observed("obs_mask"),
            avail_mask=avail_mask,
            actions=_blank(torch.stack(self.actions, dim=1), filled),
            reward=stepped("reward"),
            terminated=stepped("terminated"),
            truncated=stepped("truncated"),
            filled_mask=filled,
            start_actions=torch.full_like(self.actions[0], -1),
        )


def _blank(value: Tensor, mask: Tensor) -> Tensor:
    """`value (B, T, ...)` with zeros where `mask (B, T)` is False."""
    return value.masked_fill(~mask.reshape(*mask.shape, *[1] * (value.dim() - 2)), 0)


def moved(seen: TimeStep, device: torch.device) -> TimeStep:
    """The time step on `device`; itself where it is there already."""
    if seen.entities.device == device:
        return seen
    tensors = {name: value.to(device) for name, value in seen._asdict().items() if name != "info"}
    return TimeStep(**tensors, info={name: value.to(device) for name, value in seen.info.items()})


def count_sent(decision: Decision, counts: Tensor, before: Tensor | None) -> Tensor | None:
    """Strategies sent so far `(B,)`, for agents where `counts (B, A)`."""
    if decision.sent is None:
        return before
    now = (decision.sent.to(counts.device) & counts).sum(dim=1).float()
    return now if before is None else before + now


def device_of(controller: Controller, otherwise: torch.device) -> torch.device:
    """Where the parameters of `controller` are; `otherwise` where it has none."""
    parameter = next(controller.parameters(), None) if isinstance(controller, nn.Module) else None
    return parameter.device if parameter is not None else otherwise


def _figures(rollout: Rollout) -> dict[str, Tensor]:
    figures = {"return": rollout.returns, "ep_length": rollout.lengths}
    if rollout.comm_frequency is not None:
        figures["comm_frequency"] = rollout.comm_frequency
    return {name: value.float().cpu() for name, value in {**figures, **rollout.info}.items()}
