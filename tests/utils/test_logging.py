"""Metrics on disk, and the two faces of the console."""

import io
import json
import math
import os

import pytest
import torch
from conftest import small_files

from utils.logging import METRICS_FILE, Console, MetricName, Recorder, metric_name, parse_metric_name


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


def entries(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]


def screen(written: str) -> list[str]:
    """The lines a terminal would show: a carriage return goes back to the start of the line."""
    lines = []
    for raw in written.split("\n"):
        cells: list[str] = []
        for part in raw.split("\r"):
            cells[: len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines


def test_metrics_are_on_disk_at_once_and_as_they_are(tmp_path):
    told = []
    recorder = Recorder(tmp_path, "7", Console(10, io.StringIO()), on_scalar=lambda *metric: told.append(metric))
    recorder.scalar("loss", torch.tensor(0.5), 3)
    recorder.scalars({"a": math.nan, "b": -math.inf}, step=4)
    found = entries(tmp_path)  # before close: a killed run has its metrics, too
    assert [(e["name"], e["step"]) for e in found] == [("loss", 3), ("a", 4), ("b", 4)]
    assert found[0]["value"] == 0.5
    assert math.isnan(found[1]["value"])
    assert found[2]["value"] == -math.inf
    assert all(set(entry) == {"name", "step", "value", "time"} for entry in found)
    assert [metric[::2] for metric in told] == [("loss", 3), ("a", 4), ("b", 4)]
    recorder.close()
    recorder.close()


def test_a_second_recorder_appends(tmp_path):
    for step in (1, 2):
        recorder = Recorder(tmp_path, "7", Console(10, io.StringIO()))
        recorder.scalar("loss", 1, step)
        recorder.close()
    assert [entry["step"] for entry in entries(tmp_path)] == [1, 2]


@pytest.mark.parametrize("room", [0, 40])
def test_a_line_that_does_not_fit_is_not_there_at_all(tmp_path, room):
    recorder = Recorder(tmp_path, "7", Console(10, io.StringIO()))
    recorder.scalar("loss", 0.5, 1)
    size = (tmp_path / METRICS_FILE).stat().st_size
    with small_files(size + room), pytest.raises(OSError, match=METRICS_FILE) as refused:
        recorder.scalar("loss", 0.25, 2)
    assert refused.value.filename == str(tmp_path / METRICS_FILE)
    recorder.scalar("loss", 0.125, 3)
    recorder.close()
    assert [entry["step"] for entry in entries(tmp_path)] == [1, 3]


def test_facts_are_handed_on(tmp_path):
    facts: dict = {}
    recorder = Recorder(tmp_path, "7", Console(10, io.StringIO()), on_facts=facts.update)
    recorder.facts({"device": "cpu"})
    recorder.facts({"parameters": 3})
    assert facts == {"device": "cpu", "parameters": 3}
    recorder.close()


def test_plain_lines_come_every_log_interval():
    stream, clock = io.StringIO(), Clock()
    console = Console(100, stream, clock)
    for t_env in (0, 40, 80, 130, 190, 290, 310, 350, 350):
        clock.now = t_env / 10
        console.progress(t_env, 350, "")
    console.close()
    lines = stream.getvalue().splitlines()
    assert [int(line.partition("/")[0]) for line in lines] == [0, 130, 290, 310, 350]
    assert lines[1] == "130/350 steps, 10/s, 0:22 left"
    assert stream.getvalue().replace("\n", "").isprintable()


def test_rate_counts_from_where_this_program_began():
    stream, clock = io.StringIO(), Clock()
    console = Console(1, stream, clock)
    console.progress(1000, 10_000, "")
    clock.now = 2.0
    console.progress(2000, 10_000, "return 1.50")
    assert stream.getvalue().splitlines()[-1] == "2,000/10,000 steps, 500/s, 0:16 left, return 1.50"


def test_the_bar_is_one_line_and_remarks_stand_above_it(terminal):
    clock = Clock()
    console = Console(10, terminal, clock)
    for t_env in (0, 50, 100):
        clock.now += 1.0
        console.progress(t_env, 100, "win rate 0.25")
        if t_env == 50:
            console.line("checkpoint\nsaved")
    console.close()
    shown = screen(terminal.getvalue())
    assert shown[0] == "checkpoint saved"
    assert shown[1].startswith("[####")
    assert "100/100 steps" in shown[1]
    assert "win rate 0.25" in shown[1]
    assert shown[2:] == [""]


def test_the_bar_keeps_to_the_width(terminal, monkeypatch):
    for width in (20, 60, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        terminal.truncate(0)
        terminal.seek(0)
        Console(10, terminal, Clock()).progress(50, 1_000_000, "a long score " * 3)
        assert 0 < len(terminal.getvalue()) < width


@pytest.mark.parametrize(
    ("width", "shown"), [("40", "[#####.....] 50/100 steps, battle_won 3"), ("20", "50/100 steps, battl")]
)
def test_a_long_score_gives_way_to_the_bar_and_the_bar_to_the_figures(terminal, monkeypatch, width, shown):
    monkeypatch.setenv("COLUMNS", width)
    Console(10, terminal, Clock()).progress(50, 100, "battle_won 3-5: 0.25, 6: 0.50")
    assert terminal.getvalue() == shown


def test_the_bar_is_not_drawn_faster_than_anyone_can_see(terminal):
    clock = Clock()
    console = Console(10, terminal, clock)
    for t_env in range(100):
        clock.now += 0.01
        console.progress(t_env, 1000, "")
    assert 1 < terminal.getvalue().count("steps") <= 11
    console.progress(1000, 1000, "")
    assert "1,000/1,000" in terminal.getvalue()


def test_a_dumb_terminal_gets_lines(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    Console(10, terminal, Clock()).progress(0, 10, "")
    assert "\r" not in terminal.getvalue()


def test_training_goes_on_when_nobody_reads():
    read, write = os.pipe()
    stream = open(write, "w")  # noqa: SIM115
    console = Console(1, stream)
    os.close(read)
    console.progress(0, 10, "")
    console.progress(5, 10, "")
    console.line("still here")
    console.close()
    assert console._stream is None
    with pytest.raises(BrokenPipeError):
        stream.close()


@pytest.mark.parametrize("figure", ["battle_won", "comm_frequency"])
@pytest.mark.parametrize("episodes", ["test", "validation"])
def test_the_name_of_a_tests_metric_says_what_it_is_of(episodes, figure):
    assert parse_metric_name(metric_name("3-5", figure, episodes)) == MetricName("", episodes, "3-5", figure)
    assert parse_metric_name("expert/" + metric_name("8v9", figure, episodes)) == MetricName(
        "expert/", episodes, "8v9", figure
    )
    for other in ("loss", "train/return_mean", "expert/loss", "test/return_mean", ""):
        assert parse_metric_name(other) is None
