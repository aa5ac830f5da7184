"""How a quantity, such as the exploration rate, falls with the environment steps."""

from collections.abc import Callable
from dataclasses import dataclass

#: t_env -> value
Schedule = Callable[[int], float]


@dataclass(frozen=True)
class LinearDecay:
    """Falls in a straight line from `start` at step 0 to `finish` at step `steps`, and stays there.

    `steps` 0 or less gives `finish` from the beginning.
    """

    start: float
    finish: float
    steps: int

    def __call__(self, t: int) -> float:
        return self.start + (self.finish - self.start) * _progress(t, self.steps)


@dataclass(frozen=True)
class ExponentialDecay:
    """Falls by the same factor in every step, from `start` at step 0 to `finish` at step `steps`, and stays there.

    Raises:
        ValueError: one of the two ends is not positive, so that no factor leads from one to the other.
    """

    start: float
    finish: float
    steps: int

    def __post_init__(self) -> None:
        if self.start <= 0 or self.finish <= 0:
            raise ValueError(f"an exponential decay needs positive ends, got {self.start} and {self.finish}")

    def __call__(self, t: int) -> float:
        return float(self.start * (self.finish / self.start) ** _progress(t, self.steps))


def _progress(t: int, steps: int) -> float:
    """The share of the way that lies behind, in [0, 1]."""
    return 1.0 if steps <= 0 else min(max(t / steps, 0.0), 1.0)


#: the key `epsilon_decay` -> class(start, finish, steps)
REGISTRY: dict[str, Callable[[float, float, int], Schedule]] = {"linear": LinearDecay, "exponential": ExponentialDecay}
