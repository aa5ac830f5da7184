"""Training: collect, learn, test and save in turn."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

import builders
from components.replay import ReplayBuffer
from controllers.entity import EntityController
from evaluating import (
    acts_otherwise,
    check_identity,
    count_restarts,
    count_test_envs,
    load_learner,
    reading,
    record_restarts,
    tell_what_runs,
    test,
)
from learners.learner import Learner, Metrics, whole
from rank_settings import settings_of_rank
from runners.asynchronous import Asynchronous
from runners.runner import Rollout, Runner
from utils import ranks
from utils.checkpoints import load_checkpoint, not_finite, save_checkpoint
from utils.command_line import PAPER
from utils.config import Config
from utils.errors import RunFailed, UserError
from utils.interrupt import Interrupted, StopSignal
from utils.logging import Evaluation, Recorder, describe
from utils.seeding import derive_seed, make_generator


class Training:
    """Collect, learn, test and save in turn until `t_max`."""

    def __init__(self, config: Config, recorder: Recorder, stop: StopSignal) -> None:
        #: by which its networks can be built again; where things lie, `env_args.scenarios` too, is nobody's business
        settings = config.as_dict().items()
        places = ("_path", "_url", "init_from")
        self.settings = {key: value for key, value in settings if key != "env_args" and not key.endswith(places)}
        config = settings_of_rank(config)
        self.config, self.recorder, self.stop = config, recorder, stop
        apart = builders.is_batch(config)
        shared = builders.shares_slots(config)
        env = builders.build_env(config, config.batch_size_run, self._seed("train env"), tests=shared)
        controller = builders.build_controller(config, env.spec)
        if not isinstance(controller, EntityController):
            raise UserError(f"controller={config.controller} does not learn")
        self.controller = controller
        self.learner: Learner = builders.build_learner(config, controller, env.spec)
        self.learner.get_ready(config)
        #: None where learning is on-policy
        self.replay: ReplayBuffer | None = None if self.learner.ON_POLICY else builders.build_replay(config, env.spec)
        self.saved_replay = self.replay if config.save_replay_buffer else None
        self.sampler = make_generator(self._seed("replay"))
        self.runner = builders.build_runner(config, env, controller, self._seed("actions"))
        # processes are dear: they serve training and tests in turn; a batch in this process has one of its own
        if not apart:
            self.test_runner = self.runner if isinstance(self.runner, Runner) else Runner(env, controller, seed=0)
        else:
            test_seed = derive_seed(config.seed, "test env")
            test_env = builders.build_env(config, count_test_envs(config), test_seed, tests=True)
            self.test_runner = Runner(test_env, controller, seed=0)
        self.t_env, self.episodes = 0, 0
        #: when what is due next
        self.clock = {"test": 0, "save": config.save_model_interval, "log": config.log_interval}
        #: of the last update
        self.metrics: Metrics = {}
        self.train_figures = Averages()
        self.score = ""
        #: games that were started anew so far
        self.restarts = 0
        #: what its checkpoints are known by: folders are named by a number that an earlier run may have had
        self.run_identity = uuid.uuid4().hex
        self.identity = builders.identity(config, env.spec)
        #: the last checkpoint of finite weights, and what it was made at
        self.saved: Path | None = None
        self.saved_at: tuple[int, dict[str, int]] | None = None
        tell_what_runs(config, recorder, env)
        recorder.facts({"parameters": self.learner.parameter_counts()})
        if ranks.several():
            recorder.facts({"ranks": ranks.count()})
        if config.init_from and not config.checkpoint_path:  # who resumes has begun long ago
            self._start_from(Path(config.init_from))

    def _seed(self, stream: str) -> int:
        """Of a stream of numbers, of which each rank has one of its own."""
        return ranks.own_seed(derive_seed(self.config.seed, stream))

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *exc: object) -> None:
        self.runner.env.close()
        self.test_runner.env.close()

    def run(self) -> Evaluation:
        """Train until `t_max`, and test at the end."""
        config = self.config
        while self.t_env < config.t_max:
            # a test that was given up stays due: the resumed run makes it
            if self._due("test") and self._test():
                self._advance("test", config.test_interval)
            self._stop_if_asked()
            self.metrics = self.round() or self.metrics
            self._check_finite()
            if self._due("log"):
                self._log()
                self._advance("log", config.log_interval)
            if config.save_model and self._due("save"):
                self._advance("save", config.save_model_interval)
                self.save()
            self.recorder.progress(self.t_env, config.t_max, self.score)
        results = self._test()
        if not results:
            self._stop_if_asked()
        if config.save_model:
            self.save()
        return results

    def _stop_if_asked(self) -> None:
        """Between two rounds, where everything that a checkpoint holds fits together."""
        if ranks.anywhere(self.stop.requested):
            self.stop.join(ranks.gather(self.stop.signum))
            if self.config.save_model:
                self.save()
            raise Interrupted

    def _check_finite(self) -> None:
        """Once a round, before anything acts on, logs or saves what was learnt in it."""
        fault = self.learner.fault()
        if fault is not None:
            raise self._diverged(fault)

    def _diverged(self, fault: str) -> RunFailed:
        left = "there is no checkpoint before it" if self.saved is None else f"the last good checkpoint is {self.saved}"
        return RunFailed(f"training diverged at {self.t_env:,} steps: {fault}; {left}; try a lower lr={self.config.lr}")

    def round(self) -> Metrics:
        """Play in every environment, an episode or so many steps, and make the updates that follow from it."""
        rollout = self.runner.play(t_env=self.t_env)
        self._tell_restarts()
        before = self.t_env
        for tally in ranks.gather(Tally.of(rollout)):
            self.t_env += tally.steps
            self.episodes += tally.episodes
            self.train_figures.add(tally)
        self.learner.set_progress(before / self.config.t_max)
        if self.replay is None:
            assert rollout.batch is not None
            return self.learner.train(rollout.batch.to(self.controller.device), self.episodes)
        if rollout.batch is not None:
            self.replay.insert(self.learner.label(rollout.batch))
        return self._replayed(self.replay, before)

    def _tell_restarts(self) -> None:
        now = count_restarts(self.runner.env) or 0
        if now > self.restarts:
            self.recorder.note(f"{now - self.restarts} games started anew after a fault, {now} so far")
            self.restarts = now

    def _replayed(self, replay: ReplayBuffer, before: int) -> Metrics:
        """The updates from the replay that are due since step `before`."""
        config = self.config
        updates = config.training_iters
        if config.steps_per_update:
            updates = self.t_env // config.steps_per_update - before // config.steps_per_update
        metrics: Metrics = {}
        if ranks.everywhere(replay.can_sample(config.batch_size)):
            for _ in range(updates):
                batch = replay.sample(config.batch_size, self.sampler)
                metrics = self.learner.train(batch.to(self.controller.device), self.episodes)
        return metrics

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write everything that the next round depends on."""
        now = (self.t_env, dict(self.clock))
        if self.saved_at == now:
            return
        state: dict[str, dict[str, Any]] = {
            "learner": self.learner.state_dict(),
            "runner": self.runner.state_dict(),
            "acts_by": self.controller.acts_by(),
            "identity": self.identity,
            "settings": self.settings,
            "spec": self.controller.spec.as_plain(),
            "progress": {
                "t_env": self.t_env,
                "episodes": self.episodes,
                "clock": dict(self.clock),
                "metrics": {name: float(value) for name, value in self.metrics.items()},
                "train_figures": self.train_figures.state_dict(),
                "sampler": self.sampler.get_state(),
                "ranks": ranks.count(),
            },
        }
        place = not_finite(state["learner"], "learner")
        if place is not None:
            raise self._diverged(f"{place} is not finite")
        if self.saved_replay is not None:
            state["replay"] = self.saved_replay.state_dict()
        if not ranks.first():  # of what all have in common one copy is enough
            own = {"runner": state["runner"], "sampler": state["progress"]["sampler"]}
            own["generator"] = state["learner"]["generator"]
            replay = {_of_rank("replay"): state["replay"]} if "replay" in state else {}
            state = {_of_rank("state"): own, **replay}
        folder = Path(self.config.local_results_path) / "models" / self.recorder.run_id / str(self.t_env)
        save_checkpoint(folder, state, self.run_identity, self.learner.updates)
        self.saved, self.saved_at = folder, now
        self.recorder.note(f"checkpoint {folder}")

    def restore(self, path: Path, load_step: int) -> None:
        """Continue where the checkpoint was written; without a saved replay, with an empty one."""
        names = ["learner", "acts_by", "progress"]
        if ranks.first():
            names += ["runner"] + ([] if self.saved_replay is None else ["replay"])
        folder, state = load_checkpoint(path, load_step, names, optional=("identity", "settings"))
        check_identity(self.config, self.identity, state.get("identity"), folder, self.recorder)
        progress = state["progress"]
        there, here = progress.get("ranks", 1), ranks.count()  # earlier versions had one
        if there != here:
            raise UserError(
                f"checkpoint {str(folder)!r} is one of {there} ranks, here are {here}: start {there} of them (torchrun "
                f"--nproc-per-node={there}), or begin anew with its networks, init_from"
            )
        with reading(folder):
            self._take_own(folder, state)
            load_learner(self.learner, state["learner"])
            self.runner.load_state_dict(state["runner"])
            if self.saved_replay is not None:
                self.saved_replay.load_state_dict(state["replay"])
            self.t_env, self.episodes = whole(progress, "t_env"), whole(progress, "episodes")
            self.clock = {what: whole(progress["clock"], what) for what in self.clock}
            self.sampler.set_state(progress["sampler"])
            # earlier versions did not save these
            self.metrics = {
                name: torch.tensor(value, dtype=torch.float64) for name, value in progress.get("metrics", {}).items()
            }
            self.train_figures.load_state_dict(progress.get("train_figures", {"count": 0, "sums": {}}))
        self.saved, self.saved_at = folder, (self.t_env, dict(self.clock))
        emptied = self.replay is not None and self.saved_replay is None
        self.recorder.note(f"resuming {folder}" + (" with an empty replay" if emptied else ""))
        recipe = state.get("settings", {}).get("recipe", PAPER)  # earlier versions had no other
        changed = [("recipe", recipe, self.config.recipe)] * (recipe != self.config.recipe)
        for name, saved, here in changed + acts_otherwise(self.controller, state["acts_by"]):
            self.recorder.note(f"{name}={here} from here on, {saved} before")  # one may want that, and learn on

    def _take_own(self, folder: Path, state: dict[str, dict[str, Any]]) -> None:
        """Put what the checkpoint `folder` holds for this rank alone in the place of the first one's in its `state`."""
        if ranks.first():
            return
        own = _of_rank("state")
        parts = [own] + ([] if self.saved_replay is None else [_of_rank("replay")])
        found = load_checkpoint(folder, 0, parts)[1]
        state["runner"] = found[own]["runner"]
        state["progress"]["sampler"] = found[own]["sampler"]
        state["learner"]["generator"] = found[own]["generator"]
        if self.saved_replay is not None:
            state["replay"] = found[_of_rank("replay")]

    def _start_from(self, path: Path) -> None:
        """Begin with the networks of the checkpoint `path`, as far as they fit."""
        folder, state = load_checkpoint(path, 0, ("learner",))
        place = not_finite(state["learner"], "learner")
        if place is not None:
            raise UserError(f"init_from={folder}: {place} is not finite; take another checkpoint")
        with reading(folder):
            taken = self.learner.start_from(state["learner"])
        if not any(count for count, _ in taken.values()):
            raise UserError(
                f"init_from={folder}: nothing there has the name and shape of anything here; target_values and the "
                "widths of networks must be those of that run"
            )
        self.recorder.facts({"init_from": {"checkpoint": str(folder), "taken": taken}})
        parts = ", ".join(f"{name} {count} of {every}" for name, (count, every) in taken.items())
        self.recorder.note(f"init_from {folder}: tensors taken: {parts}")

    # --- tests and logs -------------------------------------------------------------------------------------------

    def _due(self, what: str) -> bool:
        return self.t_env >= self.clock[what]

    def _advance(self, what: str, interval: int) -> None:
        self.clock[what] = (self.t_env // interval + 1) * interval

    def _test(self) -> Evaluation:
        results = test(self.config, self.recorder, self.stop, self.test_runner, self.t_env)
        self.score = describe(results)
        return results

    def _log(self) -> None:
        self.recorder.scalars({name: float(value) for name, value in self.metrics.items()}, self.t_env)
        self.recorder.scalars(self.train_figures.means(), self.t_env)
        epsilon = self.controller.selector.schedule(self.t_env)
        now = {"epsilon": epsilon, "lr": self.learner.lr, "episodes": self.episodes, "updates": self.learner.updates}
        self.recorder.scalars(now, self.t_env)
        record_restarts(self.recorder, self.runner.env, self.t_env)
        if isinstance(self.runner, Asynchronous):
            self.recorder.scalar("env/stale", self.runner.dropped, self.t_env)
        self.train_figures = Averages()


def _of_rank(part: str) -> str:
    """The name of a part of a checkpoint that is this rank's own."""
    return f"rank{ranks.number()}_{part}"


class Tally(NamedTuple):
    """A round of one rank in numbers."""

    steps: int
    episodes: int
    #: of each figure, over the episodes
    sums: dict[str, float]

    @classmethod
    def of(cls, rollout: Rollout) -> "Tally":
        """Count `rollout`."""
        figures = {"return": rollout.returns, "ep_length": rollout.lengths, **rollout.info}
        if rollout.comm_frequency is not None:
            figures["comm_frequency"] = rollout.comm_frequency
        sums = torch.stack([values.sum().double() for values in figures.values()]).tolist()  # a GPU is asked once
        return cls(rollout.steps, len(rollout.lengths), dict(zip(figures, sums, strict=True)))


class Averages:
    """Means over the training episodes since the last log line (exploring: not to be mistaken for tests)."""

    def __init__(self) -> None:
        self.count, self.sums = 0, dict[str, float]()

    def add(self, tally: Tally) -> None:
        """Count one round's episodes."""
        self.count += tally.episodes
        for name, total in tally.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + total

    def state_dict(self) -> dict[str, Any]:
        """What was counted, in plain values."""
        return {"count": self.count, "sums": dict(self.sums)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting from `state_dict`."""
        self.count = whole(state, "count")
        self.sums = {str(name): float(total) for name, total in state["sums"].items()}

    def means(self) -> dict[str, float]:
        """`train/<figure>_mean` over what was counted."""
        return {f"train/{name}_mean": total / self.count for name, total in self.sums.items()} if self.count else {}
