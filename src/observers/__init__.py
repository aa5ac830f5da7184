"""What a run is followed by beside its record in files."""

import os

from observers.observer import Observer
from observers.tensorboard import TensorBoard
from observers.weights_biases import WeightsAndBiases
from utils.config import Config
from utils.errors import UserError

_REMEDY = "install requirements.txt"


def build(config: Config) -> list[Observer]:
    """The observers that the settings add, none of them begun.

    Raises:
        UserError: one cannot be: a package is missing, or an address is none.
    """
    found: list[Observer] = []
    if config.mongo_url or os.environ.get("MONGO_URL"):
        try:
            from observers.database import find_address
            from observers.mongo import MongoFollower
        except ImportError as error:
            raise UserError(f"recording in a MongoDB needs pymongo and sacred ({error}): {_REMEDY}") from None
        found.append(MongoFollower(find_address("mongo_url", config.mongo_url), config.mongo_db))
    if config.use_tensorboard:
        found.append(TensorBoard())
    if config.use_wandb:
        found.append(WeightsAndBiases())
    return found
