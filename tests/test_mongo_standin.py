"""The stand-in for MongoDB as pymongo and sacred see it: what it is told, asked and refuses.

With TEST_MONGO_URL set, the tests that need no fault are carried out on that server instead, in databases of their own:
what is expected here is what MongoDB does.
"""

import os
import socket
import struct
import time
import uuid
import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import bson
import gridfs
import pymongo
import pytest
from bson import Binary, Int64, ObjectId, Regex, Timestamp
from mongo_standin import Mongo
from pymongo.database import Database
from pymongo.errors import BulkWriteError, CursorNotFound, DuplicateKeyError, OperationFailure, WriteError

REAL = os.environ.get("TEST_MONGO_URL", "")
NAN = float("nan")


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    if REAL:
        yield REAL
        return
    with Mongo(tmp_path_factory.mktemp("mongo")) as server:
        yield server.url


@pytest.fixture(scope="module")
def client(url) -> Iterator[pymongo.MongoClient]:
    with pymongo.MongoClient(url, serverSelectionTimeoutMS=5000) as client:
        yield client


@pytest.fixture
def database(client) -> Iterator[Database]:
    name = f"muster_test_{uuid.uuid4().hex[:12]}"
    yield client[name]
    client.drop_database(name)


def refused(call: Any, code: int) -> None:
    with pytest.raises(OperationFailure) as error:
        call()
    assert error.value.code == code


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_values_of_every_type_come_back_as_they_were(database):
    document = {
        "_id": ObjectId(), "text": "ä", "whole": 3, "long": Int64(2**40), "half": 0.5, "yes": True, "nothing": None,
        "time": datetime(2026, 1, 2, 3, 4, 5, 678000), "bytes": b"\0\xff", "uuid": Binary(b"1" * 16, 4),
        "stamp": Timestamp(5, 1), "pattern": Regex("a.", "i"), "list": [1, [2.0, {}], {"a": []}],
        "inner": {"b": {"c": 1}},
    }  # fmt: skip
    database.a.insert_one(document)
    found = database.a.find_one()
    assert found == document
    assert list(found) == list(document)
    assert [type(found[key]) for key in found] == [type(document[key]) for key in document]


def test_the_id_stands_first_and_is_made_where_it_is_missing(database):
    database.command("insert", "a", documents=[{"b": 1}, {"b": 2, "_id": 7}])
    first, second = database.a.find(sort=[("b", 1)])
    assert list(first) == list(second) == ["_id", "b"]
    assert isinstance(first["_id"], ObjectId)


def test_names_of_databases_and_collections(client, database):
    database.a.insert_one({})
    database["b.c"].insert_one({})
    assert database.name in client.list_database_names()
    assert sorted(database.list_collection_names()) == ["a", "b.c"]
    assert database.list_collection_names(filter={"name": "a"}) == ["a"]
    database.a.drop()
    assert database.list_collection_names() == ["b.c"]
    client.drop_database(database.name)
    assert database.name not in client.list_database_names()


def test_a_second_document_of_one_id(database):
    database.a.insert_one({"_id": 1})
    with pytest.raises(DuplicateKeyError) as error:
        database.a.insert_one({"_id": 1.0})
    assert error.value.details["keyPattern"] == {"_id": 1}
    assert database.a.count_documents({}) == 1
    database.a.insert_one({"_id": True})  # which is not 1


@pytest.mark.parametrize(("ordered", "kept"), [(True, [1, 2]), (False, [1, 2, 3])])
def test_many_inserts_end_at_the_first_error_or_go_on(database, ordered, kept):
    with pytest.raises(BulkWriteError) as error:
        database.a.insert_many([{"_id": 1}, {"_id": 2}, {"_id": 1}, {"_id": 3}], ordered=ordered)
    details = error.value.details
    assert ([one["index"] for one in details["writeErrors"]], details["nInserted"]) == ([2], len(kept))
    assert [one["_id"] for one in database.a.find()] == kept


