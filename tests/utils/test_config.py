"""The configuration: layers, values, and errors that name what was meant."""

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from utils import command_line, config
from utils.config import Config, load_config
from utils.config_checks import CHECKS, convert, convert_teams
from utils.errors import UserError

REAL = command_line.CONFIG_DIR


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A config folder of the test's own, with the real defaults and no algorithm or task."""
    (tmp_path / "algs").mkdir()
    (tmp_path / "envs").mkdir()
    (tmp_path / "default.yaml").write_text((REAL / "default.yaml").read_text())
    monkeypatch.setattr(command_line, "CONFIG_DIR", tmp_path)
    monkeypatch.setattr(config, "CONFIG_DIR", tmp_path)
    return tmp_path


def error_of(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(words)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_are_valid_and_every_check_has_a_key():
    loaded = load_config([])
    defaults = yaml.safe_load((REAL / "default.yaml").read_text())
    assert set(loaded) == set(defaults)
    assert set(CHECKS) <= set(defaults)
    assert loaded.gamma == loaded["gamma"] == defaults["gamma"]


@pytest.mark.parametrize("kind", ["algs", "envs"])
def test_every_yaml_file_loads_and_says_what_it_is(kind):
    names = command_line.config_names(kind)
    assert names
    page = command_line.help_text()
    for name in names:
        load_config([f"--{'config' if kind == 'algs' else 'env-config'}={name}", "evaluate=true"])
        assert any(line.split()[:1] == [name] and len(line.split()) > 3 for line in page.splitlines()), name


def test_later_layers_win(folder):
    (folder / "envs" / "task.yaml").write_text(
        "lr: 0.1\ngamma: 0.1\nbeta: 0.1\nt_max: 5\nenv_args: {scenario: mmm, train_team: 3-4, episode_limit: 9}"
    )
    (folder / "algs" / "method.yaml").write_text("gamma: 0.2\nbeta: 0.2\nenv_args: {train_team: 4-5}")
    loaded = load_config(["--config=method", "--env-config", "task", "with", "beta=0.3", "env_args.episode_limit=7"])
    assert (loaded.lr, loaded.gamma, loaded.beta, loaded.t_max) == (0.1, 0.2, 0.3, 5)
    args = loaded.env_args
    assert (args.scenario, args.train_team, args.episode_limit) == ("mmm", "4-5", 7)


def test_an_algorithm_may_extend_another(folder):
    (folder / "envs" / "task.yaml").write_text("lr: 0.5\nbeta: 0.5\ngamma: 0.5")
    (folder / "algs" / "old.yaml").write_text("name: old\nbeta: 0.1\nlr: 0.1\nalpha: 0.1")
    (folder / "algs" / "middle.yaml").write_text("extends: old\nname: middle\nlr: 0.2\nalpha: 0.2")
    (folder / "algs" / "new.yaml").write_text("alpha: 0.3\nextends: middle\nname: new")
    loaded = load_config(["--config=new", "--env-config=task"])
    assert (loaded.name, loaded.gamma, loaded.beta, loaded.lr, loaded.alpha) == ("new", 0.5, 0.1, 0.2, 0.3)
    assert "extends" not in loaded


# --- recipes ---


def merged(algorithm: str, task: str) -> dict[str, Any]:
    """What the files of defaults, task and algorithm say, the later over the earlier."""
    layers = [yaml.safe_load((REAL / "algs" / f"{algorithm}.yaml").read_text())]
    while "extends" in layers[0]:
        layers.insert(0, yaml.safe_load((REAL / "algs" / f"{layers[0].pop('extends')}.yaml").read_text()))
    layers[:0] = [yaml.safe_load(path.read_text()) for path in (REAL / "default.yaml", REAL / "envs" / f"{task}.yaml")]
    return {key: value for layer in layers for key, value in layer.items()}


@pytest.mark.parametrize("task", command_line.config_names("envs"))
def test_paper_is_the_default_and_changes_nothing(task):
    for algorithm in command_line.config_names("algs"):
        words = [f"--config={algorithm}", f"--env-config={task}"]
        plain = load_config(words).as_dict()
        assert load_config([*words, "--recipe=paper"]).as_dict() == plain
        assert plain["recipe"] == "paper"
        for key, value in merged(algorithm, task).items():
            # what is completed: slots and the like, places, and the host of games that are played one at a time
            if key not in ("env_args", "test_teams", "local_results_path", "runner"):
                assert plain[key] == (value if isinstance(value, dict) else convert(value, type(plain[key]))), key


def recipes() -> list[tuple[str, str]]:
    names = command_line.recipe_names()[1:]
    return [(recipe, algorithm) for recipe in names for algorithm in command_line.config_names(f"recipes/{recipe}")]


@pytest.mark.parametrize(("recipe", "algorithm"), recipes())
def test_every_recipe_says_something_of_its_algorithm_and_leaves_its_name(recipe, algorithm):
    differing = set()
    layer = yaml.safe_load((command_line.CONFIG_DIR / "recipes" / recipe / f"{algorithm}.yaml").read_text())
    for task in command_line.config_names("envs"):
        words = [f"--config={algorithm}", f"--env-config={task}"]
        if set(layer) == {"tasks"} and task not in layer["tasks"]:
            with pytest.raises(UserError, match=f"--env-config={task} has none"):
                load_config([*words, f"--recipe={recipe}"])
            continue
        plain, changed = load_config(words), load_config([*words, f"--recipe={recipe}"])
        assert changed.recipe == recipe
        here = {key for key in plain if plain[key] != changed[key]}
        assert here > {"recipe"}, f"{task}: a recipe in name alone"
        differing |= here
    assert differing
    assert differing.isdisjoint({"name", "learner", "controller", "seed", "env", "env_args", "test_teams"})


@pytest.fixture
def quick(folder) -> Path:
    """The file of a recipe `quick` for the algorithm `method`; there is a task `task`, too."""
    (folder / "algs" / "method.yaml").write_text("name: method\nlr: 0.2\nbeta: 0.2\ngamma: 0.2")
    (folder / "algs" / "other.yaml").write_text("extends: method\nname: other")
    (folder / "envs" / "task.yaml").write_text("lr: 0.1\nalpha: 0.1\nt_max: 1000")
    (folder / "envs" / "elsewhere.yaml").write_text("lr: 0.1")
    (folder / "recipes" / "quick").mkdir(parents=True)
    file = folder / "recipes" / "quick" / "method.yaml"
    file.write_text("lr: 0.3\nbeta: 0.3\nalpha: 0.3\ntasks: {task: {beta: 0.4, t_max: 500}}")
    return file


@pytest.mark.usefixtures("quick")
def test_a_recipe_comes_between_algorithm_and_command_line():
    loaded = load_config(["--config=method", "--recipe=quick", "lr=0.5"])
    assert (loaded.recipe, loaded.lr, loaded.beta, loaded.alpha, loaded.gamma) == ("quick", 0.5, 0.3, 0.3, 0.2)
    on_task = load_config(["--config=method", "--env-config=task", "--recipe", "quick"])
    assert (on_task.lr, on_task.beta, on_task.alpha, on_task.t_max) == (0.3, 0.4, 0.3, 500)
    without = load_config(["--config=method", "--env-config=task"])
    assert (without.recipe, without.lr, without.beta, without.alpha, without.t_max) == ("paper", 0.2, 0.2, 0.1, 1000)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--config=method", "--recipe=quik"], ["--recipe=quik", "paper, quick", "nearest is 'quick'"]),
        (["--config=method", "--recipe=../algs"], ["--recipe=../algs", "paper, quick"]),
        (["--config=other", "--recipe=quick"], ["--recipe=quick", "--config=other has none", "one for method"]),
        (["--recipe=quick"], ["--recipe=quick", "--config names no algorithm", "one for method"]),
        (["--config=method", "--recipe"], ["--recipe needs a name"]),
        (["--recipe=paper", "--recipe=quick"], ["--recipe", "twice", "'paper'", "'quick'"]),
        (["--config=method", "recipe=quick"], ["recipe='quick' (command line)", "--recipe"]),
    ],
)
def test_a_recipe_that_cannot_be_is_named(words, parts):
    message = error_of(*words)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("lrr: 0.1", ["lrr=0.1", "recipes/quick/method.yaml", "'lr'"]),
        ("lr: fast", ["lr='fast'", "recipes/quick/method.yaml"]),
        ("recipe: paper", ["recipe='paper' (recipes/quick/method.yaml)", "--recipe"]),
        ("t_max: 100", ["t_max=100 (recipes/quick/method.yaml)"]),
        ("lr: [", ["recipes/quick/method.yaml is no valid YAML"]),
        ("tasks: {tsk: {lr: 0.1}}", ["tasks='tsk' (recipes/quick/method.yaml)", "nearest is 'task'"]),
        ("tasks: {task: 0.1}", ["tasks={'task': 0.1}", "TASK: {KEY: VALUE}"]),
        ("tasks: {task: {1: 2}}", ["tasks={'task': {1: 2}}", "TASK: {KEY: VALUE}"]),
        ("tasks: {elsewhere: {lr: 0.1}}", ["--recipe=quick of --config=method", "task has none", "one for elsewhere"]),
        ("", ["--recipe=quick of --config=method", "--env-config=task has none", "no task yet"]),
        ("tasks: {task: {lrr: 0.1}}", ["lrr=0.1 (recipes/quick/method.yaml, task)", "'lr'"]),
        ("tasks:", ["tasks=None", "TASK: {KEY: VALUE}"]),
    ],
)
def test_errors_in_a_recipe(quick, text, parts):
    quick.write_text(text)
    message = error_of("--config=method", "--env-config=task", "--recipe=quick")
    for part in parts:
        assert part in message


