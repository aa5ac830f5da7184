"""MongoDB's query language: which documents a filter means, in which order, and what of them is shown."""

import re
from collections.abc import Iterable
from typing import Any

from bson import Regex

from mongo_standin.expressions import evaluate, true
from mongo_standin.values import MISSING, TYPES, Document, Refused, find, order, unsupported


def matches(document: Document, query: Document) -> bool:
    return all(_holds(document, key, condition) for key, condition in query.items())


def _holds(document: Document, key: str, condition: Any) -> bool:
    if key == "$and":
        return all(matches(document, part) for part in condition)
    if key == "$or":
        return any(matches(document, part) for part in condition)
    if key == "$nor":
        return not any(matches(document, part) for part in condition)
    if key == "$comment":
        return True
    if key == "$expr":
        return true(evaluate(condition, document))
    if key.startswith("$"):
        raise Refused(2, "BadValue", f"unknown top level operator: {key}")
    return _meets(list(find(document, key)), condition)


def is_operators(condition: Any) -> bool:
    return isinstance(condition, dict) and any(key.startswith("$") for key in condition)


def _meets(found: list[Any], condition: Any) -> bool:
    """Whether the values that a path reaches meet a condition: a value, or operators that must all hold."""
    if not is_operators(condition):
        return _test(found, "$regex" if isinstance(condition, Regex | re.Pattern) else "$eq", condition, {})
    return all(_test(found, name, value, condition) for name, value in condition.items() if name != "$options")


def _members(found: list[Any]) -> list[Any]:
    """Arrays stand for themselves and for each of their members."""
    return [*found, *(member for value in found if isinstance(value, list) for member in value)]


def _test(found: list[Any], name: str, value: Any, condition: Document) -> bool:
    if name == "$eq":
        wanted = order(value)
        if value is None:
            return any(one is MISSING or one is None for one in _members(found)) or not found
        return any(order(one) == wanted for one in _members(found))
    if name == "$ne":
        return not _meets(found, value)
    if name in ("$gt", "$gte", "$lt", "$lte"):
        return any(_compares(one, name, value) for one in _members(found))
    if name == "$in":
        return any(_meets(found, one) for one in value)
    if name == "$nin":
        return not any(_meets(found, one) for one in value)
    if name == "$exists":
        return bool(value) == any(one is not MISSING for one in found)
    if name == "$not":
        return not _meets(found, value)
    if name == "$regex":
        pattern = _pattern(value, condition.get("$options", ""))
        return any(isinstance(one, str) and pattern.search(one) for one in _members(found))
    if name == "$size":
        return any(isinstance(one, list) and len(one) == value for one in found)
    if name == "$all":
        return bool(value) and all(_meets(found, one) for one in value)
    if name == "$elemMatch":
        return any(_element(one, value) for array in found if isinstance(array, list) for one in array)
    if name == "$type":
        tests = [
            test
            for one in (value if isinstance(value, list) else [value])
            for label, (number, test) in TYPES.items()
            if one in (label, number)
        ]
        return any(test(one) for one in _members(found) for test in tests)
    if name == "$mod":
        return any(TYPES["number"][1](one) and int(one) % value[0] == value[1] for one in _members(found))
    raise Refused(2, "BadValue", f"unknown operator: {name}")


def _compares(one: Any, name: str, value: Any) -> bool:
    a, b = order(one), order(value)
    # values of another type are neither more nor less, and not a number neither
    if a[0] != b[0] or (a[0] == 2 and a[1] != b[1]):
        return False
    return {"$gt": a > b, "$gte": a >= b, "$lt": a < b, "$lte": a <= b}[name]


def _element(one: Any, condition: Document) -> bool:
    if is_operators(condition) and not any(key in ("$and", "$or", "$nor") for key in condition):
        return _meets([one], condition)
    return isinstance(one, dict) and matches(one, condition)


def _pattern(value: Any, options: str) -> re.Pattern[str]:
    if isinstance(value, Regex):
        return value.try_compile()
    flags = 0
    for letter in options:
        flags |= {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}[letter]
    return re.compile(value, flags)


def sort(documents: Iterable[Document], keys: Document) -> list[Document]:
    """`documents` in the order of `keys`, the first key first; an array counts as its least or greatest member."""
    ordered = list(documents)
    for path, direction in reversed(keys.items()):
        if direction not in (1, -1):
            raise unsupported(f"sort by {direction}")
        pick = min if direction == 1 else max

        def key(document: Document, path: str = path, pick: Any = pick) -> Any:
            ranks = []
            for one in find(document, path):
                members = one if isinstance(one, list) and one else [one]
                ranks += [order(None if member is MISSING else member) for member in members]
            return pick(ranks, default=order(None))

        ordered.sort(key=key, reverse=direction == -1)
    return ordered


def distinct(documents: Iterable[Document], path: str) -> list[Any]:
    """The different values at `path`, members of arrays each, in the order in which they are met."""
    seen: dict[Any, Any] = {}
    for document in documents:
        for one in find(document, path):
            for member in one if isinstance(one, list) else [one]:
                if member is not MISSING:
                    seen.setdefault(order(member), member)
    return list(seen.values())


def equalities(query: Document) -> dict[str, Any]:
    """The paths for which `query` wants one value."""
    found: dict[str, Any] = {}
    for key, condition in query.items():
        if key == "$and":
            for part in condition:
                found.update(equalities(part))
        elif not key.startswith("$"):
            if isinstance(condition, dict) and set(condition) == {"$eq"}:
                found[key] = condition["$eq"]
            elif not is_operators(condition) and not isinstance(condition, Regex | re.Pattern):
                found[key] = condition
    return found
