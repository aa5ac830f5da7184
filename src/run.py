"""One experiment, from checked settings to its last test."""

from pathlib import Path

import torch

import builders
import learners
import memory
from evaluating import evaluate
from learners.experts import expert_config
from rank_settings import settings_of_rank
from teaching import teach
from training import Training
from utils.allocator import keep_freed_memory
from utils.config import Config
from utils.errors import UserError
from utils.interrupt import StopSignal
from utils.logging import Evaluation, Recorder


def check(config: Config) -> memory.Memory:
    """Refuse what cannot be carried out and return the memory that the run takes.

    Raises:
        UserError: names the setting and what would do.
    """
    builders.check(config)
    own = settings_of_rank(config)
    expert = expert_config(config) if teaches(config) else None
    if expert is not None:
        try:
            builders.check(expert)
            memory.check(settings_of_rank(expert))
        except UserError as error:
            raise UserError(f"expert={config.expert}: {error}") from None
    return memory.check(own)


def teaches(config: Config) -> bool:
    """Whether a run has students."""
    return not config.evaluate and learners.REGISTRY[config.learner].LABELS


def run(config: Config, recorder: Recorder, stop: StopSignal) -> Evaluation:
    """Carry out the experiment that `config` describes and return its last test."""
    check(config)
    keep_freed_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.evaluate:
        return evaluate(config, recorder, stop)
    if teaches(config):
        return teach(config, recorder, stop)
    with Training(config, recorder, stop) as training:
        if config.checkpoint_path:
            training.restore(Path(config.checkpoint_path), config.load_step)
        return training.run()
