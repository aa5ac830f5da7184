"""Learners: how stored episodes become gradients."""

from learners.base import BellmanLearner
from learners.cesma import CesmaLearner
from learners.collaq import CollaqLearner
from learners.copa import CopaLearner
from learners.ddpg import DdpgLearner
from learners.learner import Learner
from learners.mappo import MappoLearner
from learners.mipi import MipiLearner
from learners.pqn import PqnCopaLearner, PqnLearner, PqnRefilLearner
from learners.refil import RefilLearner

REGISTRY: dict[str, type[Learner]] = {
    "q": BellmanLearner,
    "refil": RefilLearner,
    "copa": CopaLearner,
    "collaq": CollaqLearner,
    "mappo": MappoLearner,
    "mipi": MipiLearner,
    "cesma": CesmaLearner,
    "ddpg": DdpgLearner,
    "pqn": PqnLearner,
    "pqn_refil": PqnRefilLearner,
    "pqn_copa": PqnCopaLearner,
}
