"""The evidence queue: what it declares can be carried out, with the settings that were published."""

import shlex

import pytest

from studies.engine import Engine
from studies.queue import QUEUE
from studies.recipes import FAST_BATTLES
from utils.config import load_config
from utils.interrupt import StopSignal
from utils.version import ROOT

IDS = [entry.title for entry in QUEUE]


@pytest.mark.parametrize("entry", QUEUE, ids=IDS)
def test_an_entry_can_be_carried_out(entry, tmp_path):
    stop = StopSignal()
    stop.requested = True  # before the first run, and after all checks
    with pytest.raises(KeyboardInterrupt):
        Engine(entry.study, entry.seeds, tmp_path, stop, entry.overrides, entry.t_max).run()


@pytest.mark.parametrize(
    "entry",
    [entry for entry in QUEUE if not entry.study.name.startswith(("fast_battles", "mipi_table2", "cesma"))],
    ids=lambda e: e.title,
)
def test_settings_are_the_published_ones(entry):
    table = ROOT / "results" / "published" / entry.study.name / "table.md"
    command = shlex.split(table.read_text(encoding="utf-8").splitlines()[-1])
    published = dict(word.split("=") for word in command[command.index("with") + 1 :])
    ours = dict(word.split("=") for word in entry.overrides)
    assert (ours.pop("save_model_interval"), ours.pop("test_interval")) == (
        "50000",
        "125000" if entry.study.name == "mipi_table1" else "100000",
    )
    published.pop("test_interval", None)
    if entry.study.name != "mipi_table1":
        assert ours.pop("mixing_embed_dim") == "32"  # which was the default, and is no longer the task's
    assert ours == published


def test_cells_that_entries_share_are_trained_once():
    """The same steps and settings: else one entry would refuse what the other one has trained."""
    trainings: dict[str, set[str]] = {}
    for entry in QUEUE:
        for cell, seed in entry.study.jobs(entry.seeds):
            if seed is None:  # a scripted team, which is not trained
                continue
            words = (entry.t_max, *cell.words(), *entry.overrides)
            trainings.setdefault(cell.place(seed), set()).add(str(words))
    assert {len(found) for found in trainings.values()} == {1}


def test_the_order_of_work():
    assert [entry.title for entry in QUEUE] == [
        "fast_battles on sc2_sz, sc2_csz, sc2_mmm",
        "mipi_table1 on sc2_sz",
        "copa_table1 on resource_collection",
        "mipi_table1 on sc2_csz, sc2_mmm",
        "rescue_table2 on rescue",
        "mipi_table2 on sc2_sz, sc2_csz, sc2_mmm",
        "cesma_figure5 on navigation, navigation_6, speaker_listener, reference_3",
        "cesma_teams on sc2_sz",
        "cesma_figure4 on sc2_3s5z",
    ]
    places = [cell.place(seed) for cell, seed in QUEUE[1].study.jobs(QUEUE[1].seeds)]
    methods = ("mipi", "refil", "aqmix", "collaq", "mappo")
    assert places == ["sc2_sz/focus_fire", *(f"sc2_sz/{name}/seed{seed}" for seed in (0, 1, 2) for name in methods)]


def test_the_cells_of_the_fast_recipe_are_trained_by_it():
    words = {cell.path: cell.words() for cell in FAST_BATTLES.cells if cell.learns}
    assert set(words) == {f"sc2_{armies}/{name}_fast" for armies in ("sz", "csz", "mmm") for name in ("mappo", "refil")}
    config = load_config(words["sc2_sz/mappo_fast"])
    assert (config.recipe, config.recurrent, config.rollout_steps) == ("fast", False, 32)
