"""From the checked configuration to the parts of an experiment: only training and evaluating read settings too."""

from dataclasses import fields

import torch

import controllers
import envs
import learners
import runners
from components.replay import ReplayBuffer
from controllers.base import Controller
from controllers.entity import EntityController
from envs.base import EntityEnv, EnvSpec
from envs.hosted import HostedEnv, Timeouts
from learners.learner import Learner
from modules import mixers
from modules.layers.inputs import make_reader
from modules.mixers.base import Mixer, MixerSizes
from runners.asynchronous import Asynchronous
from runners.runner import Runner
from runners.stream import Stream
from utils import ranks
from utils.config import Config
from utils.errors import UserError
from utils.seeding import derive_seed
from utils.video import check_video_path

#: The root of all episodes of tests. It does not depend on the run's seed: every run is tested on the same ones.
TEST_ROOT = 0


def test_seed(episodes: str, team: str) -> int:
    """Seed of the episodes that `team` is tested on, which for `episodes` "test" and "validation" are others."""
    return derive_seed(TEST_ROOT, episodes, team)


def check(config: Config) -> None:
    """Refuse combinations of settings that no part can see on its own.

    Raises:
        UserError: names the setting and what would do.
    """
    build_device(config)
    if config.test_episodes == "validation" and envs.REGISTRY[config.env].FIXED_TESTS:
        raise UserError(
            f"test_episodes=validation: env={config.env} has one list of test episodes and no others; choose settings "
            "by the returns of training, and leave test_episodes out"
        )
    if config.record:
        if not config.evaluate:
            raise UserError(f"record={config.record} records tests: add evaluate=True")
        if config.record > config.test_nepisode:
            raise UserError(
                f"record={config.record} is more than test_nepisode={config.test_nepisode}, as many as are played of "
                "each team: lower it, or raise test_nepisode"
            )
    if config.save_video:
        if not config.evaluate:
            raise UserError(f"save_video={config.save_video!r} films tests: add evaluate=True")
        if envs.REGISTRY[config.env].render is EntityEnv.render:
            raise UserError(f"save_video={config.save_video!r}: env={config.env} draws no pictures")
        check_video_path(config.save_video)
    if config.controller == "scripted":
        policies = envs.REGISTRY[config.env].SCRIPTED
        if config.policy not in policies:
            raise UserError(f"policy={config.policy!r}: env={config.env} has {', '.join(sorted(policies))}")
        if not config.evaluate:
            raise UserError("controller=scripted learns nothing: add evaluate=True, or choose another --config")
        if config.checkpoint_path:
            raise UserError(
                f"checkpoint_path={config.checkpoint_path}: controller=scripted plays by its rules and loads nothing; "
                "leave it out, or choose the --config that the checkpoint was trained with"
            )
        return
    if config.evaluate and not config.checkpoint_path:
        raise UserError("evaluate=True needs checkpoint_path=FOLDER, the checkpoint to test")
    learner_class = learners.REGISTRY[config.learner]
    if learner_class.CONTROLLERS and config.controller not in learner_class.CONTROLLERS:
        wanted = " or ".join(learner_class.CONTROLLERS)
        raise UserError(f"learner={config.learner} needs controller={wanted}, got controller={config.controller}")
    controllers.REGISTRY[config.controller].check(config)
    if config.target_values == "pairs" and not envs.REGISTRY[config.env].POINTS:
        raise UserError(f"target_values=pairs: no action of env={config.env} points at an entity; use slots")
    if learner_class.NEEDS_MIXER and mixers.REGISTRY[config.mixer] is None:
        use = ", ".join(name for name, mixer_class in mixers.REGISTRY.items() if mixer_class is not None)
        raise UserError(f"learner={config.learner} needs a mixer, got mixer={config.mixer}: use one of {use}")
    if not learner_class.MIXES and mixers.REGISTRY[config.mixer] is not None:
        raise UserError(f"learner={config.learner} mixes no values of agents: it needs mixer=none")
    if not config.evaluate:
        learner_class.check(config)
        if config.rollout_steps:
            _check_stream(config, learner_class)
        if config.round_episodes:
            _check_asynchronous(config, learner_class)
    if learner_class.ON_POLICY:
        return
    for kind, interval in (("coach", "broadcast_interval"), ("periodic", "view_interval")):
        if kind in (config.controller, config.view) and config.sequence_length % config[interval]:
            raise UserError(
                f"sequence_length={config.sequence_length} must be a multiple of {interval}={config[interval]}, "
                "so that every piece begins where the interval does"
            )


def _check_stream(config: Config, learner_class: type[Learner]) -> None:
    """Refuse rounds of so many steps where episodes cannot be cut as they need to be."""
    key = f"rollout_steps={config.rollout_steps}"
    if not is_batch(config):
        raise UserError(
            f"{key} needs all environments in one batch: runner=vector (got {config.runner}), and no game beside it "
            "(env_args.backend=skirmish)"
        )
    if not envs.REGISTRY[config.env].suspends:
        raise UserError(f"{key}: env={config.env} cannot save episodes in the middle; leave it 0")
    controller_class = controllers.REGISTRY[config.controller]
    if learner_class.ON_POLICY and not (learner_class.PIECES and getattr(controller_class, "PIECES", False)):
        raise UserError(
            f"{key}: learner={config.learner} with controller={config.controller} learns from whole episodes; "
            "leave it 0"
        )


