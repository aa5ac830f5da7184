"""MIPI and its baselines on larger teams than trained on (Wang et al., NeurIPS 2023, tables 1 to 3 and figure 4).

What the paper says of training in battles (appendix B.2) stands in the YAML files of tasks and algorithms, which all
methods share; here are the values of alpha that table 3 compares, and what it says of Resource Collection.
"""

from collections.abc import Iterable, Mapping, Sequence

from studies.copa import scripted
from studies.declaration import Cell, Column, Row, Study, TeamSizes

TASKS = {"SZ": "sc2_sz", "CSZ": "sc2_csz", "MMM": "sc2_mmm"}
TEAMS = ("3-5", "6", "7", "8")
TRAINED_ON = (3, 5)
#: a team that learns nothing, to see what the numbers on the embedded engine mean
SCRIPTED = "focus_fire"
WON = tuple(Column(team, "battle_won", digits=3) for team in TEAMS)
TESTING = {"test_nepisode": 1000, "test_batch_size": 250}

#: one (mean, deviation) for each of TEAMS
Numbers = Sequence[tuple[float, float]]

_MIPI: Mapping[str, Numbers] = {
    "SZ": ((0.659, 0.02), (0.453, 0.08), (0.404, 0.062), (0.276, 0.076)),
    "CSZ": ((0.548, 0.032), (0.42, 0.102), (0.297, 0.112), (0.261, 0.09)),
    "MMM": ((0.548, 0.023), (0.495, 0.054), (0.447, 0.041), (0.467, 0.067)),
}
_REFIL: Mapping[str, Numbers] = {
    "SZ": ((0.674, 0.038), (0.441, 0.103), (0.352, 0.078), (0.236, 0.103)),
    "CSZ": ((0.568, 0.027), (0.348, 0.057), (0.229, 0.053), (0.164, 0.06)),
    "MMM": ((0.605, 0.057), (0.437, 0.118), (0.329, 0.171), (0.224, 0.163)),
}
_AQMIX: Mapping[str, Numbers] = {
    "SZ": ((0.528, 0.044), (0.343, 0.105), (0.291, 0.084), (0.182, 0.058)),
    "CSZ": ((0.509, 0.054), (0.323, 0.096), (0.216, 0.101), (0.152, 0.071)),
    "MMM": ((0.501, 0.036), (0.447, 0.043), (0.344, 0.071), (0.251, 0.089)),
}
_COLLAQ: Mapping[str, Numbers] = {
    "SZ": ((0.588, 0.03), (0.366, 0.086), (0.314, 0.076), (0.198, 0.097)),
    "CSZ": ((0.459, 0.061), (0.362, 0.13), (0.267, 0.099), (0.231, 0.095)),
    "MMM": ((0.589, 0.027), (0.513, 0.07), (0.423, 0.026), (0.286, 0.083)),
}
_MAPPO: Mapping[str, Numbers] = {
    "SZ": ((0.256, 0.01), (0.129, 0.019), (0.148, 0.031), (0.036, 0.015)),
    "CSZ": ((0.248, 0.037), (0.12, 0.029), (0.06, 0.028), (0.054, 0.013)),
    "MMM": ((0.289, 0.097), (0.32, 0.102), (0.25, 0.063), (0.275, 0.098)),
}
_VALUE: Mapping[str, Numbers] = {
    "SZ": ((0.621, 0.042), (0.336, 0.075), (0.275, 0.114), (0.154, 0.052)),
    "CSZ": ((0.542, 0.059), (0.368, 0.083), (0.207, 0.076), (0.172, 0.112)),
    "MMM": ((0.545, 0.048), (0.505, 0.058), (0.391, 0.083), (0.319, 0.105)),
}
_ENTROPY: Mapping[str, Numbers] = {
    "SZ": ((0.105, 0.035), (0.024, 0.011), (0.015, 0.011), (0.01, 0.01)),
    "CSZ": ((0.316, 0.04), (0.237, 0.051), (0.076, 0.041), (0.066, 0.041)),
    "MMM": ((0.265, 0.034), (0.2, 0.085), (0.16, 0.064), (0.075, 0.044)),
}
#: table 3 without what it has in common with table 2: alpha -> numbers
_ALPHAS: Mapping[str, Mapping[str, Numbers]] = {
    "SZ": {
        "0.01": ((0.672, 0.02), (0.394, 0.065), (0.365, 0.068), (0.261, 0.092)),
        "0.05": ((0.643, 0.02), (0.447, 0.062), (0.408, 0.054), (0.313, 0.069)),
        "0.1": ((0.475, 0.073), (0.277, 0.125), (0.26, 0.093), (0.146, 0.075)),
        "0.5": ((0.175, 0.053), (0.056, 0.015), (0.129, 0.026), (0.043, 0.021)),
        "inf": ((0.546, 0.069), (0.429, 0.036), (0.389, 0.038), (0.221, 0.004)),
    },
    "CSZ": {
        "0.01": ((0.592, 0.02), (0.378, 0.033), (0.364, 0.073), (0.304, 0.056)),
        "0.05": ((0.506, 0.046), (0.417, 0.092), (0.223, 0.094), (0.192, 0.091)),
        "0.1": ((0.344, 0.05), (0.218, 0.16), (0.113, 0.079), (0.098, 0.086)),
        "inf": ((0.506, 0.076), (0.368, 0.064), (0.309, 0.056), (0.27, 0.07)),
    },
    "MMM": {
        "0.05": ((0.59, 0.008), (0.59, 0.053), (0.526, 0.055), (0.426, 0.152)),
        "0.5": ((0.277, 0.042), (0.158, 0.094), (0.18, 0.105), (0.139, 0.056)),
        "inf": ((0.396, 0.07), (0.432, 0.018), (0.383, 0.041), (0.315, 0.061)),
    },
}

