"""COPA on Resource Collection (Liu et al., ICML 2021): table 1, the broadcast interval, sensitivity to communication.

What the paper says of training (table 3) stands in `config/envs/resource_collection.yaml`; here is only what differs
from that.
"""

from collections.abc import Mapping, Sequence

from studies.declaration import Bars, Cell, Column, Curves, Point, Row, Study

TASK = "resource_collection"
TEAMS = ("5", "6", "varying")
STEPS = 5_000_000
#: one per 100 steps
UPDATES = 50_000
#: tests in the course of training are few, those of the study as many as the paper's scenarios
TRAINING = {"test_nepisode": 100}
TESTING = {"test_nepisode": 1000, "test_batch_size": 250}
#: "All baseline methods are scaled to have more parameters than COPA" (section 4.1), whose widths are all 128: the
#: narrowest that have, COPA's posterior counted, in both of its tasks
WIDE = {"attn_embed_dim": 136, "rnn_hidden_dim": 136, "hypernet_embed": 136}
BETAS = (0, 2, 3, 5, 8)


def batch_size(interval: int) -> int:
    """Pieces of `interval` steps in an update of COPA: the authors' code gives it as many steps at every interval, and
    methods without a coach the 256 pieces of 4 that the task's YAML has.
    """
    return 256 * 8 // interval


COACHED = {"batch_size": batch_size(4)}
COPA = Cell("copa", "copa", TASK, COACHED)
Paper = Mapping[tuple[str, str], tuple[float, float | None]]


def paper(rewards: Sequence[float], deviations: Sequence[float] = (), frequencies: Sequence[float] = ()) -> Paper:
    """A line of the paper's table 1: teams of 5, of 6, varying."""
    stds: Sequence[float | None] = deviations or [None] * len(TEAMS)
    numbers: dict[tuple[str, str], tuple[float, float | None]] = {}
    for team, reward, std in zip(TEAMS, rewards, stds, strict=True):
        numbers[team, "return"] = reward, std
    for team, frequency in zip(TEAMS, frequencies, strict=False):
        numbers[team, "comm_frequency"] = frequency, None
    return numbers


def scripted(policy: str, task: str = TASK) -> Cell:
    """A scripted team of the task."""
    return Cell(policy, "scripted", task, {"policy": policy})


_PAPER_COPA = {
    0: paper((175.6, 203.2, 124.9), (1.9, 2.5, 0.9), (0.25, 0.25, 0.25)),
    2: paper((174.4, 200.3, 122.8), (1.7, 1.6, 1.5), (0.18, 0.18, 0.18)),
    3: paper((168.8, 195.4, 120.0), (1.7, 1.8, 1.6), (0.13, 0.13, 0.14)),
    5: paper((149.3, 174.7, 104.7), (1.4, 1.7, 1.6), (0.08, 0.08, 0.08)),
    8: paper((109.4, 130.6, 80.6), (3.6, 4.0, 2.0), (0.04, 0.04, 0.04)),
}

_REWARDS = tuple(Column(team) for team in TEAMS)

COPA_TABLE1 = Study(
    name="copa_table1",
    title="COPA and its baselines on Resource Collection",
    source="Liu et al., ICML 2021, table 1 (5 seeds, 1,000 scenarios; it does not say what ± is)",
    steps=STEPS,
    updates=UPDATES,
    seeds=(0, 1, 2, 3, 4),
    rows=(
        Row("random", scripted("random"), paper=paper((6.9, 10.4, 2.3))),
        Row("greedy", scripted("greedy"), paper=paper((115.3, 142.4, 71.6))),
        Row(
            "AI-QMIX",
            Cell("ai_qmix", "refil", TASK, {**WIDE, "imagine_split": 0.5}),
            paper=paper((90.5, 109.3, 61.5), (1.5, 1.6, 0.9)),
        ),
        Row("A-QMIX", Cell("aqmix", "aqmix", TASK, WIDE), paper=paper((96.9, 115.1, 66.2), (2.1, 2.1, 1.6))),
        Row(
            "A-QMIX (periodic)",
            Cell("aqmix_periodic", "aqmix_periodic", TASK, WIDE),
            paper=paper((93.1, 104.2, 68.9), (20.4, 22.6, 12.6)),
        ),
        Row(
            "A-QMIX (full)",
            Cell("aqmix_full", "aqmix_full", TASK, WIDE),
            paper=paper((157.4, 179.6, 114.3), (8.5, 9.8, 6.2)),
        ),
        Row("COPA without variational term", Cell("copa_no_var", "copa_no_var", TASK, COACHED)),
        *(Row(f"COPA, beta {beta}", COPA, {"beta": beta}, _PAPER_COPA[beta]) for beta in BETAS),
    ),
    columns=(*_REWARDS, *(Column(team, "comm_frequency", digits=3) for team in TEAMS)),
    figure=Bars(_REWARDS, "reward"),
    training=TRAINING,
    testing=TESTING,
    varied=("beta",),
    notes=("comm_frequency: strategies sent / (present agents x steps), measured for COPA only.",),
)


