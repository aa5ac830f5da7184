"""The runs below a folder of results, a line each. `python src/runs.py --help` explains the words.

Nothing is written, and nobody who is at work there is disturbed. Exit codes: 0 they are listed, whatever has become of
them, 2 the user can correct something, 130 it was stopped.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from utils.command_line import Parser, add_results, parse_command_line
from utils.errors import UserError
from utils.logging import EPISODES, METRICS_FILE, describe, duration
from utils.records import RUN_FILE, read_json, status_of

#: More bytes than a line of metrics has.
_TAIL = 1 << 14
_HEADINGS = ("id", "name", "task", "seed", "status", "steps", "time", "last test")


@dataclass(frozen=True)
class Run:
    """What a record says, as text; "" for what it does not."""

    #: below the results: a study's `<task>/<cell>/seed<k>/<number>`, else the number alone
    id: str
    name: str
    #: as `--env-config` named it, else the environment
    task: str
    seed: str
    #: as `utils.records.status_of` tells it
    status: str
    #: environment steps at its last metric, of those to train for
    steps: str
    #: from its beginning to its end, or to its last sign of life
    time: str
    #: the last test, and what of the record cannot be read
    test: str


def main(argv: Sequence[str]) -> int:
    """List what `argv` (without the program's name) asks for and return the exit code."""
    try:
        folder = _parser().parse_args(argv).results
        if not folder.is_dir():
            raise UserError(f"RESULTS={folder}: there is no such folder; name one that runs were recorded in")
        runs = [read_run(record, folder) for record in find_records(folder)]
        print(_table(runs) if runs else f"no run is recorded below {folder}", flush=True)
    except UserError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _tell_unreadable(error: OSError) -> None:
    print(f"left out: {error.filename} cannot be read ({error.strerror})", file=sys.stderr)


def find_records(folder: Path, unreadable: Callable[[OSError], None] = _tell_unreadable) -> list[Path]:
    """The record folders, `sacred/<number>`, below `folder` or in it, in the order of their places and numbers.

    Args:
        unreadable: is told of folders that may not be read.
    """
    found = []
    for place, names, _ in os.walk(folder, onerror=unreadable):
        if os.path.basename(place) == "sacred":
            found += [Path(place, name) for name in names if name.isdecimal()]
            names[:] = [name for name in names if not name.isdecimal()]
        elif "sacred" in names and "models" in names:
            names.remove("models")  # many checkpoints, and no record
    return sorted(found, key=lambda record: (record.parent, int(record.name)))


def read_run(record: Path, results: Path) -> Run:
    """What the folder `record`, which lies below `results`, says; of what cannot be read the last field tells."""
    faults = []
    run, config, facts = (read_json(record / name) for name in (RUN_FILE, "config.json", "info.json"))
    faults += [name for name, content in ((RUN_FILE, run), ("config.json", config)) if not content]
    step = _last_step(record / METRICS_FILE)
    if step is None:
        faults.append(METRICS_FILE)
    t_max = config.get("t_max")
    whole = f" of {t_max:,}" if isinstance(t_max, int) and config.get("evaluate") is False else ""
    kind = "validation" if config.get("test_episodes") == "validation" else "test"
    try:
        test = describe(json.loads((record / EPISODES[kind]).read_text(encoding="utf-8")))
        test = f"{kind}: {test}" if kind != "test" else test
    except FileNotFoundError:
        test = ""
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        test = ""
        faults.append(EPISODES[kind])
    if faults:
        test = "; ".join([test] * bool(test) + [f"! cannot be read: {', '.join(faults)}"])
    said = Run(
        id=record_id(record, results),
        name=str(config.get("name", "")),
        task=task_of(facts, config),
        seed=str(config.get("seed", "")),
        status=status_of(record),
        steps="" if step is None else f"{step:,}{whole}",
        time=_time(record, run),
        test=test,
    )
    return Run(*(printable(text) for text in astuple(said)))


def record_id(record: Path, results: Path) -> str:
    """What the run of the folder `record` is called among those below `results`: its place without `sacred`."""
    place = record.relative_to(results).parts
    return "/".join(part for i, part in enumerate(place) if (i, part) != (len(place) - 2, "sacred"))


def task_of(facts: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The task of a run as `--env-config` named it, else the environment; "" where neither is said."""
    words = facts.get("arguments")
    try:
        task = parse_command_line([str(word) for word in words or ()]).environment
    except (UserError, TypeError):
        task = None
    return task or str(config.get("env", ""))


def _last_step(path: Path) -> int | None:
    """The step of the last whole line of metrics; 0 where there is none yet, None where they cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            lines = file.read().split(b"\n")[:-1]  # what follows the last line's end is being written
        return int(json.loads(lines[-1])["step"]) if lines else 0
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


def _time(record: Path, run: dict[str, Any]) -> str:
    try:
        begun = moment_of(run["start_time"])
        if run.get("stop_time"):
            ended = moment_of(run["stop_time"])
        else:
            signs = (record / name for name in (RUN_FILE, METRICS_FILE))
            ended = max(sign.stat().st_mtime for sign in signs if sign.exists())
    except (OSError, ValueError, LookupError, TypeError, OverflowError):
        return ""
    return duration(max(ended - begun, 0))


def moment_of(text: str) -> float:
    """Seconds since 1970; sacred writes UTC without saying so."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def printable(text: str) -> str:
    """`text` on one line, without what could move a cursor or is no letter."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _table(runs: Sequence[Run]) -> str:
    rows = [_HEADINGS, *(astuple(run) for run in runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    counts = Counter(run.status for run in runs)
    lines.append(f"{len(runs)} in all: " + ", ".join(f"{n} {status}" for status, n in counts.most_common()))
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(
        prog="python src/runs.py",
        description="List the runs that are recorded below a folder of results, those of studies too. A run that says "
        "RUNNING and whose process is gone has DIED; one without a readable run.json is UNKNOWN. Nothing is changed.",
        allow_abbrev=False,
    )
    add_results(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
