"""Runs in a database: as they go on, with a database that fails in every way, and brought later."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import gridfs
import pymongo
import pytest
from conftest import PASSWORD
from databases import carry_out, differences, figures, records_of
from mongo_standin import Fault
from pymongo.errors import OperationFailure

import main as command
import recording
import sync_mongo
from observers import sync
from observers.database import Database, DatabaseFault
from observers.mirror import Mirror
from utils.errors import RunFailed
from utils.interrupt import Interrupted

SRC = Path(command.__file__).parent


@pytest.fixture(params=["with sacred", "without sacred"])
def recorded(request, monkeypatch) -> None:
    """Files are kept in both ways."""
    if request.param == "without sacred":
        monkeypatch.setattr(recording, "find_spec", lambda name: None)


def synchronise(results: Path, url: str, name: str = "sacred", *words: str) -> int:
    return sync_mongo.main([str(results), "--url", url, "--db", name, *words])


# --- a database that works --------------------------------------------------------------------------------------------


def complete(config, recorder, stop):
    figures(4)(recorder)
    return {"3-5": {"return": {"mean": 0.5, "std": 0.0, "n": 2}}}


def fail(config, recorder, stop):
    raise RunFailed("the loss is nan")


def be_stopped(config, recorder, stop):
    raise Interrupted


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(("then", "status"), [(complete, "COMPLETED"), (fail, "FAILED"), (be_stopped, "INTERRUPTED")])
def test_a_run_records_itself(experiment, results, mongo_url, mongo_db, database, then, status):
    experiment.then = then
    carry_out(results, f"mongo_url={mongo_url}", f"mongo_db={mongo_db}")
    assert differences(database, results) == []
    run = database.runs.find_one({})
    assert run["status"] == status
    assert run["_id"] == 1
    assert run["format"].startswith("MongoObserver")
    assert run["experiment"]["name"] == "muster"
    assert run["host"]["hostname"]
    assert run["heartbeat"] is not None


def test_the_document_of_a_run_does_not_grow(experiment, results, mongo_url, mongo_db, database):
    for count in (2, 200):
        experiment.then = lambda config, recorder, stop, count=count: figures(count)(recorder)
        carry_out(results, f"mongo_url={mongo_url}", f"mongo_db={mongo_db}")
    few, many = (len(str(run)) for run in database.runs.find({}).sort("_id"))
    assert abs(few - many) < 50  # numbers of other lengths
    assert differences(database, results) == []


def test_a_run_is_seen_alive_while_nothing_is_told(experiment, results, mongo_url, mongo_db, database, impatient):
    def run(config, recorder, stop):
        beats = set()
        deadline = time.monotonic() + 30
        while len(beats) < 3:
            assert time.monotonic() < deadline
            found = database.runs.find_one({}) or {}
            assert found.get("status", "RUNNING") == "RUNNING"
            beats.add(found.get("heartbeat"))
            time.sleep(0.01)

    experiment.then = run
    assert carry_out(results, f"mongo_url={mongo_url}", f"mongo_db={mongo_db}") == 0


def test_checkpoints_are_kept_on_request(experiment, results, mongo_url, mongo_db, database, impatient):
    def run(config, recorder, stop):
        for step in (9, 10):
            folder = results / "models" / recorder.run_id / str(step)
            folder.mkdir(parents=True)
            (folder / "learner.pt").write_bytes(bytes([step]) * 300_000)  # more than a chunk

    experiment.then = run
    words = [f"mongo_url={mongo_url}", f"mongo_db={mongo_db}"]
    carry_out(results, *words)
    assert database.runs.find_one({})["artifacts"] == []
    carry_out(results, *words, "mongo_checkpoints=True")
    for _ in range(2):
        assert synchronise(results, mongo_url, mongo_db, "--checkpoints") == 0
        for found in database.runs.find({}):
            kept = {artifact["name"]: artifact["file_id"] for artifact in found["artifacts"]}
            assert list(kept) == ["9/learner.pt", "10/learner.pt"]
            content = gridfs.GridFS(database).get(kept["10/learner.pt"]).read()
            assert content == bytes([10]) * 300_000
        assert database["fs.files"].count_documents({}) == 4
    assert differences(database, results) == []


def test_others_may_have_runs_there(experiment, results, mongo_url, mongo_db, database):
    database.runs.insert_many([{"_id": 41, "status": "COMPLETED"}, {"_id": "theirs"}])
    for _ in range(2):
        carry_out(results, f"mongo_url={mongo_url}", f"mongo_db={mongo_db}")
    assert {run["_id"] for run in database.runs.find({})} == {41, "theirs", 42, 43}


# --- a database that does not -----------------------------------------------------------------------------------------


def warnings_in(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("warning: ")]


#: (the command at which it dies, whether it does what was asked before it does, whether it comes back)
MOMENTS = [
    (1, 0, 0),
    (2, 1, 1),
    (3, 0, 1),
    (4, 1, 0),
    (5, 0, 1),
    (6, 1, 1),
    (7, 1, 0),
    (9, 0, 0),
    (12, 1, 1),
    (16, 1, 0),
]


@pytest.mark.parametrize(("moment", "answered", "back"), MOMENTS)
def test_a_database_that_dies(experiment, results, server, capsys, impatient, moment, answered, back):
    """...costs the run nothing, and what it missed it has as soon as it is back, or somebody brings it."""

    def run(config, recorder, stop):
        for step in range(200):
            recorder.scalar("loss", step / 3, step)
            recorder.scalar("return", -step, step)
            time.sleep(0.001)
            if not server.running:
                break
        deadline = time.monotonic() + 30
        while server.running:  # slow as the machine may be, it dies in mid-run
            assert time.monotonic() < deadline
            recorder.scalar("loss", 0.5, 500)
            time.sleep(0.01)
        if back:
            server.start()
            recorder.scalar("back", 0.5, 500)
            with pymongo.MongoClient(server.url) as client:
                wait_for(lambda: client["sacred"].metrics.find_one({"name": "back"}))
        for step in range(501, 520):
            recorder.scalar("return", step, step)

    experiment.then = run
    server.plan(Fault("kill_after" if answered else "kill", at=moment))
    assert carry_out(results, f"mongo_url={server.url}") == 0
    (record,) = records_of(results)
    assert json.loads((record / "run.json").read_text())["status"] == "COMPLETED"
    steps = [json.loads(line)["step"] for line in (record / "metrics.jsonl").read_text().splitlines()]
    assert steps[-19:] == list(range(501, 520))
    out = capsys.readouterr().out
    if back:
        assert warnings_in(out) == []
    else:
        server.start()
        (warning,) = warnings_in(out)
        assert f"`python src/sync_mongo.py {results}`" in warning
    with pymongo.MongoClient(server.url) as client:
        database = client["sacred"]
        assert (differences(database, results) == []) == bool(back)  # by itself, where it could
        assert synchronise(results, server.url) == 0
        assert differences(database, results) == []


@pytest.mark.parametrize("when", ["from the start", "in mid-run"])
def test_a_database_that_hangs(experiment, results, server, capsys, impatient, when):
    def run(config, recorder, stop):
        figures(5)(recorder)
        if when == "in mid-run":
            with pymongo.MongoClient(server.url) as client:
                wait_for(lambda: client["sacred"].metrics.count_documents({}) > 0)
            server.hang()
        figures(5)(recorder)

    experiment.then = run
    if when == "from the start":
        server.hang()
    try:
        assert carry_out(results, f"mongo_url={server.url}") == 0
    finally:
        server.go_on()
    assert len(warnings_in(capsys.readouterr().out)) == 1
    wait_for(lambda: synchronise(results, server.url) == 0)
    with pymongo.MongoClient(server.url) as client:
        assert differences(client["sacred"], results) == []


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("fault", ["nobody", "password", "refusal"])
def test_a_database_that_refuses(experiment, results, server, capsys, impatient, fault):
    experiment.then = lambda config, recorder, stop: figures(5)(recorder)
    url = server.url
    if fault == "nobody":
        server.kill()
    elif fault == "password":
        url = url.replace(PASSWORD, "codfish")
    else:
        server.plan(Fault("refuse", command="insert", lasting=True))
    assert carry_out(results, f"mongo_url={url}") == 0
    out, err = capsys.readouterr()
    (warning,) = warnings_in(out)
    assert warning.startswith(f"warning: MongoDB at 127.0.0.1:{server.port} was dropped, ")
    assert "its record in" in warning
    assert err == ""
    for secret in (PASSWORD, "codfish"):
        assert secret not in out
    (record,) = records_of(results)
    assert json.loads((record / "run.json").read_text())["status"] == "COMPLETED"
    assert len((record / "metrics.jsonl").read_text().splitlines()) == 17
    # bringing it later does not work either, and says so in a line
    code = sync_mongo.main([str(results), "--url", url])
    out, err = capsys.readouterr()
    assert code == 1
    assert err.startswith(f"error: MongoDB at 127.0.0.1:{server.port}: ")
    assert err.count("\n") == 1
    for secret in (PASSWORD, "codfish"):
        assert secret not in out + err


# --- nobody sees a password -------------------------------------------------------------------------------------------


def test_no_password_is_left_anywhere(experiment, results, server, capfd, monkeypatch):
    """A whole program with the environment's address; runs with one on the command line, wrong ones, and failures."""
    tiny = ["--config=vdn", "--env-config=matrix_game", "device=cpu", "threads=1", "t_max=8", "test_nepisode=1"]
    tiny += [
        "batch_size_run=2",
        "attn_embed_dim=8",
        "attn_heads=1",
        "rnn_hidden_dim=8",
        f"local_results_path={results}",
    ]
    environment = {**os.environ, "MONGO_URL": server.url, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(SRC / "main.py"), *tiny]
    titles = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as program:
        for line in program.stdout:
            titles.append(Path(f"/proc/{program.pid}/cmdline").read_text())
            print(line)
    assert program.returncode == 0
    assert len(titles) > 3
    wrong = server.url.replace(PASSWORD, "codfish")
    assert carry_out(results, f"mongo_url={server.url}") == 0
    assert carry_out(results, f"mongo_url={wrong}") == 0
    experiment.then = fail
    assert carry_out(results, f"mongo_url={server.url}") == 1

    def crash(config, recorder, stop):
        raise ZeroDivisionError(config)

    experiment.then = crash
    with pytest.raises(ZeroDivisionError) as crashed:
        carry_out(results, f"mongo_url={server.url}")
    assert sync_mongo.main([str(results), "--url", wrong]) == 1
    monkeypatch.setenv("MONGO_URL", server.url)
    assert sync_mongo.main([str(results)]) == 0
    assert "mongodb://muster:***@" in (results / "sacred" / "2" / "info.json").read_text()
    files = [path for path in results.rglob("*") if path.is_file()]
    assert len(files) > 25
    said = "".join(capfd.readouterr()) + str(titles) + str(crashed.value)
    assert "was dropped" in said
    with pymongo.MongoClient(server.url) as client:
        assert client["sacred"].runs.count_documents({}) == 5
        kept = str(list(client["sacred"].runs.find({})))
    for secret in (PASSWORD, "codfish"):
        assert secret not in said
        assert secret not in kept
        assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_a_server_that_repeats_a_password_is_not_quoted():
    with closing(Database("mongodb://me:sword%2Ffish@127.0.0.1:1/", "sacred")) as database:
        for word in ("sword/fish", "sword%2Ffish"):
            with pytest.raises(DatabaseFault, match=r"^no \*\*\* here$"), database.faults():
                raise OperationFailure(f"no {word} here")


