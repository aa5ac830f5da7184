"""From outcomes to numbers: the values of a row and column, a table for readers, a table for programs."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from studies.declaration import Column, Row, Study
from studies.engine import Outcome, Results
from studies.statistics import Summary, summarise


def values(results: Results, row: Row, column: Column) -> list[float]:
    """One value per seed (a scripted team: one), the mean over that model's test episodes."""
    found = {outcome.seed: _mean(outcome, column) for outcome in results[row.label]}
    if column.relative:
        whole = {outcome.seed: _mean(outcome, column) for outcome in results.get(row.reference, [])}
        found = {seed: _ratio(value, whole.get(seed)) for seed, value in found.items()}
    return [value for value in found.values() if value is not None]


def summary(results: Results, row: Row, column: Column) -> Summary | None:
    """Mean, deviation and interval over seeds; None where nothing was measured."""
    return summarise(values(results, row, column))


def _mean(outcome: Outcome, column: Column) -> float | None:
    figure = outcome.evaluation.get(column.team, {}).get(column.figure)
    return None if figure is None else figure["mean"]


def _ratio(value: float | None, whole: float | None) -> float | None:
    return value / whole if value is not None and whole else None


def extent(results: Results) -> str:
    """How many seeds and steps are behind the results of the methods that learn, in a few words."""
    learned = [[outcome for outcome in found if outcome.seed is not None] for found in results.values()]
    steps = [outcome.step for found in learned for outcome in found]
    return f"seeds: {_range([len(found) for found in learned])}, training steps: {_range(steps)}"


def write_csv(path: Path, study: Study, results: Results) -> None:
    """One line per row and column; an empty field is a number that there is not."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["method", "cell", "team", "figure", "mean", "std", "ci95_low", "ci95_high", "seeds", "episodes_per_seed"]
            + ["steps_min", "steps_max", "parameters", "paper_mean", "paper_std"]
        )
        for row in study.rows:
            outcomes = results[row.label]
            steps = [outcome.step for outcome in outcomes if outcome.seed is not None]
            for column in study.columns:
                of = summary(results, row, column)
                measured = ["", "", "", "", 0] if of is None else [of.mean, of.std, of.low, of.high, of.n]
                writer.writerow(
                    [row.label, row.cell.path, column.team, "relative " * column.relative + column.figure, *measured]
                    + [_shared(_episodes(outcome, column.team) for outcome in outcomes)]
                    + [min(steps, default=""), max(steps, default="")]
                    + [_shared(outcome.parameters for outcome in outcomes), *_paper(row, column)]
                )


def write_markdown(path: Path, study: Study, results: Results, command: str) -> None:
    """The table with what it takes to read it: what the numbers are, how long was trained, with what code."""
    columns = [(column, any(_paper(row, column) != (None, None) for row in study.rows)) for column in study.columns]
    head = ["method", "seeds", "steps", "parameters"]
    for column, printed in columns:
        head += [column.title, *["paper"] * printed]
    lines = [f"# {study.title}", "", _line(head), _line(["---"] * len(head))]
    for row in study.rows:
        outcomes = results[row.label]
        cells = [row.label, str(len(outcomes)) if outcomes else "-"]
        if not row.cell.learns:
            cells[1] = "none" if outcomes else "-"
        cells += [_range([o.step for o in outcomes if o.seed is not None]), _range([o.parameters for o in outcomes])]
        for column, printed in columns:
            of = summary(results, row, column)
            few = f" (n = {of.n})" if of is not None and of.n < len(outcomes) else ""
            cells += [_measured(of, column) + few, *[_printed(row, column)] * printed]
        lines.append(_line(cells))
    lines += ["", *_explanation(study, results), "", f"    {command}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _explanation(study: Study, results: Results) -> list[str]:
    outcomes = [outcome for found in results.values() for outcome in found]
    steps = [outcome.step for outcome in outcomes if outcome.seed is not None]
    seeds = sorted({outcome.seed for outcome in outcomes if outcome.seed is not None})
    episodes = sorted({_episodes(o, column.team) for o in outcomes for column in study.columns} - {0})
    lines = [
        "Mean ± sample deviation [95 % t interval of the mean] over seeds, each seed's value being the mean over its "
        f"test episodes ({_list(episodes)} for each team and seed, the same ones for all methods). One seed, or a "
        'scripted team, has a mean alone; n stands where it is less than the number of seeds. "-": not measured.',
        f"Seeds: {_list(seeds)}. Code: {_list(sorted({r for outcome in outcomes for r in outcome.revisions}))} "
        "(+: with changes that are in no revision).",
    ]
    if study.source:
        lines.append(f'"paper": {study.source}.')
    if steps and min(steps) < study.steps:
        lines.append(f"**Trained for {_range(steps)} steps, the paper for {study.steps:,}**: too few for a comparison.")
    elif steps:
        lines.append(f"Trained for {_range(steps)} steps" + f"; the paper: {study.steps:,}" * bool(study.steps) + ".")
    dead = [f"{label} (seed {o.seed}, {o.step:,} steps)" for label, found in results.items() for o in found if o.died]
    if dead:
        lines.append(f"**The training died before its end, and was not continued: {_list(dead)}**.")
    return ["  \n".join([*lines, *study.notes])]


def _measured(found: Summary | None, column: Column) -> str:
    if found is None:
        return "-"
    digits = column.digits
    text = f"{found.mean:.{digits}f}"
    if found.std is not None:
        text += f" ± {found.std:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return text


def _printed(row: Row, column: Column) -> str:
    mean, std = _paper(row, column)
    return "-" if mean is None else f"{mean:.{column.digits}f}" + (f" ± {std:.{column.digits}f}" if std else "")


def _paper(row: Row, column: Column) -> tuple[float | None, float | None]:
    return (None, None) if column.relative else row.paper.get((column.team, column.figure), (None, None))


def _episodes(outcome: Outcome, team: str) -> int:
    return int(outcome.evaluation.get(team, {}).get("return", {}).get("n", 0))


def _shared(numbers: Iterable[int]) -> str:
    return " ".join(map(str, sorted(set(numbers) - {0})))


def _range(numbers: Sequence[int]) -> str:
    found = sorted(set(numbers) - {0})
    if not found:
        return "-"
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


def _list(items: Sequence[object]) -> str:
    return ", ".join(map(str, items)) or "none"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
