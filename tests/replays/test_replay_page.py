"""The page as a file: what it may do, and what a record can do to it. What it shows, a browser tells (test_viewer)."""

import base64
import hashlib
import html
import json
import re

from replays.page import build

HOSTILE = "</script><script>alert(1)</script><!-- & \u2028"


def test_the_policy_lets_nothing_in_but_what_is_there():
    page = build("title", "{}")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in html.unescape(policy).split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for name in ("style", "script"):
        (text,) = re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{name}-src"] == f"'sha256-{digest}'"
    assert set(rules) == {"default-src", "base-uri", "form-action", "style-src", "script-src"}
    assert not re.search(r"(src|href)=|https?://|@import|url\(|innerHTML|\beval\b", page)


def test_a_record_stays_data():
    page = build(HOSTILE, json.dumps({"name": HOSTILE}, ensure_ascii=False))
    assert "alert(1)</script>" not in page
    (record,) = re.findall(r'id="record">(.*?)</script>', page, re.DOTALL)
    assert json.loads(record) == {"name": HOSTILE}
    (title,) = re.findall("<title>(.*?)</title>", page, re.DOTALL)
    assert title.startswith("&lt;/script&gt;&lt;script&gt;alert(1)")