def test_a_unique_index(database):
    database.a.create_index([("run", 1), ("name", 1)], unique=True)
    database.a.insert_many([{"run": 1, "name": "x"}, {"run": 1, "name": "y"}, {"run": 2}])
    for same in ({"run": 1, "name": "x"}, {"run": 2, "name": None}):
        with pytest.raises(DuplicateKeyError):
            database.a.insert_one(same)
    with pytest.raises(DuplicateKeyError):
        database.a.update_one({"name": "y"}, {"$set": {"name": "x"}})
    database.a.update_one({"name": "y"}, {"$set": {"name": "y", "more": 1}})
    assert database.a.count_documents({"name": {"$in": ["x", "y"]}}) == 2
    database.a.create_index([("run", 1), ("name", 1)], unique=True)  # which is there
    refused(lambda: database.a.create_index([("run", 1), ("name", 1)]), 86)
    database.a.insert_many([{"k": 1}, {"run": 7, "k": 1}])
    with pytest.raises(DuplicateKeyError):
        database.a.create_index("k", unique=True)
    assert sorted(database.a.index_information()) == ["_id_", "run_1_name_1"]


def test_a_sparse_index_passes_over_what_has_no_value(database):
    database.a.create_index("meta.uuid", unique=True, sparse=True)
    database.a.insert_many([{"_id": 1}, {"_id": 2, "meta": {}}, {"_id": 3, "meta": {"uuid": "x"}}])
    with pytest.raises(DuplicateKeyError):
        database.a.insert_one({"meta": {"uuid": "x"}})


def test_a_document_that_is_too_large(database):
    with pytest.raises((WriteError, pymongo.errors.DocumentTooLarge)):
        database.a.insert_one({"_id": 1, "data": b"0" * (16 * 1024 * 1024)})
    database.a.insert_one({"_id": 1, "data": b"0" * (15 * 1024 * 1024)})
    with pytest.raises(WriteError):
        database.a.update_one({}, {"$set": {"more": b"0" * (2 * 1024 * 1024)}})
    assert list(database.a.find_one()) == ["_id", "data"]


def test_writes_that_wait_for_no_answer(database):
    silent = database.get_collection("a", write_concern=pymongo.WriteConcern(w=0))
    for i in range(3):
        silent.insert_one({"_id": i})
    # the same connection carries them out in order
    assert database.a.count_documents({}) in range(4)
    database.a.update_one({"_id": 0}, {"$set": {"a": 1}}, upsert=True)
    assert database.a.find_one({"_id": 0}) == {"_id": 0, "a": 1}


# --- what is found ---------------------------------------------------------------------------------------------------

RUNS = [
    {"_id": 1, "name": "copa", "config": {"seed": 0, "lr": 0.5}, "tags": ["a", "b"], "steps": [1, 5], "at": None},
    {"_id": 2, "name": "refil", "config": {"seed": 1, "lr": NAN}, "tags": [], "steps": [7], "at": datetime(2026, 1, 1)},
    {"_id": 3, "name": "Copa", "config": {"seed": 2.0}, "parts": [{"k": 1, "v": 2}, {"k": 2, "v": 1}]},
    {"_id": 4, "config": 3, "steps": 9, "name": True},
]


