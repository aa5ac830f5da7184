"""The registered studies: what they declare holds together, and each runs from training to table."""

import csv

import pytest
from conftest import tiny_overrides

import builders
import study
from studies import REGISTRY, mipi
from studies.copa import INTERVALS
from studies.declaration import WORST, Bars, LearningCurves, TeamSizes, assignments
from utils.config import load_config

STUDIES = list(REGISTRY.values())
#: figures that every method has
SCORES = ("return", "battle_won")
#: every episode is short, so that a training is one round
TINY = [word for word in tiny_overrides(test_nepisode=1) if not word.startswith("t_max")]


@pytest.mark.parametrize("found", STUDIES, ids=list(REGISTRY))
def test_a_declaration_holds_together(found):
    labels = [row.label for row in found.rows]
    assert len(set(labels)) == len(labels)
    assert {row.reference for row in found.rows} <= {"", *labels}
    assert {column.figure for column in found.columns if column.until} <= set(WORST)
    for row in found.rows:
        assert found.cells[[cell.path for cell in found.cells].index(row.cell.path)] == row.cell
    if isinstance(found.figure, Bars | TeamSizes):
        assert set(found.figure.columns) <= set(found.columns)
        if isinstance(found.figure, TeamSizes):
            assert sorted(label for _, lines in found.figure.panels for _, label in lines) == sorted(labels)
        return
    if isinstance(found.figure, LearningCurves):
        assert {line.row for panel in found.figure.panels for line in panel.lines} <= set(labels)
        assert found.figure.middle in ("mean", "median")
        return
    for _, points in found.figure.lines:
        assert {point.row for point in points} <= set(labels)
        assert {point.y for point in points} <= set(found.columns)


@pytest.mark.parametrize("found", STUDIES, ids=list(REGISTRY))
def test_a_study_can_be_limited_to_a_task(found):
    assert found.on(found.tasks) == found
    for task in found.tasks:
        part = found.on([task])
        assert part.rows == tuple(row for row in found.rows if row.cell.task == task)
        assert part.tasks == (task,)
    if len(found.tasks) > 1:  # the other figures name rows, which must not be missing
        assert isinstance(found.figure, TeamSizes | LearningCurves)
        panels = [panel for task in found.tasks for panel in found.on([task]).figure.panels]
        assert panels == list(found.figure.panels)


def test_cells_of_one_name_are_one_training():
    cells = [cell for found in STUDIES for cell in found.cells]
    assert len({cell.path for cell in cells}) == len({str(cell) for cell in cells})


def parameters(cell) -> int:
    config = load_config([*cell.words(), "device=cpu"])
    with builders.build_env(config, 1, 0, tests=True) as env:
        controller = builders.build_controller(config, env.spec)
        return builders.build_learner(config, controller, env.spec).parameter_counts()["total"]


@pytest.mark.parametrize("name", ["copa_table1", "rescue_table2"])
def test_baselines_have_a_few_more_parameters_than_copa(name):
    cells = [cell for cell in REGISTRY[name].cells if cell.learns]
    copa = parameters(next(cell for cell in cells if cell.name == "copa"))
    baselines = [cell for cell in cells if not cell.name.startswith("copa")]
    assert baselines
    for cell in baselines:
        assert copa < parameters(cell) < 1.05 * copa


@pytest.mark.parametrize("name", ["copa_table1", "copa_sensitivity", "rescue_table2"])
def test_methods_with_a_coach_have_twice_the_pieces(name):
    for cell in REGISTRY[name].cells:
        if cell.learns:
            assert load_config(cell.words()).batch_size == (512 if cell.name.startswith("copa") else 256)


@pytest.mark.parametrize("task", ["resource_collection", "rescue"])
def test_copa_trains_with_the_papers_settings(task):
    config = load_config(["--config=copa", f"--env-config={task}"])
    expected = {
        "t_max": 5_000_000,
        "batch_size_run": 8,
        "epsilon_start": 1.0,
        "epsilon_decay": "exponential",
        "epsilon_finish": 0.05,
        "epsilon_anneal_time": 0,
        "buffer_size": 100_000,
        "sequence_length": 4,
        "batch_size": 256,
        "steps_per_update": 100,
        "attn_heads": 4,
        "attn_embed_dim": 128,
        "rnn_hidden_dim": 128,
        "hypernet_embed": 128,
        "mixing_embed_dim": 128,
        "coach_embed_dim": 128,
        "strategy_dim": 128,
        "gamma": 0.99,
        "lr": 0.0003,
        "optim_alpha": 0.99,
        "optim_eps": 0.00001,
        "grad_norm_clip": 10.0,
        "target_update_interval": 200,
        "target_update_unit": "updates",
        "lambda_variational": 0.001,
        "lambda_entropy": 0.0001,
        "broadcast_interval": 4,
    }
    assert {key: config[key] for key in expected} == expected


