"""The files of recorded episodes: the record as JSON, and a page that plays it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from replays.page import build
from replays.tape import Tape
from utils.records import write_text

#: Of the record's form.
VERSION = 1
DATA, PAGE = "replays.json", "replays.html"


def write_replays(folder: Path, tape: Tape, run: Mapping[str, Any]) -> Path:
    """Write what `tape` holds of a run, which the mapping `run` tells of, into `folder`; returns the page.

    Raises:
        OSError: the disk refuses.
    """
    content = tape.content()
    content = {"version": VERSION, "about": {**run, **content["about"]}, "episodes": content["episodes"]}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / DATA, text)
    write_text(folder / PAGE, build(f"{run['name']} on {content['about']['task']}", text))
    return folder / PAGE
