"""What a run tells: metrics for the record, a progress bar or plain lines for whoever watches."""

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from utils.records import named

METRICS_FILE = "metrics.jsonl"
#: of a test: team -> figure -> mean, std, n
Evaluation = dict[str, dict[str, dict[str, float | int]]]


#: the episodes that tests play, `test_episodes` -> the file that holds the last test's figures
EPISODES = {"test": "evaluation.json", "validation": "validation.json"}


def metric_name(team: str, figure: str, episodes: str = "test") -> str:
    """The name by which the mean of `figure` in a test of `team` is recorded; `episodes`: a key of `EPISODES`."""
    return f"{episodes}/{team}/{figure}" + "_mean" * (figure != "comm_frequency")


class MetricName(NamedTuple):
    """What the metric of a test is of."""

    #: what stands before its name: "expert/" for that part of the run, else ""
    part: str
    #: a key of `EPISODES`
    episodes: str
    team: str
    figure: str


def parse_metric_name(metric: str) -> MetricName | None:
    """What `metric_name` was given for `metric`; None for other metrics."""
    *part, kind, team, figure = ["", "", *metric.split("/")]
    if kind not in EPISODES:
        return None
    return MetricName("".join(f"{name}/" for name in part if name), kind, team, figure.removesuffix("_mean"))


def describe(results: Evaluation) -> str:
    """A test in one short text: battles won where there are any, else returns."""
    if not results:  # given up
        return ""
    key = "battle_won" if all("battle_won" in figures for figures in results.values()) else "return"
    return f"{key} " + ", ".join(f"{team}: {figures[key]['mean']:.2f}" for team, figures in results.items())


#: The bar is drawn anew at most every so many seconds.
_REDRAW = 0.1


