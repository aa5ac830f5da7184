"""What a study is, as data: trainings, the tests of what they learned, the table's columns, the figure."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from utils.logging import metric_name

#: A team and a figure of its test, such as ("5", "return").
Figure = tuple[str, str]

#: Figure -> which of several values is the worst. Others, such as comm_frequency, are neither good nor bad.
WORST: Mapping[str, Callable[[Iterable[float]], float]] = {
    "return": min,
    "battle_won": min,
    "enemies_killed": min,
    "allies_alive": min,
    "fires_put_out": min,
    "fires_left": max,
    "delivered": min,
    "invaders_caught": min,
    "invaders_home": max,
}


@dataclass(frozen=True)
class Cell:
    """One training, done once for each seed; or a scripted team (`algorithm="scripted"`), which is only tested.

    A cell of a name is the same training in every study: its models serve them all.
    """

    #: folder of its runs, below that of the task
    name: str
    #: name of a file in config/algs
    algorithm: str
    #: name of a file in config/envs
    task: str
    settings: Mapping[str, object] = field(default_factory=dict)
    #: name of a folder in config/recipes; empty: as the papers have it
    recipe: str = ""

    @property
    def learns(self) -> bool:
        """False for scripted teams, which have neither seeds nor models."""
        return self.algorithm != "scripted"

    @property
    def path(self) -> str:
        """Where its runs lie below the results."""
        return f"{self.task}/{self.name}"

    def place(self, seed: int | None) -> str:
        """Where those with a seed lie; None: a scripted team's."""
        return self.path if seed is None else f"{self.path}/seed{seed}"

    def words(self) -> list[str]:
        """The command line of its training, but for what all cells of a study share."""
        names = [f"--config={self.algorithm}", f"--env-config={self.task}"]
        recipe = [f"--recipe={self.recipe}"] if self.recipe else []
        return [*names, *recipe, *assignments(self.settings)]


@dataclass(frozen=True)
class Row:
    """A line of the table: one way of testing the models of a cell."""

    label: str
    cell: Cell
    #: settings of the tests alone, such as beta
    settings: Mapping[str, object] = field(default_factory=dict)
    #: the paper's mean, and its deviation where it prints one
    paper: Mapping[Figure, tuple[float, float | None]] = field(default_factory=dict)
    #: label of the row that relative columns divide by, and whose figure those of `until` wait for
    reference: str = ""

    @property
    def tests(self) -> str:
        """Folder of its tests, below `tests` in that of the model."""
        return ",".join(assignments(self.settings)) or "plain"


@dataclass(frozen=True)
class Column:
    """A figure of the tests on one team."""

    team: str
    figure: str = "return"
    #: divided, seed by seed, by the same figure in the row's reference
    relative: bool = False
    digits: int = 1
    #: instead of the figure itself: environment steps until it first reaches, in the tests in the course of training,
    #: what the row's reference has in the last of its own
    until: bool = False

    @property
    def title(self) -> str:
        """Its head in the table."""
        return f"{self.what}, {self.team}"

    @property
    def what(self) -> str:
        """Its figure, and what is made of it, in a few words."""
        return "relative " * self.relative + "steps until " * self.until + self.figure


@dataclass(frozen=True)
class Bars:
    """A group of bars for each row, one bar for each column; the paper's numbers as marks."""

    columns: tuple[Column, ...]
    ylabel: str


@dataclass(frozen=True)
class Point:
    """A place in a curve: a row's column, drawn at a number or at the mean of another column."""

    x: float | Column
    row: str
    y: Column


@dataclass(frozen=True)
class Curves:
    """Lines through points, such as performance against a setting."""

    xlabel: str
    ylabel: str
    #: (label, points) of each line
    lines: tuple[tuple[str, tuple[Point, ...]], ...]


@dataclass(frozen=True)
class TeamSizes:
    """Performance against the size of the team, the sizes trained on shaded; the paper's numbers as dashed lines."""

    #: whose teams are sizes, or ranges such as "3-5", which stand at their middle
    columns: tuple[Column, ...]
    ylabel: str
    trained_on: tuple[int, int]
    #: (title, lines) of each panel, side by side; a line is (label, label of its row)
    panels: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True)
class LearningLine:
    """A row's tests in the course of training; of a scripted team, its test as a horizontal line."""

    #: in the legend; lines of one label have one colour in all panels
    label: str
    #: label of the row
    row: str
    #: what stands before `test/` in the names of the recorded tests, such as "expert/"
    prefix: str = ""
    #: as matplotlib writes it: "-", "--", ":"
    style: str = "-"