def _check_asynchronous(config: Config, learner_class: type[Learner]) -> None:
    """Refuse rounds of the first so many episodes where environments wait for each other, or the learner for its own
    policy's.
    """
    key = f"round_episodes={config.round_episodes}"
    if config.runner not in ("parallel", "ray"):
        raise UserError(f"{key} needs environments that do not wait for each other: runner=parallel or ray")
    if config.rollout_steps:
        raise UserError(f"{key}: a round cannot have rollout_steps={config.rollout_steps} as well; leave one of them 0")
    if config.round_episodes > config.batch_size_run:
        raise UserError(
            f"{key} is more than batch_size_run={config.batch_size_run}: lower it, or leave it 0 for one of each"
        )
    if learner_class.ON_POLICY:
        raise UserError(f"{key}: learner={config.learner} learns from episodes of its newest policy alone; leave it 0")


def build_runner(
    config: Config, env: EntityEnv, controller: EntityController, seed: int
) -> Runner | Stream | Asynchronous:
    """Who collects in `env`."""
    if config.round_episodes:
        assert isinstance(env, HostedEnv)
        return Asynchronous(env, controller, seed, config.round_episodes, config.max_staleness)
    if not config.rollout_steps:
        return Runner(env, controller, seed)
    pieces = learners.REGISTRY[config.learner].ON_POLICY
    return Stream(env, controller, seed, config.rollout_steps, pieces=pieces)


def build_device(config: Config) -> torch.device:
    """The device of networks and replay samples."""
    name = config.device
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device={name}: torch sees {torch.cuda.device_count()} CUDA devices; use device=auto or cpu")
    return device


def is_batch(config: Config) -> bool:
    """Whether the environments are one batch of tensors in this process: cheap, as many as wanted, on any device."""
    return config.runner == "vector" and not envs.REGISTRY[config.env].external(config.env_args)


def build_env(config: Config, num_envs: int, seed: int, *, tests: bool) -> EntityEnv:
    """`num_envs` environments on the configured host, with slots for the training team and, with `tests`, for the teams
    that are tested; those that are no batch of tensors stay on the CPU.
    """
    device = build_device(config) if is_batch(config) else "cpu"
    env_class, host = envs.REGISTRY[config.env], runners.REGISTRY[config.runner]
    args = env_class.fit(config.env_args, config.test_teams if tests else ())
    timeouts = Timeouts(config.worker_start_timeout, config.worker_step_timeout + env_class.patience(args))
    return host(env_class, args, num_envs, seed, device, timeouts)


def build_controller(config: Config, spec: EnvSpec) -> Controller:
    """The controller, its networks freshly initialised from the run's seed."""
    torch.manual_seed(derive_seed(config.seed, "networks"))
    controller = controllers.REGISTRY[config.controller].build(config, spec)
    return controller.to(build_device(config)) if isinstance(controller, EntityController) else controller


def identity(config: Config, spec: EnvSpec) -> dict[str, str]:
    """Of what task and algorithm a checkpoint is, by names, which the shapes of its weights do not tell. What depends
    on the size of teams is no part of it.
    """
    return {
        "env": spec.name,
        "features": ", ".join(spec.feature_slices),
        "actions": ", ".join(spec.action_names),
        "targets": make_reader(spec, pairs=config.target_values == "pairs").targets,
        "learner": config.learner,
        "controller": config.controller,
        "mixer": config.mixer,
    }


def build_mixer(config: Config, controller: EntityController) -> Mixer | None:
    """The mixer of `controller`'s values, or None for independent learning."""
    mixer_class = mixers.REGISTRY[config.mixer]
    if mixer_class is None:
        return None
    sizes = MixerSizes(
        inputs=controller.reader.width + controller.spec.private,
        heads=config.attn_heads,
        hypernet=config.hypernet_embed,
        embed=config.mixing_embed_dim,
        encoding=controller.encoding_size,
        agents=controller.spec.agents,
        entities=controller.spec.entities,
    )
    return mixer_class(sizes).to(build_device(config))


def build_learner(config: Config, controller: EntityController, spec: EnvSpec) -> Learner:
    """The learner of `controller`, with its mixer."""
    learner_class = learners.REGISTRY[config.learner]
    settings = learner_class.Config(**{field.name: config[field.name] for field in fields(learner_class.Config)})
    seed = ranks.own_seed(derive_seed(config.seed, "learner"))
    learner = learner_class(controller, build_mixer(config, controller), settings, seed)
    if config.compile:
        learner.compile()
    return learner


def build_replay(config: Config, spec: EnvSpec) -> ReplayBuffer:
    """An empty replay."""
    kind, device = replay_dtype(config), replay_device(config)
    labelled = learners.REGISTRY[config.learner].LABELS
    fixed = _fixed_slots(config)
    return ReplayBuffer(spec, config.buffer_size, config.sequence_length, kind, device, labelled, fixed)


def shares_slots(config: Config) -> bool:
    """Whether environments for training and for tests must have the same slots."""
    return not is_batch(config) or _fixed_slots(config) or learners.REGISTRY[config.learner].fixes_slots(config)


def _fixed_slots(config: Config) -> bool:
    """Whether some network has weights for each slot."""
    parts = controllers.REGISTRY[config.controller], mixers.REGISTRY[config.mixer]
    return any(getattr(part, "FIXED_SLOTS", False) for part in parts)


def replay_dtype(config: Config) -> torch.dtype:
    """The type of what the replay keeps of entities."""
    dtype: torch.dtype = getattr(torch, config.buffer_dtype)
    return dtype


def replay_device(config: Config) -> torch.device:
    """Where the replay is kept."""
    return build_device(config) if config.buffer_device == "device" else torch.device(config.buffer_device)
