"""Testing: a checkpoint or a scripted team by itself, and the tests in the course of training."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import builders
import envs
from controllers.entity import EntityController
from envs.base import EntityEnv
from learners.learner import Learner, whole
from replays.tape import Tape
from replays.writing import write_replays
from runners.evaluation import summarise
from runners.runner import Runner
from utils import ranks
from utils.checkpoints import load_checkpoint, not_finite
from utils.config import Config
from utils.errors import RunFailed, UserError, one_line
from utils.interrupt import GivenUp, Interrupted, StopSignal
from utils.logging import EPISODES, Evaluation, Recorder, describe, metric_name
from utils.records import write_json
from utils.seeding import derive_seed
from utils.video import Film, check_video_path

#: Steps that a second of film shows.
FRAMES_PER_SECOND = 10


def evaluate(config: Config, recorder: Recorder, stop: StopSignal) -> Evaluation:
    """Test a checkpoint or a scripted team, without training anything."""
    num_envs = count_test_envs(config)
    with builders.build_env(config, num_envs, derive_seed(config.seed, "test env"), tests=True) as env:
        controller = builders.build_controller(config, env.spec)
        tell_what_runs(config, recorder, env)
        t_env = 0
        if isinstance(controller, EntityController):
            learner = builders.build_learner(config, controller, env.spec)
            recorder.facts({"parameters": learner.parameter_counts()})
            folder, state = load_checkpoint(
                config.checkpoint_path, config.load_step, ("learner", "acts_by", "progress"), optional=("identity",)
            )
            check_identity(config, builders.identity(config, env.spec), state.get("identity"), folder, recorder)
            with reading(folder):
                load_learner(learner, state["learner"])
                t_env = whole(state["progress"], "t_env")
            for name, saved, here in acts_otherwise(controller, state["acts_by"]):
                raise UserError(
                    f"checkpoint {str(folder)!r} learnt with {name}={saved}, these settings have {name}={here}, and it "
                    f"would act otherwise: set {name} to {saved}"
                )
            recorder.note(f"evaluating {folder}")
        runner = Runner(env, controller, seed=0)
        tape = Tape(env, controller, config.record) if config.record else None
        runner.watcher = tape
        if not config.save_video:
            results = test(config, recorder, stop, runner, t_env)
        else:
            with Film(check_video_path(config.save_video), FRAMES_PER_SECOND) as film:
                runner.film = film
                results = test(config, recorder, stop, runner, t_env)
            recorder.note(f"filmed {film.path}: {film.frames} pictures")
        if not results:
            raise Interrupted
        if tape is not None:
            page = write_replays(recorder.run_dir / "replays", tape, of_run(config, recorder, t_env))
            recorder.note(f"recorded {tape.count} episodes: {page}")
        return results


def of_run(config: Config, recorder: Recorder, t_env: int) -> dict[str, Any]:
    """What a page of replays says of the run that they are from."""
    who = config.policy if config.controller == "scripted" else config.name
    return {"name": who, "run": recorder.run_id, "steps": t_env, "episodes": config.test_episodes}


def test(config: Config, recorder: Recorder, stop: StopSignal, runner: Runner, t_env: int) -> Evaluation:
    """Play `test_nepisode` greedy episodes on each test team, of the kind `test_episodes`; record and return the
    figures.

    Half a test is no result: where `stop` is requested before the last step, nothing is recorded, the result is empty
    and the caller stops in its own way. Several ranks share the teams; all of them get the results.
    """
    parts = ranks.gather(_play(config, stop, runner, t_env))
    if None in parts:
        return {}
    played = {name: summaries for part in parts for name, summaries in (part or {}).items()}
    results: Evaluation = {name: played[name] for name in (team or "train" for team in _teams(config))}
    kind = config.test_episodes
    for name, summaries in results.items():
        for figure, summary in summaries.items():
            recorder.scalar(metric_name(name, figure, kind), summary["mean"], t_env)
    record_restarts(recorder, runner.env, t_env)
    if ranks.first():
        write_json(recorder.run_dir / EPISODES[kind], results)
    recorder.note(f"{kind} at {t_env:,} steps: {describe(results)}")
    return results


def _teams(config: Config) -> tuple[str | None, ...]:
    return config.test_teams or (None,)


def _play(config: Config, stop: StopSignal, runner: Runner, t_env: int) -> Evaluation | None:
    """This rank's teams; None where it was given up."""
    results: Evaluation = {}
    try:
        for team in _teams(config)[ranks.number() :: ranks.count()]:
            name = team or "train"
            figures = runner.evaluate(
                team,
                config.test_nepisode,
                builders.test_seed(config.test_episodes, name),
                t_env=t_env,
                stopped=lambda: stop.requested,
            )
            results[name] = summarise(figures)
    except GivenUp:
        return None
    return results