def test_an_update_has_as_many_steps_at_every_interval():
    for cell in REGISTRY["copa_interval"].cells:
        config = load_config([*cell.words(), "device=cpu"])
        builders.check(config)
        assert config.sequence_length == config.broadcast_interval
        assert 2048 - config.sequence_length < config.batch_size * config.sequence_length <= 2048
    assert len(REGISTRY["copa_interval"].cells) == len(INTERVALS)


def test_mipi_trains_with_the_papers_settings():
    for armies, task in mipi.TASKS.items():
        for name in ("mipi", "mipi_entropy"):
            config = load_config([f"--config={name}", f"--env-config={task}"])
            assert (config.alpha, config.ba_iterations, config.lr) == (float(mipi.ALPHA[armies]), 4, 5e-4)
            assert config.imagine_lambda == 0.5
        assert load_config(["--config=mipi_value", f"--env-config={task}"]).alpha == 0
    collecting = next(row.cell for row in REGISTRY["mipi_resource_collection"].rows if row.label == "MIPI")
    config = load_config(collecting.words())
    assert (config.alpha, config.ba_iterations, config.imagine_critic) == (0.05, 1, False)


def test_mipi_meets_its_baselines_on_equal_terms():
    """All of a task see the same episodes, with the learning rate and the target network's clock of appendix B."""
    for name in ("mipi_table1", "mipi_resource_collection"):
        cells = [cell for cell in REGISTRY[name].cells if cell.learns]
        for task in {cell.task for cell in cells}:
            configs = [load_config([*cell.words(), "device=cpu"]) for cell in cells if cell.task == task]
            assert len({(config.env_args, config.test_teams, config.lr, config.t_max) for config in configs}) == 1
            assert configs[0].env_args.train_team == "3-5"
            assert (configs[0].lr, configs[0].test_teams) == (5e-4, ("3-5", "6", "7", "8"))
            replaying = [config for config in configs if config.name != "mappo"]
            assert {(config.target_update_interval, config.target_update_unit) for config in replaying} == {
                (200, "episodes")
            }


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One folder for all: the studies of a task share models."""
    return tmp_path_factory.mktemp("published") / "results"


@pytest.mark.slow
@pytest.mark.parametrize("name", REGISTRY)
def test_it_runs(results, name):
    found = REGISTRY[name]
    taught = any(cell.algorithm == "cesma" for cell in found.cells)  # a round for the expert, and one for its students
    words = [name, "--seeds", "0", f"--t-max={40 if taught else 20}", f"--results={results}"]
    limited = all(hasattr(load_config(cell.words()).env_args, "episode_limit") for cell in found.cells)
    settings = [*TINY, *["env_args.episode_limit=12"] * limited, *["expert_steps=20"] * taught]
    assert study.main([*words, "with", *settings]) == 0
    with open(results / name / "table.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(found.rows) * len(found.columns)
    measured = {(line["method"], line["team"]) for line in lines if line["figure"] in SCORES and line["mean"]}
    teams: dict[str, set[str]] = {}  # a column may be of one task alone
    for cell in found.cells:
        tested = load_config([*cell.words(), *assignments(found.testing)]).test_teams
        teams.setdefault(cell.task, set()).update(tested)
    every = [(row, column.team) for row in found.rows for column in found.columns]
    assert measured == {(row.label, team) for row, team in every if team in teams[row.cell.task]}
    assert (results / name / "figure.png").exists()
    task = found.tasks[-1]
    assert study.main([*words, "--tasks", task, "with", *settings]) == 0
    labels = [row.label for row in found.rows if row.cell.task == task]
    table = (results / name / "table.md").read_text(encoding="utf-8").split("\n\n")[1].splitlines()[2:]
    assert [line.split(" | ")[0] for line in table] == [f"| {label}" for label in labels]
