"""Copy what is worth keeping of a run into results/published/<name>.

    ./run.sh python benchmarks/publish.py results/sacred/3 refil_sz [--checkpoint results/models/3/1000000]

Writes the settings (`config.json`), the command, seed and revision (`run.json`), every test (`tests.csv`: one row per
step and team), the last one in full (`evaluation.json`), and of a checkpoint what evaluating it again takes.
"""

import argparse
import csv
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from utils.checkpoints import load_checkpoint, save_checkpoint

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


def publish(run: Path, name: str, checkpoint: Path | None) -> Path:
    """Write `results/published/<name>` and return it."""
    target = PUBLISHED / name
    target.mkdir(parents=True, exist_ok=True)
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    # where the results lay is nobody's business but the machine's
    config = {key: value for key, value in config.items() if key not in ("local_results_path", "checkpoint_path")}
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    record: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    facts = record.get("info") or json.loads((run / "info.json").read_text(encoding="utf-8"))
    words = [w for w in facts["arguments"] if not w.startswith(("local_results_path=", "checkpoint_path="))]
    kept = {
        key: facts[key] for key in ("git", "versions", "device", "threads", "backend", "parameters") if key in facts
    }
    kept = {"command": "./run.sh " + " ".join(words), "status": record["status"], **kept}
    (target / "run.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
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
        folder, state = load_checkpoint(checkpoint, names=("learner", "progress"))
        # the optimiser's state is two thirds of the size, and only training reads it
        learner = state["learner"]
        learner["optimiser"] = {"state": {}, "param_groups": learner["optimiser"]["param_groups"]}
        save_checkpoint(target / "checkpoint" / folder.name, {"learner": learner, "progress": state["progress"]})
    return target


def main() -> None:
    """Read the words and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="results/sacred/<id>")
    parser.add_argument("name", help="folder in results/published")
    parser.add_argument("--checkpoint", type=Path, help="results/models/<id>/<step>")
    options = parser.parse_args()
    print(publish(options.run, options.name, options.checkpoint))


if __name__ == "__main__":
    main()
