"""What a reader has to know before a comparison is believed, in words."""

from collections.abc import Iterable, Sequence

from reports.groups import REPEATED, Method, Panel, matters, name_of, settings
from reports.numbers import along, band
from reports.statistics import FEW
from reports.trainings import AXES, Training
from utils.logging import span
from utils.records import revision

#: Steps, or updates, are called equal where the most is at most so many times the least: rounds end where they end.
_EQUAL = 1.02
#: Settings that are named.
_MOST = 6


def notes_on(panel: Panel, keys: Sequence[str]) -> list[str]:
    """The notes on `panel`, whose methods are told apart by `keys`."""
    found = []
    for method in panel.methods:
        found += _who_counts(method)
    learners = panel.learners
    for what in ("steps", "updates"):
        found += _unequal(what, learners)
    found += _few(learners)
    found += _no_band(panel)
    for method in panel.methods:
        found += _differences(method, keys)
    trainings = [training for method in panel.methods for training in method.trainings]
    found += _several("engines", "scores of different engines are not comparable", trainings, "backend")
    found += _several("devices", "hours of different devices are not comparable", trainings, "device")
    revisions = sorted({revision(training.run.facts) for training in trainings})
    if len(revisions) > 1:
        found.append(f"The code is of {len(revisions)} revisions: {', '.join(revisions)}.")
    return found


def _who_counts(method: Method) -> list[str]:
    if not method.uncounted:
        return []
    told = [(training, reason) for training, reason in method.uncounted if not reason.startswith(REPEATED)]
    parts = [f"{training.run.id} (seed {training.seed}) {reason}" for training, reason in told]
    repeated = len(method.uncounted) - len(told)
    parts += [f"{repeated} that were repeated with the same settings"] * bool(repeated)
    number = len(method.trainings)
    every = number + len(method.uncounted)
    kind = "tests" if method.tests else "trainings"
    return [f"{name_of(method)}: {number} of {every} {kind} count. Left out: {', '.join(parts)}."]


def _unequal(what: str, methods: Sequence[Method]) -> list[str]:
    of_methods = {method.label: [_amount(training, what) for training in method.trainings] for method in methods}
    known = [number for found in of_methods.values() for number in found if number is not None]
    parts = ", ".join(f"{label} {_range(found)}" for label, found in of_methods.items())
    if len(known) < sum(map(len, of_methods.values())):
        return [f"Not all {what} are known, so nothing says that they are equal: {parts}."]
    if known and max(known) > _EQUAL * min(known):
        return [f"Trained with unequal {what}: {parts}."]
    return []


def _amount(training: Training, what: str) -> int | None:
    return training.run.step if what == "steps" else training.updates


def _few(methods: Sequence[Method]) -> list[str]:
    single = [method.label for method in methods if max(method.strata, default=0) < 2]
    few = [method.label for method in methods if len(method.trainings) < FEW]
    found = []
    if few:
        found.append(f"Of fewer than {FEW} trainings the interquartile mean is the mean: {', '.join(few)}.")
    if single:
        found.append(f"One training has neither band nor interval: {', '.join(single)}.")
    return found


def _no_band(panel: Panel) -> list[str]:
    """Trainings that are not at the same time under way, such as one that came after hours of another's expert."""
    found = []
    for axis in AXES:
        for method in panel.learners:
            lines = [training.line(panel.metrics[task]) for task, some in method.counted.items() for training in some]
            if band(panel, method, axis) is None and all(along(line, axis) is not None for line in lines):
                found.append(f"{method.label}: no {axis} at which all of its trainings had begun and none had ended.")
    return found


def _differences(method: Method, keys: Sequence[str]) -> list[str]:
    """Settings by which runs differ that are averaged."""
    found = []
    for task, trainings in method.counted.items():
        every = [settings(training.run) for training in trainings]
        differing = []
        for key in dict.fromkeys(key for own in every for key in own):
            values = dict.fromkeys(str(own.get(key, "not set")) for own in every)
            if len(values) > 1 and key not in ("seed", *keys) and matters(method, key):
                differing.append(f"{key} ({', '.join(values)})")
        if differing:
            more = f", and {len(differing) - _MOST} more" if len(differing) > _MOST else ""
            found.append(
                f"{name_of(method)} on {task}: what is averaged differs in {', '.join(differing[:_MOST])}{more}; "
                "--group-by tells them apart."
            )
    return found


def _several(what: str, why: str, trainings: Iterable[Training], fact: str) -> list[str]:
    found = sorted({str(training.run.facts.get(fact)) for training in trainings if training.run.facts.get(fact)})
    return [f"These ran on several {what}, {', '.join(found)}: {why}."] if len(found) > 1 else []


def _range(numbers: Sequence[int | None]) -> str:
    known = [number for number in numbers if number is not None]
    unknown = len(numbers) - len(known)
    return span(known) + f" ({unknown} unknown)" * bool(unknown) if known else "unknown"
