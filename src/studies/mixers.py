"""What papers leave open of mixers, found out by experiment: MIPI's linear mixer, and where the flexible one starts."""

from collections.abc import Mapping

from studies.copa import scripted
from studies.declaration import Bars, Cell, Column, Row, Study, TeamSizes

BATTLES = "sc2_sz"
_PAIRS = {"target_values": "pairs"}
_WON = tuple(Column(team, "battle_won", digits=3) for team in ("3-5", "6", "7", "8"))
#: registered name of a linear mixer -> how its weights are made
READINGS = {"linear": "flexible without ELU", "linear_softmax": "soft-max over agents", "linear_abs": "absolute values"}


def _row(label: str, name: str, algorithm: str, settings: Mapping[str, object] | None = None) -> Row:
    return Row(label, Cell(f"{name}_pairs", algorithm, BATTLES, {**_PAIRS, **(settings or {})}))


_CAUSES = (
    *(_row(f"MIPI, {how}", f"mipi_{mixer}", "mipi", {"mixer": mixer}) for mixer, how in READINGS.items()),
    _row("REFIL, flexible without ELU", "refil_linear", "refil", {"mixer": "linear"}),
    _row("A-QMIX, flexible without ELU", "aqmix_linear", "aqmix", {"mixer": "linear"}),
    _row("MIPI without imagined loss", "mipi_plain", "mipi", {"mixer": "linear", "imagine_critic": False}),
    _row("MIPI, alpha 0", "mipi_value", "mipi_value", {"mixer": "linear"}),
    _row("REFIL", "refil", "refil"),
    _row("A-QMIX", "aqmix", "aqmix"),
    Row("focus_fire", scripted("focus_fire", BATTLES)),
)

MIPI_CAUSES = Study(
    name="mipi_causes",
    title="MIPI step by step between A-QMIX and itself",
    seeds=(0, 1, 2),
    rows=_CAUSES,
    columns=_WON,
    figure=TeamSizes(_WON, "battles won", (3, 5), (("", tuple((row.label, row.label) for row in _CAUSES)),)),
    testing={"test_nepisode": 1000, "test_batch_size": 250},
    varied=("mixer", "imagine_critic", "alpha"),
    notes=(
        "All with values of pairs. The first three differ by how MIPI's paper is read; REFIL without ELU is MIPI's "
        "critic with maxima for targets, epsilon-greedy exploration and greedy tests in place of its policies.",
    ),
)

COLLECTION = "resource_collection"
_RETURNS = tuple(Column(team) for team in ("5", "6", "varying"))
#: registered name of a flexible mixer -> its start
STARTS = {
    "flex_qmix_even": "even",
    "flex_qmix_low": "near a sum",
    "flex_qmix": "near a sum, below zero too",
}
_METHODS = {"A-QMIX": "aqmix", "A-QMIX (full)": "aqmix_full"}
_STARTERS = tuple(
    Row(f"{label}, {start}", Cell(f"{algorithm}_{mixer}", algorithm, COLLECTION, {"mixer": mixer}))
    for label, algorithm in _METHODS.items()
    for mixer, start in STARTS.items()
)

MIXER_STARTS = Study(
    name="mixer_starts",
    title="Where the flexible mixer starts, on Resource Collection",
    seeds=(0, 1, 2),
    rows=_STARTERS,
    columns=_RETURNS,
    figure=Bars(_RETURNS, "reward"),
    training={"test_nepisode": 100},
    testing={"test_nepisode": 1000, "test_batch_size": 250},
    varied=("mixer",),
    notes=("The three mixers are one function; they differ by the biases that they begin with.",),
)
