"""The exceptions whose message is all that a user needs to read."""


class UserError(Exception):
    """Something the user can correct: a setting, a file, a missing game or database.

    The message is one line that names the thing, the value and the remedy; `main.py` prints it without a
    traceback and exits with code 2.
    """


class RunFailed(RuntimeError):
    """A run cannot go on for a reason that one line tells: a loss that is not finite, a full disk, a worker that died.

    `main.py` prints the message without a traceback and exits with code 1; the run is recorded as FAILED, with the
    traceback in its record.
    """


def one_line(error: Exception | str) -> str:
    """The message of an error that may be long, for a message of ours."""
    return " ".join(str(error).split())[:200]
