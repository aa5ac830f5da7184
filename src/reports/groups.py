"""Which trainings are compared: panels, each with the methods of one task (or of all), and which trainings count."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from reports.sources import FIGURES, Run
from reports.trainings import Training
from studies.declaration import WORST
from utils.config import INCIDENTAL, saved_config
from utils.errors import UserError
from utils.logging import EPISODES, metric_name, parse_metric_name
from utils.suggest import nearest

#: Words of --group-by that are no settings: the algorithm as `--config` names it, the task as `--env-config` does.
CONFIG, TASK = "config", "env"
#: Why a training does not count that there is once more.
REPEATED = "was repeated as"


@dataclass(eq=False)
class Method:
    """Trainings, or tests, that are samples of the same."""

    label: str
    #: whether these are tests by themselves (`evaluate=True`), which have no curves
    tests: bool
    #: of a scripted team
    scripted: bool
    #: task -> those that count
    counted: dict[str, list[Training]] = field(default_factory=dict)
    #: those that do not, and why
    uncounted: list[tuple[Training, str]] = field(default_factory=list)

    @property
    def trainings(self) -> list[Training]:
        """Those that count, of all tasks."""
        return [training for found in self.counted.values() for training in found]

    @property
    def strata(self) -> list[int]:
        """How many count of each task."""
        return [len(found) for found in self.counted.values()]


@dataclass(eq=False)
class Panel:
    """Methods that are compared with each other."""

    title: str
    #: task -> the metric that is shown of it
    metrics: dict[str, str]
    methods: list[Method] = field(default_factory=list)

    @property
    def figure(self) -> str:
        """What is shown, as a reader knows it."""
        metric = next(iter(self.metrics.values()))
        test = parse_metric_name(metric)
        if test is None:
            return metric
        teams = {found.team for name in self.metrics.values() if (found := parse_metric_name(name))}
        team = f", team {test.team}" * (len(teams) == 1)
        return f"{test.part}{test.figure}{team}" + f" ({test.episodes})" * (test.episodes != "test")

    @property
    def learners(self) -> list[Method]:
        """Methods of which trainings count."""
        return [method for method in self.methods if not method.tests and method.trainings]

    @property
    def higher_is_better(self) -> bool:
        """Whether a greater value is the better one; of what is neither good nor bad, as if it were."""
        test = parse_metric_name(next(iter(self.metrics.values())))
        return WORST.get(test.figure if test else "", min) is min

    def teams(self, task: str) -> list[str]:
        """The teams that the figure was tested with, in the order of their sizes."""
        test = parse_metric_name(self.metrics[task])
        if test is None:
            return []
        runs = [training.run for method in self.methods for training in method.counted.get(task, ())]
        found = (parse_metric_name(name) for run in runs for name in run.curves)
        teams = {other.team for other in found if other and other._replace(team=test.team) == test}
        return sorted(teams, key=_size)

    def metric(self, task: str, team: str, figure: str = "") -> str:
        """The metric of another team, or of another figure."""
        test = parse_metric_name(self.metrics[task])
        assert test is not None
        return test.part + metric_name(team, figure or test.figure, test.episodes)


def group(trainings: Sequence[Training], keys: Sequence[str], metric: str, names: set[str]) -> list[Panel]:
    """The panels of `trainings`.

    Args:
        keys: words of --group-by: settings, `config`, `env`.
        metric: what is shown; "": battles won, else return, of the team that was trained with.
        names: all metrics that there are, for messages.

    Raises:
        UserError: no run has such a setting or such a metric, or tasks are to be averaged that have none in common.
    """
    runs = [training.run for training in trainings]
    _check_keys(runs, keys)
    if metric and not any(metric in run.curves for run in runs):
        known = f"; the nearest is {nearest(metric, names)!r}" if names else ", nor any other"
        raise UserError(f"--metric {metric}: no run has recorded it{known}")
    shown = {task: metric or _default_metric([run for run in runs if run.task == task]) for task in _tasks(runs)}
    panels: dict[str, Panel] = {}
    methods: dict[tuple[object, ...], Method] = {}
    for training in trainings:
        task, run = training.run.task, training.run
        title = task if TASK in keys else "all tasks"
        panel = panels.setdefault(title, Panel(title, {}))
        panel.metrics[task] = shown[task]
        label = _label(run, keys)
        identity = (title, label, run.tests)
        if identity not in methods:
            methods[identity] = Method(label, run.tests, run.config.get("name") == "scripted")
            panel.methods.append(methods[identity])
        method = methods[identity]
        reason = _why_not(training, shown[task])
        if reason:
            method.uncounted.append((training, reason))
        else:
            method.counted.setdefault(task, []).append(training)
    for panel in panels.values():
        _check_common(panel)
        panel.methods.sort(key=lambda method: (method.tests, method.scripted))
        for method in panel.methods:
            _drop_repeats(method)
    return list(panels.values())


def name_of(method: Method) -> str:
    """A method as readers see it, where tests by themselves stand beside trainings."""
    return method.label + ", tested apart" * (method.tests and not method.scripted)


def settings(run: Run) -> dict[str, Any]:
    """The settings of a run by the names that they have on the command line; what came after it has its default."""
    found: dict[str, Any] = {}
    for key, value in {**_defaults(), **run.config}.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{inner}": content for inner, content in value.items()}
        else:
            found[key] = value
    return found


@cache
def _defaults() -> dict[str, Any]:
    return dict(saved_config({}))


def trained_with(run: Run, team: str) -> bool:
    """Whether teams like `team` were trained with: it is the training's, or its sizes are within the training's."""
    own = str(settings(run).get("env_args.train_team", ""))
    if team in ("train", own, *own.split("/")):
        return True
    (low, high), (least, most) = _sizes(own), _sizes(team)
    return 0 < low <= least and most <= high


def _label(run: Run, keys: Sequence[str]) -> str:
    words = []
    for key in keys:
        if key == CONFIG:
            scripted = run.config["name"] == "scripted"
            words.append(f"{run.config.get('policy')} (scripted)" if scripted else str(run.config["name"]))
        elif key != TASK:
            words.append(f"{key}={settings(run).get(key, '-')}")
    return " ".join(words) or "all runs"


def _tasks(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.task for run in runs))


def _check_keys(runs: Sequence[Run], keys: Sequence[str]) -> None:
    known = {CONFIG, TASK, *(key for run in runs for key in settings(run))}
    for key in keys:
        if key not in known:
            raise UserError(f"--group-by {key}: no run has such a setting; the nearest is {nearest(key, known)!r}")


def _default_metric(runs: Sequence[Run]) -> str:
    """Of the first figure that there is, tests before validations: of a team that was trained with, else of the first
    one.
    """
    found = list(dict.fromkeys(name for run in runs for name in run.curves))
    for episodes in EPISODES:
        for figure in FIGURES:
            metrics = [
                name
                for name in found
                if (test := parse_metric_name(name)) and (test.episodes, test.figure) == (episodes, figure)
            ]
            for name in metrics:
                test = parse_metric_name(name)
                if test and any(trained_with(run, test.team) for run in runs if not run.tests):
                    return name
            if metrics:
                return metrics[0]
    return metric_name("train", FIGURES[-1])


def _check_common(panel: Panel) -> None:
    figures = {}
    for task, metric in panel.metrics.items():
        test = parse_metric_name(metric)
        figures[test.figure if test else metric] = task
    if len(figures) > 1:
        parts = ", ".join(f"{task} has {figure}" for figure, task in figures.items())
        raise UserError(
            f"--group-by without {TASK} averages over tasks, and these have no figure in common: {parts}; "
            f"add {TASK}, or name a --metric that all have"
        )


def _why_not(training: Training, metric: str) -> str:
    """Why a training does not count; "" where it does."""
    run = training.run
    if run.status != "COMPLETED":
        return f"{run.status} at {run.step:,} steps"
    return "" if training.line(metric) is not None else f"has no {metric}"


def _drop_repeats(method: Method) -> None:
    """Of trainings with the same settings and seed, and of equal tests of one model, the latest counts: the others are
    no samples of their own.
    """
    for task, found in method.counted.items():
        kept: dict[str, Training] = {}
        for training in sorted(found, key=lambda training: training.run.began or 0.0):
            run = training.run
            same = {key: value for key, value in settings(run).items() if matters(method, key)}
            identity = json.dumps([same, training.model], sort_keys=True, default=str)
            earlier = kept.pop(identity, None)
            kept[identity] = training
            if earlier is not None:
                method.uncounted.append((earlier, f"{REPEATED} {run.id}"))
        method.counted[task] = [training for training in found if training in kept.values()]


def matters(method: Method, key: str) -> bool:
    """Whether runs of a method that differ in the setting `key` are not the same; a scripted team has no seeds, for all
    tests have the same episodes, and does not learn.
    """
    if method.scripted:
        return key in ("env", "policy", "test_nepisode", "test_teams") or key.startswith("env_args.")
    return key not in INCIDENTAL


def _sizes(team: str) -> tuple[int, int]:
    """Smallest and largest size of a team such as "3-5", "8" or "8v9"; (0, 0) for another."""
    parts = team.split("v")[0].split("-")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        return 0, 0
    return int(parts[0]), int(parts[-1])


def _size(team: str) -> tuple[int, int, str]:
    return (*_sizes(team), team)