@pytest.fixture
def runs(database):
    database.runs.insert_many(RUNS)
    return database.runs


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, [1, 2, 3, 4]),
        ({"_id": 2}, [2]),
        ({"_id": 2.0}, [2]),
        ({"name": "copa"}, [1]),
        ({"name": "copa", "config.seed": 1}, []),
        ({"config.seed": 2}, [3]),
        ({"config": {"seed": 0, "lr": 0.5}}, [1]),
        ({"config": {"lr": 0.5, "seed": 0}}, []),  # the order of fields counts
        ({"tags": "a"}, [1]),
        ({"tags": ["a", "b"]}, [1]),
        ({"tags": []}, [2]),
        ({"tags": {"$size": 2}}, [1]),
        ({"tags": {"$all": ["b", "a"]}}, [1]),
        ({"steps": {"$gt": 4, "$lt": 2}}, [1]),  # two members may meet the two
        ({"steps": {"$elemMatch": {"$gt": 4, "$lt": 2}}}, []),
        ({"steps.0": {"$gte": 7}}, [2]),
        ({"at": None}, [1, 3, 4]),
        ({"at": {"$exists": True}}, [1, 2]),
        ({"at": {"$gte": datetime(2025, 1, 1)}}, [2]),
        ({"name": {"$gt": ""}}, [1, 2, 3]),  # True is no text
        ({"config.lr": {"$gte": 0}}, [1]),  # nor NaN a number that compares
        ({"config.lr": NAN}, [2]),
        ({"name": {"$ne": "copa"}}, [2, 3, 4]),
        ({"name": {"$in": ["refil", True]}}, [2, 4]),
        ({"name": {"$nin": ["refil", True]}}, [1, 3]),
        ({"name": {"$regex": "^co"}}, [1]),
        ({"name": {"$regex": "^co", "$options": "i"}}, [1, 3]),
        ({"name": Regex("pa$")}, [1, 3]),
        ({"name": {"$not": {"$regex": "a"}}}, [2, 4]),
        ({"name": {"$type": "bool"}}, [4]),
        ({"$or": [{"_id": 1}, {"steps": 9}]}, [1, 4]),
        ({"$and": [{"_id": {"$gte": 2}}, {"tags": {"$exists": False}}]}, [3, 4]),
        ({"$nor": [{"_id": 1}, {"_id": 2}]}, [3, 4]),
        ({"parts.k": 1, "parts.v": 1}, [3]),
        ({"parts": {"$elemMatch": {"k": 1, "v": 1}}}, []),
        ({"parts": {"$elemMatch": {"k": 2, "v": 1}}}, [3]),
        ({"_id": {"$mod": [2, 1]}}, [1, 3]),
        ({"$expr": {"$gt": ["$config.seed", "$_id"]}}, []),
        ({"$expr": {"$eq": ["$_id", {"$add": ["$config.seed", 1]}]}}, [1, 2, 3]),
    ],
)
def test_queries(runs, query, ids):
    assert [one["_id"] for one in runs.find(query)] == ids
    assert runs.count_documents(query) == len(ids)


def test_what_is_found_by_a_value_follows_its_changes(runs):
    assert runs.count_documents({"name": "copa"}) == 1
    runs.update_one({"_id": 2}, {"$set": {"name": "copa"}})
    runs.update_one({"_id": 1}, {"$set": {"name": ["x", "y"]}})
    assert [one["_id"] for one in runs.find({"name": "copa"})] == [2]
    assert [one["_id"] for one in runs.find({"name": "y"})] == [1]
    runs.delete_one({"_id": 2})
    assert runs.count_documents({"name": "copa"}) == 0


def test_sorted_skipped_and_limited(runs):
    def ids(*sort: Any, **words: Any) -> list[int]:
        return [one["_id"] for one in runs.find(sort=list(sort), **words)]

    assert ids(("name", 1)) == [3, 1, 2, 4]  # text before truth, capitals before small letters
    assert ids(("name", -1)) == [4, 2, 1, 3]
    assert ids(("steps", 1), ("_id", 1)) == [3, 1, 2, 4]  # an array counts as its least, what is missing as nothing
    assert ids(("steps", -1)) == [4, 2, 1, 3]  # and as its greatest
    assert ids(("_id", -1), skip=1, limit=2) == [3, 2]
    assert ids(("_id", 1), limit=-1) == [1]


