"""From outcomes to numbers: the values of a row and column, a table for readers, a table for programs."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from studies.curves import Curves, steps_until
from studies.declaration import WORST, Column, Row, Study
from studies.engine import Outcome, Results
from studies.statistics import Summary, summarise
from utils.logging import metric_name, span


def values(results: Results, row: Row, column: Column) -> list[float]:
    """One value per seed (a scripted team: one): the mean over that model's test episodes, or steps until its curve is
    there, infinite where it never is.
    """
    if column.until:
        return _steps_until(results, row, column)
    found = {outcome.seed: _mean(outcome, column) for outcome in results[row.label]}
    if column.relative:
        whole = {outcome.seed: _mean(outcome, column) for outcome in results.get(row.reference, [])}
        found = {seed: _ratio(value, whole.get(seed)) for seed, value in found.items()}
    return [value for value in found.values() if value is not None]


def summary(results: Results, row: Row, column: Column) -> Summary | None:
    """Mean, deviation and interval over seeds; None where nothing was measured."""
    return summarise(values(results, row, column))


def worst(results: Results, row: Row, column: Column) -> float | None:
    """The worst seed's value; None where nothing was measured, or the figure is neither good nor bad."""
    found = values(results, row, column)
    if column.until:
        return max(found, default=None)
    return WORST[column.figure](found) if found and column.figure in WORST else None


def curves(study: Study, results: Results) -> Curves:
    """The curves behind the study's figure and table."""
    return {
        (row.cell.place(outcome.seed), name): curve
        for row in study.rows
        for outcome in results[row.label]
        for name, curve in sorted(outcome.curves.items())
    }


def _steps_until(results: Results, row: Row, column: Column) -> list[float]:
    name, rising = metric_name(column.team, column.figure), WORST[column.figure] is min
    # tests in training are compared with such tests: those of the table have other episodes, easier ones or harder;
    # but a scripted team has no others
    ends = [
        curve[-1][1] if (curve := outcome.curves.get(name)) else _mean(outcome, column)
        for outcome in results.get(row.reference, [])
    ]
    aims = [end for end in ends if end is not None]
    if not aims:
        return []
    aim = fmean(aims)
    return [steps_until(curve, aim, rising) for outcome in results[row.label] if (curve := outcome.curves.get(name))]


def _mean(outcome: Outcome, column: Column) -> float | None:
    figure = outcome.evaluation.get(column.team, {}).get(column.figure)
    return None if figure is None else figure["mean"]


def _ratio(value: float | None, whole: float | None) -> float | None:
    return value / whole if value is not None and whole else None


def extent(results: Results) -> str:
    """How many seeds, steps and updates are behind the results of the methods that learn, in a few words."""
    learned = [found for found in map(_learned, results.values()) if found]
    outcomes = [outcome for found in learned for outcome in found]
    steps = span([outcome.step for outcome in outcomes])
    return f"seeds: {span(map(len, learned))}, training steps: {steps}, updates: {_updates(outcomes)}"


