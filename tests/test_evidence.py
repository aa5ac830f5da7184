"""The evidence queue as a program: workers that share cells, are stopped and killed, fail, and are told of."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import toy_study
from conftest import tiny_overrides
from test_cli import PATIENCE, STOPPING, Program

import evidence
import study
from studies.declaration import Entry, Row, Study
from studies.queue import QUEUE
from studies.worker import GRACE
from utils.checkpoints import save_checkpoint

SRC = str(Path(evidence.__file__).parent)
FIRST, SECOND, BROKEN = (f"sc2_3m/{place}" for place in ("aqmix/seed0", "aqmix/seed1", "broken/seed0"))
# `Program` names the results as main.py wants them; the queue lies pickled beside them
START = """
import os, pathlib, pickle, sys
sys.path.insert(0, sys.argv[1])
import evidence
results = pathlib.Path(sys.argv[-1].partition("=")[2])
queue = pickle.loads((results.parent / "queue").read_bytes())
os.environ["OMP_NUM_THREADS"] = "3"
sys.exit(evidence.main([f"--results={results}"], queue, final=True))
"""


def entry(of: Study, t_max: int, seeds: Sequence[int] = (0, 1), **settings: object) -> Entry:
    words = [word for word in tiny_overrides(**settings) if not word.startswith("t_max=")]
    return Entry(of, seeds, t_max, words)


def start(queue: Sequence[Entry], results: Path) -> Program:
    (results.parent / "queue").write_bytes(pickle.dumps(queue))
    return Program(results=results, command=("-c", START, SRC))


def said_of_cells(out: str) -> dict[str, str]:
    """Place -> what a page of status says of it."""
    return dict(re.findall(r"^\w+ (sc2_3m/\S+): (.*)$", out, flags=re.MULTILINE))


def steps(said: str) -> int:
    return int(said.partition(" of ")[0].replace(",", ""))


def worker(said: str) -> int:
    """The process that runs a cell; 0: none does."""
    found = re.search(r" running in process (\d+)$", said)
    return int(found[1]) if found else 0


def wait_until(status: Callable[[], dict[str, str]], holds: Callable[[dict[str, str]], object]) -> dict[str, str]:
    deadline = time.monotonic() + PATIENCE
    while not holds(said := status()):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
    return said


def runs(results: Path, place: str) -> list[str]:
    """The statuses of its trainings."""
    found = sorted((results / place / "sacred").glob("[0-9]*"))
    return [json.loads((run / "run.json").read_text())["status"] for run in found]


@pytest.mark.slow
def test_stopped_or_killed_it_goes_on(results, capsys):
    queue = [entry(toy_study.SINGLE, 1_000_000, save_model_interval=160)]

    def status() -> dict[str, str]:
        capsys.readouterr()
        assert evidence.main(["--status", f"--results={results}"], queue) == 0
        return said_of_cells(capsys.readouterr().out)

    assert status() == dict.fromkeys((FIRST, SECOND), "0 of 1,000,000 steps, 0 updates, waiting")
    assert not results.exists()

    with start(queue, results) as program:
        said = wait_until(status, lambda said: all(steps(line) and worker(line) for line in said.values()))
        workers = [worker(line) for line in said.values()]
        assert len(set(workers)) == 2
        for pid in workers:
            assert (os.getpriority(os.PRIO_PROCESS, pid), os.getsid(pid)) == (19, pid)
            assert b"\0OMP_NUM_THREADS=1\0" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
        assert all(" 0 updates" not in line for line in said.values())

        assert evidence.main([f"--results={results}"], queue) == 1
        line = f"error: a queue is at work in {results} already, process {program.process.pid} on "
        assert capsys.readouterr().err.startswith(line)

        assert study.main(queue[0].table_words(results), toy_study.REGISTRY) == 0  # unfinished, and at work
        assert "| A-QMIX | 2 |" in (results / "single" / "table.md").read_text(encoding="utf-8")

        program.process.send_signal(signal.SIGTERM)
        assert program.finish() == (143, STOPPING + "the queue was stopped; the same command continues it\n")
        assert program.processes() == {}
    said = status()
    assert all(line.endswith("waiting") for line in said.values())
    assert [runs(results, place) for place in said] == [["INTERRUPTED"]] * 2

    with start(queue, results) as program:
        now = wait_until(status, lambda now: all(worker(now[at]) and steps(now[at]) > steps(said[at]) for at in now))
        for place in said:
            config = json.loads((results / place / "sacred" / "2" / "config.json").read_text())
            assert config["checkpoint_path"] == str(results / place / "models" / "1" / str(steps(said[place])))

        os.kill(worker(now[FIRST]), signal.SIGKILL)
        assert program.process.stderr is not None
        assert program.process.stderr.readline().startswith("a worker ended with exit code -9, its log: ")
        now = status()
        assert now[FIRST].endswith(" died")
        assert worker(now[SECOND])

        program.process.kill()
        killed_at = time.monotonic()
        program.wait_until_gone()
        assert time.monotonic() - killed_at < 2 * GRACE + 5
    assert status()[SECOND].endswith("waiting")  # it heard, and saved
    assert runs(results, SECOND) == ["INTERRUPTED"] * 2


@pytest.mark.slow
def test_a_failing_cell_leaves_the_others(results):
    broken = replace(toy_study.SINGLE, name="broken", rows=(Row("VDN", toy_study.BROKEN),))
    refused = entry(toy_study.SINGLE, 40, gama=0.9)
    queue = [refused, entry(broken, 200, (0,), lr=1e30), entry(toy_study.SINGLE, 40)]
    with start(queue, results) as program:
        out, err = program.process.communicate()
    assert program.process.returncode == 1
    one, other = sorted(err.splitlines())
    assert one.startswith("failed: sc2_3m/broken/seed0")
    assert other.startswith(f"failed: {refused.title}: unknown key gama=0.9")
    first, _, last = out.partition("at work")
    assert set(said_of_cells(first).values()) == {
        "0 of 200 steps, 0 updates, waiting",
        "0 of 40 steps, 0 updates, waiting",
    }
    said = said_of_cells(last)
    assert said[BROKEN].endswith(" failed")
    assert all(said[place].endswith(" finished") for place in (FIRST, SECOND))
    assert "\n3 in all: 2 finished, 0 running, 0 died, 1 failed, 0 waiting; " in last
    assert [runs(results, place) for place in (FIRST, SECOND)] == [["COMPLETED"]] * 2
    assert evidence.main([f"--results={results}", "--workers=1"], queue[2:]) == 0


def test_status_waits_for_no_networks(results):
    save_checkpoint(results / "sc2_sz" / "mipi" / "seed0" / "models" / "1" / "20", {"learner": {}}, updates=7)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import evidence; evidence.main(sys.argv[2:]); "
    code += "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    words = [sys.executable, "-c", code, SRC, "--status", f"--results={results}"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "mipi_table1 sc2_sz/mipi/seed0: 20 of 1,000,000 steps, 7 updates, waiting\n" in told
    places = {cell.place(seed) for entry in QUEUE for cell, seed in entry.study.jobs(entry.seeds)}
    assert f"{len(places)} in all: 0 finished, " in told
    assert told.count("./run.sh python src/study.py ") == len(QUEUE)


@pytest.mark.parametrize(
    ("words", "named"), [(["--workers=0"], "--workers 0: must be at least 1"), (["--worker=2"], "--worker=2")]
)
def test_wrong_words_end_in_one_line(results, capsys, words, named):
    assert evidence.main([f"--results={results}", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert named in err
    assert not results.exists()
