"""What MongoDB says of single values: how they compare, and what a dotted path finds in a document."""

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from bson import Binary, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

Document = dict[str, Any]


class Missing:
    """The value of a field that a document does not have."""


MISSING = Missing()


class Refused(Exception):
    """A command that cannot be carried out; the server answers with its number and this text."""

    def __init__(self, code: int, name: str, text: str, **more: Any) -> None:
        super().__init__(text)
        self.code, self.name, self.more = code, name, more


def unsupported(what: str) -> Refused:
    """What the stand-in says of things that it does not know, whether or not MongoDB does."""
    return Refused(238, "NotImplemented", f"the stand-in knows no {what}")


def order(value: Any) -> tuple[Any, ...]:
    """A hashable key that sorts and compares values of any type as MongoDB does: by type first, then by value."""
    if value is MISSING:
        return (0,)
    if value is None:
        return (1,)
    if isinstance(value, bool):
        return (8, value)
    if isinstance(value, int | float):
        return (2, 0, 0) if value != value else (2, 1, value)  # not a number: below all numbers
    if isinstance(value, str):
        return (3, value)
    if isinstance(value, dict):
        return (4, tuple((order(v)[0], k, order(v)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return (5, tuple(order(v) for v in value))
    if isinstance(value, bytes):
        return (6, len(value), value.subtype if isinstance(value, Binary) else 0, bytes(value))
    if isinstance(value, ObjectId):
        return (7, value.binary)
    if isinstance(value, datetime):
        return (9, value)
    if isinstance(value, Timestamp):
        return (10, value.time, value.inc)
    if isinstance(value, Regex):
        return (11, value.pattern, value.flags)
    if isinstance(value, MinKey | MaxKey):
        return (-1 if isinstance(value, MinKey) else 127,)
    raise unsupported(f"comparison of {type(value).__name__}")


def same(a: Any, b: Any) -> bool:
    return order(a) == order(b)


#: The names of types in `$type`, and their numbers.
TYPES: dict[str, tuple[int, Callable[[Any], bool]]] = {
    "double": (1, lambda v: isinstance(v, float)),
    "string": (2, lambda v: isinstance(v, str)),
    "object": (3, lambda v: isinstance(v, dict)),
    "array": (4, lambda v: isinstance(v, list)),
    "binData": (5, lambda v: isinstance(v, bytes)),
    "objectId": (7, lambda v: isinstance(v, ObjectId)),
    "bool": (8, lambda v: isinstance(v, bool)),
    "date": (9, lambda v: isinstance(v, datetime)),
    "null": (10, lambda v: v is None),
    "int": (16, lambda v: isinstance(v, int) and not isinstance(v, bool | Int64)),
    "long": (18, lambda v: isinstance(v, Int64)),
    "number": (-2, lambda v: isinstance(v, int | float) and not isinstance(v, bool)),
}


def get(value: Any, path: str) -> Any:
    """What an expression's `$path` means: through arrays, a list of what their members have."""
    head, _, rest = path.partition(".")
    if isinstance(value, list):
        found = [get(member, path) for member in value if isinstance(member, dict)]
        return [member for member in found if member is not MISSING]
    if not isinstance(value, dict) or head not in value:
        return MISSING
    return get(value[head], rest) if rest else value[head]


def find(value: Any, path: str) -> Iterator[Any]:
    """The values that a query's `path` reaches; members of arrays on the way count each, or one by its number."""
    head, _, rest = path.partition(".")
    if isinstance(value, dict):
        inner = value.get(head, MISSING)
        yield from find(inner, rest) if rest else [inner]
    elif isinstance(value, list):
        if head.isdecimal() and int(head) < len(value):
            inner = value[int(head)]
            yield from find(inner, rest) if rest else [inner]
        for member in value:
            if isinstance(member, dict):
                yield from find(member, path)
    else:
        yield MISSING


def change(value: Any, path: list[str], how: Callable[[Any], Any]) -> Any:
    """A copy of `value` with `how(old)` at `path`, which is made where it is missing; MISSING removes the field.

    What is not on the path is shared with the old one.
    """
    if not path:
        return how(value)
    head, rest = path[0], path[1:]
    if isinstance(value, list) and head.isdecimal():
        at = int(head)
        new = change(value[at] if at < len(value) else MISSING, rest, how)
        if new is MISSING:
            return [*value[:at], None, *value[at + 1 :]] if at < len(value) else value
        return [*value[:at], *itertools.repeat(None, at - len(value)), new, *value[at + 1 :]]
    if value is not MISSING and not isinstance(value, dict):
        if how(MISSING) is MISSING:
            return value
        raise Refused(28, "PathNotViable", f"Cannot create field '{head}' in element of type {type(value).__name__}")
    old = {} if value is MISSING else value
    new = change(old.get(head, MISSING), rest, how)
    if new is MISSING:
        return value if head not in old else {k: v for k, v in old.items() if k != head}
    return {**old, head: new}
