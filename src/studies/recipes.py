"""What `--recipe=fast` makes of the team battles, where everything else has the papers' settings."""

from studies.copa import scripted
from studies.declaration import Cell, Row, Study, TeamSizes
from studies.mipi import SCRIPTED, TASKS, TESTING, TRAINED_ON, WON

RECIPE = "fast"
METHODS = {"MAPPO": "mappo", "REFIL": "refil"}

_ROWS = tuple(
    row
    for armies, task in TASKS.items()
    for row in (
        *(
            Row(f"{armies}, {label}", Cell(f"{algorithm}_{RECIPE}", algorithm, task, recipe=RECIPE))
            for label, algorithm in METHODS.items()
        ),
        Row(f"{armies}, {SCRIPTED}", scripted(SCRIPTED, task)),
    )
)
_LINES = (*METHODS, SCRIPTED)

FAST_BATTLES = Study(
    name="fast_battles",
    title="The fast recipe on larger teams than trained on",
    seeds=(0, 1, 2),
    rows=_ROWS,
    columns=WON,
    figure=TeamSizes(
        WON,
        "battles won",
        TRAINED_ON,
        tuple((armies, tuple((label, f"{armies}, {label}") for label in _LINES)) for armies in TASKS),
    ),
    testing=TESTING,
    notes=("Another recipe than the papers': to be set beside `mipi_table1` with its steps and updates in mind.",),
)
