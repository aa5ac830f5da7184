"""The command line: settings -> checks -> a recorded run. `python src/main.py --help` explains the words.

Exit codes: 0 the run is complete, 1 it failed, 2 the user can correct something, 129, 130 or 143 it was stopped.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence

import yaml

from utils.command_line import help_text, parse_command_line
from utils.config import Config, build_config
from utils.errors import RunFailed, UserError
from utils.interrupt import StopSignal, last_words
from utils.secrets import without_passwords


def main(argv: Sequence[str], final: bool = False) -> int:
    """Run what `argv` (without the program's name) asks for and return the exit code.

    `final`: the program ends with it.
    """
    with StopSignal(final, quiet=_is_rank() and os.environ["RANK"] != "0") as stop:
        try:
            with _company():
                return _carry_out(argv, stop)
        except (UserError, RunFailed) as error:
            _end("error: " + " ".join(without_passwords(str(error)).split()))
            return 2 if isinstance(error, UserError) else 1
        except KeyboardInterrupt as interrupt:
            _end(f"stopped by {_signal_name(stop)}" + f"; {interrupt}" * bool(str(interrupt)))
            return stop.exit_code


def _carry_out(argv: Sequence[str], stop: StopSignal) -> int:
    command = parse_command_line(argv)
    if command.help:
        print(help_text())
        return 0
    config = build_config(command)
    if command.print_config:
        print(yaml.safe_dump(config.as_dict(), sort_keys=False), end="")
        print("#", _outlook(config))
        return 0
    import recording  # late: neither --help nor a misspelt key should wait for the networks' code
    import run

    run.check(config)
    recording.record(config, argv, stop)
    return 0


def _is_rank() -> bool:
    """Whether torchrun has started this process as one of several."""
    return "LOCAL_RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


@contextlib.contextmanager
def _company() -> Iterator[None]:
    """With the other ranks, where there are any; one prints for all of them. Who ends by an error does not part from
    the others: they may be gone, too.
    """
    if not _is_rank():
        yield
        return
    from utils import ranks  # late, as above

    ranks.join()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(sys.stdout if ranks.first() else nowhere):
        yield
    ranks.leave()


def _end(words: str) -> None:
    """Print the line that this process ends in, unless it is the end of all ranks, and another one has told of it."""
    if _is_rank():
        from utils import ranks

        if not ranks.speaks(words):
            return
    last_words(words)


def _outlook(config: Config) -> str:
    """What a run with these settings would take, or why it would not start."""
    import run

    try:
        return str(run.check(config))
    except UserError as error:
        return f"would not start: {' '.join(str(error).split())}"


def _signal_name(stop: StopSignal) -> str:
    return signal.Signals(stop.signum).name if stop.signum is not None else "the keyboard"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], final=True))
