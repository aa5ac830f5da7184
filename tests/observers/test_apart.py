"""The fault policy: what the user adds to a run is dropped with one warning and never takes the run along."""

import threading
import time
from pathlib import Path

import pytest

from observers.apart import Apart, Followers
from observers.observer import Fault, Observer, Run
from utils.config import load_config
from utils.records import write_json


class Diary(Observer):
    """Keeps what it hears; raises or waits where it is told to."""

    name = "the diary"
    remedy = "Buy another one."
    grace = 5.0

    def __init__(self) -> None:
        self.heard: list[tuple] = []
        self.fails_at: str | None = None
        self.error: BaseException = ValueError("no ink")
        self.waits_at: str | None = None
        self.go_on = threading.Event()
        self.ticked = threading.Event()

    def _hear(self, *what) -> None:
        if what[0] == self.waits_at:
            self.go_on.wait(60)
        if what[0] == self.fails_at:
            raise self.error
        self.heard.append(what)

    def begin(self, run):
        self._hear("begin", run.run_id)

    def scalar(self, name, value, step):
        self._hear("scalar", name, value, step)

    def facts(self, facts):
        self._hear("facts", dict(facts))

    def tick(self):
        self.ticked.set()

    def end(self, status):
        self._hear("end", status)


@pytest.fixture
def run(tmp_path) -> Run:
    write_json(tmp_path / "run.json", {"status": "COMPLETED"})
    return Run(tmp_path, "7", load_config([]))


@pytest.fixture
def diary():
    diary = Diary()
    yield diary
    diary.go_on.set()


def follow(followers: Followers, run: Run, figures: int = 3) -> None:
    followers.begin(run)
    followers.facts({"device": "abacus"})
    for step in range(figures):
        followers.scalar("loss", 0.5, step)
    followers.end()


def test_everything_is_heard_in_order(run, diary):
    warnings: list[str] = []
    follow(Followers([diary], warnings.append), run, figures=2)
    assert diary.heard == [
        ("begin", "7"),
        ("facts", {"device": "abacus"}),
        ("scalar", "loss", 0.5, 0),
        ("scalar", "loss", 0.5, 1),
        ("end", "COMPLETED"),
    ]
    assert warnings == []


def test_a_run_that_never_began_has_no_end(diary):
    Followers([diary], print).end()
    assert diary.heard == []


@pytest.mark.parametrize("where", ["begin", "facts", "scalar", "end"])
@pytest.mark.parametrize("error", [ValueError("no ink"), SystemExit("no ink"), Fault("no ink")])
def test_one_that_raises_is_dropped_with_one_warning(run, diary, where, error):
    diary.fails_at, diary.error = where, error
    other, warnings = Diary(), []
    follow(Followers([diary, other], warnings.append), run)
    (warning,) = warnings
    kind = {ValueError: "ValueError: ", SystemExit: "SystemExit: ", Fault: ""}[type(error)]
    assert warning.startswith(f"warning: the diary was dropped, {kind}no ink; ")
    assert str(run.folder) in warning
    assert warning.endswith("Buy another one.")
    assert ("end", "COMPLETED") not in diary.heard
    assert len(other.heard) == 6  # one that fails takes no other along


def test_the_warning_is_given_by_whoever_tells(run, diary):
    """Two threads would garble a terminal."""
    diary.fails_at = "begin"
    tellers = []
    apart = Apart(diary, lambda text: tellers.append(threading.current_thread()))
    apart.begin(run)
    deadline = time.monotonic() + 30
    while not tellers and time.monotonic() < deadline:
        apart.scalar("loss", 0.5, 1)
    assert tellers == [threading.main_thread()]


def test_what_lags_behind_is_dropped_and_costs_nothing(run, diary):
    diary.waits_at = "begin"
    warnings: list[str] = []
    apart = Apart(diary, warnings.append, bound=5)
    apart.begin(run)
    for step in range(20):
        apart.scalar("loss", 0.5, step)
    apart.end("COMPLETED")
    apart.join()  # at once: nobody waits for one that was dropped
    (warning,) = warnings
    assert "it is 5 figures behind" in warning


def test_one_that_hangs_at_the_end_is_left(run, diary):
    diary.waits_at, diary.grace = "end", 0.01
    warnings: list[str] = []
    follow(Followers([diary], warnings.append), run)
    (warning,) = warnings
    assert "it was not done 0.01 seconds after the end" in warning


def test_ticks_come_while_nothing_happens_and_while_much_does(run):
    for busy in (False, True):
        diary = Diary()
        diary.interval = 0.01
        apart = Apart(diary, print, bound=10**6)
        apart.begin(run)
        while busy and not diary.ticked.is_set():
            apart.scalar("loss", 0.5, 1)
        assert diary.ticked.wait(30)
        apart.end("COMPLETED")
        apart.join()


def test_what_an_observer_says_is_shown_by_whoever_tells(run, diary):
    diary.begin = lambda run: diary.say("at mongodb://me:geheim@host")
    shown = []
    follow(Followers([diary], lambda text: shown.append((text, threading.current_thread()))), run)
    assert shown == [("at mongodb://me:***@host", threading.main_thread())]


def test_a_warning_has_no_password(run, diary):
    diary.fails_at, diary.error = "begin", ValueError(f"{'x' * 150} mongodb://me:geheim@host.{'y' * 300}/ says no")
    warnings: list[str] = []
    follow(Followers([diary], warnings.append), run)
    assert "mongodb://me:***@host" in warnings[0]
    assert "geheim" not in warnings[0]
    assert Path(run.folder).exists()