#: the alpha that the YAML files of the tasks give MIPI
ALPHA = {"SZ": "0.03", "CSZ": "0.03", "MMM": "0.1"}


def _row(armies: str, label: str, cell: Cell, numbers: Numbers) -> Row:
    paper = {(team, "battle_won"): pair for team, pair in zip(TEAMS, numbers, strict=True)}
    return Row(f"{armies}, {label}", cell, paper=paper)


def _plain(armies: str, label: str, algorithm: str, numbers: Mapping[str, Numbers]) -> Row:
    """An algorithm as it is."""
    return _row(armies, label, Cell(algorithm, algorithm, TASKS[armies]), numbers[armies])


def _battles(name: str, title: str, table: str, rows: Iterable[Row], varied: tuple[str, ...] = ()) -> Study:
    """A study of the three tasks, whose `rows` are labelled "<armies>, <method>"."""
    found = tuple(rows)
    methods = [(row.label.partition(", "), row.label) for row in found]
    panels = tuple(
        (armies, tuple((method, label) for (of, _, method), label in methods if of == armies)) for armies in TASKS
    )
    return Study(
        name=name,
        title=title,
        source=f"Wang et al., NeurIPS 2023, {table} (mean and standard deviation of 5 seeds, on StarCraft II)",
        seeds=(0, 1, 2, 3, 4),
        rows=found,
        columns=WON,
        figure=TeamSizes(WON, "battles won", TRAINED_ON, panels),
        testing=TESTING,
        varied=varied,
        notes=(
            "The paper's text says neither how long it trained nor on how many episodes it tested: the tasks' 10 "
            "million steps and 1,000 episodes are the project's choice.",
        ),
    )


def _each(*methods: tuple[str, str, Mapping[str, Numbers]]) -> Iterable[Row]:
    """Rows of methods as they are (label, algorithm, numbers) in each of the tasks."""
    return (_plain(armies, *method) for armies in TASKS for method in methods)