# --- values ---


def test_with_may_be_missing_and_the_last_of_two_wins():
    assert load_config(["lr=1e-4"]).lr == load_config(["with", "lr=1", "lr=1e-4"]).lr == 1e-4


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("lr=1", 1.0),
        ("lr=1e-4", 1e-4),
        ("t_max=1e6", 1_000_000),
        ("t_max=1_000", 1000),
        ("amp=true", True),
        ("amp=False", False),
        ("amp=yes", True),
        ("name=1e3", "1e3"),
        ("name='quoted'", "quoted"),
        ("device=cuda:1", "cuda:1"),
        ("imagine_split=0.5", 0.5),
        ("alpha=inf", math.inf),
        ("alpha=1e999", math.inf),
        ("alpha=0", 0.0),
        ("imagine_split=uniform", "uniform"),
        ("test_teams=3-5,8", ("3-5", "8")),
        ("test_teams=[3-4,5,4]", ("3-4", "5", "4")),
        ("test_teams=['3-5', 4]", ("3-5", "4")),
        ("test_teams=5", ("5",)),
        ("test_teams=3,4", ("3", "4")),
        ("test_teams=[]", ()),
        ("test_teams=", ()),
    ],
)
def test_values_on_the_command_line(word, expected):
    value = load_config([word, "env_args.max_team=8"])[word.partition("=")[0]]
    assert value == expected
    assert type(value) is type(expected)


