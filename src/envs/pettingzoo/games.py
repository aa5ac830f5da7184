"""Building a game by the name of its module, and what it says of its agents' observations and actions.

What is imported is what the user named, and nothing before that: a run of another task needs no PettingZoo.
"""

import importlib
import keyword
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.suggest import nearest

EXAMPLE = "mpe2.simple_spread_v3"
#: How to install a package, for messages.
INSTALL = "./run.sh python -m pip install"
#: What games are asked for, so that they can be filmed.
PICTURES = "rgb_array"
#: The key under which legal actions stand, in observations or in infos.
ACTION_MASK = "action_mask"


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a module."""
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split(".")):
        raise UserError(f"env_args.env={name!r} is no name of a module: write package.module, such as {EXAMPLE}")


def build_game(name: str, kwargs: Mapping[str, Any]) -> Any:
    """A game as a `ParallelEnv`, made by `parallel_env(**kwargs)` of the module `name`, or else by its `env(**kwargs)`.

    Raises:
        UserError: there is no such module, what it needs is not installed, or it refuses `kwargs`.
    """
    check_name(name)
    module = _import(name)
    make = getattr(module, "parallel_env", None) or getattr(module, "env", None)
    if not callable(make):
        hint = _neighbours(name)
        raise UserError(f"env_args.env={name!r} has no parallel_env(...) and no env(...); {hint}")
    try:
        game = make(**{"render_mode": PICTURES, **kwargs})
    except Exception:  # it draws no pictures, or not here; whatever else is wrong comes again
        try:
            game = make(**kwargs)
        except ImportError as error:
            raise UserError(_missing(name, error)) from error
        except Exception as error:
            if not kwargs:
                raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"env_args.kwargs={dict(kwargs)!r}: {name} does not take them: {reason}") from error
    return _in_parallel(game)


def step_limit(game: Any) -> int:
    """The longest episode, in steps, as far as the game tells (`max_cycles`); otherwise 0."""
    if hasattr(game, "aec_env") and not game.metadata.get("is_parallelizable"):
        return 0  # a cycle is as many steps as there are turns in it
    return int(getattr(getattr(game, "unwrapped", game), "max_cycles", None) or 0)


def _in_parallel(game: Any) -> Any:
    """A game in which agents take turns as one in which all act and those act for nothing whose turn it is not."""
    if not hasattr(game, "agent_iter"):
        return game
    from pettingzoo.utils import conversions

    if game.metadata.get("is_parallelizable"):
        return conversions.aec_to_parallel(game)
    return conversions.turn_based_aec_to_parallel(game)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(_missing(name, error)) from error


def _missing(name: str, error: ImportError) -> str:
    """What is missing, and what would do."""
    package, _, rest = name.partition(".")
    if not isinstance(error, ModuleNotFoundError) or error.name is None:  # PettingZoo's own messages say what to do
        return f"env_args.env={name!r} cannot be imported: {' '.join(str(error).split())}"
    if error.name == package:
        return f"env_args.env={name!r}: there is no package {package!r}; {INSTALL} {package}, if that is its name"
    if f"{name}.".startswith(f"{error.name}."):
        return f"env_args.env={name!r}: there is no module {error.name!r}; {_neighbours(error.name)}"
    # PettingZoo's families of games have extras of their names
    wanted = f"'pettingzoo[{rest.split('.')[0]}]'" if package == "pettingzoo" else error.name
    return f"env_args.env={name!r} needs {error.name!r}, which is not installed; {INSTALL} {wanted}"


def _neighbours(name: str) -> str:
    """The module that may have been meant: one beside `name`, or in it where it is a package at the top."""
    parent = name.rpartition(".")[0] or name
    path = getattr(importlib.import_module(parent), "__path__", ())
    known = [module.name for module in pkgutil.iter_modules(path, f"{parent}.") if module.name != name]
    return f"the nearest is {nearest(name, known)!r}" if known else f"write package.module, such as {EXAMPLE}"


@dataclass(frozen=True)
class Kind:
    """What an agent sees and does; agents of equal spaces are of one kind."""

    #: gymnasium's space of observations, without their masks of actions
    observation: Any
    #: numbers in an observation
    width: int
    #: how many actions there are
    actions: int
    #: the game's number of the first one
    first: int

    def flat(self, observation: Any) -> np.ndarray:
        """`observation` as one row `(width,)`, without its mask of actions."""
        from gymnasium import spaces

        if isinstance(self.observation, spaces.Box):
            row = np.ravel(observation)  # as it is: gymnasium would make it what the space says, be it whole numbers
        else:
            row = np.asarray(spaces.flatten(self.observation, observation))
        if row.shape != (self.width,):
            raise ValueError(f"an observation has {row.size} numbers, its space {self.observation} has {self.width}")
        return row

    def legal(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        """Legal actions, bool `(actions,)`: all of them where neither observation nor info says which."""
        shown = observation if isinstance(observation, Mapping) and ACTION_MASK in observation else info
        mask = shown.get(ACTION_MASK)
        if mask is None:
            return np.ones(self.actions, dtype=bool)
        mask = np.asarray(mask, dtype=bool)
        if mask.shape != (self.actions,):
            raise ValueError(f"an action_mask has the shape {mask.shape} for {self.actions} actions")
        return mask


def kind_of(game: Any, agent: str, name: str) -> Kind:
    """The kind of `agent` in `game`, which the user named `name`.

    Raises:
        UserError: its actions are not Discrete, or its observations have no fixed size.
    """
    from gymnasium import spaces

    observation, action = game.observation_space(agent), game.action_space(agent)
    if not isinstance(action, spaces.Discrete):
        raise UserError(
            f"env_args.env={name!r}: agent {agent!r} has actions {action}, and only Discrete ones can be learnt; "
            "choose other env_args.kwargs if it can have such, or another environment"
        )
    if isinstance(observation, spaces.Dict) and ACTION_MASK in observation.spaces:
        observation = spaces.Dict({key: part for key, part in observation.items() if key != ACTION_MASK})
    try:
        width = spaces.flatdim(observation)
    except (NotImplementedError, ValueError):
        raise UserError(
            f"env_args.env={name!r}: agent {agent!r} has observations {observation}, which are no fixed number of "
            "numbers; choose other env_args.kwargs if it can have such, or another environment"
        ) from None
    return Kind(observation, width, int(action.n), int(action.start))
