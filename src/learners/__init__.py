"""Learners: how stored episodes become gradients."""

from learners.base import BellmanLearner
from learners.copa import CopaLearner
from learners.mipi import MipiLearner
from learners.refil import RefilLearner

REGISTRY: dict[str, type[BellmanLearner]] = {
    "q": BellmanLearner,
    "refil": RefilLearner,
    "copa": CopaLearner,
    "mipi": MipiLearner,
}
