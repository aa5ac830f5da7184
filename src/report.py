"""A report of runs: a page with curves, scores and comparisons, its pictures and tables. `python src/report.py --help`
explains the words.

Exit codes: 0 it is written, 2 the user can correct something, 130 it was stopped.
"""

import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec

from utils.command_line import Parser
from utils.errors import UserError
from utils.interrupt import last_words
from utils.paths import read_path
from utils.version import ROOT


def main(argv: Sequence[str]) -> int:
    """Write the report that `argv` (without the program's name) asks for and return the exit code."""
    try:
        options = _parser().parse_args(argv)
        if find_spec("matplotlib") is None:
            raise UserError("a report draws with matplotlib, which is missing: install requirements.txt")
        from reports.making import make  # late: --help waits for no numpy

        page = make(options.results, options.group_by.split(","), options.metric, options.db, options.out)
        print(f"wrote {page}, and its pictures and tables beside it", flush=True)
    except UserError as error:
        last_words("error: " + " ".join(str(error).split()))
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="python src/report.py",
        description="Write a page that compares the runs recorded in RESULTS: learning curves, last scores by team, "
        "performance profiles, probabilities of improvement, and a list of all runs; its pictures as PNG and SVG, its "
        "numbers as CSV and as marl-eval's JSON. Runs that are not complete are shown and never averaged.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "results",
        metavar="RESULTS",
        nargs="*",
        default=[str(ROOT / "results")],
        help="folders of results, or mongodb://HOST:PORT/ (mongodb:// alone: MONGO_URL of the environment, where no "
        "other user sees its password); default: results",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        default="",
        help="what is shown, such as test/3-5/battle_won_mean; default: of each task battles won, else the return, of "
        "a team that was trained with",
    )
    parser.add_argument(
        "--group-by",
        metavar="KEYS",
        default="config,env",
        help="what tells methods apart: config, env (without it, methods are averaged over tasks) and any settings, "
        "such as config,env,lr; default: config,env",
    )
    parser.add_argument(
        "--out",
        type=partial(read_path, "--out"),
        metavar="DIR",
        default=ROOT / "results" / "report",
        help="default: results/report",
    )
    parser.add_argument("--db", metavar="NAME", default="sacred", help="the database at an address; default: sacred")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
