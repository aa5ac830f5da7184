"""The stages of MongoDB's aggregation, as far as Omniboard and scripts on runs use them, and projections."""

from collections.abc import Callable
from typing import Any

from mongo_standin.expressions import ACCUMULATORS, Variables, evaluate, true
from mongo_standin.queries import is_operators, matches, sort
from mongo_standin.values import MISSING, Document, Refused, change, get, order, unsupported

#: Gives the documents of a collection by its name; None where a pipeline may not ask for others.
Others = Callable[[str], list[Document]] | None


def run(
    documents: list[Document], stages: list[Document], others: Others, variables: Variables | None = None
) -> list[Document]:
    """What `stages` make of `documents`."""
    for stage in stages:
        if len(stage) != 1:
            text = "A pipeline stage specification object must contain exactly one field."
            raise Refused(40323, "Location40323", text)
        ((name, words),) = stage.items()
        if name not in _STAGES:
            raise Refused(40324, "Location40324", f"Unrecognized pipeline stage name: '{name}'")
        documents = _STAGES[name](documents, words, others, variables or {})
    return documents


def project(document: Document, fields: Document, variables: Variables | None = None) -> Document:
    """What a projection shows of a document: the fields that are asked for, or all without those that are not."""
    paths = _flat(fields)
    flags = [bool(one) for path, one in paths.items() if path != "_id" and _is_flag(one)]
    if len(set(flags)) > 1:
        raise Refused(31254, "Location31254", "Cannot do exclusion in inclusion projection, or the other way round")
    if paths.keys() == {"_id"} and _is_flag(paths["_id"]):  # then it alone decides
        flags = [bool(paths["_id"])]
    if flags and not flags[0]:
        for path, one in paths.items():
            if _is_flag(one) and not one:
                document = _without(document, path.split("."))
            elif path != "_id":
                raise Refused(31252, "Location31252", "Cannot use expression other than $meta in exclusion projection")
        return document
    paths = {"_id": 1, **paths}
    shown = _only(document, [path.split(".") for path, one in paths.items() if _is_flag(one) and one])
    for path, one in paths.items():
        if not _is_flag(one):
            value = evaluate(one, document, variables)
            shown = change(shown, path.split("."), lambda _, value=value: value)
    return shown


def _is_flag(one: Any) -> bool:
    return isinstance(one, bool | int | float)


def _flat(fields: Document) -> Document:
    """Nested projections as dotted paths."""
    flat: Document = {}
    for path, one in fields.items():
        if isinstance(one, dict) and not is_operators(one):
            flat.update({f"{path}.{inner}": value for inner, value in _flat(one).items()})
        elif isinstance(one, dict) and ("$elemMatch" in one or isinstance(one.get("$slice"), int)):
            raise unsupported("projection by $slice or $elemMatch")
        else:
            flat[path] = one
    return flat


def _only(value: Any, paths: list[list[str]]) -> Any:
    """Of a document, what lies at `paths`, in the document's own order."""
    shown = {}
    for key, inner in value.items():
        below = [path[1:] for path in paths if path[0] == key]
        if any(not rest for rest in below):
            shown[key] = inner
        elif below and isinstance(inner, dict):
            shown[key] = _only(inner, below)
        elif below and isinstance(inner, list):
            shown[key] = [_only(one, below) for one in inner if isinstance(one, dict)]
    return shown


def _without(value: Any, path: list[str]) -> Any:
    if isinstance(value, list):
        return [_without(one, path) for one in value]
    if not isinstance(value, dict) or path[0] not in value:
        return value
    if len(path) == 1:
        return {key: inner for key, inner in value.items() if key != path[0]}
    return {**value, path[0]: _without(value[path[0]], path[1:])}


def _add(document: Document, fields: Document, known: Variables) -> Document:
    old = document
    for path, one in fields.items():
        value = evaluate(one, old, known)
        document = change(document, path.split("."), lambda _, value=value: value)
    return document


