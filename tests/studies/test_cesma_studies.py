"""CESMA's studies: every cell can be trained and tested, and a tiny one runs to its table and figure."""

import pytest
from conftest import tiny_overrides

import run
import study
from studies.cesma import CESMA, CESMA_FIGURE9
from studies.declaration import assignments
from utils.config import load_config

SMALL = ["batch_size_run=2", "expert_args.batch_size=8", "expert_args.steps_per_update=50"]
TINY = [word for word in tiny_overrides() if not word.startswith(("t_max", "batch_size_run"))]


@pytest.mark.parametrize("each", CESMA, ids=lambda each: each.name)
def test_every_training_could_begin(each):
    for cell in each.cells:
        if cell.learns:
            config = load_config([*cell.words(), *assignments(each.training), "device=cpu"])
            run.check(config)


def test_a_study_with_experts_and_losses_runs_to_its_figure(tmp_path, capsys):
    """Both curves of a run and the losses of each agent are found."""
    words = ["cesma_figure9", "--seeds", "0", "--t-max", "200", f"--results={tmp_path}", "with", *TINY]
    assert study.main([*words, *SMALL]) == 0, capsys.readouterr()
    folder = tmp_path / CESMA_FIGURE9.name
    lines = (folder / "curves.csv").read_text().splitlines()
    recorded = {line.split(",")[1] for line in lines[1:]}
    assert recorded >= {"test/3/return_mean", "loss", "loss_of_agent_0", "loss_of_agent_2"}
    assert (folder / "figure.png").stat().st_size > 10_000
