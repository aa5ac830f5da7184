"""Episodes that controllers with fresh networks play, and their record."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from conftest import tiny_overrides
from torch import Tensor

import builders
from controllers.base import Controller, Decision
from envs.base import TimeStep
from envs.scene import Scene
from replays.tape import Tape
from runners.runner import Runner
from utils.config import load_config

#: environments that play at once
ROWS = 2


class Played:
    """An episode of each of `teams` in each of two environments, what the controller was shown and said, and the record
    of it where a tape was running.
    """

    def __init__(self, algorithm: str, task: str, *words: str, teams: Sequence[str], tape: bool = True) -> None:
        settings = [*tiny_overrides(algorithm, test_teams=",".join(teams), sequence_length=0), *words]
        config = load_config([f"--config={algorithm}", f"--env-config={task}", *settings])
        self.steps: list[tuple[TimeStep, Decision]] = []
        self.figures: dict[str, dict[str, Tensor]] = {}
        self.firsts: dict[str, int] = {}
        with builders.build_env(config, ROWS, 7, tests=True) as self.env:
            self.controller = livelier(builders.build_controller(config, self.env.spec))
            self.tape = Tape(self.env, self.controller, ROWS)
            runner = Runner(self.env, self.controller, seed=0)
            runner.watcher = self.tape if tape else None
            self.scenes: dict[int, list[Scene | None]] = {row: [] for row in range(ROWS)}
            self._listen()
            for team in teams:
                self.firsts[team] = len(self.steps)
                self.figures[team] = runner.evaluate(team, ROWS, seed=3)
        self.record = self.tape.content()

    def _listen(self) -> None:
        act = self.controller.act

        def listen(timestep: TimeStep, *args: Any, **kwargs: Any) -> Decision:
            self.steps.append((timestep, act(timestep, *args, **kwargs)))
            return self.steps[-1][1]

        self.controller.act = listen  # type: ignore[method-assign]
        scene = self.env.scene

        def look(index: int = 0) -> Scene | None:
            self.scenes[index].append(scene(index))
            return self.scenes[index][-1]

        self.env.scene = look  # type: ignore[method-assign]

    def moments(self) -> Iterator[tuple[dict[str, Any], int, int, TimeStep, Decision]]:
        """Of each recorded step its episode, its number there, the row, what was shown and what was decided."""
        for episode in self.record["episodes"]:
            for t in range(episode["length"]):
                yield episode, t, episode["number"], *self.steps[self.firsts[episode["team"]] + t]


def livelier(controller: Controller) -> Controller:
    """Fresh networks would hardly care what they see."""
    if isinstance(controller, torch.nn.Module):
        with torch.no_grad():
            for name, parameter in controller.named_parameters():
                parameter.mul_(2.0)
                if name.endswith("attention.pair"):
                    parameter.fill_(1.0)
    return controller