@pytest.mark.parametrize(
    ("shown", "what"),
    [
        ({"name": 1}, {"_id": 1, "name": "copa"}),
        ({"name": 1, "_id": 0}, {"name": "copa"}),
        ({"_id": 1}, {"_id": 1}),
        ({"config.seed": 1}, {"_id": 1, "config": {"seed": 0}}),
        ({"config": {"seed": 1}, "_id": 0}, {"config": {"seed": 0}}),
        ({"config": 0, "tags": 0, "steps": 0}, {"_id": 1, "name": "copa", "at": None}),
        ({"config.lr": 0, "_id": 0, "tags": 0, "steps": 0, "at": 0}, {"name": "copa", "config": {"seed": 0}}),
        ({"nothing": 1, "name": 1}, {"_id": 1, "name": "copa"}),
    ],
)
def test_projections(runs, shown, what):
    found = runs.find_one({"_id": 1}, shown)
    assert found == what
    assert list(found) == list(what)


def test_large_answers_come_in_batches(database):
    database.a.insert_many([{"_id": i} for i in range(300)])
    assert [one["_id"] for one in database.a.find()] == list(range(300))
    assert [one["_id"] for one in database.a.find(batch_size=7, limit=20)] == list(range(20))
    database.b.insert_many([{"_id": i, "data": b"0" * 6_000_000} for i in range(5)])
    assert [one["_id"] for one in database.b.find()] == list(range(5))
    cursor = database.a.find(batch_size=2)
    next(cursor)
    assert database.command("killCursors", "a", cursors=[cursor.cursor_id])["cursorsKilled"] == [cursor.cursor_id]
    with pytest.raises(CursorNotFound):
        list(cursor)


def test_counts_and_distinct_values(runs):
    assert runs.estimated_document_count() == 4
    assert runs.count_documents({}, limit=3) == 3
    assert runs.count_documents({}, skip=3) == 1
    assert runs.database.command("count", "runs", query={"_id": {"$gt": 1}})["n"] == 3
    assert runs.distinct("tags") == ["a", "b"]
    assert sorted(runs.distinct("config.seed", {"_id": {"$lt": 3}})) == [0, 1]


# --- what is changed -------------------------------------------------------------------------------------------------

OLD = {"_id": 1, "n": 3, "x": 0.5, "list": [1, 2, 3], "inner": {"a": 1, "b": 2}, "parts": [{"k": 1}, {"k": 2}]}


@pytest.mark.parametrize(
    ("update", "new"),
    [
        ({"$set": {"n": 4, "new": [1]}}, {"n": 4, "new": [1]}),
        ({"$set": {"inner.a": 5, "deep.er": 1}}, {"inner": {"a": 5, "b": 2}, "deep": {"er": 1}}),
        ({"$set": {"list.1": 7, "parts.0.k": 3}}, {"list": [1, 7, 3], "parts": [{"k": 3}, {"k": 2}]}),
        ({"$set": {"list.4": 5}}, {"list": [1, 2, 3, None, 5]}),
        ({"$unset": {"inner.a": "", "none.here": ""}}, {"inner": {"b": 2}}),
        ({"$unset": {"list.0": ""}}, {"list": [None, 2, 3]}),
        ({"$inc": {"n": 2, "x": 1, "count": 1}}, {"n": 5, "x": 1.5, "count": 1}),
        ({"$mul": {"n": 2, "none": 5}}, {"n": 6, "none": 0}),
        ({"$min": {"n": 2, "x": 1, "low": 1}}, {"n": 2, "low": 1}),
        ({"$max": {"n": 2, "x": 1}}, {"x": 1}),
        ({"$push": {"list": 4, "fresh": 1}}, {"list": [1, 2, 3, 4], "fresh": [1]}),
        ({"$push": {"list": {"$each": [4, 5]}}}, {"list": [1, 2, 3, 4, 5]}),
        ({"$push": {"list": {"$each": [4, 5], "$slice": -3}}}, {"list": [3, 4, 5]}),
        ({"$push": {"list": {"$each": [0], "$position": 0}}}, {"list": [0, 1, 2, 3]}),
        ({"$push": {"list": [4]}}, {"list": [1, 2, 3, [4]]}),
        ({"$addToSet": {"list": 3.0}}, {}),
        ({"$addToSet": {"list": {"$each": [3, 4, 4]}}}, {"list": [1, 2, 3, 4]}),
        ({"$pull": {"list": 2, "parts": {"k": 1}}}, {"list": [1, 3], "parts": [{"k": 2}]}),
        ({"$pull": {"list": {"$gte": 2}}}, {"list": [1]}),
        ({"$setOnInsert": {"n": 9}}, {}),
        ([{"$set": {"sum": {"$add": ["$n", "$x"]}}}, {"$unset": "x"}], {"sum": 3.5, "x": ...}),
    ],
)
def test_updates(database, update, new):
    database.a.insert_one(OLD)
    done = database.a.update_one({"_id": 1}, update)
    assert (done.matched_count, done.modified_count) == (1, int(bool(new)))
    assert database.a.find_one() == {k: v for k, v in {**OLD, **new}.items() if v is not ...}


