"""A trained policy as a program that runs without this project. `python src/export.py --help` explains the words.

Exit codes: 0 it is written, 2 the user can correct something, 130 it was stopped.
"""

import sys
from collections.abc import Sequence
from functools import partial

from utils.command_line import Parser
from utils.errors import UserError
from utils.paths import find_path, read_path


def main(argv: Sequence[str]) -> int:
    """Export what `argv` (without the program's name) asks for and return the exit code."""
    try:
        options = _parser().parse_args(argv)
        from exporting.export import export  # late: --help does not wait for torch

        for path in export(options.checkpoint, options.out):
            print(f"wrote {path}")
    except UserError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="python src/export.py",
        description="Write the policy of one agent as a program that runs without Muster, for any number of entities, "
        "and a card beside it that says how to call it. A coach is a second program. Networks with weights for each "
        "slot keep their slots.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "checkpoint",
        type=partial(find_path, "CHECKPOINT"),
        metavar="CHECKPOINT",
        help="a checkpoint's folder, or that of its run, <results>/models/<id>, whose newest is taken",
    )
    parser.add_argument(
        "--out",
        type=partial(read_path, "--out"),
        metavar="FILE",
        required=True,
        help="FILE.pt2 (torch.export) or FILE.onnx (needs requirements-export.txt)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