def _unwind(documents: list[Document], words: Any, others: Others, known: Variables) -> list[Document]:
    words = {"path": words} if isinstance(words, str) else words
    path, keep, number = words["path"][1:], words.get("preserveNullAndEmptyArrays"), words.get("includeArrayIndex")
    made = []
    for document in documents:
        value = get(document, path)
        if value is MISSING or value is None or value == []:
            if keep:
                made.append(change(document, path.split("."), lambda _: MISSING) if value == [] else document)
            continue
        for i, one in enumerate(value if isinstance(value, list) else [value]):
            new = change(document, path.split("."), lambda _, one=one: one)
            made.append({**new, number: i} if number else new)
    return made


def _lookup(documents: list[Document], words: Document, others: Others, known: Variables) -> list[Document]:
    if others is None:
        raise Refused(40324, "Location40324", "$lookup is not allowed here")
    made = []
    foreign = others(words["from"])
    for document in documents:
        found = foreign
        if "localField" in words:
            wanted = get(document, words["localField"])
            each = wanted if isinstance(wanted, list) else [None if wanted is MISSING else wanted]
            found = [other for other in found if matches(other, {words["foreignField"]: {"$in": each}})]
        if "pipeline" in words:
            names = {name: evaluate(one, document, known) for name, one in words.get("let", {}).items()}
            found = run(found, words["pipeline"], others, {**known, **names})
        made.append(change(document, words["as"].split("."), lambda _, found=found: found))
    return made


def _group(documents: list[Document], words: Document, others: Others, known: Variables) -> list[Document]:
    groups: dict[Any, tuple[Any, list[Document]]] = {}
    for document in documents:
        value = evaluate(words["_id"], document, known)
        groups.setdefault(order(value), (value, []))[1].append(document)
    made = []
    for value, members in groups.values():
        new: Document = {"_id": None if value is MISSING else value}
        for name, accumulator in words.items():
            if name == "_id":
                continue
            ((operator, one),) = accumulator.items()
            if operator not in ACCUMULATORS:
                raise Refused(15952, "Location15952", f"unknown group operator '{operator}'")
            result = ACCUMULATORS[operator]([evaluate(one, member, known) for member in members])
            new[name] = None if result is MISSING else result
        made.append(new)
    return made


def _match(documents: list[Document], words: Document, others: Others, known: Variables) -> list[Document]:
    plain = {key: one for key, one in words.items() if key != "$expr"}
    found = [document for document in documents if matches(document, plain)]
    if "$expr" not in words:
        return found
    return [document for document in found if true(evaluate(words["$expr"], document, known))]


def _replace(documents: list[Document], new: Any, known: Variables) -> list[Document]:
    made = [evaluate(new, document, known) for document in documents]
    if not all(isinstance(one, dict) for one in made):
        text = "'newRoot' expression must evaluate to an object"
        raise Refused(40228, "Location40228", text)
    return made


def _drop(documents: list[Document], words: Any, others: Others, known: Variables) -> list[Document]:
    paths = words if isinstance(words, list) else [words]
    return [project(document, dict.fromkeys(paths, 0)) for document in documents]


_STAGES: dict[str, Callable[[list[Document], Any, Others, Variables], list[Document]]] = {
    "$match": _match,
    "$project": lambda documents, words, others, known: [project(one, words, known) for one in documents],
    "$addFields": lambda documents, words, others, known: [_add(one, words, known) for one in documents],
    "$set": lambda documents, words, others, known: [_add(one, words, known) for one in documents],
    "$unset": _drop,
    "$sort": lambda documents, words, others, known: sort(documents, words),
    "$skip": lambda documents, words, others, known: documents[words:],
    "$limit": lambda documents, words, others, known: documents[:words],
    "$unwind": _unwind,
    "$lookup": _lookup,
    "$group": _group,
    "$replaceRoot": lambda documents, words, others, known: _replace(documents, words["newRoot"], known),
    "$replaceWith": lambda documents, words, others, known: _replace(documents, words, known),
    "$count": lambda documents, words, others, known: [{words: len(documents)}] if documents else [],
}
