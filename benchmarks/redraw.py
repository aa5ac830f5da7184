"""Draw the figure of a published study again, from what is published of it.

./run.sh python benchmarks/redraw.py results/published/mipi_table1 figure.png
"""

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from studies import REGISTRY
from studies.curves import read_written
from studies.declaration import Row, Study
from studies.engine import Outcome, Results
from studies.figures import draw
from utils.records import read_json


def published(folder: Path, registry: Mapping[str, Study] = REGISTRY) -> tuple[Study, Results]:
    """The study that `benchmarks/publish.py` wrote to `folder`, of the tasks that are there, and its results."""
    command = shlex.split((folder / "table.md").read_text(encoding="utf-8").splitlines()[-1])
    study = registry[command[command.index("src/study.py") + 1]]
    study = study.on([task for task in study.tasks if (folder / task).is_dir()])
    curves = read_written(folder / "curves.csv") if (folder / "curves.csv").exists() else {}

    def outcome(row: Row, place: Path) -> Outcome:
        suffix = "" if row.tests == "plain" else f"_{row.tests}"
        record = read_json(place / "run.json")
        below = str(place.relative_to(folder))
        return Outcome(
            seed=int(place.name.removeprefix("seed")) if row.cell.learns else None,
            step=record.get("steps", 0),
            updates=record.get("updates"),
            batch="",
            parameters=0,
            revisions=(),
            evaluation=read_json(place / f"evaluation{suffix}.json"),
            curves={name: curve for (model, name), curve in curves.items() if model == below},
        )

    def places(row: Row) -> list[Path]:
        below = folder / row.cell.path
        return sorted(below.glob("seed*")) if row.cell.learns else [below]

    return study, {row.label: [outcome(row, place) for place in places(row)] for row in study.rows}


def main() -> None:
    """Read the words and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="results/published/<name>, of a study")
    parser.add_argument("picture", type=Path, help="the PNG to write")
    options = parser.parse_args()
    draw(options.picture, *published(options.folder.resolve()))


if __name__ == "__main__":
    main()
