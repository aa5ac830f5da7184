"""Training: collect, learn, test and save in turn."""

from pathlib import Path
from typing import Any

import builders
from components.replay import ReplayBuffer
from controllers.entity import EntityController
from evaluating import (
    Evaluation,
    acts_otherwise,
    count_test_envs,
    describe,
    load_learner,
    one_line,
    tell_what_runs,
    test,
)
from learners.learner import Learner, Metrics
from runners.runner import Rollout, Runner
from utils.checkpoints import load_checkpoint, save_checkpoint
from utils.config import Config
from utils.errors import UserError
from utils.interrupt import Interrupted, StopSignal
from utils.logging import Recorder
from utils.seeding import derive_seed, make_generator


class Training:
    """Collect, learn, test and save in turn until `t_max`."""

    def __init__(self, config: Config, recorder: Recorder, stop: StopSignal) -> None:
        self.config, self.recorder, self.stop = config, recorder, stop
        apart = config.runner == "vector"
        env = builders.build_env(config, config.batch_size_run, derive_seed(config.seed, "train env"), tests=not apart)
        controller = builders.build_controller(config, env.spec)
        if not isinstance(controller, EntityController):
            raise UserError(f"controller={config.controller} does not learn")
        self.controller = controller
        self.learner: Learner = builders.build_learner(config, controller, env.spec)
        #: None where learning is on-policy
        self.replay: ReplayBuffer | None = None if self.learner.ON_POLICY else builders.build_replay(config, env.spec)
        self.saved_replay = self.replay if config.save_replay_buffer else None
        self.sampler = make_generator(derive_seed(config.seed, "replay"))
        self.runner = Runner(env, controller, derive_seed(config.seed, "actions"))
        # worker processes are dear: they serve training and tests in turn; a batch in this process has one of its own
        self.test_runner = self.runner
        if apart:
            test_seed = derive_seed(config.seed, "test env")
            test_env = builders.build_env(config, count_test_envs(config), test_seed, tests=True)
            self.test_runner = Runner(test_env, controller, seed=0)
        self.t_env, self.episodes = 0, 0
        #: when what is due next
        self.clock = {"test": 0, "save": config.save_model_interval, "log": config.log_interval}
        self.train_figures = Averages()
        self.score = ""
        self.saved_at = -1
        tell_what_runs(config, recorder, env)
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
        rollout = self.runner.play(t_env=self.t_env)
        assert rollout.batch is not None
        before, self.t_env = self.t_env, self.t_env + int(rollout.lengths.sum())
        self.learner.set_progress(before / self.config.t_max)
        self.episodes += len(rollout.lengths)
        self.train_figures.add(rollout)
        if self.replay is None:
            return self.learner.train(rollout.batch.to(self.controller.device), self.episodes)
        self.replay.insert(rollout.batch)
        return self._replayed(self.replay, before)

    def _replayed(self, replay: ReplayBuffer, before: int) -> Metrics:
        """The updates from the replay that are due since step `before`."""
        config = self.config
        updates = config.training_iters
        if config.steps_per_update:
            updates = self.t_env // config.steps_per_update - before // config.steps_per_update
        metrics: Metrics = {}
        if replay.can_sample(config.batch_size):
            for _ in range(updates):
                batch = replay.sample(config.batch_size, self.sampler)
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
            "acts_by": self.controller.acts_by(),
            "progress": {
                "t_env": self.t_env,
                "episodes": self.episodes,
                "clock": dict(self.clock),
                "sampler": self.sampler.get_state(),
            },
        }
        if self.saved_replay is not None:
            state["replay"] = self.saved_replay.state_dict()
        folder = Path(self.config.local_results_path) / "models" / self.recorder.run_id / str(self.t_env)
        save_checkpoint(folder, state)
        self.saved_at = self.t_env
        self.recorder.note(f"checkpoint {folder}")

    def restore(self, path: Path, load_step: int) -> None:
        """Continue where the checkpoint was written; without a saved replay, with an empty one."""
        names = ["learner", "runner", "acts_by", "progress"] + ([] if self.saved_replay is None else ["replay"])
        folder, state = load_checkpoint(path, load_step, names)
        load_learner(self.learner, state["learner"], folder)
        progress = state["progress"]
        try:
            self.runner.load_state_dict(state["runner"])
            if self.saved_replay is not None:
                self.saved_replay.load_state_dict(state["replay"])
        except (ValueError, RuntimeError, KeyError) as error:
            raise UserError(f"checkpoint {str(folder)!r} does not fit these settings: {one_line(error)}") from None
        self.t_env, self.episodes = progress["t_env"], progress["episodes"]
        self.clock.update(progress["clock"])
        self.sampler.set_state(progress["sampler"])
        self.saved_at = self.t_env
        emptied = self.replay is not None and self.saved_replay is None
        self.recorder.note(f"resuming {folder}" + (" with an empty replay" if emptied else ""))
        for name, saved, here in acts_otherwise(self.controller, state["acts_by"]):  # one may want that, and learn on
            self.recorder.note(f"{name}={here} from here on, {saved} before")

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
        epsilon = self.controller.selector.schedule(self.t_env)
        now = {"epsilon": epsilon, "lr": self.learner.lr, "episodes": self.episodes}
        self.recorder.scalars(now, self.t_env)
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
