"""MongoDB's update operators. Each makes a new document; the old one is left as it is."""

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from bson import ObjectId

from mongo_standin.pipeline import run
from mongo_standin.queries import equalities, is_operators, matches
from mongo_standin.values import MISSING, Document, Refused, change, order, same


def apply(document: Document, update: Document | list[Document], inserting: bool = False) -> Document:
    """What `update` makes of `document`: a replacement, operators, or stages of a pipeline."""
    if isinstance(update, list):
        (new,) = run([document], update, None)
    elif not is_operators(update):
        new = {**({"_id": document["_id"]} if "_id" in document else {}), **update}
    else:
        new = _operate(document, update, inserting)
    if "_id" in document and not same(document["_id"], new.get("_id", MISSING)):
        text = "Performing an update on the path '_id' would modify the immutable field '_id'"
        raise Refused(66, "ImmutableField", text)
    return new


def upserted(query: Document, update: Document | list[Document]) -> Document:
    """The document that an update of nothing inserts: what the query wants to be equal, and the update on top."""
    document: Document = {}
    for path, value in equalities(query).items():
        document = change(document, path.split("."), lambda _, value=value: value)
    if not isinstance(update, list) and not is_operators(update):
        document = {"_id": document["_id"]} if "_id" in document else {}
    document = apply(document, update, inserting=True)
    return {"_id": ObjectId(), **document}


def _operate(document: Document, update: Document, inserting: bool) -> Document:
    paths = [path for fields in update.values() for path in fields]
    for path in paths:
        if paths.count(path) > 1 or any(path.startswith(f"{other}.") for other in paths):
            text = f"Updating the path '{path}' would create a conflict at '{path}'"
            raise Refused(40, "ConflictingUpdateOperators", text)
    for name, fields in update.items():
        if name not in _OPERATORS:
            raise Refused(9, "FailedToParse", f"Unknown modifier: {name}. Expected a valid update modifier")
        if name == "$setOnInsert" and not inserting:
            continue
        for path, value in fields.items():
            how = _OPERATORS[name]
            document = change(document, path.split("."), lambda old, how=how, value=value: how(old, value))
    return document


def _number(old: Any, value: Any, how: Callable[[Any, Any], Any], empty: Any) -> Any:
    if old is MISSING:
        return empty
    if isinstance(old, bool) or not isinstance(old, int | float):
        text = f"Cannot apply an arithmetic operator to a value of non-numeric type {type(old).__name__}"
        raise Refused(14, "TypeMismatch", text)
    return how(old, value)


def _array(old: Any, what: str) -> list[Any]:
    if old is MISSING:
        return []
    if not isinstance(old, list):
        raise Refused(2, "BadValue", f"The field must be an array but is of type {type(old).__name__} ({what})")
    return old


def _push(old: Any, value: Any) -> Any:
    array = _array(old, "$push")
    if not (isinstance(value, dict) and "$each" in value):
        return [*array, value]
    if unknown := set(value) - {"$each", "$slice", "$position"}:
        raise Refused(9, "FailedToParse", f"Unrecognized clause in $push: {min(unknown)}")
    at = value.get("$position", len(array))
    array = [*array[:at], *value["$each"], *array[at:]]
    keep = value.get("$slice")
    if keep is None:
        return array
    return array[:keep] if keep >= 0 else array[keep:]


def _add_to_set(old: Any, value: Any) -> Any:
    array = list(_array(old, "$addToSet"))
    seen = {order(one) for one in array}
    for one in value["$each"] if isinstance(value, dict) and "$each" in value else [value]:
        if order(one) not in seen:
            array.append(one)
            seen.add(order(one))
    return array


def _pull(old: Any, value: Any) -> Any:
    if old is MISSING:
        return old

    def goes(one: Any) -> bool:
        if is_operators(value):
            return matches({"one": one}, {"one": value})
        return matches(one, value) if isinstance(one, dict) and isinstance(value, dict) else same(one, value)

    return [one for one in _array(old, "$pull") if not goes(one)]


def _now(old: Any, value: Any) -> Any:
    if value is True or value == {"$type": "date"}:
        return datetime.now(timezone.utc).replace(tzinfo=None)
    raise Refused(2, "BadValue", "the stand-in sets a $currentDate of type date only")


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "$set": lambda old, value: value,
    "$setOnInsert": lambda old, value: value,
    "$unset": lambda old, value: MISSING,
    "$inc": lambda old, value: _number(old, value, lambda a, b: a + b, value),
    "$mul": lambda old, value: _number(old, value, lambda a, b: a * b, 0),
    "$min": lambda old, value: value if old is MISSING or order(value) < order(old) else old,
    "$max": lambda old, value: value if old is MISSING or order(value) > order(old) else old,
    "$push": _push,
    "$addToSet": _add_to_set,
    "$pull": _pull,
    "$currentDate": _now,
}
