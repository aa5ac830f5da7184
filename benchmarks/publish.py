"""Copy what is worth keeping of a run, or of a study, into results/published/<name>.

    ./run.sh python benchmarks/publish.py results/sacred/3 refil_sz [--checkpoint results/models/3/1000000]
    ./run.sh python benchmarks/publish.py results/studies/mipi_table1 mipi_table1

Writes the settings, the seed among them (`config.json`), the command, the revision and the last checkpoint's steps and
updates (`run.json`), every test (`tests.csv`: one row per step and team), the last one in full (`evaluation.json`), and
of a checkpoint what evaluating it again takes.

Of a study: `table.md`, `table.csv`, `figure.png`, `curves.csv` where there are learning curves, and for each model that
was tested, in `<task>/<cell>/seed<k>`, the settings and record of its training and the tests that the table is made of,
in full (`evaluation*.json`). `benchmarks/redraw.py` draws the figure again from that.
"""

import argparse
import csv
import json
import shlex
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies import REGISTRY
from studies.declaration import Study
from studies.stored import newest_sound, updates
from utils.checkpoints import find_checkpoint, load_checkpoint, save_checkpoint

#: where things lay is nobody's business but the machine's
PLACES = (
    "local_results_path",
    "checkpoint_path",
    "expert_path",
    "init_from",
    "mongo_url",
    "--results",
    "--evaluate-only",
)
PUBLISHED = Path(__file__).resolve().parent.parent / "results" / "published"


def tests(metrics: Path) -> dict[tuple[int, str], dict[str, float]]:
    """(step, team) -> figure -> mean, of every test in `metrics.jsonl`."""
    table: dict[tuple[int, str], dict[str, float]] = defaultdict(dict)
    for line in metrics.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        kind, _, rest = entry["name"].partition("/")
        if kind == "test":
            team, _, figure = rest.partition("/")
            table[entry["step"], team][figure] = entry["value"]
    return table


def without_places(words: Sequence[str]) -> list[str]:
    """A command line without what says where things lay."""
    kept, value = [], False
    for word in words:
        if not value and word.split("=")[0] not in PLACES:
            kept.append(word)
        value = word in PLACES  # its value is the next word
    return kept


def read_json(path: Path) -> Any:
    """What `path` holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: object) -> None:
    """Write `path`, whose folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_record(run: Path, target: Path, checkpoint: Path | None) -> None:
    """Write `config.json` and `run.json` of `run`, a folder of sacred's that left `checkpoint`, to `target`."""
    config = {key: value for key, value in read_json(run / "config.json").items() if key not in PLACES}
    write_json(target / "config.json", config)
    record = read_json(run / "run.json")
    facts = record.get("info") or read_json(run / "info.json")
    kept = {
        key: facts[key] for key in ("git", "versions", "device", "threads", "backend", "parameters") if key in facts
    }
    command = "./run.sh " + " ".join(without_places(facts["arguments"]))
    learnt = {} if checkpoint is None else {"steps": int(checkpoint.name), "updates": updates(checkpoint)}
    write_json(target / "run.json", {"command": command, "status": record["status"], **learnt, **kept})


def publish_study(folder: Path, name: str, registry: Mapping[str, Study] = REGISTRY) -> Path:
    """Write `results/published/<name>` of the study whose table is in `folder`, and return it."""
    study, target = registry[folder.name], PUBLISHED / name
    target.mkdir(parents=True, exist_ok=True)
    table, _, command = (folder / "table.md").read_text(encoding="utf-8").rstrip().rpartition("\n")
    command = shlex.join(without_places(shlex.split(command)))
    (target / "table.md").write_text(f"{table}\n    {command}\n", encoding="utf-8")
    for file in ("table.csv", "figure.png", *["curves.csv"] * (folder / "curves.csv").exists()):
        shutil.copy(folder / file, target / file)
    for cell in study.cells:
        shutil.rmtree(target / cell.path, ignore_errors=True)  # earlier ones may be of seeds that are gone
        below = folder.parent / cell.path
        for place in sorted(below.glob("seed*")) if cell.learns else [below]:
            publish_model(place, target / place.relative_to(folder.parent), {row.tests for row in study.rows_of(cell)})
    return target


def publish_model(place: Path, target: Path, tests: set[str]) -> None:
    """Write what a cell's folder `place` says of one model's training, if it was tested, and of its `tests`."""
    found = {test: place / "tests" / test / "test.json" for test in tests}
    for test, path in found.items():
        if path.exists():
            suffix = "" if test == "plain" else f"_{test}"
            write_json(target / f"evaluation{suffix}.json", read_json(path)["evaluation"])
    runs = sorted((place / "sacred").glob("[0-9]*"), key=lambda run: int(run.name))
    if runs and target.exists():
        write_record(runs[-1], target, newest_sound(place))


def publish(run: Path, name: str, checkpoint: Path | None) -> Path:
    """Write `results/published/<name>` of one run and return it."""
    target = PUBLISHED / name
    models = checkpoint or run.parent.parent / "models" / run.name
    write_record(run, target, find_checkpoint(models) if models.is_dir() else None)
    table = tests(run / "metrics.jsonl")
    figures = sorted({figure for row in table.values() for figure in row})
    with open(target / "tests.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "team", *figures])
        for (step, team), row in sorted(table.items()):
            writer.writerow([step, team, *(f"{row[f]:.4f}" if f in row else "" for f in figures)])
    if (run / "evaluation.json").exists():
        shutil.copy(run / "evaluation.json", target / "evaluation.json")
    if checkpoint is not None:
        folder, state = load_checkpoint(
            checkpoint, 0, ("learner", "acts_by", "progress"), optional=("identity", "settings")
        )
        # the optimiser's state is two thirds of the size, and only training reads it
        learner = state["learner"]
        learner["optimiser"] = {"state": {}, "param_groups": learner["optimiser"]["param_groups"]}
        save_checkpoint(target / "checkpoint" / folder.name, {**state, "learner": learner})
    return target


def main() -> None:
    """Read the words and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="results/sacred/<id>, or results/studies/<study>")
    parser.add_argument("name", help="folder in results/published")
    parser.add_argument("--checkpoint", type=Path, help="results/models/<id>/<step>")
    options = parser.parse_args()
    folder = options.run.resolve()
    if (folder / "table.md").exists():
        print(publish_study(folder, options.name))
    else:
        print(publish(folder, options.name, options.checkpoint))


if __name__ == "__main__":
    main()