MIPI_TABLE1 = _battles(
    "mipi_table1",
    "MIPI and its baselines on larger teams",
    "table 1",
    (
        *_each(
            ("MIPI", "mipi", _MIPI),
            ("REFIL", "refil", _REFIL),
            ("A-QMIX", "aqmix", _AQMIX),
            ("CollaQ", "collaq", _COLLAQ),
            ("MAPPO", "mappo", _MAPPO),
        ),
        *(Row(f"{armies}, {SCRIPTED}", scripted(SCRIPTED, task)) for armies, task in TASKS.items()),
    ),
)

MIPI_TABLE2 = _battles(
    "mipi_table2",
    "What MIPI's mutual information is good for",
    "table 2",
    _each(("MIPI", "mipi", _MIPI), ("Value", "mipi_value", _VALUE), ("Entropy", "mipi_entropy", _ENTROPY)),
    varied=("alpha", "regulariser"),
)


def _alpha_rows(armies: str) -> Iterable[Row]:
    """Rows of table 3, by alpha."""
    rows = {
        0.0: _plain(armies, "alpha 0 (Value)", "mipi_value", _VALUE),
        float(ALPHA[armies]): _plain(armies, f"alpha {ALPHA[armies]} (MIPI)", "mipi", _MIPI),
    }
    for alpha, numbers in _ALPHAS[armies].items():
        cell = Cell(f"mipi_alpha{alpha}", "mipi", TASKS[armies], {"alpha": alpha})
        rows[float(alpha)] = _row(armies, f"alpha {alpha}", cell, numbers)
    return (rows[alpha] for alpha in sorted(rows))


MIPI_TABLE3 = _battles(
    "mipi_table3",
    "MIPI's alpha",
    "table 3",
    (row for armies in TASKS for row in _alpha_rows(armies)),
    varied=("alpha",),
)

COLLECTION = "resource_collection"
_RETURNS = tuple(Column(team) for team in TEAMS)
_SIZES = {"test_teams": ",".join(TEAMS)}
#: The task's YAML has COPA's settings. Here all methods have lr 5e-4, and those with a replay REFIL's defaults, which
#: are those of battles (appendix B.3).
_COLLECTING = {"env_args.train_team": "3-5", **_SIZES, "lr": 0.0005, "rnn_hidden_dim": 64, "head_layers": 1}
_REPLAYING = {
    **_COLLECTING,
    "mixing_embed_dim": 32,
    "sequence_length": 0,
    "steps_per_update": 0,
    "buffer_size": 5000,
    "batch_size": 32,
    "epsilon_decay": "linear",
    "epsilon_anneal_time": 500_000,
    "target_update_interval": 200,
    "target_update_unit": "episodes",
}


def _collector(algorithm: str, settings: Mapping[str, object]) -> Cell:
    """The same algorithm has another cell on this task with COPA's settings."""
    return Cell(f"{algorithm}_3-5", algorithm, COLLECTION, settings)


_COLLECTORS = (
    Row("MIPI", _collector("mipi", _REPLAYING)),
    Row("REFIL", _collector("refil", _REPLAYING)),
    Row("A-QMIX", _collector("aqmix", _REPLAYING)),
    Row("CollaQ", _collector("collaq", _REPLAYING)),
    Row("MAPPO", _collector("mappo", _COLLECTING)),
    Row("random", scripted("random"), _SIZES),
    Row("greedy", scripted("greedy"), _SIZES),
)

MIPI_RESOURCE_COLLECTION = Study(
    name="mipi_resource_collection",
    title="MIPI and its baselines on larger teams in Resource Collection",
    seeds=(0, 1, 2, 3, 4),
    rows=_COLLECTORS,
    columns=_RETURNS,
    figure=TeamSizes(_RETURNS, "reward", TRAINED_ON, (("", tuple((row.label, row.label) for row in _COLLECTORS)),)),
    training={"test_nepisode": 100},
    testing=TESTING,
    notes=(
        "Wang et al. show this comparison in figure 4 alone, as curves: it has no numbers to lay beside these. Tests "
        "here, on 3-5 agents too, have other talents than training has.",
    ),
)
