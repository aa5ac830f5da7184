"""The one exception for what a user can put right."""


class UserError(Exception):
    """Something the user can correct: a setting, a file, a missing game or database.

    The message is one line that names the thing, the value and the remedy; `main.py` prints it without a
    traceback and exits with code 2.
    """