@dataclass(frozen=True)
class LearningPanel:
    """Lines of one task."""

    title: str
    #: what is drawn; None: `recorded`, a metric of learning
    column: Column | None
    lines: tuple[LearningLine, ...]
    recorded: str = ""

    @property
    def metric(self) -> str:
        """The name of the recorded metric, without a line's prefix."""
        return self.recorded if self.column is None else metric_name(self.column.team, self.column.figure)


@dataclass(frozen=True)
class LearningCurves:
    """Performance against environment steps: a middle over seeds, in the envelope of all seeds."""

    ylabel: str
    #: side by side, each with axes of its own
    panels: tuple[LearningPanel, ...]
    #: mean | median
    middle: str = "mean"


@dataclass(frozen=True)
class Study:
    """Methods, how they are trained and tested, and the paper's numbers to lay beside them, where there is a paper."""

    name: str
    title: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    figure: Bars | Curves | TeamSizes | LearningCurves
    #: where the paper's numbers stand; empty: there is no paper
    source: str = ""
    #: environment steps that the paper trains for, and the updates that it makes of them
    steps: int = 0
    updates: int = 0
    #: settings of every training and of every test; a cell's and a row's own come after them
    training: Mapping[str, object] = field(default_factory=dict)
    testing: Mapping[str, object] = field(default_factory=dict)
    #: keys by which rows differ: no override may make them equal
    varied: tuple[str, ...] = ()
    #: sentences below the table
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Its cells, each once, in the order of the rows."""
        return tuple({row.cell.path: row.cell for row in self.rows}.values())

    def jobs(self, seeds: Iterable[int]) -> list[tuple[Cell, int | None]]:
        """Its cells with their seeds (None: a scripted team) in the order of work: a seed of all, then the next one."""
        return [(cell, None) for cell in self.cells if not cell.learns] + [
            (cell, seed) for seed in seeds for cell in self.cells if cell.learns
        ]

    def rows_of(self, cell: Cell) -> tuple[Row, ...]:
        """The rows that test the models of `cell`."""
        return tuple(row for row in self.rows if row.cell.path == cell.path)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Its tasks, each once, in the order of the rows."""
        return tuple(dict.fromkeys(row.cell.task for row in self.rows))

    def on(self, tasks: Collection[str]) -> "Study":
        """The part of this study that is about `tasks`: the other rows, and panels that only they were in, are gone."""
        rows = tuple(row for row in self.rows if row.cell.task in tasks)
        figure, labels = self.figure, {row.label for row in rows}
        if isinstance(figure, TeamSizes):
            kept = ((title, tuple(line for line in lines if line[1] in labels)) for title, lines in figure.panels)
            figure = replace(figure, panels=tuple((title, lines) for title, lines in kept if lines))
        elif isinstance(figure, LearningCurves):
            parts = (
                replace(panel, lines=tuple(line for line in panel.lines if line.row in labels))
                for panel in figure.panels
            )
            figure = replace(figure, panels=tuple(panel for panel in parts if panel.lines))
        return replace(self, rows=rows, figure=figure)

    def metrics(self, row: Row) -> frozenset[str]:
        """The recorded metrics whose curves the table and the figure need of `row`."""
        names = {metric_name(column.team, column.figure) for column in self.columns if column.until}
        if isinstance(self.figure, LearningCurves):
            for panel in self.figure.panels:
                names |= {line.prefix + panel.metric for line in panel.lines if line.row == row.label}
        return frozenset(names if row.cell.learns else ())

    def row(self, label: str) -> Row:
        """The row of that label."""
        return next(row for row in self.rows if row.label == label)


@dataclass(frozen=True)
class Entry:
    """Trainings and tests of one study, or of some of its tasks (`study.on(tasks)`)."""

    study: Study
    seeds: Sequence[int]
    #: environment steps of each training
    t_max: int
    #: words KEY=VALUE for every training and every test
    overrides: Sequence[str]

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"{self.study.name} on {', '.join(self.study.tasks)}"

    def table_words(self, results: Path) -> list[str]:
        """What tells `src/study.py` to test its models below `results` as they stand, and to write the table there."""
        chosen = ["--tasks", *self.study.tasks, "--seeds", *map(str, self.seeds)]
        return [self.study.name, *chosen, f"--evaluate-only={results}", f"--results={results}", "with", *self.overrides]


def assignments(settings: Mapping[str, object]) -> list[str]:
    """`settings` as words of the command line."""
    return [f"{key}={value}" for key, value in settings.items()]
