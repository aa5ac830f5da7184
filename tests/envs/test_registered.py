"""Every registered environment, in every setting that a YAML file gives it, keeps the contract."""

import pytest

from envs import REGISTRY
from envs.check import check_env
from utils.command_line import config_names
from utils.config import load_config


@pytest.mark.parametrize("name", config_names("envs"))
def test_contract(name, request):
    limited = hasattr(load_config([f"--env-config={name}"]).env_args, "episode_limit")
    config = load_config([f"--env-config={name}", *["env_args.episode_limit=30"] * limited])
    kind = REGISTRY[config.env]
    external = config.env == "smac"
    if external:
        request.getfixturevalue("smac")
    with kind(kind.fit(config.env_args, config.test_teams), num_envs=3, seed=5, device="cpu") as env:
        # a game that runs goes on where it is, whatever the seed
        check_env(env, steps=40, teams=config.test_teams, repeatable=not external)


def test_every_registered_environment_has_a_yaml():
    assert {load_config([f"--env-config={name}"]).env for name in config_names("envs")} == set(REGISTRY)
