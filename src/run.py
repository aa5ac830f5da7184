"""One experiment: build the parts, restore, train or evaluate."""

import json
from pathlib import Path
from typing import Any

import torch

import builders
from builders import check
from components.replay import ReplayBuffer
from controllers.entity import EntityController
from learners.base import BellmanLearner, Metrics
from runners.evaluation import summarise
from runners.runner import Rollout, Runner
from utils.checkpoints import load_checkpoint, save_checkpoint
from utils.config import Config
from utils.errors import UserError
from utils.interrupt import Interrupted, StopSignal
from utils.logging import Recorder
from utils.seeding import derive_seed, make_generator

__all__ = ["check", "run"]

#: team -> figure -> mean, std, n
Evaluation = dict[str, dict[str, dict[str, float | int]]]


def run(config: Config, recorder: Recorder, stop: StopSignal) -> Evaluation:
    """Carry out the experiment that `config` describes and return its last test."""
    check(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.evaluate:
        return evaluate(config, recorder, stop)
    with Training(config, recorder, stop) as training:
        if config.checkpoint_path:
            training.restore(Path(config.checkpoint_path), config.load_step)
        return training.run()


def evaluate(config: Config, recorder: Recorder, stop: StopSignal) -> Evaluation:
    """Test a checkpoint or a scripted team, without training anything."""
    num_envs = _test_envs(config)
    with builders.build_env(config, num_envs, derive_seed(config.seed, "test env")) as env:
        controller = builders.build_controller(config, env.spec)
        _tell_what_runs(config, recorder, env)
        t_env = 0
        if isinstance(controller, EntityController):
            learner = builders.build_learner(config, controller, env.spec)
            recorder.facts({"parameters": learner.parameter_counts()})
            folder, state = load_checkpoint(config.checkpoint_path, config.load_step, names=("learner", "progress"))
            _load(learner, state["learner"], folder)
            t_env = state["progress"]["t_env"]
            recorder.note(f"evaluating {folder}")
        results = test(config, recorder, stop, Runner(env, controller, seed=0), t_env)
        if stop.requested:
            raise Interrupted
        return results


def test(config: Config, recorder: Recorder, stop: StopSignal, runner: Runner, t_env: int) -> Evaluation:
    """Play `test_nepisode` greedy episodes on each test team; record and return the figures."""
    results: Evaluation = {}
    for team in config.test_teams or (None,):
        name = team or "train"
        if stop.requested:  # half a test is no result: the caller stops in its own way
            return results
        figures = runner.evaluate(team, config.test_nepisode, builders.test_seed(name), t_env=t_env)
        results[name] = summarise(figures)
        for figure, summary in results[name].items():
            suffix = "" if figure == "comm_frequency" else "_mean"
            recorder.scalar(f"test/{name}/{figure}{suffix}", summary["mean"], t_env)
    (recorder.run_dir / "evaluation.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    recorder.note(f"test at {t_env:,} steps: {describe(results)}")
    return results


def describe(results: Evaluation) -> str:
    """The last test in one short text: battles won where there are any, else returns."""
    parts = []
    for team, figures in results.items():
        key = "battle_won" if "battle_won" in figures else "return"
        parts.append(f"{team}: {figures[key]['mean']:.2f}")
    return f"{key} " + ", ".join(parts)


class Training:
    """Collect, learn, test and save in turn until `t_max`."""

    def __init__(self, config: Config, recorder: Recorder, stop: StopSignal) -> None:
        self.config, self.recorder, self.stop = config, recorder, stop
        env = builders.build_env(config, config.batch_size_run, derive_seed(config.seed, "train env"))
        controller = builders.build_controller(config, env.spec)
        if not isinstance(controller, EntityController):
            raise UserError(f"controller={config.controller} does not learn")
        self.controller = controller
        self.learner: BellmanLearner = builders.build_learner(config, controller, env.spec)
        self.replay: ReplayBuffer = builders.build_replay(config, env.spec)
        self.sampler = make_generator(derive_seed(config.seed, "replay"))
        self.runner = Runner(env, controller, derive_seed(config.seed, "actions"))
        # worker processes are dear: they serve training and tests in turn; a batch in this process has one of its own
        self.test_runner = self.runner
        if config.runner == "vector":
            test_env = builders.build_env(config, _test_envs(config), derive_seed(config.seed, "test env"))
            self.test_runner = Runner(test_env, controller, seed=0)
        self.t_env, self.episodes = 0, 0
        #: when what is due next
        self.clock = {"test": 0, "save": config.save_model_interval, "log": config.log_interval}
        self.train_figures = Averages()
        self.score = ""
        self.saved_at = -1
        _tell_what_runs(config, recorder, env)
        recorder.facts({"parameters": self.learner.parameter_counts()})

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *exc: object) -> None:
        self.runner.env.close()
        self.test_runner.env.close()

    def run(self) -> Evaluation:
        """Train until `t_max`, and test at the end."""
        config = self.config
        metrics: Metrics = {}
        while self.t_env < config.t_max:
            if self._due("test", config.test_interval):
                self._test()
            self._stop_if_asked()
            metrics = self.round() or metrics
            if self._due("log", config.log_interval):
                self._log(metrics)
            if config.save_model and self._due("save", config.save_model_interval):
                self.save()
            self.recorder.progress(self.t_env, config.t_max, self.score)
        results = self._test()
        self._stop_if_asked()
        if config.save_model:
            self.save()
        return results

    def _stop_if_asked(self) -> None:
        """Between two rounds, where everything that a checkpoint holds fits together."""
        if self.stop.requested:
            if self.config.save_model:
                self.save()
            raise Interrupted

    def round(self) -> Metrics:
        """Play one episode in every environment and make the updates that follow from it."""
        config = self.config
        rollout = self.runner.play(t_env=self.t_env)
        assert rollout.batch is not None
        self.replay.insert(rollout.batch)
        before, self.t_env = self.t_env, self.t_env + int(rollout.lengths.sum())
        self.episodes += len(rollout.lengths)
        self.train_figures.add(rollout)
        updates = config.training_iters
        if config.steps_per_update:
            updates = self.t_env // config.steps_per_update - before // config.steps_per_update
        metrics: Metrics = {}
        if self.replay.can_sample(config.batch_size):
            for _ in range(updates):
                batch = self.replay.sample(config.batch_size, self.sampler)
                metrics = self.learner.train(batch.to(self.controller.device), self.episodes)
        return metrics

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write everything that the next round depends on."""
        if self.saved_at == self.t_env:
            return
        state: dict[str, dict[str, Any]] = {
            "learner": self.learner.state_dict(),
            "runner": self.runner.state_dict(),
            "progress": {
                "t_env": self.t_env,
                "episodes": self.episodes,
                "clock": dict(self.clock),
                "sampler": self.sampler.get_state(),
            },
        }
        if self.config.save_replay_buffer:
            state["replay"] = self.replay.state_dict()
        folder = Path(self.config.local_results_path) / "models" / self.recorder.run_id / str(self.t_env)
        save_checkpoint(folder, state)
        self.saved_at = self.t_env
        self.recorder.note(f"checkpoint {folder}")

    def restore(self, path: Path, load_step: int) -> None:
        """Continue where the checkpoint was written; without a saved replay, with an empty one."""
        names = ["learner", "runner", "progress"] + (["replay"] if self.config.save_replay_buffer else [])
        folder, state = load_checkpoint(path, load_step, names)
        _load(self.learner, state["learner"], folder)
        progress = state["progress"]
        try:
            self.runner.load_state_dict(state["runner"])
            if self.config.save_replay_buffer:
                self.replay.load_state_dict(state["replay"])
        except (ValueError, RuntimeError, KeyError) as error:
            raise UserError(f"checkpoint {str(folder)!r} does not fit these settings: {_one_line(error)}") from None
        self.t_env, self.episodes = progress["t_env"], progress["episodes"]
        self.clock.update(progress["clock"])
        self.sampler.set_state(progress["sampler"])
        self.saved_at = self.t_env
        self.recorder.note(f"resuming {folder}" + ("" if self.config.save_replay_buffer else " with an empty replay"))

    # --- tests and logs -------------------------------------------------------------------------------------------

    def _due(self, what: str, interval: int) -> bool:
        if self.t_env < self.clock[what]:
            return False
        self.clock[what] = (self.t_env // interval + 1) * interval
        return True

    def _test(self) -> Evaluation:
        results = test(self.config, self.recorder, self.stop, self.test_runner, self.t_env)
        self.score = describe(results)
        return results

    def _log(self, metrics: Metrics) -> None:
        self.recorder.scalars({name: float(value) for name, value in metrics.items()}, self.t_env)
        self.recorder.scalars(self.train_figures.means(), self.t_env)
        schedule = self.controller.selector.schedule
        self.recorder.scalars({"epsilon": schedule(self.t_env), "episodes": self.episodes}, self.t_env)
        self.train_figures = Averages()


class Averages:
    """Means over the training episodes since the last log line (exploring: not to be mistaken for tests)."""

    def __init__(self) -> None:
        self.count, self.sums = 0, dict[str, float]()

    def add(self, rollout: Rollout) -> None:
        """Count one round's episodes."""
        figures = {"return": rollout.returns, "ep_length": rollout.lengths, **rollout.info}
        if rollout.comm_frequency is not None:
            figures["comm_frequency"] = rollout.comm_frequency
        self.count += len(rollout.returns)
        for name, values in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(values.sum())

    def means(self) -> dict[str, float]:
        """`train/<figure>_mean` over what was counted."""
        return {f"train/{name}_mean": total / self.count for name, total in self.sums.items()} if self.count else {}


def _test_envs(config: Config) -> int:
    if config.runner == "vector":
        return int(min(config.test_batch_size, config.test_nepisode))
    return int(min(config.batch_size_run, config.test_nepisode))


def _load(learner: BellmanLearner, state: dict[str, Any], folder: Path) -> None:
    try:
        learner.load_state_dict(state)
    except (ValueError, RuntimeError, KeyError) as error:
        raise UserError(
            f"checkpoint {str(folder)!r} does not fit these settings (another algorithm, environment or width?): "
            f"{_one_line(error)}"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _tell_what_runs(config: Config, recorder: Recorder, env: Any) -> None:
    device = str(builders.build_device(config))
    backend = getattr(env, "backend", None) or getattr(config.env_args, "backend", None)
    recorder.facts({"device": device, "threads": torch.get_num_threads(), "backend": backend})
    engine = f", backend {backend}" if backend else ""
    recorder.note(f"{config.name} on {env.spec.name} ({config.runner} runner{engine}, device {device})")