def interval_cell(interval: int) -> Cell:
    """COPA with `broadcast_interval` T: pieces of T steps; as many steps in an update and in the replay as at T = 4."""
    if interval == 4:
        return COPA
    settings = {
        "broadcast_interval": interval,
        "sequence_length": interval,
        "batch_size": batch_size(interval),
        "buffer_size": 400_000 // interval,
    }
    return Cell(f"copa_T{interval}", "copa", TASK, settings)


INTERVALS = (2, 4, 8, 12, 16, 20, 24)

COPA_INTERVAL = Study(
    name="copa_interval",
    title="COPA's broadcast interval T on Resource Collection",
    source="Liu et al., ICML 2021, table 1 for T = 4; figure 4b has curves alone for the others, the best at T = 4",
    steps=STEPS,
    updates=UPDATES,
    seeds=(0, 1, 2, 3, 4),
    rows=tuple(
        Row(f"T = {interval}", interval_cell(interval), paper=_PAPER_COPA[0] if interval == 4 else {})
        for interval in INTERVALS
    ),
    columns=(*_REWARDS, *(Column(team, "comm_frequency", digits=3) for team in TEAMS)),
    figure=Curves(
        "broadcast interval T",
        "reward",
        tuple(
            (f"team {column.team}", tuple(Point(interval, f"T = {interval}", column) for interval in INTERVALS))
            for column in _REWARDS
        ),
    ),
    training=TRAINING,
    testing=TESTING,
    varied=("broadcast_interval", "sequence_length"),
)

#: variant -> the team that it is drawn with: the more dynamic world has the varying team
VARIANTS = {"static": "5", "medium": "5", "dynamic": "varying"}


def _sensitivity(variant: str, beta: int) -> Row:
    return Row(
        f"{variant}, beta {beta}",
        COPA,
        {"env_args.variant": variant, "beta": beta},
        _PAPER_COPA[beta] if variant == "dynamic" else {},
        reference=f"{variant}, beta 0",
    )


def _relative(team: str, figure: str) -> Column:
    return Column(team, figure, relative=True, digits=3)


COPA_SENSITIVITY = Study(
    name="copa_sensitivity",
    title="COPA's sensitivity to communication",
    source="Liu et al., ICML 2021, table 1 for the dynamic world; figure 5 has curves alone for the others",
    steps=STEPS,
    updates=UPDATES,
    seeds=(0, 1, 2, 3, 4),
    rows=tuple(_sensitivity(variant, beta) for variant in VARIANTS for beta in BETAS),
    columns=tuple(
        column
        for team in ("5", "varying")
        for column in (
            Column(team),
            Column(team, "comm_frequency", digits=3),
            _relative(team, "return"),
            _relative(team, "comm_frequency"),
        )
    ),
    figure=Curves(
        "communication frequency / that at beta 0",
        "reward / that at beta 0",
        tuple(
            (
                variant,
                tuple(
                    Point(_relative(team, "comm_frequency"), f"{variant}, beta {beta}", _relative(team, "return"))
                    for beta in BETAS
                ),
            )
            for variant, team in VARIANTS.items()
        ),
    ),
    training=TRAINING,
    testing={**TESTING, "test_teams": "5,varying"},
    varied=("beta", "env_args.variant"),
    notes=(
        "One set of models, trained in the dynamic world, plays in all three, as in the paper. Relative numbers are "
        "divided, seed by seed, by the same figure at beta 0. The figure shows the static and the medium world with 5 "
        "agents, the dynamic one with the varying team.",
    ),
)