def write_csv(path: Path, study: Study, results: Results) -> None:
    """One line per row and column; an empty field is a number that there is not, `inf` are steps until what was never
    reached.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["method", "cell", "team", "figure", "mean", "std", "ci95_low", "ci95_high", "median", "worst", "seeds"]
            + ["episodes_per_seed", "steps_min", "steps_max", "updates_min", "updates_max", "batch", "parameters"]
            + ["paper_mean", "paper_std"]
        )
        for row in study.rows:
            outcomes = results[row.label]
            learned = _learned(outcomes)
            steps = [outcome.step for outcome in learned]
            updates = _known(learned)
            if len(updates) < len(learned):
                updates = []  # part of them would pass for all
            for column in study.columns:
                of = summary(results, row, column)
                measured = [""] * 5 if of is None else [of.mean, of.std, of.low, of.high, of.median]
                writer.writerow(
                    [row.label, row.cell.path, column.team, column.what, *measured]
                    + [worst(results, row, column), 0 if of is None else of.n]
                    + [_shared(_episodes(outcome, column.team) for outcome in outcomes)]
                    + [end(counts, default="") for counts in (steps, updates) for end in (min, max)]
                    + [_batches(learned), _shared(outcome.parameters for outcome in outcomes), *_paper(row, column)]
                )


def write_markdown(path: Path, study: Study, results: Results, command: str) -> None:
    """The tables with what it takes to read them: what the numbers are, how much was learnt, with what code."""
    parts = [f"# {study.title}", _means(study, results)]
    if any(row.cell.learns for row in study.rows):
        parts += ["Median / worst seed:", _medians(study, results), "What was learnt from:", _lessons(study, results)]
    path.write_text("\n\n".join([*parts, _explanation(study, results), f"    {command}"]) + "\n", encoding="utf-8")


def _means(study: Study, results: Results) -> str:
    columns = [(column, any(_paper(row, column) != (None, None) for row in study.rows)) for column in study.columns]
    head = ["method", "seeds"]
    for column, printed in columns:
        head += [column.title, *["paper"] * printed]
    rows = []
    for row in study.rows:
        outcomes = results[row.label]
        seeds = str(len(outcomes)) if row.cell.learns else "none"
        cells = [row.label, seeds if outcomes else "-"]
        for column, printed in columns:
            of = summary(results, row, column)
            few = f" (n = {of.n})" if of is not None and of.n < len(outcomes) else ""
            cells += [_measured(of, column, values(results, row, column)) + few, *[_printed(row, column)] * printed]
        rows.append(cells)
    return _table(head, rows)


def _medians(study: Study, results: Results) -> str:
    rows = []
    for row in (row for row in study.rows if row.cell.learns):
        cells = [row.label]
        for column in study.columns:
            of, last = summary(results, row, column), worst(results, row, column)
            middle = "-" if of is None else _number(of.median, column)
            cells.append(middle if last is None else f"{middle} / {_number(last, column)}")
        rows.append(cells)
    return _table(["method", *(column.title for column in study.columns)], rows)


def _lessons(study: Study, results: Results) -> str:
    rows = []
    for row in (row for row in study.rows if row.cell.learns):
        found = results[row.label]
        steps, parameters = span([o.step for o in found]), span([o.parameters for o in found])
        rows.append([row.label, steps, _updates(found), _batches(found) or "-", parameters])
    return _table(["method", "steps", "updates", "batch", "parameters"], rows)


def _explanation(study: Study, results: Results) -> str:
    outcomes = [outcome for found in results.values() for outcome in found]
    learned = _learned(outcomes)
    steps = [outcome.step for outcome in learned]
    seeds = sorted({outcome.seed for outcome in outcomes if outcome.seed is not None})
    episodes = sorted({_episodes(o, column.team) for o in outcomes for column in study.columns} - {0})
    lines = [
        "Mean ± sample deviation [95 % t interval of the mean] over seeds, each seed's value being the mean over its "
        f"test episodes ({_list(episodes)} for each team and seed, the same ones for all methods). One seed, or a "
        'scripted team, has a mean alone; n stands where it is less than the number of seeds. "-": not measured, or '
        "not known. What is neither good nor bad has no worst seed. Batch: what one update learnt from.",
        f"Seeds: {_list(seeds)}. Code: {_list(sorted({r for outcome in outcomes for r in outcome.revisions}))} "
        "(+: with changes that are in no revision).",
    ]
    if study.source:
        lines.append(f'"paper": {study.source}.')
    if steps:
        updates = _known(learned)
        ours = f"Trained for {span(steps)} steps with {_updates(learned) if updates else 'unknown'} updates"
        paper = f"{study.steps:,}" + f" with {study.updates:,}" * bool(study.updates)
        # some are missing in every training: there are none before the replay holds a batch
        if min(steps) < study.steps or min(updates, default=study.updates) < 0.9 * study.updates:
            lines.append(f"**{ours}, the paper for {paper}**: too few for a comparison.")
        else:
            lines.append(ours + f"; the paper: {paper}" * bool(study.steps) + ".")
    if any(column.until for column in study.columns):
        aims = _list([f"{row.label} ({row.reference})" for row in study.rows if row.cell.learns and row.reference])
        lines.append(
            "Steps until: environment steps of the first test in the course of training that is as good as the last "
            "such test, mean over seeds, of the method in brackets. They have the same episodes, but fewer than those "
            "of the table (a scripted team's), and the first of several that are so good may be so by luck: "
            f"{aims}."
        )
    dead = [f"{label} (seed {o.seed}, {o.step:,} steps)" for label, found in results.items() for o in found if o.died]
    if dead:
        lines.append(f"**The training died before its end, and was not continued: {_list(dead)}**.")
    return "  \n".join([*lines, *study.notes])


def _measured(found: Summary | None, column: Column, each: Sequence[float]) -> str:
    if found is None:
        return "-"
    if math.isinf(found.mean):
        return f"not reached by {each.count(math.inf)} of {len(each)}"
    text = _number(found.mean, column)
    if found.std is not None and found.low is not None and found.high is not None:
        std, low, high = (_number(value, column) for value in (found.std, found.low, found.high))
        text += f" ± {std} [{low}, {high}]"
    return text


def _number(value: float, column: Column) -> str:
    if column.until:
        return "not reached" if math.isinf(value) else f"{value:,.0f}"
    return f"{value:.{column.digits}f}"


def _printed(row: Row, column: Column) -> str:
    mean, std = _paper(row, column)
    return "-" if mean is None else f"{mean:.{column.digits}f}" + (f" ± {std:.{column.digits}f}" if std else "")


def _paper(row: Row, column: Column) -> tuple[float | None, float | None]:
    return (
        (None, None) if column.relative or column.until else row.paper.get((column.team, column.figure), (None, None))
    )


def _episodes(outcome: Outcome, team: str) -> int:
    return int(outcome.evaluation.get(team, {}).get("return", {}).get("n", 0))


def _learned(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.seed is not None]


def _known(learned: Sequence[Outcome]) -> list[int]:
    return [outcome.updates for outcome in learned if outcome.updates is not None]


def _updates(learned: Sequence[Outcome]) -> str:
    known = _known(learned)
    unknown = len(learned) - len(known)
    return span(known) + f" ({unknown} unknown)" * bool(known and unknown)


def _batches(learned: Sequence[Outcome]) -> str:
    return "; ".join(sorted({outcome.batch for outcome in learned}))


def _shared(numbers: Iterable[int]) -> str:
    return " ".join(map(str, sorted(set(numbers) - {0})))


def _list(items: Sequence[object]) -> str:
    return ", ".join(map(str, items)) or "none"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(map(_line, [head, ["---"] * len(head), *rows]))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