@pytest.mark.parametrize(
    "url",
    ["mongodb://me:sword/fish@host", "mongodb://me:sword@fish@host", "me:swordfish@host", "http://me:swordfish@h"],
)
@pytest.mark.parametrize("place", ["setting", "environment"])
def test_an_address_that_is_none(experiment, results, capsys, monkeypatch, url, place):
    words = [f"local_results_path={results}"]
    if place == "setting":
        words.append(f"mongo_url={url}")
    else:
        monkeypatch.setenv("MONGO_URL", url)
    assert command.main(words) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: mongo_url" if place == "setting" else "error: MONGO_URL (environment)")
    assert err.count("\n") == 1
    assert not results.exists()
    assert "fish" not in out + err


def test_a_misspelt_key_does_not_tell_the_password_either(capsys):
    assert command.main(["mongo_ulr=mongodb://me:swordfish@host"]) == 2
    assert "swordfish" not in capsys.readouterr().err
    assert command.main(["mongo_url=mongodb://me:swordfish@host", "--print-config"]) == 0
    assert "swordfish" not in "".join(capsys.readouterr())


# --- later ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("recorded")
def test_runs_are_brought_later_and_once(experiment, results, mongo_url, mongo_db, database, capsys):
    for then in (complete, fail, be_stopped):
        experiment.then = then
        carry_out(results)
    assert synchronise(results, mongo_url, mongo_db) == 0
    assert differences(database, results) == []
    assert [run["_id"] for run in database.runs.find({})] == [1, 2, 3]
    assert "3 runs: 3 brought, 0 were there already" in capsys.readouterr().out
    before = [list(collection.find({})) for collection in (database.runs, database.metrics)]
    assert synchronise(results, mongo_url, mongo_db) == 0
    assert "3 runs: 0 brought, 3 were there already" in capsys.readouterr().out
    assert str([list(collection.find({})) for collection in (database.runs, database.metrics)]) == str(before)


