"""Where StarCraft II lies, and what is missing for playing it."""

import os
from importlib.util import find_spec
from pathlib import Path

from utils.version import ROOT

#: The empty map, in the game's folder.
MAP = "SMAC_Maps/empty_passive.SC2Map"
INSTALL = "./install_sc2.sh fetches it"
PACKAGES = "./run.sh python -m pip install --no-deps -r requirements-sc2.txt"


def game_folder() -> Path:
    """The game's folder: the environment's SC2PATH, or else where install_sc2.sh puts it, or else where pysc2 looks."""
    named = os.environ.get("SC2PATH")
    if named:
        return Path(named).expanduser()
    ours = ROOT / "3rdparty" / "StarCraftII"
    return ours if ours.is_dir() else Path("~/StarCraftII").expanduser()


def what_is_missing() -> str:
    """What has to be done before StarCraft II can be played, in a few words; "" where nothing has to."""
    folder = game_folder()
    if not any(folder.glob("Versions/Base*/SC2_x64")):
        return f"there is no StarCraft II in {folder} (SC2PATH): {INSTALL}"
    if not (folder / "Maps" / MAP).is_file():
        return f"the map {MAP} is not in {folder / 'Maps'}: {INSTALL}"
    for package in ("pysc2", "s2clientprotocol", "websocket", "portpicker", "absl"):
        if find_spec(package) is None:
            return f"the Python package {package} is not installed: {PACKAGES}"
    return ""
