"""Who teaches: a scripted team, a trained model of any algorithm, or an algorithm that is trained first."""

from pathlib import Path
from typing import Any

import controllers
import envs
import learners
from controllers.base import Controller
from controllers.entity import EntityController
from controllers.scripted import ScriptedController
from envs.base import EnvSpec
from utils.checkpoints import load_checkpoint
from utils.command_line import config_names
from utils.config import Config, related_config, saved_config
from utils.errors import UserError, one_line
from utils.seeding import derive_seed

#: What the command line says of a run's means and tests, and of how actions are read, holds for expert and students.
SHARED = (
    *("env", "target_values", "device", "threads", "amp", "compile", "buffer_dtype", "buffer_device"),
    *("runner", "batch_size_run", "worker_start_timeout", "worker_step_timeout"),
    *("test_interval", "test_nepisode", "test_batch_size", "test_teams", "test_episodes", "log_interval"),
    *("local_results_path", "save_model", "save_model_interval", "save_replay_buffer"),
)


def check_expert(config: Config) -> None:
    """Refuse an expert that cannot be, as far as names tell.

    Raises:
        UserError: names it and what would do.
    """
    teams, given = envs.REGISTRY[config.env].SCRIPTED, {key.partition(".")[0] for key, _ in config.command.settings}
    if config.expert_path and "expert" in given:
        raise UserError(f"expert={config.expert!r} and expert_path={config.expert_path!r}: give one of the two")
    use = f"expert=NAME, one of the scripted teams {', '.join(sorted(teams))} or an algorithm, or expert_path=FOLDER"
    if not config.expert_path and not config.expert:
        raise UserError(f"learner={config.learner} learns from an expert, and none is named: give {use}, a checkpoint")
    trains = trains_expert(config)
    if not trains and {"expert_args", "expert_steps"} & given:
        raise UserError("expert_args and expert_steps are for experts that are trained in the same run: leave them out")
    if not trains:
        return
    if config.expert not in config_names("algs"):
        raise UserError(
            f"expert={config.expert!r}: env={config.env} has {', '.join(sorted(teams))}, and there is no algorithm of "
            "that name (--help lists them)"
        )
    expert = expert_config(config)
    assert expert is not None
    if expert.controller == "scripted" or learners.REGISTRY[expert.learner].LABELS:
        raise UserError(f"expert={config.expert}: it learns from nobody but an expert, or not at all; take another one")
    if not 0 < expert.t_max < config.t_max:
        raise UserError(
            f"expert_steps={config.expert_steps}: must leave some of t_max={config.t_max} steps for students"
        )


def trains_expert(config: Config) -> bool:
    """Whether the expert is an algorithm that is trained in the same run."""
    taught = learners.REGISTRY[config.learner].LABELS and not config.expert_path
    return taught and config.expert not in envs.REGISTRY[config.env].SCRIPTED


def expert_config(config: Config) -> Config | None:
    """How the expert is trained in the same run as its students; None where it needs no training."""
    if not trains_expert(config):
        return None
    own = {
        "t_max": config.expert_steps or config.t_max // 2,
        "seed": derive_seed(config.seed, "expert") % 2**32,  # other episodes than the students'
    }
    return related_config(config, config.expert, SHARED, {**own, **config.expert_args})


def expert_fixes_slots(config: Config) -> bool:
    """Whether the expert has weights for each slot, so that its students' environments need the same slots."""
    settings = expert_config(config)
    if config.expert_path:
        settings = _read(config.expert_path)[1]
    controller = controllers.REGISTRY[settings.controller] if settings is not None else ScriptedController
    return getattr(controller, "FIXED_SLOTS", False)


def build_expert(config: Config, student: EntityController) -> Controller:
    """The team that `config` names as the expert, for the environment of `student` and on its device; untrained where
    its training is part of the run.

    Raises:
        UserError: the checkpoint cannot be read, or is of another task.
    """
    if config.expert_path:
        return _trained(config.expert_path, student)
    settings = expert_config(config)
    return _scripted(config, student.spec) if settings is None else _build(settings, student)


def fit_expert(config: Config, expert: Controller, spec: EnvSpec) -> Controller:
    """`expert` for environments like `spec`, which may have other slots: scripted teams know theirs."""
    return _scripted(config, spec) if isinstance(expert, ScriptedController) else expert


def _scripted(config: Config, spec: EnvSpec) -> ScriptedController:
    return ScriptedController(envs.REGISTRY[config.env].SCRIPTED[config.expert](spec))


def _build(settings: Config, student: EntityController) -> EntityController:
    expert = controllers.REGISTRY[settings.controller].build(settings, student.spec)
    assert isinstance(expert, EntityController)
    return expert.to(student.device).requires_grad_(False)


def _trained(path: str, student: EntityController) -> Controller:
    folder, settings, state = _read(path)
    _check_task(folder, state["identity"], student.spec)
    try:
        expert = _build(settings, student)
        expert.load_state_dict(state["learner"]["controller"])
    except (KeyError, RuntimeError, ValueError, AttributeError) as error:
        raise UserError(
            f"expert_path: {str(folder)!r} cannot be built for this task (other sizes?): {one_line(error)}"
        ) from None
    return expert


def _read(path: str) -> tuple[Path, Config, dict[str, dict[str, Any]]]:
    """A checkpoint's folder, the settings that its networks are built by, and its parts."""
    folder, state = load_checkpoint(path, 0, ("learner", "acts_by"), optional=("identity", "settings"))
    if "settings" not in state or "identity" not in state:
        raise UserError(f"expert_path: {str(folder)!r} is of an earlier version and does not say how it is built")
    return folder, saved_config(state["settings"]), state


def _check_task(folder: Path, identity: dict[str, str], spec: EnvSpec) -> None:
    here = {"env": spec.name, "features": ", ".join(spec.feature_slices), "actions": ", ".join(spec.action_names)}
    for name, value in here.items():
        if identity.get(name) != value:
            raise UserError(
                f"expert_path: {str(folder)!r} is one of {name}={identity.get(name)}, the students' task has {value}: "
                "take an expert of that task"
            )