def test_a_team_may_be_written_as_a_number_or_a_range():
    assert load_config(["env_args.train_team=3-4"]).env_args.train_team == "3-4"
    assert load_config(["env_args.train_team=4"]).env_args.train_team == "4"


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [("1e-4", float, 1e-4), (3, float, 3.0), (1e6, int, 1_000_000), ("7", int, 7), (5, str, "5"), (True, bool, True)],
)
def test_convert_keeps_what_loses_nothing(text, kind, expected):
    value = convert(text, kind)
    assert value == expected
    assert type(value) is kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, int), (False, float), (1.5, int), ("a", float), (1, bool), ("true", bool), (None, str), (True, str)]
    + [(float("nan"), float), (float("inf"), int), ([1], dict), ({}, str), (None, int), ("1e999", float)],
)
def test_convert_refuses_another_type(value, kind):
    with pytest.raises(ValueError, match=r"."):
        convert(value, kind)


@pytest.mark.parametrize("value", [1.5, True, {"a": 1}, [None], ["3", ""], "3,,4", [["3"]], None])
def test_impossible_teams(value):
    with pytest.raises(ValueError, match="a list of teams"):
        convert_teams(value)


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("gama=0.9", ["gama", "0.9", "'gamma'", "command line"]),
        ("env_args.train_tem=3", ["env_args.train_tem", "3", "'env_args.train_team'", "starcraft"]),
        ("lr.x=3", ["lr.x", "3", "'lr'"]),
        ("gamma=1.5", ["gamma", "1.5", "from 0 to 1"]),
        ("gamma=high", ["gamma", "high", "number"]),
        ("lr=0", ["lr", "above 0"]),
        ("lr=1e39", ["lr", "above 0 and at most 1e+38"]),
        ("lr=nan", ["lr", "finite"]),
        ("t_max=1.5", ["t_max", "1.5", "whole number"]),
        ("t_max=true", ["t_max", "True", "whole number"]),
        ("t_max=", ["t_max", "''", "whole number"]),
        ("batch_size=-3", ["batch_size", "-3", "at least 1"]),
        ("epsilon_start=1.2", ["epsilon_start", "1.2"]),
        ("epsilon_finish=-0.1", ["epsilon_finish", "-0.1"]),
        ("amp=1", ["amp", "1", "true or false"]),
        ("save_model=maybe", ["save_model", "maybe", "true or false"]),
        ("attn_heads=3", ["attn_embed_dim=128", "attn_heads=3", "multiple"]),
        ("coach_embed_dim=30", ["coach_embed_dim=30", "attn_heads=4"]),
        ("batch_size=6000", ["batch_size=6000", "buffer_size=5000"]),
        ("view=fulll", ["view", "'fulll'", "'full'", "periodic"]),
        ("mixer=flex", ["mixer", "'flex'", "'flex_qmix'", "vdn"]),
        ("controller=entty", ["controller", "'entity'"]),
        ("learner=rfil", ["learner", "'refil'"]),
        ("runner=paralel", ["runner", "'parallel'"]),
        ("action_selector=greedy", ["action_selector", "'epsilon_greedy'"]),
        ("env=starcaft", ["env", "'starcraft'"]),
        ("device=gpu", ["device", "'gpu'", "cuda"]),
        ("imagine_split=2", ["imagine_split", "2", "uniform"]),
        ("seed=-1", ["seed", "-1"]),
        ("alpha=nan", ["alpha", "nan", "a number or inf"]),
        ("alpha=-inf", ["alpha", "-inf", "a number or inf"]),
        ("alpha=-0.1", ["alpha", "-0.1", "at least 0"]),
        ("alpha=much", ["alpha", "'much'", "a number or inf"]),
        ("beta=inf", ["beta", "finite"]),
        ("ba_iterations=0", ["ba_iterations", "0", "at least 1"]),
        ("ba_iterations=inf", ["ba_iterations", "inf", "whole number"]),
        ("regulariser=entrpy", ["regulariser", "'entropy'", "mutual_information"]),
        ("test_teams=3,,4", ["test_teams", "3,,4"]),
        ("env_args=3", ["env_args", "3", "mapping"]),
        ("env_args.episode_limit=1.5", ["env_args.episode_limit", "1.5", "whole number"]),
        ("load_step=3", ["load_step=3", "checkpoint_path"]),
        ("checkpoint_path=no/such/folder", ["no/such/folder"]),
        ("local_results_path=", ["local_results_path"]),
        ("--config=cpa", ["cpa", "'copa'"]),
        ("--env-config=nonesuch", ["nonesuch", "--help"]),
        ("--confg=copa", ["--confg", "'--config'"]),
        ("--config", ["--config", "needs a name"]),
        ("--config=../default", ["../default"]),
        ("lr", ["'lr'", "KEY=VALUE"]),
        ("=3", ["'=3'", "KEY=VALUE"]),
    ],
)
def test_what_the_user_can_put_right_is_named(word, parts):
    message = error_of(word)
    for part in parts:
        assert part in message