@pytest.mark.parametrize(
    ("update", "code"),
    [
        ({"$set": {"_id": 2}}, 66),
        ({"$set": {"n": 1}, "$inc": {"n": 1}}, 40),
        ({"$set": {"inner": {}, "inner.a": 1}}, 40),
        ({"$set": {"n.a": 1}}, 28),
        ({"$inc": {"inner": 1}}, 14),
        ({"$push": {"n": 1}}, 2),
        ({"$addToSet": {"n": 1}}, 2),
        ({"$paint": {"n": 1}}, 9),
    ],
)
def test_updates_that_cannot_be_leave_the_document_as_it_was(database, update, code):
    database.a.insert_one(OLD)
    refused(lambda: database.a.update_one({"_id": 1}, {"$set": {"first": 1}, **update}), code)
    assert database.a.find_one() == OLD


def test_one_many_and_replaced(database):
    database.a.insert_many([{"_id": i, "n": 0} for i in range(3)])
    assert database.a.update_one({"n": 0}, {"$inc": {"n": 1}}).modified_count == 1
    done = database.a.update_many({}, {"$set": {"n": 1}})
    assert (done.matched_count, done.modified_count) == (3, 2)
    database.a.replace_one({"_id": 1}, {"x": 1})
    assert list(database.a.find()) == [{"_id": 0, "n": 1}, {"_id": 1, "x": 1}, {"_id": 2, "n": 1}]
    assert database.a.delete_one({"n": 1}).deleted_count == 1
    assert database.a.delete_many({}).deleted_count == 2


def test_what_is_not_there_is_inserted_on_request(database):
    query, update = {"run_id": 3, "name": {"$eq": "loss"}}, {"$push": {"steps": {"$each": [1, 2]}}}
    assert database.a.update_one(query, update).matched_count == 0
    done = database.a.update_one(query, {**update, "$setOnInsert": {"born": 1}}, upsert=True)
    assert isinstance(done.upserted_id, ObjectId)
    again = database.a.update_one(query, {**update, "$setOnInsert": {"born": 2}}, upsert=True)
    assert (again.upserted_id, again.matched_count) == (None, 1)
    assert list(database.a.find()) == [
        {"_id": done.upserted_id, "run_id": 3, "name": "loss", "steps": [1, 2, 1, 2], "born": 1}
    ]
    assert database.a.update_one({"_id": 7}, {"$set": {"_id": 7, "a": 1}}, upsert=True).upserted_id == 7
    assert database.a.replace_one({"b": 1}, {"_id": 8}, upsert=True).upserted_id == 8
    assert list(database.a.find({"_id": {"$gte": 7}})) == [{"_id": 7, "a": 1}, {"_id": 8}]


