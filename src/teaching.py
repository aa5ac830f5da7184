"""Students of an expert, who may have to be trained first: two trainings in one run.

The expert's figures are recorded as `expert/...`. The students' steps are counted on from the expert's, so that their
curve begins where its ended (CESMA, figure 5).
"""

from pathlib import Path

from controllers.entity import EntityController
from evaluating import test
from learners.cesma import CesmaLearner
from learners.experts import expert_config, fit_expert
from runners.runner import Runner
from training import Training
from utils.checkpoints import load_checkpoint
from utils.config import Config
from utils.errors import UserError
from utils.interrupt import StopSignal
from utils.logging import Evaluation, Recorder


def teach(config: Config, recorder: Recorder, stop: StopSignal) -> Evaluation:
    """Train the expert, if it is one that learns, and then its students; return the students' last test."""
    first = expert_config(config)
    if first is None or _are_students(config, first):
        with Students(config, recorder, stop) as students:
            if config.checkpoint_path:
                students.restore(Path(config.checkpoint_path), config.load_step)
            return students.run()
    with Training(first, recorder.part("expert"), stop) as training:
        if config.checkpoint_path:
            training.restore(Path(config.checkpoint_path), config.load_step)
        results = training.run()
    students = Students(config, recorder, stop)
    with students:
        students.follow(training, results)
        return students.run()


def _are_students(config: Config, first: Config) -> bool:
    """Whether the checkpoint that the run begins with is one of students, and not of the expert that `first` trains."""
    if not config.checkpoint_path:
        return False
    _, state = load_checkpoint(config.checkpoint_path, config.load_step, (), optional=("identity",))
    return state.get("identity", {}).get("learner") != first.learner


class Students(Training):
    """Training that tells how far it has come up to the expert: the gap, student return / expert return."""

    learner: CesmaLearner
    #: where they begin to count; the checkpoint of that step is the expert's
    begun = -1

    def follow(self, training: Training, results: Evaluation) -> None:
        """Learn from what `training` has made, whose last test had `results`, and count on from its steps."""
        if training.t_env >= self.config.t_max:
            raise UserError(
                f"t_max={self.config.t_max}: the expert's last round ended at {training.t_env:,} steps, which leaves "
                "none for students: raise t_max, or lower expert_steps or batch_size_run"
            )
        assert isinstance(self.learner.expert, EntityController)
        self.learner.expert.load_state_dict(training.controller.state_dict())
        self.run_identity, self.t_env, self.begun = training.run_identity, training.t_env, training.t_env
        self._take_measure(results)
        self.clock["test"] = self.t_env
        for what, interval in (("save", self.config.save_model_interval), ("log", self.config.log_interval)):
            self._advance(what, interval)

    def run(self) -> Evaluation:
        if not self.learner.expert_returns:
            assert self.learner.expert is not None
            env = self.test_runner.env  # which may have more slots than training has
            expert = fit_expert(self.config, self.learner.expert, env.spec)
            runner = Runner(env, expert, seed=0, device=self.controller.device)
            self._take_measure(test(self.config, self.recorder.part("expert"), self.stop, runner, self.t_env))
        return super().run()

    def save(self) -> None:
        if self.t_env > self.begun:
            super().save()

    def _take_measure(self, results: Evaluation) -> None:
        self.learner.expert_returns = {team: float(figures["return"]["mean"]) for team, figures in results.items()}

    def _test(self) -> Evaluation:
        results = super()._test()
        for team, figures in results.items():
            reference = self.learner.expert_returns.get(team, 0.0)
            if reference:  # of nothing there are no shares
                gap = figures["return"]["mean"] / reference
                self.recorder.scalar(f"{self.config.test_episodes}/{team}/gap", gap, self.t_env)
        return results
