"""What a study has stored of its trainings and tests: found and judged.

A process may have been killed, a disk filled or a file damaged since: what cannot be trusted is named in one line and
made again, and never becomes a number of a table.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.checkpoints import MANIFEST, Damaged, load_checkpoint, saved_steps, verify_checkpoint
from utils.config import saved_config
from utils.errors import UserError
from utils.records import parameters, read_json, status_of

SETTINGS = "settings.json"
_TEST_KEYS = ("settings", "checkpoint", "run", "evaluation")


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of all runs in `folder`, those with the most steps first, of equal ones the latest run's; whether
    they are sound is not looked at.
    """
    runs = [run for run in (folder / "models").glob("*") if run.name.isdecimal() and run.is_dir()]
    found = [(step, int(run.name), run / str(step)) for run in runs for step in saved_steps(run)]
    return [path for _, _, path in sorted(found, reverse=True)]


def newest_sound(folder: Path) -> Path | None:
    """The newest checkpoint in `folder` that is what was saved; a line names each newer one that is not.

    Raises:
        UserError: another version of Muster wrote the newest one.
    """
    for path in checkpoints(folder):
        try:
            verify_checkpoint(path)
        except Damaged as damage:
            print(f"{damage.fault}: passed over for the newest sound checkpoint", flush=True)
            continue
        return path
    return None


def recorded_runs(folder: Path) -> list[Path]:
    """The records of the runs in `folder`, from the first to the latest."""
    runs = (run for run in (folder / "sacred").glob("*") if run.name.isdecimal())
    return sorted(runs, key=lambda run: int(run.name))


def latest_run(folder: Path) -> Path | None:
    """The record of the latest run in `folder`."""
    return next(reversed(recorded_runs(folder)), None)


def died(folder: Path) -> bool:
    """Whether the latest run recorded in `folder` ended without a word: its process was killed."""
    run = latest_run(folder)
    return run is not None and status_of(run) == "DIED"


def fingerprint(checkpoint: Path) -> dict[str, Any]:
    """Step and hash of the networks that a checkpoint holds."""
    files = read_json(checkpoint / MANIFEST).get("files", {})
    return {"step": int(checkpoint.name), "sha256": files.get("learner", {}).get("sha256")}


def updates(checkpoint: Path) -> int | None:
    """Updates that the networks of `checkpoint` had, those before a resumption too; None where it does not say."""
    told = read_json(checkpoint / MANIFEST).get("updates")
    if isinstance(told, int):
        return told
    try:  # earlier versions kept it beside the networks alone
        _, state = load_checkpoint(checkpoint, names=["learner"])
    except UserError:
        return None
    counters = state["learner"].get("counters")
    count = counters.get("updates") if isinstance(counters, dict) else None
    return count if isinstance(count, int) else None


def read_settings(folder: Path) -> dict[str, Any]:
    """How the models in `folder` were trained.

    Raises:
        UserError: that is not known.
    """
    path = folder / SETTINGS
    settings = read_json(path)
    fault = ""
    if not settings:
        fault = "cannot be read" if path.exists() else "is missing"
    for key, kind in (("t_max", int), ("env_args", dict)):
        if not fault and not isinstance(settings.get(key), kind):
            fault = f"has {key}={settings[key]!r}" if key in settings else f"has no {key!r}"
    if fault:
        raise UserError(
            f"{folder} has models, and how they were trained is unknown, for {path} {fault}: copy the config.json of "
            f"the run in {folder / 'sacred'} that trained them to it, or give another folder with --results"
        )
    return settings


def read_test(folder: Path, identity: Mapping[str, Any], teams: Sequence[str]) -> dict[str, Any] | None:
    """The `test.json` in `folder`; None where there is none of this identity, or it is not to be trusted, which a line
    tells.

    Args:
        folder: `tests/<settings>` of a cell and seed.
        identity: what the test has to agree with: its `settings` and its `checkpoint`.
        teams: what has to be tested.
    """
    path = folder / "test.json"
    if not path.exists():
        return None
    record = read_json(path)
    lacking = [key for key in _TEST_KEYS if key not in record]
    if lacking:
        fault: str | None = f"has no {lacking[0]!r}" if record else "cannot be read"
    elif not _is_of(record, identity):
        return None
    else:
        fault = test_fault(folder, record, teams)
    if fault is None:
        return record
    print(f"{path} {fault}: the test is made again", flush=True)
    return None


def _is_of(record: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
    """Whether a test is one of `identity`; a setting that the program did not have yet at that time has its default."""
    settings = record["settings"]
    if isinstance(settings, dict):
        known = saved_config(settings)
        settings = {**{key: known[key] for key in identity["settings"] if key in known}, **settings}
    return all({**record, "settings": settings}[key] == identity[key] for key in identity)


def test_fault(folder: Path, record: Mapping[str, Any], teams: Sequence[str]) -> str | None:
    """Why the test `record` in `folder` is not to be trusted, in a few words after its name; None where it is."""
    run = folder / "sacred" / str(record["run"])
    evaluation = record["evaluation"] if isinstance(record["evaluation"], dict) else {}
    for team in teams:
        figures = evaluation.get(team)
        if not isinstance(figures, dict) or not figures or not all(map(_is_summary, figures.values())):
            return f"holds no figures of team {team}"
    # text, because NaN is not equal to itself
    if json.dumps(read_json(run / "evaluation.json")) != json.dumps(evaluation):
        return f"does not say what {run / 'evaluation.json'} says"
    if record["checkpoint"] and not parameters(read_json(run / "info.json")):
        return f"names a run without its facts, {run / 'info.json'}"
    return None


def _is_summary(figure: Any) -> bool:
    return isinstance(figure, dict) and all(isinstance(figure.get(key), int | float) for key in ("mean", "std", "n"))
