"""What a run is followed by beside its record in files."""

from observers.observer import Observer
from observers.tensorboard import TensorBoard
from utils.config import Config


def build(config: Config) -> list[Observer]:
    """The observers that the settings add, none of them begun.

    Raises:
        UserError: one cannot be: a package is missing, or an address is none.
    """
    found: list[Observer] = []
    if config.use_tensorboard:
        found.append(TensorBoard())
    return found