def test_a_setting_of_the_environment_without_its_prefix():
    with pytest.raises(UserError, match=r"unknown key train_tem=3 .*'env_args\.train_team'"):
        load_config(["--env-config=sc2_sz", "train_tem=3"])


def test_an_option_twice_is_an_error():
    assert "twice" in error_of("--config=copa", "--config=refil")


@pytest.mark.parametrize(
    "word",
    [
        "buffer_size=100", "buffer_dtype=float16", "buffer_device=device", "batch_size=8", "sequence_length=4",
        "td_lambda=0.5", "double_q=False", "target_update_interval=10", "target_update_unit=updates",
        "training_iters=2", "steps_per_update=100", "save_replay_buffer=True", "optim_alpha=0.9",
        "epsilon_anneal_time=100", "epsilon_decay=exponential", "epsilon_start=0.5", "epsilon_finish=0.1",
        "action_selector=epsilon_greedy",
    ],
)  # fmt: skip
def test_on_policy_learning_refuses_what_it_cannot_use(word):
    message = error_of("--config=mappo", "--env-config=resource_collection", word)
    key, _, value = word.partition("=")
    assert f"{key}=" in message
    assert value in message
    assert "mappo" in message


def test_a_task_may_set_what_on_policy_learning_does_not_use():
    config = load_config(["--config=mappo", "--env-config=resource_collection"])
    assert config.batch_size == 256
    assert config.epsilon_decay == "linear"
    assert config.sequence_length == 0  # or agents would forget in play what they remember in learning
    assert "epsilon_start=1.0 (default.yaml)" in error_of("learner=mappo")
    words = ["learner=mappo", "epsilon_start=0", "epsilon_finish=0", "action_selector=soft_policies"]
    assert "sequence_length=4 (envs/rescue.yaml)" in error_of("--env-config=rescue", *words)


