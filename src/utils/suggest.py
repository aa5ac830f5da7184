"""Finding what the user meant."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the entry of `known` (not empty) that looks most like `word`."""
    return max(known, key=lambda entry: (difflib.SequenceMatcher(None, word.lower(), entry.lower()).ratio(), entry))