class Console:
    """One progress bar on a terminal; elsewhere a plain line every `log_interval` steps (or whatever the
    `unit` is), without control characters.
    """

    def __init__(
        self,
        log_interval: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        unit: str = "steps",
    ) -> None:
        self._unit = unit
        self._stream: TextIO | None = sys.stdout if stream is None else stream
        self._log_interval = log_interval
        self._clock = clock
        self._terminal = self._stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
        self._bar = ""
        self._drawn_at = -_REDRAW
        self._next_line: int | None = None
        self._start: tuple[int, float] | None = None
        self._end = 0

    def progress(self, t_env: int, t_max: int, score: str) -> None:
        """Show how far training is: `t_env` of `t_max` steps; `score` is the last test's, "" for none yet."""
        now = self._clock()
        if self._start is None or t_max != self._end:  # or another part of the run has begun
            self._start, self._end = (t_env, now), t_max
            self._next_line = t_env
        if self._terminal:
            if now - self._drawn_at >= _REDRAW or t_env >= t_max:
                self._drawn_at = now
                self._draw(self._format_bar(t_env, t_max, score, now))
        elif self._next_line is not None and (t_env >= self._next_line or t_env >= t_max):
            # None after the last line: a caller may report the end twice
            self._next_line = (t_env // self._log_interval + 1) * self._log_interval if t_env < t_max else None
            self._write(self._describe(t_env, t_max, score, now) + "\n")

    def line(self, text: str) -> None:
        """Print one line; the bar stays below it."""
        text = " ".join(text.splitlines())
        self._write(self._erase() + text + "\n" + self._bar)

    def close(self) -> None:
        """Leave the cursor on a line of its own."""
        if self._bar:
            self._write("\n")
            self._bar = ""

    def _describe(self, t_env: int, t_max: int, score: str, now: float) -> str:
        assert self._start is not None
        steps, seconds = t_env - self._start[0], now - self._start[1]
        parts = [f"{t_env:,}/{t_max:,} {self._unit}"]
        if steps > 0 and seconds > 0:
            rate = steps / seconds
            parts += [f"{rate:,.0f}/s", f"{duration(max(t_max - t_env, 0) / rate)} left"]
        return ", ".join(parts + [score] * bool(score))

    def _format_bar(self, t_env: int, t_max: int, score: str, now: float) -> str:
        text = self._describe(t_env, t_max, score, now)
        columns = shutil.get_terminal_size().columns - 1  # a full last column would make some terminals wrap
        room = columns - 3 - len(self._describe(t_env, t_max, "", now))
        cells = max(min(columns - 3 - len(text), 40), min(room, 10))  # a long score gives way to a short bar
        if cells < 5:
            return text[:columns]
        done = round(cells * min(t_env / t_max, 1.0))
        return f"[{'#' * done}{'.' * (cells - done)}] {text}"[:columns]

    def _draw(self, bar: str) -> None:
        erase = self._erase()
        self._bar = bar
        self._write(erase + bar)

    def _erase(self) -> str:
        return "\r" + " " * len(self._bar) + "\r" if self._bar else ""

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more (a closed pipe or terminal): training goes on
            self._stream = None


class Recorder:
    """Where a run leaves its metrics, facts and remarks.

    Every metric is a line of `<run_dir>/metrics.jsonl`, on disk at once: {"name", "step", "value", "time"}, time in
    seconds since 1970. NaN and infinity are written as they are (`NaN`, which Python's json reads). The file holds
    whole lines only, whatever the disk refuses.

    Args:
        run_dir: the run's folder, which exists.
        run_id: the run's name in `<local_results_path>/sacred` and `<local_results_path>/models`.
        console: where progress and remarks are shown.
        on_scalar: also called with (name, value, step) of every metric.
        on_facts: also called with every set of facts.
    """

    def __init__(
        self,
        run_dir: Path,
        run_id: str,
        console: Console,
        on_scalar: Callable[[str, float, int], None] | None = None,
        on_facts: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.run_dir = run_dir
        self.run_id = run_id
        self._console = console
        self._on_scalar = on_scalar
        self._on_facts = on_facts
        # unbuffered: what could not be written must not be tried again when the file is closed
        self._metrics = (run_dir / METRICS_FILE).open("ab", buffering=0)

    def scalar(self, name: str, value: float, step: int) -> None:
        """Record one figure; anything with a float value will do (a 0-dim tensor, a NumPy number).

        Raises:
            OSError: the disk refuses; it names the file.
        """
        value = float(value)
        entry = {"name": name, "step": int(step), "value": value, "time": round(time.time(), 3)}
        self._append((json.dumps(entry) + "\n").encode())
        if self._on_scalar is not None:
            self._on_scalar(name, value, int(step))

    def _append(self, line: bytes) -> None:
        try:
            with named(self.run_dir / METRICS_FILE):
                whole = self._metrics.seek(0, os.SEEK_END)
                while line:  # a disk that fills up takes a part, and says why only when it is given the rest
                    line = line[self._metrics.write(line) :]
        except OSError:
            with contextlib.suppress(OSError):
                self._metrics.truncate(whole)
            raise

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Record several figures of one step."""
        for name, value in values.items():
            self.scalar(name, value, step)

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Keep what is true of the whole run (device, versions, sizes) with its record; values must suit JSON."""
        if self._on_facts is not None:
            self._on_facts(dict(facts))

    def part(self, name: str) -> "Recorder":
        """A recorder of a part of the run: metrics and facts go to the same places, by names that begin with `name`,
        and files to a folder of that name.
        """
        return _Part(self, name)

    def note(self, text: str) -> None:
        """Tell something in one line."""
        self._console.line(text)

    def progress(self, t_env: int, t_max: int, score: str = "") -> None:
        """Show how far training is; call it as often as you like."""
        self._console.progress(t_env, t_max, score)

    def close(self) -> None:
        """Close the metrics and end the progress bar; idempotent."""
        self._console.close()
        self._metrics.close()


class Silence(Recorder):
    """Leaves nothing: of a rank for which another one tells."""

    def __init__(self, run_dir: Path, run_id: str) -> None:
        self.run_dir, self.run_id = run_dir, run_id

    def scalar(self, name: str, value: float, step: int) -> None:
        pass

    def facts(self, facts: Mapping[str, Any]) -> None:
        pass

    def part(self, name: str) -> "Recorder":
        return self

    def note(self, text: str) -> None:
        pass

    def progress(self, t_env: int, t_max: int, score: str = "") -> None:
        pass

    def close(self) -> None:
        pass


class _Part(Recorder):
    """Of one part of a run; the run's recorder is closed by whoever made it."""

    def __init__(self, whole: Recorder, name: str) -> None:
        self._whole, self._name = whole, name
        self._known: dict[str, Any] = {}
        self.run_dir, self.run_id = whole.run_dir / name, whole.run_id
        self.run_dir.mkdir(exist_ok=True)

    def scalar(self, name: str, value: float, step: int) -> None:
        self._whole.scalar(f"{self._name}/{name}", value, step)

    def facts(self, facts: Mapping[str, Any]) -> None:
        self._known.update(facts)
        self._whole.facts({self._name: dict(self._known)})

    def note(self, text: str) -> None:
        self._whole.note(f"{self._name}: {text}")

    def progress(self, t_env: int, t_max: int, score: str = "") -> None:
        self._whole.progress(t_env, t_max, score)

    def close(self) -> None:
        pass


def duration(seconds: float) -> str:
    """`seconds` as M:SS or H:MM:SS."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def span(numbers: Iterable[int]) -> str:
    """Least and greatest of `numbers`, "-" for none."""
    found = sorted(set(numbers))
    if not found:
        return "-"
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"
