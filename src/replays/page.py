"""The page that plays recorded episodes: one file, with everything in it. A browser is told by its policy that it may
run these scripts, use these styles, and load nothing; whatever comes from a record stays data.
"""

import base64
import hashlib
from html import escape
from pathlib import Path
from string import Template

_PARTS = Path(__file__).with_name("page")
#: In the order in which they need each other.
SCRIPTS = ("record.js", "stage.js", "timeline.js", "panel.js", "player.js")


def build(title: str, record: str) -> str:
    """The page.

    Args:
        title: of the page.
        record: the episodes, as JSON.
    """
    style = _read("page.css")
    script = "\n".join(["'use strict';", *(_read(name) for name in SCRIPTS)])
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(_read("page.html")).substitute(
        policy=escape(policy), title=escape(title), style=style, script=script, record=_inert(record)
    )


def _read(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _inert(record: str) -> str:
    """JSON in which nothing can end the element that holds it, nor be taken for another one."""
    return record.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
