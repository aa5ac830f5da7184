"""PQN: Q-learning from fresh episodes, without a replay and without target networks (Gallici et al., 2024).

Many environments play at once, so that a round is as mixed as what a replay would give, and lambda-returns together
with normalised layers keep values from running away without networks that lag behind. Any value learner can take this
form.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from components.episodes import EpisodeBatch
from learners.base import BellmanConfig, BellmanLearner
from learners.copa import CopaConfig, CopaLearner
from learners.learner import REPLAY_KEYS, TARGET_KEYS, Metrics, mean_metrics
from learners.refil import RefilConfig, RefilLearner


@dataclass(frozen=True)
class PqnConfig(BellmanConfig):
    """Adds how often a round is learnt from."""

    ppo_epochs: int = 4
    num_mini_batch: int = 1


class PqnLearner(BellmanLearner):
    """Goes over each round's episodes a few times, in mini-batches. Targets are made anew for every one of them, of the
    networks as they stand: the pass that gives the values gives those of the next observations, too, without gradients.
    """

    Config: ClassVar[type[PqnConfig]] = PqnConfig
    config: PqnConfig
    ON_POLICY = True
    PIECES = True
    FOLLOWED = False
    UNUSED = (*REPLAY_KEYS, *TARGET_KEYS, "optim_alpha")
    NEEDS: ClassVar[Mapping[str, object]] = {"sequence_length": 0}
    OPTIMISER = torch.optim.RAdam

    def train(self, batch: EpisodeBatch, episodes: int) -> Metrics:
        """Make `ppo_epochs * num_mini_batch` updates; figures are means over them."""
        spec, fixed = self.controller.spec, self.controller.FIXED_SLOTS
        # episodes are independent of each other, so neighbours make a mini-batch as random as any
        parts = [part.trim(spec, fixed) for part in batch.split(self.config.num_mini_batch)]
        passes = []
        for _ in range(self.config.ppo_epochs):
            for part in parts:
                passes.append(super().train(part, episodes))
        return mean_metrics(passes)


@dataclass(frozen=True)
class PqnRefilConfig(PqnConfig, RefilConfig):
    """Settings of both."""


class PqnRefilLearner(PqnLearner, RefilLearner):
    """With REFIL's imagined loss."""

    PIECES = False  # of what imagined views remember nothing is known
    Config = PqnRefilConfig
    config: PqnRefilConfig


@dataclass(frozen=True)
class PqnCopaConfig(PqnConfig, CopaConfig):
    """Settings of both."""


class PqnCopaLearner(PqnLearner, CopaLearner):
    """With COPA's coach."""

    PIECES = False  # a piece may begin between two of its broadcasts
    Config = PqnCopaConfig
    config: PqnCopaConfig
