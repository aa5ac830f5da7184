"""Finding SMAC, SMACv2 and the game itself, and building their environments.

The packages are imported when a game is built, and nothing of them before that: no other task needs them.
"""

import importlib
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from envs.starcraft.installation import game_folder
from utils.errors import UserError, one_line
from utils.suggest import nearest

#: The packages, and the revisions that this was written for. Neither is on PyPI.
SOURCES = {
    "smac": "https://github.com/oxwhirl/smac/archive/d6aab33f76abc3849c50463a8592a84f59a5ef84.zip",
    "smacv2": "https://github.com/oxwhirl/smacv2/archive/577ab5a2cff2391f8df582da5731ea9cd6adf3c6.zip",
}
#: The folder of their maps, in the game's folder.
MAPS = Path("Maps") / "SMAC_Maps"
#: A fault of the game is raised by one of these.
CLIENTS = ("pysc2", "websocket")


def build_game(package: str, map_name: str, kwargs: Mapping[str, Any], seed: int) -> Any:
    """The package's environment for one game, which its first reset starts.

    Args:
        package: smac | smacv2
        map_name: a map of the package.
        kwargs: what else its environment is made with.
        seed: of the game.

    Raises:
        UserError: the package, the game or the map is not there, or the package refuses `kwargs`.
    """
    module, registry = _import(package)
    if map_name not in registry:
        raise UserError(
            f"env_args.map_name={map_name!r} is no map of {package}; did you mean {nearest(map_name, registry)!r}?"
        )
    folder = game_folder()
    if not any(folder.glob("Versions/Base*/SC2_x64")):
        raise UserError(f"there is no StarCraft II in {folder} (SC2PATH): ./install_sc2.sh fetches it")
    file = MAPS / f"{registry[map_name].get('map_name', map_name)}.SC2Map"
    if not (folder / file).is_file():
        raise UserError(f"env_args.map_name={map_name!r}: {file} is not in {folder}: ./install_sc2.sh fetches it")
    os.environ["SC2PATH"] = str(folder)  # where pysc2 looks
    make = module.StarCraftCapabilityEnvWrapper if package == "smacv2" else module.StarCraft2Env
    try:
        return make(map_name=map_name, seed=seed, continuing_episode=True, **_copied(kwargs))
    except (TypeError, KeyError, AssertionError) as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"env_args.kwargs={dict(kwargs)!r}: {package} does not take them: {reason}") from error


@contextmanager
def seeded(game: Any, seed: int) -> Iterator[None]:
    """While this lasts, what SMACv2 draws for an episode, units and places, follows from `seed`; SMAC draws nothing."""
    source = np.random.default_rng(seed)
    for drawn in getattr(game, "env_key_to_distribution_map", {}).values():
        _replace_generators(drawn, source)
    before = random.getstate()  # it shuffles by Python's own stream
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def is_fault(error: Exception) -> bool:
    """Whether `error` is one of the game or of the way to it."""
    return type(error).__module__.partition(".")[0] in CLIENTS


def _import(package: str) -> tuple[Any, Mapping[str, Mapping[str, Any]]]:
    """The package's module of environments and its maps."""
    install = f"./run.sh python -m pip install --no-deps -r requirements-sc2.txt {SOURCES[package]}"
    found = find_spec(package)
    if found is None:
        raise UserError(f"env_args.package={package!r} is not installed: {install}")
    if not any((Path(place) / "env").is_dir() for place in found.submodule_search_locations or ()):
        raise UserError(
            f"env_args.package={package!r}: the package of that name that is installed is another project (PyPI's is): "
            f"./run.sh python -m pip uninstall {package}, then {install}"
        )
    try:
        module = importlib.import_module(f"{package}.env")
        maps = importlib.import_module(f"{package}.env.starcraft2.maps.smac_maps")
    except ImportError as error:
        raise UserError(f"env_args.package={package!r} cannot be imported ({one_line(error)}): {install}") from error
    except TypeError as error:  # modules generated for protobuf 3
        reason = f"s2clientprotocol is too old for this protobuf ({one_line(error)})"
        raise UserError(f"env_args.package={package!r}: {reason}: {install}") from error
    return module, maps.get_smac_map_registry()


def _copied(value: Any) -> Any:
    """A copy in plain dicts and lists: SMACv2 writes into what it is made with."""
    if isinstance(value, Mapping):
        return {key: _copied(entry) for key, entry in value.items()}
    return [_copied(entry) for entry in value] if isinstance(value, list | tuple) else value


def _replace_generators(drawn: Any, source: np.random.Generator) -> None:
    for name, part in list(vars(drawn).items()):
        if isinstance(part, np.random.Generator):
            setattr(drawn, name, np.random.default_rng(source.integers(2**31)))
        elif hasattr(part, "generate"):
            _replace_generators(part, source)