def test_another_folder_with_the_same_numbers(experiment, results, tmp_path, mongo_url, mongo_db, database):
    """A run is known by itself, not by its number; a copy of it is the same run."""
    import shutil

    carry_out(results)
    carry_out(tmp_path / "others")
    shutil.copytree(results, tmp_path / "copy")
    for folder in (results, tmp_path / "others", tmp_path / "copy"):
        assert synchronise(folder, mongo_url, mongo_db) == 0
    assert [run["info"]["run"] for run in database.runs.find({})] == ["1", "1"]


@pytest.mark.parametrize("kind", ["drop", "drop_after"])
def test_bringing_that_breaks_off_anywhere_goes_on(experiment, results, server, capsys, kind):
    experiment.then = lambda config, recorder, stop: figures(3)(recorder)
    for _ in range(2):
        carry_out(results)
    codes = []
    with pymongo.MongoClient(server.url) as client:
        for moment in range(1, 30):
            client.drop_database("sacred")
            server.plan(Fault(kind, at=moment))
            codes.append(synchronise(results, server.url))
            server.plan()
            assert synchronise(results, server.url) == 0
            assert differences(client["sacred"], results) == []
            if moment > 12 and codes[-1] == 0:
                break
    assert codes.count(1) > 5


def test_a_program_that_is_killed_goes_on(experiment, results, server):
    experiment.then = lambda config, recorder, stop: figures(50)(recorder)
    for _ in range(20):
        carry_out(results)
    words = [sys.executable, str(SRC / "sync_mongo.py"), str(results)]
    with pymongo.MongoClient(server.url) as client:
        runs = client["sacred"].runs
        with subprocess.Popen(words, env={**os.environ, "MONGO_URL": server.url}, stdout=subprocess.DEVNULL) as program:
            wait_for(lambda: runs.count_documents({}) >= 3)
            program.kill()
        assert runs.count_documents({}) < 20
        assert synchronise(results, server.url) == 0
        assert differences(client["sacred"], results) == []


