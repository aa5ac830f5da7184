"""The words on the command line: which YAML files, which settings.

python src/main.py --config=mappo --env-config=sc2_sz --recipe=fast with env_args.train_team=3-5 lr=1e-4
"""

import argparse
import ast
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import UserError
from utils.paths import read_path
from utils.suggest import nearest
from utils.version import ROOT

#: Folder of default.yaml, algs/, envs/ and recipes/.
CONFIG_DIR = Path(__file__).resolve().parents[1] / "config"

#: The recipe that has no files: what default.yaml, tasks and algorithms say, which is what the papers have.
PAPER = "paper"

_USAGE = """\
Train or test a team: python src/main.py [--config=ALGORITHM] [--env-config=ENVIRONMENT] [--recipe=RECIPE]
                                         [with KEY=VALUE ...]

  --config NAME        settings of an algorithm, from src/config/algs
  --env-config NAME    settings of a task, from src/config/envs
  --recipe NAME        paper (the default): as the papers have it; or another way to train the algorithm, from
                       src/config/recipes
  --print-config       print the settings that a run would have and its memory, and stop
  --help               print this page, and stop

KEY is any key of src/config/default.yaml, which says what each one does; settings of the environment are written
env_args.KEY. VALUE is a number, true or false, a list such as [5,6] or plain text. Later wins: default.yaml, the task,
the algorithm, the recipe, the command line."""

#: What YAML 1.1 and Python call true, false and nothing.
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False, "null": None, "none": None}


#: Options that a name follows.
_NAMES = ("--config", "--env-config", "--recipe")

#: What text may stand in.
QUOTES = ("'", '"')


@dataclass(frozen=True)
class CommandLine:
    """The command line, taken apart but not yet checked against the known keys."""

    algorithm: str | None = None
    environment: str | None = None
    #: (dotted key, text of the value) in the order given
    settings: tuple[tuple[str, str], ...] = ()
    recipe: str = PAPER
    help: bool = False
    print_config: bool = False


class Parser(argparse.ArgumentParser):
    """For the programs that have options of their own."""

    def error(self, message: str) -> NoReturn:
        """
        Raises:
            UserError: the words cannot be read.
        """
        raise UserError(f"{message}; --help explains the words")


def add_results(parser: Parser) -> None:
    """The word that names a folder of results, where `results` is meant if there is none."""
    parser.add_argument(
        "results",
        type=partial(read_path, "RESULTS"),
        metavar="RESULTS",
        nargs="?",
        default=ROOT / "results",
        help="a folder of results; default: results",
    )


def parse_command_line(argv: Sequence[str]) -> CommandLine:
    """Take apart `argv` (without the program's name). The word `with` may be left out.

    Raises:
        UserError: an unknown or incomplete option, or a word that is no KEY=VALUE.
    """
    names: dict[str, str] = {}
    flags: set[str] = set()
    settings: list[tuple[str, str]] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        if option in _NAMES:
            if not equals:
                value = words.pop(0) if words and not words[0].startswith("-") else ""
            if not value:
                raise UserError(f"{option} needs a name, such as {option}=NAME; --help lists them")
            if option in names:
                raise UserError(f"{option} is given twice: {names[option]!r} and {value!r}")
            names[option] = value
        elif word in ("--help", "-h", "help"):
            flags.add("help")
        elif word == "--print-config":
            flags.add("print_config")
        elif word.startswith("-"):
            options = [*_NAMES, "--print-config", "--help"]
            raise UserError(f"unknown option {option!r}; the nearest is {nearest(option, options)!r}")
        elif word == "with":
            continue
        elif equals and option:
            settings.append((option, value))
        else:
            raise UserError(f"cannot read {word!r}: settings are written KEY=VALUE, without spaces around the =")
    return CommandLine(
        algorithm=names.get("--config"),
        environment=names.get("--env-config"),
        settings=tuple(settings),
        recipe=names.get("--recipe", PAPER),
        help="help" in flags,
        print_config="print_config" in flags,
    )


def parse_value(text: str) -> Any:
    """Return the value that `text` means: a Python literal, a word for true, false or nothing, otherwise the text.

    Raises:
        ValueError: the text begins with a quote and is no quoted text.
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of text that almost is Python
            return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        if text[:1] in QUOTES:
            raise ValueError("closed by the quote that it begins with") from None
        return text


def config_names(kind: str) -> list[str]:
    """Names of the YAML files in config/<kind>: `algs`, `envs`, `recipes/<recipe>`."""
    return sorted(path.stem for path in (CONFIG_DIR / kind).glob("*.yaml"))


def recipe_names() -> list[str]:
    """What --recipe may name."""
    return [PAPER, *sorted(path.name for path in (CONFIG_DIR / "recipes").glob("*") if path.is_dir())]


def help_text() -> str:
    """The page that --help prints: syntax, algorithms, tasks and recipes."""
    parts = [_USAGE]
    for title, kind in (("Algorithms", "algs"), ("Tasks", "envs")):
        names = config_names(kind)
        width = max(map(len, names), default=0)
        lines = [f"  {name:<{width}}  {_first_comment(CONFIG_DIR / kind / f'{name}.yaml')}".rstrip() for name in names]
        parts.append("\n".join([f"{title}:", *lines]))
    lines = [f"  {name}  for {', '.join(config_names(f'recipes/{name}'))}" for name in recipe_names() if name != PAPER]
    parts.append("\n".join(["Recipes:", f"  {PAPER} for all", *lines]))
    return "\n\n".join(parts)


def _first_comment(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            return line.lstrip("# ").strip()
    return ""
