"""Records episodes while a runner plays them: what happened, and what the agents' decisions came from.

Shape letters: B environments, T steps, A agent slots, E entity slots, D features, U actions, N heads.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from controllers.base import Controller, Decision
from controllers.entity import EntityController
from envs.base import EntityEnv, TimeStep
from envs.scene import Look, Scene

#: Digits after the point: of places, and of everything else.
PLACE, NUMBER = 2, 3


class Tape:
    """Keeps the first episodes of each team, those of the lowest numbers: the runner's environment i plays i, then
    i + B, and so on. An episode that a fault has cut short is recorded again when it is played again.
    """

    def __init__(self, env: EntityEnv, controller: Controller, episodes: int) -> None:
        """
        Args:
            env, controller: what the runner plays with.
            episodes: how many of each team.
        """
        self.env, self.controller, self.wanted = env, controller, episodes
        self._team: str | None = None
        self._begun = False
        #: environment -> the number of the episode that it plays next, or is playing
        self._numbers: list[int] = []
        self._open: dict[int, _Take] = {}
        #: (place of the team, number) -> episode
        self._done: dict[tuple[int, int], dict[str, Any]] = {}
        self._teams = 0

    @property
    def count(self) -> int:
        """How many episodes are complete."""
        return len(self._done)

    def begin(self, team: str | None, rows: Tensor, seen: TimeStep) -> None:
        """As `Watcher.begin`."""
        if team != self._team or not self._begun:
            self._team, self._begun, self._teams = team, True, self._teams + 1
            self._numbers = list(range(self.env.num_envs))
        chosen = [row for row in rows.nonzero()[:, 0].tolist() if self._numbers[row] < self.wanted]
        self._open = {row: _Take(self.env, row, seen) for row in chosen}
        self.controller.explains = bool(chosen)

    def step(self, seen: TimeStep, decision: Decision, after: TimeStep) -> None:
        """As `Watcher.step`."""
        for row, take in list(self._open.items()):
            take.step(seen, decision, after)
            if not bool(after.done[row]):
                continue
            del self._open[row]
            if self.env.lost is None or not bool(self.env.lost[row]):
                number = self._numbers[row]
                head = {"team": self._team or "train", "number": number}
                self._done[self._teams, number] = {**head, **take.content(after)}
                self._numbers[row] += self.env.num_envs
        self.controller.explains = bool(self._open)

    def content(self) -> dict[str, Any]:
        """Everything, in plain values: what holds for all episodes, `about`, and the `episodes`, team by team."""
        spec, learned = self.env.spec, self.controller if isinstance(self.controller, EntityController) else None
        about = {
            "task": spec.name,
            "agents": spec.agents,
            "entities": spec.entities,
            "actions": list(spec.action_names) or [f"action {number}" for number in range(spec.basic)],
            "points": bool(spec.points),
            "symbols": spec.symbols,
            "features": {name: [part.start, part.stop] for name, part in spec.feature_slices.items()},
            "figure": "" if learned is None else learned.selector.FIGURE,
            "heads": [] if learned is None else list(learned.agent.heads),
        }
        return {"about": about, "episodes": [self._done[key] for key in sorted(self._done)]}


class _Take:
    """An episode in environment `row` that is being recorded."""

    def __init__(self, env: EntityEnv, row: int, seen: TimeStep) -> None:
        self.env, self.row = env, row
        self.looks: list[Look] = []
        self.present: list[list[Any]] = []
        self.moments: dict[str, list[Any]] = {}
        self.scene: Scene | None = None
        self.length, self.total = 0, 0.0
        self._see(seen)

    def step(self, seen: TimeStep, decision: Decision, after: TimeStep) -> None:
        row, agents = self.row, np.flatnonzero(_of(seen.agent_mask, self.row))
        absent = [None] * self.env.spec.agents
        legal, actions = _of(seen.avail_mask, row), _of(decision.actions, row)
        basis = decision.basis
        sight = _of(seen.obs_mask if basis is None else basis.sight, row)
        columns: dict[str, list[Any]] = {"actions": [*absent], "legal": [*absent], "sees": [*absent]}
        if basis is not None:
            figures = _of(basis.figures, row)
            columns["figures"] = [*absent]
        if basis is not None and basis.attention is not None:
            attention = _of(basis.attention, row)
            columns["attention"] = [*absent]
        for agent in agents.tolist():
            may, sees = np.flatnonzero(legal[agent]), np.flatnonzero(sight[agent])
            columns["actions"][agent] = int(actions[agent])
            columns["legal"][agent], columns["sees"][agent] = may.tolist(), sees.tolist()
            if "figures" in columns:
                columns["figures"][agent] = rounded(figures[agent, may])
            if "attention" in columns:
                columns["attention"][agent] = rounded(attention[:, agent, sees])
        if decision.sent is not None:
            sent = [agent for agent in np.flatnonzero(_of(decision.sent, row)).tolist() if agent in agents]
            columns["sent"] = sent
            if basis is not None and basis.moved is not None:
                columns["moved"] = rounded(_of(basis.moved, row)[sent])
        for name, value in columns.items():
            self._add(name, value)
        reward = float(after.reward[row])
        self.length, self.total = self.length + 1, self.total + reward
        self._add("rewards", rounded(reward))
        self._see(after)
        if self.scene is not None:
            self._add("aims", [[slot, aim] for slot, aim in sorted(self.scene.aims.items())])

    def content(self, last: TimeStep) -> dict[str, Any]:
        """The episode, which has ended with `last`."""
        info = {name: rounded(float(value[self.row])) for name, value in last.info.items()}
        content: dict[str, Any] = {
            "length": self.length,
            "return": rounded(self.total),
            "terminated": bool(last.terminated[self.row]),
            "info": info,
            "present": self.present,
        }
        if self.scene is not None:
            content["arena"] = _told(self.scene.arena)
            content["looks"] = [_told(look) for look in self.looks]
        return {**content, **self.moments}

    def _add(self, name: str, value: Any) -> None:
        self.moments.setdefault(name, []).append(value)

    def _see(self, seen: TimeStep) -> None:
        """What there is to see of a moment."""
        present = np.flatnonzero(_of(seen.entity_mask, self.row)).tolist()
        if not self.present or self.present[-1][1] != present:
            self.present.append([self.length, present])
        self.scene = self.env.scene(self.row)
        if self.scene is None:
            self._add("entities", rounded(_of(seen.entities, self.row)[present]))
            return
        bodies = self.scene.bodies
        self._add("bodies", [self._body(bodies, slot) for slot in range(self.env.spec.entities)])

    def _body(self, bodies: Any, slot: int) -> list[Any] | None:
        """[look, x, y, levels ..., note]: its look by number, the note only where there is one."""
        body = bodies.get(slot)
        if body is None:
            return None
        if body.look not in self.looks:
            self.looks.append(body.look)
        place = [rounded(body.x, PLACE), rounded(body.y, PLACE)]
        note = [body.note] if body.note else []
        return [self.looks.index(body.look), *place, *rounded(body.levels), *note]


def _told(part: Any) -> Any:
    """A named tuple in plain values, field by field; whatever else as it is, numbers rounded."""
    if hasattr(part, "_asdict"):
        return {name: _told(value) for name, value in part._asdict().items()}
    if isinstance(part, tuple):
        return [_told(value) for value in part]
    return rounded(part) if type(part) in (int, float) else part


def _of(values: Tensor, row: int) -> np.ndarray:
    part: np.ndarray = values[row].cpu().numpy()
    return part


def rounded(values: np.ndarray | Sequence[float] | float, digits: int = NUMBER) -> Any:
    """`values` as plain numbers, whole ones without a point, in nested lists as the array has axes."""
    exact = np.round(np.asarray(values, dtype=np.float64), digits)
    return _plain(exact.tolist())


def _plain(values: Any) -> Any:
    if isinstance(values, list):
        return [_plain(value) for value in values]
    return int(values) if values.is_integer() else values
