"""Runs that are recorded in files, brought to a MongoDB: later, again, or as they go on.
`python src/sync_mongo.py --help` explains the words.

Exit codes: 0 the database has all that is there, 1 it has not, 2 the user can correct something, 129, 130 or 143 it was
stopped; the same command goes on from there.
"""

import sys
from collections.abc import Sequence

from utils.command_line import Parser, add_results
from utils.errors import UserError
from utils.interrupt import StopSignal, last_words


def main(argv: Sequence[str], final: bool = False) -> int:
    """Bring what `argv` (without the program's name) asks for and return the exit code."""
    with StopSignal(final) as stop:
        try:
            options = _parser().parse_args(argv)
            if not options.results.is_dir():
                raise UserError(
                    f"RESULTS={options.results}: there is no such folder; name one that runs were recorded in"
                )
            from observers.sync import synchronise  # late: --help needs no database

            return synchronise(options.results, options.url, options.db, options.watch, options.checkpoints, stop)
        except UserError as error:
            last_words("error: " + " ".join(str(error).split()))
            return 2
        except KeyboardInterrupt:
            last_words("stopped; the same command goes on from here")
            return stop.exit_code


def _parser() -> Parser:
    parser = Parser(
        prog="python src/sync_mongo.py",
        description="Bring the runs that are recorded below a folder of results, those of studies too, to a MongoDB: "
        "what is missing there is added, nothing twice, and nothing in the files is changed. The address stands in the "
        "environment as MONGO_URL, where no other user sees its password.",
        allow_abbrev=False,
    )
    add_results(parser)
    parser.add_argument("--watch", action="store_true", help="go on every few seconds, until it is stopped")
    parser.add_argument("--checkpoints", action="store_true", help="keep the checkpoints there, too")
    parser.add_argument("--url", metavar="URL", default="", help="mongodb://HOST:PORT/; default: MONGO_URL")
    parser.add_argument("--db", metavar="NAME", default="sacred", help="the database there; default: sacred")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], final=True))
