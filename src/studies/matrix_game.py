"""MIPI in the matrix game (Wang et al., NeurIPS 2023, figure 2)."""

from studies.declaration import Bars, Cell, Column, Row, Study

TASK = "matrix_game"
RETURNS = tuple(Column(team, digits=2) for team in ("BB", "AB", "BA"))

MIPI_FIGURE2 = Study(
    name="mipi_figure2",
    title="Reward, entropy and mutual information in the matrix game",
    seeds=(0, 1, 2, 3, 4),
    rows=tuple(
        Row(label, Cell(algorithm, algorithm, TASK))
        for label, algorithm in (("reward", "mipi_value"), ("entropy", "mipi_entropy"), ("mutual information", "mipi"))
    ),
    columns=(*RETURNS, Column("BB", "consistent", digits=2)),
    figure=Bars(RETURNS, "pay-off"),
    varied=("alpha", "regulariser"),
    notes=(
        "Trained on AB and BA, never on BB. Both agents' action 0 pays 5.00 in every team; the best joint action of a "
        "team pays 5.20. The paper's figure 2 (Wang et al., NeurIPS 2023) has curves alone, and its pay-offs are "
        "others.",
    ),
)
