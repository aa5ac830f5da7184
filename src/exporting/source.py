"""What an exported policy comes from: a checkpoint, and the record of its run where that is found beside it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import controllers
import envs
from controllers.entity import EntityController
from controllers.team import TeamController
from envs.base import EnvSpec
from utils.checkpoints import MANIFEST, find_checkpoint, load_checkpoint, not_finite
from utils.config import Config, saved_config
from utils.errors import UserError, one_line
from utils.records import RUN_FILE, read_json


@dataclass(frozen=True)
class Record:
    """What the run's record says; empty where there is none."""

    config: Mapping[str, Any]
    #: `run.json` and `info.json`: revision, versions, ...
    facts: Mapping[str, Any]
    #: `evaluation.json`: team -> figure -> summary, of the run's last test
    tests: Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """A model that can be exported."""

    controller: EntityController
    config: Config
    record: Record
    #: environment steps and updates that it has learnt from
    steps: int
    updates: int
    #: of Muster that saved it
    version: str


def read_source(path: Path) -> Source:
    """The model in the checkpoint `path`, or in the newest of the run `path`.

    Raises:
        UserError: there is none, it is damaged or of something else, or no agent in it decides for itself.
    """
    folder = find_checkpoint(path, key="CHECKPOINT")
    _, state = load_checkpoint(folder, 0, ("learner", "progress"), optional=("settings", "spec"))
    record = _find_record(folder, state.get("settings"))
    settings = state.get("settings", record.config)
    if not settings:
        raise UserError(
            f"CHECKPOINT={folder}: it is of an earlier version and does not say how it is built, and its run's "
            "config.json is not beside it: put it back in its folder of results"
        )
    config = saved_config(settings)
    controller_class = controllers.REGISTRY.get(config.controller)
    if controller_class is None or not issubclass(controller_class, EntityController):
        raise UserError(f"CHECKPOINT={folder}: controller={config.controller} has no network that could be exported")
    if issubclass(controller_class, TeamController):
        raise UserError(
            f"CHECKPOINT={folder}: controller={config.controller} decides for the whole team at once, so there is no "
            "policy of one agent: teach one with --config=cesma, and export that"
        )
    place = not_finite(state["learner"], "learner")
    if place is not None:
        raise UserError(f"CHECKPOINT={folder}: {place} is not finite; take another checkpoint")
    spec = _spec(folder, state.get("spec"), record.config)
    try:
        controller = controller_class.build(config, spec)
        assert isinstance(controller, EntityController)
        controller.load_state_dict(state["learner"]["controller"])
        steps, updates = int(state["progress"]["t_env"]), int(state["learner"]["counters"]["updates"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(f"CHECKPOINT={folder} cannot be built by its settings: {one_line(error)}") from None
    version = str(read_json(folder / MANIFEST).get("muster", ""))
    return Source(controller.requires_grad_(False), config, record, steps, updates, version)


def _spec(folder: Path, plain: Mapping[str, Any] | None, config: Mapping[str, Any]) -> EnvSpec:
    """What the environment was like: as the checkpoint says, or by building it, where an earlier version did not."""
    if plain is None and not config:
        raise UserError(
            f"CHECKPOINT={folder}: it is of an earlier version and does not say what its task looks like, and its "
            "run's config.json is not beside it: put it back in its folder of results"
        )
    try:
        if plain is not None:
            return EnvSpec.from_plain(plain)
        env_class: type[Any] = envs.REGISTRY[config["env"]]
        args = env_class.resolve_args(dict(config["env_args"]), config["test_teams"])
        with env_class(args, 1, 0) as env:
            spec: EnvSpec = env.spec
            return spec
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"CHECKPOINT={folder}: its task cannot be told from what it says: {one_line(error)}") from None


def _find_record(folder: Path, settings: Mapping[str, Any] | None) -> Record:
    """The record of the run that `folder` is a checkpoint of: `<results>/sacred/<id>` beside `<results>/models/<id>`,
    or the folder above the checkpoints' (above `models`). One of other settings is another run's of the same number.
    """
    run = folder.resolve().parent
    places = [run.parent]
    if run.parent.name == "models":
        places = [run.parent.parent / "sacred" / run.name, run.parent.parent]
    for place in places:
        config = read_json(place / "config.json")
        told = json.loads(json.dumps(dict(settings or {})))
        if config and all(config.get(key) == value for key, value in told.items()):
            facts = {**read_json(place / RUN_FILE), **read_json(place / "info.json")}
            return Record(config, facts, read_json(place / "evaluation.json"))
    return Record({}, {}, {})
