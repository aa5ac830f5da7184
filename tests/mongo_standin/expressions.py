"""The expressions of MongoDB's aggregation, as far as Omniboard and scripts on runs use them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from mongo_standin.values import MISSING, TYPES, Document, Refused, get, order, unsupported

Variables = dict[str, Any]


def evaluate(expression: Any, document: Document, variables: Variables | None = None) -> Any:
    """The value of `expression`; MISSING where it names a field that is not there."""
    known = variables or {}
    if isinstance(expression, str) and expression.startswith("$$"):
        name, _, rest = expression[2:].partition(".")
        if name == "REMOVE":
            return MISSING
        if name not in known and name not in ("ROOT", "CURRENT"):
            raise Refused(17276, "Location17276", f"Use of undefined variable: {name}")
        value = known.get(name, document)
        return get(value, rest) if rest else value
    if isinstance(expression, str) and expression.startswith("$"):
        return get(document, expression[1:])
    if isinstance(expression, list):
        return [_null(evaluate(one, document, known)) for one in expression]
    if not isinstance(expression, dict):
        return expression
    names = [key for key in expression if key.startswith("$")]
    if not names:
        values = {key: evaluate(one, document, known) for key, one in expression.items()}
        return {key: value for key, value in values.items() if value is not MISSING}
    if len(expression) > 1:
        raise Refused(15983, "Location15983", "an expression specification must contain exactly one field")
    (name,), (argument,) = names, expression.values()
    if name in _SPECIAL:
        return _SPECIAL[name](argument, document, known)
    if name in _FUNCTIONS:
        arguments = argument if isinstance(argument, list) else [argument]
        return _FUNCTIONS[name](*(evaluate(one, document, known) for one in arguments))
    if name in ACCUMULATORS:
        arguments = argument if isinstance(argument, list) else [argument]
        values = [evaluate(one, document, known) for one in arguments]
        if len(values) == 1 and isinstance(values[0], list):
            values = values[0]
        return ACCUMULATORS[name](values)
    raise Refused(168, "InvalidPipelineOperator", f"Unrecognized expression '{name}'")


def true(value: Any) -> bool:
    return value is not MISSING and value is not None and value is not False and (isinstance(value, str) or value != 0)


def _null(value: Any) -> Any:
    return None if value is MISSING else value


# --- expressions that do not evaluate all that they are given ---------------------------------------------------------


def _cond(argument: Any, document: Document, known: Variables) -> Any:
    test, then, other = [argument[k] for k in ("if", "then", "else")] if isinstance(argument, dict) else argument
    return evaluate(then if true(evaluate(test, document, known)) else other, document, known)


def _if_null(argument: Any, document: Document, known: Variables) -> Any:
    value: Any = MISSING
    for one in argument:
        value = evaluate(one, document, known)
        if value is not MISSING and value is not None:
            break
    return value


def _let(argument: Any, document: Document, known: Variables) -> Any:
    names = {name: evaluate(one, document, known) for name, one in argument["vars"].items()}
    return evaluate(argument["in"], document, {**known, **names})


def _reduce(argument: Any, document: Document, known: Variables) -> Any:
    array, value = (evaluate(argument[name], document, known) for name in ("input", "initialValue"))
    if array is MISSING or array is None:
        return None
    for one in array:
        value = evaluate(argument["in"], document, {**known, "value": value, "this": one})
    return value


def _map(argument: Any, document: Document, known: Variables) -> Any:
    array = evaluate(argument["input"], document, known)
    if array is MISSING or array is None:
        return None
    name = argument.get("as", "this")
    return [_null(evaluate(argument["in"], document, {**known, name: one})) for one in array]


def _filter(argument: Any, document: Document, known: Variables) -> Any:
    array = evaluate(argument["input"], document, known)
    if array is MISSING or array is None:
        return None
    name = argument.get("as", "this")
    return [one for one in array if true(evaluate(argument["cond"], document, {**known, name: one}))]


def _all(argument: Any, document: Document, known: Variables) -> bool:
    return all(true(evaluate(one, document, known)) for one in argument)


def _any(argument: Any, document: Document, known: Variables) -> bool:
    return any(true(evaluate(one, document, known)) for one in argument)


_SPECIAL: dict[str, Callable[[Any, Document, Variables], Any]] = {
    "$literal": lambda argument, document, known: argument,
    "$cond": _cond,
    "$ifNull": _if_null,
    "$let": _let,
    "$reduce": _reduce,
    "$map": _map,
    "$filter": _filter,
    "$and": _all,
    "$or": _any,
}

# --- functions of values ----------------------------------------------------------------------------------------------


def _strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """Null where an argument is null or missing."""
    return lambda *values: None if any(one is MISSING or one is None for one in values) else function(*values)


def _subtract(a: Any, b: Any) -> Any:
    if isinstance(a, datetime):
        gap = a - (b if isinstance(b, datetime) else timedelta(milliseconds=b))
        return gap // timedelta(milliseconds=1) if isinstance(gap, timedelta) else gap
    return a - b


def _concat(*parts: Any) -> str:
    if not all(isinstance(part, str) for part in parts):
        raise Refused(16702, "Location16702", "$concat only supports strings")
    return "".join(parts)


def _element(array: Any, at: int) -> Any:
    if not isinstance(array, list):
        raise Refused(28689, "Location28689", f"$arrayElemAt's first argument must be an array, but is {array!r}")
    return array[at] if -len(array) <= at < len(array) else MISSING


def _size(array: Any) -> int:
    if not isinstance(array, list):
        raise Refused(17124, "Location17124", "The argument to $size must be an array")
    return len(array)


def _slice(array: list[Any], at: int, count: int | None = None) -> list[Any]:
    if count is None:
        return array[:at] if at >= 0 else array[at:]
    at = at if at >= 0 else max(0, len(array) + at)
    return array[at : at + count]


def _object_id(value: Any) -> ObjectId:
    if not ObjectId.is_valid(value):
        raise Refused(241, "ConversionFailure", f"Failed to parse objectId '{value}' in $convert with no onError value")
    return ObjectId(value)


def _object(array: list[Any]) -> Document:
    pairs = [(one["k"], one["v"]) if isinstance(one, dict) else tuple(one) for one in array]
    return {key: value for key, value in pairs if value is not MISSING}


def _merge(*values: Any) -> Document:
    return {key: value for one in values if isinstance(one, dict) for key, value in one.items()}


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | ObjectId):
        return str(value)
    raise unsupported(f"$toString of {type(value).__name__}")


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "$not": lambda value: not true(value),
    "$eq": lambda a, b: order(a) == order(b),
    "$ne": lambda a, b: order(a) != order(b),
    "$gt": lambda a, b: order(a) > order(b),
    "$gte": lambda a, b: order(a) >= order(b),
    "$lt": lambda a, b: order(a) < order(b),
    "$lte": lambda a, b: order(a) <= order(b),
    "$cmp": lambda a, b: (order(a) > order(b)) - (order(a) < order(b)),
    "$in": lambda value, array: order(value) in map(order, array),
    "$add": _strict(lambda *values: sum(values)),
    "$subtract": _strict(_subtract),
    "$multiply": _strict(lambda a, b: a * b),
    "$divide": _strict(lambda a, b: a / b),
    "$concat": _strict(_concat),
    "$split": _strict(lambda text, by: text.split(by)),
    "$toLower": lambda text: text.lower() if isinstance(text, str) else "",
    "$arrayElemAt": _strict(_element),
    "$isArray": lambda value: isinstance(value, list),
    "$size": _size,
    "$slice": _strict(_slice),
    "$concatArrays": _strict(lambda *arrays: [one for array in arrays for one in array]),
    "$toObjectId": _strict(_object_id),
    "$toString": _strict(_string),
    "$arrayToObject": _strict(_object),
    "$objectToArray": _strict(lambda value: [{"k": k, "v": v} for k, v in value.items()]),
    "$mergeObjects": _merge,
    "$type": lambda value: "missing" if value is MISSING else _type(value),
}


def _type(value: Any) -> str:
    for name, (_, test) in TYPES.items():
        if name != "number" and test(value):
            return name
    raise unsupported(f"$type of {type(value).__name__}")


# --- what `$group` makes of many values -------------------------------------------------------------------------------


def _numbers(values: list[Any]) -> list[Any]:
    return [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]


def _present(values: list[Any]) -> list[Any]:
    return [one for one in values if one is not MISSING and one is not None]


def _mean(values: list[Any]) -> float | None:
    numbers = _numbers(values)
    return sum(numbers) / len(numbers) if numbers else None


ACCUMULATORS: dict[str, Callable[[list[Any]], Any]] = {
    "$sum": lambda values: sum(_numbers(values)),
    "$avg": _mean,
    "$min": lambda values: min(_present(values), key=order, default=None),
    "$max": lambda values: max(_present(values), key=order, default=None),
    "$first": lambda values: values[0] if values else MISSING,
    "$last": lambda values: values[-1] if values else MISSING,
    "$push": lambda values: [one for one in values if one is not MISSING],
    "$addToSet": lambda values: list({order(one): one for one in values if one is not MISSING}.values()),
}