def test_bulk_writes_say_what_came_of_each(database):
    done = database.a.bulk_write(
        [
            pymongo.InsertOne({"_id": 1}),
            pymongo.UpdateOne({"_id": 1}, {"$set": {"a": 1}}),
            pymongo.UpdateOne({"_id": 2}, {"$set": {"a": 1}}, upsert=True),
            pymongo.DeleteOne({"_id": 1}),
        ]
    )
    counts = (done.inserted_count, done.modified_count, done.upserted_ids, done.deleted_count)
    assert counts == (1, 1, {2: 2}, 1)


def test_found_and_changed_at_once(database):
    database.a.insert_many([{"_id": 1, "n": 5}, {"_id": 2, "n": 3}])
    after = pymongo.ReturnDocument.AFTER
    assert database.a.find_one_and_update({}, {"$inc": {"n": 1}}, sort=[("n", 1)]) == {"_id": 2, "n": 3}
    shown = {"n": 1, "_id": 0}
    assert database.a.find_one_and_update({"_id": 2}, {"$inc": {"n": 1}}, shown, return_document=after) == {"n": 5}
    assert database.a.find_one_and_update({"_id": 9}, {"$set": {"n": 1}}) is None
    new = database.a.find_one_and_update({"_id": 9}, {"$set": {"n": 1}}, upsert=True, return_document=after)
    assert new == {"_id": 9, "n": 1}
    assert database.a.find_one_and_delete({"_id": 9}) == {"_id": 9, "n": 1}
    assert database.a.count_documents({}) == 2


def test_files(database):
    files = gridfs.GridFS(database)
    data = bytes(range(256)) * 4000
    number = files.put(data, filename="a/b.txt", metadata={"run": 1})
    assert files.get(number).read() == data
    assert files.exists(filename="a/b.txt")
    assert files.find_one({"metadata.run": 1}).length == len(data)
    assert database.fs.chunks.count_documents({"files_id": number}) == 4
    files.delete(number)
    assert not files.exists(filename="a/b.txt")