def test_what_cannot_be_read_is_told_and_the_rest_is_brought(
    experiment, results, mongo_url, mongo_db, database, capsys
):
    for _ in range(3):
        carry_out(results)
    one, two, three = records_of(results)
    (one / "run.json").write_text('{"status": "COMP')
    with (two / "metrics.jsonl").open("a") as file:
        file.write('{"name": "loss", "st')  # killed in mid-line
    lines = (three / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (three / "metrics.jsonl").write_bytes(b"".join([lines[0], b"\0\0\0\n", *lines[1:]]))
    assert synchronise(results, mongo_url, mongo_db) == 1
    out = capsys.readouterr().out
    assert f"left out: {one}: {one / 'run.json'} is missing or cannot be read" in out
    assert "3 runs: 2 brought, 0 were there already, 1 left out" in out
    assert sorted(len(metric["steps"]) for metric in database.metrics.find({})) == [2, 2]


@pytest.mark.parametrize("content", ['{"meta": 5}', '{"result": 99999999999999999999}'])
def test_a_record_that_is_none_leaves_the_others_alone(experiment, results, mongo_url, mongo_db, database, content):
    for _ in range(2):
        carry_out(results)
    (results / "sacred" / "1" / "run.json").write_text(content)
    assert synchronise(results, mongo_url, mongo_db) == 1
    assert [run["status"] for run in database.runs.find({"info.run": "2"})] == ["COMPLETED"]


def test_an_end_is_not_undone(experiment, results, mongo_url, mongo_db, database):
    """Whoever has read the files while the run went on may write later than whoever has read its end."""
    carry_out(results)
    (record,) = records_of(results)
    whole = (record / "run.json").read_text()
    running = {**json.loads(whole), "status": "RUNNING"}
    with closing(Database(mongo_url, mongo_db)) as other:
        (record / "run.json").write_text(json.dumps(running))
        late = Mirror(other, record)
        late.update()
        (record / "run.json").write_text(whole)
        assert synchronise(results, mongo_url, mongo_db) == 0
        (record / "run.json").write_text(json.dumps(running))
        late.update()
        (record / "run.json").write_text(whole)
    assert differences(database, results) == []


def test_a_line_that_is_being_written_is_read_when_it_is_whole(experiment, results, mongo_url, mongo_db, database):
    carry_out(results)
    (record,) = records_of(results)
    line = json.dumps({"name": "return", "step": 5, "value": 0.5, "time": 1.8e9}) + "\n"
    with closing(Database(mongo_url, mongo_db)) as other, (record / "metrics.jsonl").open("a") as file:
        mirror = Mirror(other, record)
        for part in (line[:20], line[20:]):
            file.write(part)
            file.flush()
            mirror.update()
    assert differences(database, results) == []


def test_files_whose_upload_broke_off_are_whole_in_the_end(experiment, results, server):
    """At every command, so that pieces of a file are left."""
    carry_out(results)
    content = os.urandom(600_000)  # of three pieces
    folder = results / "models" / "1" / "9"
    folder.mkdir(parents=True)
    (folder / "learner.pt").write_bytes(content)
    with pymongo.MongoClient(server.url) as client:
        database = client["sacred"]
        for moment in range(1, 40):
            client.drop_database("sacred")
            server.plan(Fault("drop_after", at=moment))
            code = synchronise(results, server.url, "sacred", "--checkpoints")
            server.plan()
            assert synchronise(results, server.url, "sacred", "--checkpoints") == 0
            (artifact,) = database.runs.find_one({})["artifacts"]
            assert gridfs.GridFS(database).get(artifact["file_id"]).read() == content
            assert database["fs.chunks"].count_documents({}) == 3
            if moment > 12 and code == 0:
                break
        else:
            raise AssertionError("it never came through")
        # what a program that is killed leaves: pieces that belong to no file
        database["fs.files"].delete_many({})
        database.runs.update_one({}, {"$set": {"artifacts": []}})
        assert synchronise(results, server.url, "sacred", "--checkpoints") == 0
        (artifact,) = database.runs.find_one({})["artifacts"]
        assert gridfs.GridFS(database).get(artifact["file_id"]).read() == content


def test_records_of_an_earlier_version_are_known_again(experiment, results, mongo_url, mongo_db, database):
    for _ in range(2):
        carry_out(results)
    for record in records_of(results):
        run = json.loads((record / "run.json").read_text())
        del run["meta"]["uuid"]
        (record / "run.json").write_text(json.dumps(run))
    for _ in range(2):
        assert synchronise(results, mongo_url, mongo_db) == 0
    assert database.runs.count_documents({}) == 2


def test_what_somebody_has_deleted_comes_again(experiment, results, mongo_url, mongo_db, database):
    carry_out(results)
    synchronise(results, mongo_url, mongo_db)
    database.runs.update_one({}, {"$set": {"_id": 1}})
    database.runs.delete_one({})  # and its metrics are left
    database.runs.insert_one({"_id": 5})
    assert synchronise(results, mongo_url, mongo_db) == 0
    database.runs.delete_one({"_id": 5})
    assert differences(database, results) == []


def test_watching_brings_runs_as_they_go_on(experiment, results, server, capsys, monkeypatch):
    monkeypatch.setattr(sync, "INTERVAL", 0.05)
    monkeypatch.setattr("observers.database.PATIENCE", 0.3)
    codes: list[int] = []
    watching = threading.Thread(target=lambda: codes.append(watch(results, server.url, over)), daemon=True)
    over = threading.Event()

    def run(config, recorder, stop):
        with pymongo.MongoClient(server.url) as client:
            database = client["sacred"]
            watching.start()
            recorder.scalar("return", 0.5, 1)
            wait_for(lambda: database.metrics.find_one({"name": "return"}))
            assert database.runs.find_one({})["status"] == "RUNNING"
            recorder.scalar("return", 0.7, 2)
            wait_for(lambda: database.metrics.find_one({"name": "return"})["values"] == [0.5, 0.7])
            server.kill()
            wait_for(lambda: "does not answer" in capsys.readouterr().out)
            recorder.scalar("return", 0.8, 3)
            server.start()

    experiment.then = run
    carry_out(results)
    with pymongo.MongoClient(server.url) as client:
        wait_for(lambda: (client["sacred"].runs.find_one({}) or {}).get("status") == "COMPLETED")
        over.set()
        watching.join(30)
        assert differences(client["sacred"], results) == []
    assert codes == [130]


def watch(results: Path, url: str, over: threading.Event) -> int:
    """`sync_mongo.py --watch` until `over`."""
    from utils.interrupt import StopSignal

    stop = StopSignal()

    def end() -> None:
        over.wait(60)
        stop.requested, stop.signum = True, signal.SIGINT

    threading.Thread(target=end, daemon=True).start()
    try:
        return sync.synchronise(results, url, "sacred", True, False, stop)
    except Interrupted:
        return stop.exit_code


def test_several_bring_the_same_runs_at_once(experiment, results, server, impatient):
    """A run that records itself, and two programs that bring it: one document each, every point once."""
    experiment.then = lambda config, recorder, stop: figures(20)(recorder)
    for _ in range(5):
        carry_out(results)
    helpers = []

    def run(config, recorder, stop):
        words = [sys.executable, str(SRC / "sync_mongo.py"), str(results), "--url", server.url]
        helpers.extend(subprocess.Popen(words, stdout=subprocess.DEVNULL) for _ in range(3))
        while any(helper.poll() is None for helper in helpers):
            recorder.scalar("loss", 0.5, 9)
            time.sleep(0.002)

    experiment.then = run
    assert carry_out(results, f"mongo_url={server.url}") == 0
    with pymongo.MongoClient(server.url) as client:
        assert synchronise(results, server.url) == 0
        assert differences(client["sacred"], results) == []


def test_words_that_cannot_be(results, capsys, monkeypatch):
    for words in ([str(results)], [str(results), "--url", "mongodb://host"], ["--nonsense"]):
        assert sync_mongo.main(words) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    results.mkdir()
    assert sync_mongo.main([str(results)]) == 2
    assert "MONGO_URL" in capsys.readouterr().err