def test_exponential_decay_needs_ends_above_zero():
    assert "epsilon_finish" in error_of("epsilon_decay=exponential", "epsilon_finish=0")
    assert load_config(["epsilon_finish=0"]).epsilon_finish == 0


def test_an_infinite_alpha_is_mutual_information():
    assert "alpha=inf" in error_of("alpha=inf", "regulariser=entropy")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("t_max: 100", ["t_max", "100", "algs/bad.yaml"]),
        ("lrr: 0.1", ["lrr", "0.1", "algs/bad.yaml", "'lr'"]),
        ("lr: fast", ["lr", "fast", "algs/bad.yaml"]),
        ("name: no", ["name", "text"]),
        ("lr: [", ["algs/bad.yaml", "YAML"]),
        ("- lr", ["algs/bad.yaml", "KEY: VALUE"]),
        ("lr: !!python/object/apply:os.getcwd []", ["algs/bad.yaml", "YAML"]),
        ("env_args: {1: 2}", ["env_args.1"]),
        ("extends: bda", ["extends='bda' (algs/bad.yaml)", "no config/algs/bda.yaml", "nearest is 'bad'"]),
        ("extends: bad", ["algs/bad.yaml -> algs/bad.yaml extends itself"]),
    ],
)
def test_errors_in_yaml_files(folder, text, parts):
    (folder / "algs" / "bad.yaml").write_text(text)
    message = error_of("--config=bad")
    for part in parts:
        assert part in message


def test_yaml_pitfalls(folder):
    (folder / "algs" / "odd.yaml").write_text("lr: 1e-4\nbatch_size: 1.6e+1\nname: 7\ntest_teams: [3-4, 5]")
    loaded = load_config(["--config=odd"])
    assert (loaded.lr, loaded.batch_size, loaded.name, loaded.test_teams) == (1e-4, 16, "7", ("3-4", "5"))


def test_an_empty_yaml_file_changes_nothing(folder):
    (folder / "algs" / "empty.yaml").write_text("# nothing yet\n")
    assert load_config(["--config=empty"]).as_dict() == load_config([]).as_dict()


def test_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(load_config([]).local_results_path) == REAL.parents[1] / "results"
    (tmp_path / "models" / "7" / "100").mkdir(parents=True)
    loaded = load_config(["checkpoint_path=models/7", f"local_results_path={tmp_path}"])
    assert Path(loaded.checkpoint_path) == tmp_path / "models" / "7"
    assert Path(loaded.local_results_path) == tmp_path
    assert "100" in error_of("checkpoint_path=models/7", "load_step=99")


def test_the_configuration_cannot_be_written_to():
    loaded = load_config([])
    with pytest.raises(AttributeError):
        loaded.lr = 1.0
    with pytest.raises(AttributeError):
        del loaded.lr
    with pytest.raises(TypeError):
        loaded["lr"] = 1.0
    with pytest.raises(AttributeError):
        loaded.env_args.train_team = "9"
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = loaded.nonesuch
    loaded.as_dict()["env_args"]["train_team"] = "9"
    assert loaded.env_args.train_team != "9"


def test_the_configuration_can_be_sent_to_workers():
    loaded = load_config([])
    assert pickle.loads(pickle.dumps(loaded)) == copy.deepcopy(loaded) == loaded


def test_as_dict_survives_yaml():
    loaded = load_config(["--config=copa", "test_teams=3-4,5", "alpha=inf"])
    plain = loaded.as_dict()
    assert yaml.safe_load(yaml.safe_dump(plain)) == plain
    assert plain["test_teams"] == ["3-4", "5"]


def test_config_is_a_mapping():
    assert dict(Config({"a": 1})) == {"a": 1}