def record_restarts(recorder: Recorder, env: EntityEnv, t_env: int) -> None:
    """How many games had to be started anew so far, where there are any."""
    restarts = count_restarts(env)
    if restarts is not None:
        recorder.scalar("env/restarts", restarts, t_env)


def count_restarts(env: EntityEnv) -> int | None:
    """How many games had to be started anew so far, in all ranks; None where there are none."""
    if env.restarts is None:
        return None
    return sum(number for number in ranks.gather(env.restarts) if number is not None)


def count_test_envs(config: Config) -> int:
    """How many environments a test plays at once."""
    if builders.is_batch(config):
        return int(min(config.test_batch_size, config.test_nepisode))
    return int(min(config.batch_size_run, config.test_nepisode))


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """While a state is taken up that was saved in `folder`.

    Raises:
        UserError: it belongs to other networks, or is not built as ours are.
    """
    try:
        yield
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError) as error:
        if isinstance(error, RunFailed):
            raise
        raise UserError(
            f"checkpoint {str(folder)!r} does not fit these settings (another algorithm, recipe, environment or "
            f"width?): {type(error).__name__}: {one_line(error)}"
        ) from None


def load_learner(learner: Learner, state: dict[str, Any]) -> None:
    """Load what was saved, if all of it is finite.

    Raises:
        ValueError: it is not.
    """
    place = not_finite(state, "learner")
    if place is not None:
        raise ValueError(f"{place} is not finite; take another step with load_step, or another checkpoint")
    learner.load_state_dict(state)


def check_identity(
    config: Config, here: Mapping[str, str], saved: Mapping[str, str] | None, folder: Path, recorder: Recorder
) -> None:
    """Compare what a checkpoint is of, `saved`, with what these settings make, `here`; None: an earlier version did not
    save that.

    Raises:
        UserError: they differ, and `force_load` is not set.
    """
    if saved is None:
        recorder.note(f"checkpoint {folder} does not say of what task and algorithm it is: taken for one of these")
        return
    for name, value in here.items():
        if saved.get(name) == value:
            continue
        if not config.force_load:
            raise UserError(
                f"checkpoint {str(folder)!r} is one of {name}={saved.get(name)}, these settings have {name}={value}: "
                "take the settings of its run, or load it all the same with force_load=True"
            )
        recorder.note(f"{name}={value} here, {saved.get(name)} in the checkpoint: loaded all the same")


def acts_otherwise(controller: EntityController, saved: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What makes `controller` act otherwise than the one that `saved` comes from, with the same weights: settings,
    each with its value there and here (None: it had none).
    """
    here = controller.acts_by()
    return [(n, saved.get(n), here.get(n)) for n in {**here, **saved} if saved.get(n) != here.get(n)]


def tell_what_runs(config: Config, recorder: Recorder, env: EntityEnv) -> None:
    """Say and record on what device and engine a run is."""
    device = str(builders.build_device(config))
    # of environments in worker processes, the settings tell
    backend = getattr(envs.REGISTRY[config.env].fit(config.env_args, ()), "backend", None)
    recorder.facts({"device": device, "threads": torch.get_num_threads(), "backend": backend})
    engine = f", backend {backend}" if backend else ""
    recorder.note(f"{config.name} on {env.spec.name} ({config.runner} runner{engine}, device {device})")
