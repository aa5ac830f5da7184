"""Teams far larger than those trained with: what no paper of this line shows, since their networks know a largest team."""

from studies.copa import scripted
from studies.declaration import Cell, Column, Row, Study, TeamSizes

TASK = "sc2_sz"
SIZES = ("3-5", "6", "7", "8", "10", "12", "16")
#: a team against one unit more than it has itself
OUTNUMBERED = "8v+1"


def _row(label: str, algorithm: str) -> Row:
    return Row(label, Cell(f"{algorithm}_pairs", algorithm, TASK, {"target_values": "pairs"}))


_ROWS = (
    _row("A-QMIX", "aqmix"),
    _row("REFIL", "refil"),
    _row("MAPPO", "mappo"),
    *(Row(policy, scripted(policy, TASK)) for policy in ("focus_fire", "attack_nearest")),
)
_WON = tuple(Column(team, "battle_won", digits=3) for team in SIZES)

BEYOND_SLOTS = Study(
    name="beyond_slots",
    title="Teams far larger than those trained with",
    seeds=(0, 1, 2),
    rows=_ROWS,
    columns=(*_WON, Column(OUTNUMBERED, "battle_won", digits=3)),
    figure=TeamSizes(_WON, "battles won", (3, 5), (("", tuple((row.label, row.label) for row in _ROWS)),)),
    testing={"test_teams": ",".join((*SIZES, OUTNUMBERED)), "test_nepisode": 1000, "test_batch_size": 250},
    notes=(
        "All methods have values of pairs (`target_values=pairs`). They are trained on 3 to 5 units a side and have "
        f"seen no larger battle; {OUTNUMBERED}: 8 units against the same 8 and one more.",
    ),
)
