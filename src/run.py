"""One experiment, from checked settings to its last test."""

from pathlib import Path

import torch

import builders
import memory
from evaluating import Evaluation, evaluate
from training import Training
from utils.config import Config
from utils.interrupt import StopSignal
from utils.logging import Recorder


def check(config: Config) -> memory.Memory:
    """Refuse what cannot be carried out and return the memory that the run takes.

    Raises:
        UserError: names the setting and what would do.
    """
    builders.check(config)
    return memory.check(config)


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
