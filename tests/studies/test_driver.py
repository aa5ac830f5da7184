"""What the driver makes of a cluster's news, by a cluster that is played here."""

import contextlib
import io
from pathlib import Path

import pytest
from toy_study import SINGLE

from studies import driver
from studies.clusters import Cluster, End, Job, Site
from studies.clusters.base import GONE
from studies.declaration import Entry
from studies.live import View
from studies.workers import BUSY, FAILED
from utils.checkpoints import save_checkpoint
from utils.interrupt import StopSignal
from utils.locks import locked


class Played(Cluster):
    """Takes one job at a time; `ends` says how each one ends, `before` is called with its place then."""

    def __init__(self, ends, before=lambda place: None) -> None:
        self.active: dict[str, Job] = {}
        self.ends, self.before = list(ends), before
        self.started: list[str] = []
        self.stopped = self.closed = 0

    @property
    def room(self) -> int:
        return 1 - len(self.active)

    def start(self, jobs) -> None:
        assert len(jobs) <= self.room
        self.started += [job.place for job in jobs]
        self.active |= {job.place: job for job in jobs}

    def ended(self) -> list[End]:
        found = []
        for place in list(self.active):
            self.before(place)
            found.append(End(self.active.pop(place), *self.ends.pop(0)))
        return found

    def stop(self) -> None:
        self.stopped += 1

    def close(self) -> None:
        self.closed += 1


FIRST, SECOND = "sc2_3m/aqmix/seed0", "sc2_3m/aqmix/seed1"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(driver, "TICK", 0.0)
    monkeypatch.setattr(driver, "PAUSE", 0.0)


def drive(results: Path, cluster: Played, stop: StopSignal | None = None) -> str:
    """Two jobs on `cluster`; what was said."""
    said = io.StringIO()
    jobs = [Job(place, Entry(SINGLE, (seed,), 60, ()), 0) for seed, place in enumerate((FIRST, SECOND))]
    with cluster, View(jobs, results, said) as view:
        site = Site(results, results / "single" / "workers")
        driver.Driver(cluster, jobs, site, stop or StopSignal(), view).run()
    return said.getvalue()


def test_in_their_order(results):
    cluster = Played([(0,), (0,)])
    drive(results, cluster)
    assert (cluster.started, cluster.closed) == ([FIRST, SECOND], 1)


def test_what_another_process_is_at_is_waited_for(results):
    with contextlib.ExitStack() as other:
        other.enter_context(locked(results / FIRST / "tests"))
        cluster = Played([(0,), (0,)], lambda place: other.close())
        drive(results, cluster)
    assert cluster.started == [SECOND, FIRST]


def test_a_job_that_found_another_process_there_is_tried_again(results):
    cluster = Played([(BUSY,), (0,), (BUSY,), (BUSY,), (BUSY,), (0,)])
    assert "died" not in drive(results, cluster).replace("0 died", "")
    assert cluster.started == [FIRST, SECOND, FIRST, FIRST, FIRST, FIRST]


def test_a_job_that_failed_is_not_tried_again(results):
    cluster = Played([(FAILED,), (0,)])
    assert f"failed: {FIRST}\n" in drive(results, cluster)
    assert cluster.started == [FIRST, SECOND]


def test_a_job_that_died_is_tried_again_as_long_as_it_gets_further(results):
    steps = iter([16, 16, 32, 32, 32])

    def train(place):
        if place == FIRST:
            save_checkpoint(results / FIRST / "models" / "1" / str(next(steps)), {"learner": {}}, updates=1)

    # SECOND's end comes second
    cluster = Played([(GONE, "no power"), (0,), (-9,), (-9,), (GONE,), (GONE,)], train)
    said = drive(results, cluster)
    assert cluster.started == [FIRST, SECOND, FIRST, FIRST, FIRST, FIRST]
    assert f"{FIRST}: its worker died, and it goes on from step 16 (no power)\n" in said
    assert f"{FIRST}: its worker died, and it goes on from step 32 (exit code -9)\n" in said
    assert f"failed: {FIRST}: its worker died 3 times at step 32 (exit code -1)\n" in said


def test_a_signal_stops_all_jobs_and_starts_none(results):
    stop = StopSignal()
    cluster = Played([(BUSY,), (143,)], lambda place: setattr(stop, "requested", place == SECOND))
    with pytest.raises(KeyboardInterrupt):
        drive(results, cluster, stop)
    assert (cluster.started, cluster.stopped, cluster.closed) == ([FIRST, SECOND], 1, 1)
