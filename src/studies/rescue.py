"""COPA on the Rescue Game (Liu et al., ICML 2021, table 2)."""

from collections.abc import Mapping

from studies.copa import BETAS, COACHED, STEPS, TRAINING, UPDATES, WIDE, scripted
from studies.declaration import Bars, Cell, Column, Row, Study

TASK = "rescue"
TEAM = "2-8"


def paper(reward: float, deviation: float | None = None) -> Mapping[tuple[str, str], tuple[float, float | None]]:
    """A column of the paper's table 2."""
    return {(TEAM, "return"): (reward, deviation)}


_COPA = Cell("copa", "copa", TASK, COACHED)

RESCUE_TABLE2 = Study(
    name="rescue_table2",
    title="COPA and its baselines in the Rescue Game",
    source="Liu et al., ICML 2021, table 2 (3 seeds, 500 games; it does not say what ± is)",
    steps=STEPS,
    updates=UPDATES,
    seeds=(0, 1, 2),
    rows=(
        Row("random", scripted("random", TASK), paper=paper(1.4)),
        Row("greedy", scripted("greedy", TASK), paper=paper(7.0)),
        Row("A-QMIX", Cell("aqmix", "aqmix", TASK, WIDE), paper=paper(5.4, 0.5)),
        Row("A-QMIX (full)", Cell("aqmix_full", "aqmix_full", TASK, WIDE), paper=paper(1.6, 0.5)),
        Row("COPA without variational term", Cell("copa_no_var", "copa_no_var", TASK, COACHED), paper=paper(9.0, 0.6)),
        *(
            Row(
                f"COPA, beta {beta}",
                _COPA,
                {"beta": beta},
                paper(10.7, 0.6) if beta == 0 else {},
                reference="COPA, beta 0",
            )
            for beta in BETAS
        ),
    ),
    columns=(
        Column(TEAM, digits=2),
        Column(TEAM, "comm_frequency", digits=3),
        Column(TEAM, "comm_frequency", relative=True, digits=3),
    ),
    figure=Bars((Column(TEAM, digits=2),), "reward"),
    training=TRAINING,
    testing={"test_nepisode": 500, "test_batch_size": 250},
    varied=("beta",),
    notes=(
        "The paper names COPA's rows by communication frequency: 10.7 ± 0.6 at 1 (beside beta 0 here), 11.1 ± 0.8 at "
        "0.5, 8.9 ± 0.5 at 0.15; compare them with the relative frequency measured here.",
    ),
)