# --- aggregation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "found"),
    [
        ([{"$match": {"_id": {"$lt": 3}}}, {"$count": "n"}], [{"n": 2}]),
        ([{"$match": {"_id": 99}}, {"$count": "n"}], []),
        ([{"$sort": {"_id": -1}}, {"$skip": 1}, {"$limit": 1}, {"$project": {"_id": 1}}], [{"_id": 3}]),
        ([{"$match": {"_id": 1}}, {"$project": {"_id": 0, "s": "$config.seed", "none": "$none"}}], [{"s": 0}]),
        ([{"$match": {"_id": 1}}, {"$unwind": "$tags"}, {"$project": {"tags": 1}}],
         [{"_id": 1, "tags": "a"}, {"_id": 1, "tags": "b"}]),
        ([{"$match": {"_id": {"$in": [2, 3]}}}, {"$project": {"tags": 1}},
          {"$unwind": {"path": "$tags", "preserveNullAndEmptyArrays": True}}], [{"_id": 2}, {"_id": 3}]),
        ([{"$group": {"_id": {"$type": "$name"}, "n": {"$sum": 1}, "ids": {"$push": "$_id"}, "last": {"$max": "$_id"}}},
          {"$sort": {"_id": 1}}],
         [{"_id": "bool", "n": 1, "ids": [4], "last": 4}, {"_id": "string", "n": 3, "ids": [1, 2, 3], "last": 3}]),
        ([{"$match": {"_id": 3}}, {"$replaceRoot": {"newRoot": {"$mergeObjects": ["$config", {"x": 1}]}}}],
         [{"seed": 2.0, "x": 1}]),
        ([{"$match": {"_id": 1}}, {"$addFields": {"config.two": 2, "n": {"$size": "$tags"}}},
          {"$project": {"config": 1, "n": 1, "_id": 0}}], [{"config": {"seed": 0, "lr": 0.5, "two": 2}, "n": 2}]),
        ([{"$match": {"_id": 3}}, {"$lookup": {"from": "runs", "localField": "config.seed", "foreignField": "_id",
                                              "as": "other"}}, {"$project": {"other.name": 1}}],
         [{"_id": 3, "other": [{"name": "refil"}]}]),
        ([{"$match": {"_id": 3}}, {"$lookup": {"from": "runs", "let": {"n": "$_id"}, "as": "before", "pipeline": [
            {"$match": {"$expr": {"$lt": ["$_id", "$$n"]}}}, {"$project": {"_id": 1}}]}}, {"$project": {"before": 1}}],
         [{"_id": 3, "before": [{"_id": 1}, {"_id": 2}]}]),
    ],
)  # fmt: skip
def test_stages(runs, stages, found):
    assert list(runs.aggregate(stages)) == found


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ({"$subtract": ["$b", "$a"]}, 1.5),
        ({"$subtract": [datetime(2026, 1, 2), datetime(2026, 1, 1)]}, 86_400_000),
        ({"$add": ["$a", "$none"]}, None),
        ({"$cond": [{"$gt": ["$none", None]}, "more", "not"]}, "not"),  # what is missing is less than nothing
        ({"$cond": {"if": "$a", "then": 1, "else": 2}}, 1),
        ({"$ifNull": ["$none", None, "$a"]}, 2),
        ({"$arrayElemAt": ["$list", -1]}, 3),
        ({"$slice": ["$list", -2]}, [1, 3]),
        ({"$avg": {"$slice": ["$list", -2]}}, 2.0),
        ({"$max": "$list"}, 5),
        ({"$min": ["$a", "$b"]}, 2),
        ({"$in": ["x", ["y", "x"]]}, True),
        ({"$and": ["$a", {"$not": ["$none"]}]}, True),
        ({"$concat": ["a", {"$toString": "$a"}]}, "a2"),
        ({"$reduce": {"input": {"$split": ["a.b.c", "."]}, "initialValue": "",
                      "in": {"$concat": ["$$value", {"$cond": [{"$eq": ["$$value", ""]}, "", "_"]}, "$$this"]}}},
         "a_b_c"),
        ({"$let": {"vars": {"x": "$a"}, "in": {"$multiply": ["$$x", 3]}}}, 6),
        ({"$arrayToObject": [[{"k": "x", "v": 1}, {"k": "y", "v": "$a"}]]}, {"x": 1, "y": 2}),
        ({"$map": {"input": "$list", "as": "one", "in": {"$multiply": ["$$one", 2]}}}, [10, 2, 6]),
        ({"$filter": {"input": "$list", "as": "one", "cond": {"$gt": ["$$one", 2]}}}, [5, 3]),
        ({"$toObjectId": "0123456789ab0123456789ab"}, ObjectId("0123456789ab0123456789ab")),
        ({"$literal": "$a"}, "$a"),
        ("$parts.k", [1, 2]),
        ("$$ROOT.a", 2),
    ],
)  # fmt: skip
def test_expressions(database, expression, value):
    database.a.insert_one({"a": 2, "b": 3.5, "list": [5, 1, 3], "parts": [{"k": 1}, {"k": 2}, {}]})
    assert list(database.a.aggregate([{"$project": {"_id": 0, "value": expression}}])) == [{"value": value}]


# --- what it refuses -------------------------------------------------------------------------------------------------


def test_what_is_unknown_is_refused_and_not_passed_over(database):
    database.a.insert_one({"_id": 1, "a": 1})
    refused(lambda: database.command("paint", "a"), 59)
    refused(lambda: database.command("find", "a", color="red"), 40415)
    refused(lambda: database.a.find_one({"a": {"$paint": 1}}), 2)
    refused(lambda: database.a.find_one({"$paint": 1}), 2)
    refused(lambda: list(database.a.aggregate([{"$paint": 1}])), 40324)
    refused(lambda: list(database.a.aggregate([{"$addFields": {"b": {"$paint": 1}}}])), 168)
    refused(lambda: database.a.find_one({}, {"a": 1, "b": 0}), 31254)
    assert database.a.find_one() == {"_id": 1, "a": 1}


