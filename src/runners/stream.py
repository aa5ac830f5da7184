"""Episodes without waiting: where one has ended the next begins at once. Shape letters: B environments, T steps, A
agent slots, R episodes or pieces of episodes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.episodes import EpisodeBatch
from components.replay import OBSERVED, item_layout
from controllers.base import Controller, ControllerState, Decision
from envs.base import EntityEnv, EnvSpec, TimeStep
from runners.runner import Rollout, count_sent, device_of, moved
from utils.seeding import make_generator
from utils.snapshots import snapshot

#: All environments, where some may be named.
EVERY = slice(None)


class Stream:
    """Lets a controller play rounds of so many steps in all environments at once, for training.

    Where episodes are learnt from as a whole, a round returns those that ended in it. Where they need not be, it
    returns every step that was played, in pieces: an episode that goes on is cut, and its next piece begins with the
    memory and the actions that this one ended with.
    """

    def __init__(
        self,
        env: EntityEnv,
        controller: Controller,
        seed: int,
        steps: int,
        *,
        pieces: bool,
        device: torch.device | str | None = None,
    ) -> None:
        """
        Args:
            env: where to play, one that can save running episodes; the stream does not close it.
            controller: who plays.
            seed: of the stream of numbers that actions are drawn from.
            steps: of each environment in a round.
            pieces: whether a round returns pieces, which needs a controller whose memory is its state's "hidden".
            device: where the controller lives; as for `Runner`.
        """
        self.env, self.controller, self.steps, self.pieces = env, controller, steps, pieces
        self.device = torch.device(device) if device is not None else device_of(controller, env.device)
        self.generator = make_generator(seed, self.device)
        self._open = OpenEpisodes(env.spec, env.num_envs, steps if pieces else env.spec.episode_limit, env.device)
        #: None before the first round
        self._now: Running | None = None

    def play(self, *, t_env: int = 0) -> Rollout:
        """Play a round of training.

        Args:
            t_env: environment steps so far, for the controller's schedules.

        Returns:
            as from `Runner.play`, but figures are those of the episodes that ended, and `batch` is None where there is
            nothing to learn from yet.
        """
        now = self._begin() if self._now is None else self._now
        ended: list[tuple[Tensor, dict[str, Tensor]]] = []
        closed: list[tuple[Tensor, EpisodeBatch]] = []
        for _ in range(self.steps):
            done = self._step(now, t_env)
            if len(done):
                ended.append((done, now.figures(done)))
                closed.append((done, self._open.close(done, now.seen)))
                self._restart(now, done)
        if self.pieces:
            going_on = self._open.lengths.nonzero().squeeze(1)
            if len(going_on):
                closed.append((going_on, self._open.close(going_on, now.seen)))
            self._cut(now)
        self._now = now
        figures: dict[str, Tensor] = {}
        if ended:
            order = _order(ended)
            figures = {name: torch.cat([part[name] for _, part in ended])[order] for name in ended[0][1]}
        none = torch.zeros(0, device=self.env.device)
        return Rollout(
            batch=EpisodeBatch.joined([batch for _, batch in closed]).at(_order(closed)) if closed else None,
            returns=figures.pop("return", none),
            lengths=figures.pop("ep_length", none.long()),
            comm_frequency=figures.pop("comm_frequency", None),
            info=figures,
            steps=self.steps * self.env.num_envs,
        )

    # --- one step -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _begin(self) -> "Running":
        seen = self.env.reset()
        now = Running(seen, self.controller.initial_state(self.env.num_envs, self.env.spec.agents))
        self._cut(now)
        return now

    @torch.no_grad()
    def _step(self, now: "Running", t_env: int) -> Tensor:
        """Play a step everywhere; returns the numbers of the environments whose episodes ended, (R,)."""
        env, before = self.env, now.seen
        decision = self.controller.act(
            moved(before, self.device),
            now.last_actions.to(self.device),
            now.state,
            t_env=t_env,
            explore=True,
            generator=self.generator,
        )
        now.decide(decision)
        actions = decision.actions.to(env.device)
        seen = env.step(actions)
        self._open.add(before, actions, seen)
        now.arrive(actions, seen, env.spec)
        return seen.done.nonzero().squeeze(1)

    @torch.no_grad()
    def _restart(self, now: "Running", done: Tensor) -> None:
        """Begin new episodes in the environments `done (R,)`."""
        mask = torch.zeros(self.env.num_envs, dtype=torch.bool, device=self.env.device).index_fill(0, done, True)
        now.seen = self.env.reset(env_mask=mask)
        now.forget(done, self.controller.initial_state(len(done), self.env.spec.agents))
        self._open.begin(done, now.last_actions[done])

    def _cut(self, now: "Running") -> None:
        """Begin new pieces everywhere: of episodes that go on, or of new ones."""
        every = torch.arange(self.env.num_envs, device=self.env.device)
        memory = None
        if self.pieces:
            stays = now.state["present"] & now.seen.agent_mask.to(self.device)
            memory = now.state["hidden"].masked_fill(~stays.unsqueeze(-1), 0.0).to(self.env.device)
        self._open.begin(every, now.last_actions, memory, now.lengths if self.pieces else None)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint between two rounds needs: running episodes, and the random streams."""
        state: dict[str, Any] = {"generator": self.generator.get_state(), "env": self.env.state_dict(), "now": None}
        if self._now is not None:
            state |= {"env": self.env.running(), "now": self._now.state_dict(), "open": self._open.state_dict()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the rounds that would have followed `state_dict`.

        Raises:
            ValueError: its episodes are running in another number of environments.
        """
        self.generator.set_state(state["generator"].cpu())
        self._now = None
        if state.get("now") is None:  # before the first round, or by a `Runner`
            self.env.load_state_dict(state["env"])
            return
        there, here = len(state["now"]["lengths"]), self.env.num_envs
        if there != here:
            raise ValueError(
                f"episodes are running in {there} environments, here are {here}: take batch_size_run={there}, or begin "
                "new ones with rollout_steps=0"
            )
        self.env.resume(state["env"])
        self._now = Running.of(state["now"], self.env.device, self.device)
        self._open.load_state_dict(state["open"])


class Running:
    """Where the running episodes stand."""

    def __init__(self, seen: TimeStep, state: ControllerState) -> None:
        envs, agents = seen.avail_mask.shape[:2]
        device = seen.entities.device
        self.seen, self.state = seen, state
        self.last_actions = torch.full((envs, agents), -1, dtype=torch.int64, device=device)
        self.returns = torch.zeros(envs, device=device)
        self.lengths = torch.zeros(envs, dtype=torch.int64, device=device)
        #: agents, summed over the steps
        self.present = torch.zeros(envs, device=device)
        #: strategies sent; None where nobody sends any
        self.sent: Tensor | None = None

    def decide(self, decision: Decision, rows: Tensor | slice = EVERY) -> None:
        """Actions were chosen in the environments `rows (R,)`."""
        there = self.seen.agent_mask[rows]
        self.present[rows] += there.sum(dim=1)
        sent = count_sent(decision, there, None)
        if sent is not None:
            self.sent = torch.zeros_like(self.present) if self.sent is None else self.sent
            self.sent[rows] += sent
        self.state = self._with(decision.state, rows)

    def arrive(self, actions: Tensor, seen: TimeStep, spec: EnvSpec, rows: Tensor | slice = EVERY) -> None:
        """In the environments `rows (R,)` `actions (B, A)` were played and led to `seen`, the time step of all."""
        self.returns[rows] += seen.reward[rows]
        self.lengths[rows] += 1
        # an agent that joins now did not do what its slot did before
        own = actions.masked_fill(~(self.seen.agent_mask & seen.agent_mask), -1)
        self.last_actions = own if isinstance(rows, slice) else self.last_actions.index_copy(0, rows, own[rows])
        self.seen = seen
        if bool((self.lengths >= spec.episode_limit).logical_and_(~seen.done).any()):
            raise RuntimeError(f"{spec.name} plays on after its limit of {spec.episode_limit} steps")

    def _with(self, state: ControllerState, rows: Tensor | slice) -> ControllerState:
        """The memory of all, with that of `rows (R,)` from `state`."""
        if isinstance(rows, slice):
            return state
        return {name: value.index_copy(0, rows.to(value.device), state[name]) for name, value in self.state.items()}

    def figures(self, rows: Tensor) -> dict[str, Tensor]:
        """Of the episodes in the environments `rows (R,)`, which have ended: (R,) each."""
        figures = {"return": self.returns, "ep_length": self.lengths, **self.seen.info}
        if self.sent is not None:
            figures["comm_frequency"] = self.sent / self.present.clamp(min=1)
        return {name: value[rows] for name, value in figures.items()}

    def forget(self, rows: Tensor, state: ControllerState) -> None:
        """New episodes begin in the environments `rows (R,)`, with the memory `state`."""
        self.state = self._with(state, rows)
        self.last_actions = self.last_actions.index_fill(0, rows, -1)
        for name in ("returns", "lengths", "present", "sent"):
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value.index_fill(0, rows, 0))

    _COUNTS = ("last_actions", "returns", "lengths", "present", "sent")

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors on the CPU."""
        counts = {name: getattr(self, name) for name in self._COUNTS}
        seen = {**self.seen._asdict(), "info": dict(self.seen.info)}
        return snapshot({"seen": seen, "state": self.state, **counts})

    @classmethod
    def of(cls, saved: Mapping[str, Any], env_device: torch.device, device: torch.device) -> "Running":
        """What `state_dict` saved."""
        seen = {name: value for name, value in saved["seen"].items() if name != "info"}
        info = {name: value.to(env_device) for name, value in saved["seen"]["info"].items()}
        step = TimeStep(**{name: value.to(env_device) for name, value in seen.items()}, info=info)
        now = cls(step, {name: value.to(device) for name, value in saved["state"].items()})
        for name in cls._COUNTS:
            value = saved[name]  # some are counted on in place
            setattr(now, name, value if value is None else value.to(env_device, copy=True))
        return now


class OpenEpisodes:
    """The steps so far of the episodes (or of their pieces) that are being played, one in each environment."""

    def __init__(self, spec: EnvSpec, envs: int, steps: int, device: torch.device) -> None:
        """`steps`: for how many there is room."""
        layout = item_layout(spec, steps, torch.float32)
        del layout["filled_mask"], layout["start_actions"]
        self._data = {
            name: torch.zeros((envs, *shape), dtype=kind, device=device) for name, (shape, kind) in layout.items()
        }
        self.lengths = torch.zeros(envs, dtype=torch.int64, device=device)
        self._starts: dict[str, Tensor] = {}

    def begin(self, rows: Tensor, actions: Tensor, memory: Tensor | None = None, steps: Tensor | None = None) -> None:
        """Something new begins in the environments `rows (R,)`: with `start_actions`, `start_memory` and `start_steps`
        as in `EpisodeBatch`; without the latter two with what an episode begins with.
        """
        starts = {"start_actions": actions, "start_memory": memory, "start_steps": steps}
        for name, value in starts.items():
            if name in self._starts:
                new = self._starts[name].new_zeros(()) if value is None else value
                self._starts[name][rows] = new
            elif value is not None:  # the first time, when it is for all
                self._starts[name] = value.clone()
        self.lengths[rows] = 0

    def add(self, seen: TimeStep, actions: Tensor, after: TimeStep, rows: Tensor | None = None) -> None:
        """In every environment (of `rows (R,)` alone, where they are given) `actions (B, A)` answered `seen`, and led
        to `after`.
        """
        self._observe(seen, rows)
        for name in ("reward", "terminated", "truncated"):
            self._write(name, getattr(after, name), rows)
        self._write("actions", actions, rows)
        self.lengths[EVERY if rows is None else rows] += 1

    def close(self, rows: Tensor, last: TimeStep) -> EpisodeBatch:
        """What was played in the environments `rows (R,)`, and ended, for now, with `last`, the time step of all.
        `begin` is due there.
        """
        self._observe(last, rows)
        lengths = self.lengths[rows]
        steps = int(lengths.max())
        entry = torch.arange(steps + 1, device=rows.device)
        played, observed = entry[:-1] < lengths[:, None], entry <= lengths[:, None]
        values = {}
        for name, store in self._data.items():
            real = observed if name in OBSERVED else played
            value = store[:, : real.shape[1]].index_select(0, rows)
            values[name] = value.masked_fill_(~real.reshape(*real.shape, *[1] * (value.dim() - 2)), 0)
        values["avail_mask"][..., 0] |= ~observed[:, :, None]
        return EpisodeBatch(
            **values, filled_mask=played, **{name: start.index_select(0, rows) for name, start in self._starts.items()}
        )

    def _observe(self, seen: TimeStep, rows: Tensor | None = None) -> None:
        for name in OBSERVED:
            self._write(name, getattr(seen, name), rows)

    def _write(self, name: str, value: Tensor, rows: Tensor | None = None) -> None:
        """Write `value (B, ...)` where each of the environments (of `rows` alone, where they are given) stands."""
        store = self._data[name]
        if rows is None:
            rows = torch.arange(len(store), device=store.device)
        else:
            value = value.index_select(0, rows)
        where = rows * store.shape[1] + self.lengths[rows]
        store.flatten(0, 1).index_copy_(0, where, value)

    def state_dict(self) -> dict[str, Any]:
        """The steps in use, as tensors on the CPU."""
        steps = int(self.lengths.max())
        data = {name: store[:, : steps + (name in OBSERVED)] for name, store in self._data.items()}
        return snapshot({"data": data, "lengths": self.lengths, "starts": self._starts})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` saved."""
        for name, store in self._data.items():
            value = state["data"][name]
            store[:, : value.shape[1]] = value.to(store.device)
        self.lengths.copy_(state["lengths"])
        device = self.lengths.device
        self._starts = {name: value.to(device, copy=True) for name, value in state["starts"].items()}


def _order(parts: Sequence[tuple[Tensor, Any]]) -> Tensor:
    """Where in a row of all `parts`, each with the numbers of its environments (R,), those of environment 0 are, in the
    order in which they ended, then those of environment 1, ...: so neighbours are of all times of a round.
    """
    return torch.cat([rows for rows, _ in parts]).argsort(stable=True)