# --- the protocol ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(REAL), reason="needs a server without a password and TLS")
def test_the_hello_of_old_drivers(url):
    number = 77
    body = struct.pack("<i", 0) + b"admin.$cmd\0" + struct.pack("<ii", 0, -1) + bson.encode({"isMaster": 1})
    with socket.create_connection(pymongo.uri_parser.parse_uri(url)["nodelist"][0]) as connection:
        connection.sendall(struct.pack("<iiii", 16 + len(body), number, 0, 2004) + body)
        data = connection.recv(4096)
    length, _, answers, kind = struct.unpack_from("<iiii", data)
    assert (length, answers, kind) == (len(data), number, 1)
    reply = bson.decode(data[36:])
    assert (reply["ok"], reply["ismaster"], reply["maxWireVersion"] >= 6) == (1.0, True, True)


def test_who_watches_is_told_again_and_again(url):
    class Listener(pymongo.monitoring.ServerHeartbeatListener):
        awaited = 0

        def started(self, event: Any) -> None: ...

        def succeeded(self, event: Any) -> None:
            self.awaited += event.awaited

        def failed(self, event: Any) -> None: ...

    listener = Listener()
    with pymongo.MongoClient(url, heartbeatFrequencyMS=500, event_listeners=[listener]) as client:
        client.admin.command("ping")
        for _ in range(600):
            if listener.awaited > 1:
                break
            time.sleep(0.05)
    assert listener.awaited > 1


# --- sacred ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["COMPLETED", "FAILED"])
def test_a_whole_run_of_sacreds_observer(client, database, tmp_path, monkeypatch, ends):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sacred
        from sacred.observers import MongoObserver
    monkeypatch.setitem(sacred.SETTINGS, "CAPTURE_MODE", "no")
    monkeypatch.setitem(sacred.SETTINGS.HOST_INFO, "INCLUDE_GPU_INFO", False)
    artifact = tmp_path / "weights.txt"
    artifact.write_text("0.5")
    experiment = sacred.Experiment("muster", base_dir=str(tmp_path), save_git_info=False)
    experiment.logger = None
    experiment.add_config({"name": "copa", "seed": 3, "env_args": {"train_team": "3-5"}})
    observer = MongoObserver(client=client, db_name=database.name)
    experiment.observers.append(observer)

    @experiment.main
    def main(_run: Any) -> dict[str, float]:
        for step in range(3):
            _run.log_scalar("test/return", step / 2, step * 1000)
        _run.add_artifact(artifact)
        if ends == "FAILED":
            raise ValueError("no team")
        return {"win": 0.5}

    for number in (1, 2):
        try:
            experiment.run()
        except ValueError:
            assert ends == "FAILED"
        found = database.runs.find_one({"_id": number})
        assert found["status"] == ends
        assert found["config"]["env_args"] == {"train_team": "3-5"}
        assert found["result"] == (None if ends == "FAILED" else {"win": 0.5})
        assert ("no team" in str(found.get("fail_trace"))) == (ends == "FAILED")
        (metric,) = database.metrics.find({"run_id": number})
        assert metric["name"] == "test/return"
        assert (metric["steps"], metric["values"]) == ([0, 1000, 2000], [0.0, 0.5, 1.0])
        assert found["info"]["metrics"] == [{"name": "test/return", "id": str(metric["_id"])}]
        (kept,) = found["artifacts"]
        assert gridfs.GridFS(database).get(kept["file_id"]).read() == b"0.5"
    assert database.runs.count_documents({}) == 2
