"""docs/ as a site: built without a warning, every page in the navigation, nothing loaded from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def build(checkout: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as `./run.sh docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


class Reader(HTMLParser):
    """Notes where the navigation leads, what a browser would load, and the lines of paragraphs."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.leads: set[Path] = set()
        self.loads: set[str] = set()
        self.policies: list[str] = []
        self.lines: list[str] = []
        self.open: list[str] = []
        self.page = page
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        words = {name: value or "" for name, value in attrs}
        if tag in ("nav", "article", "p", "pre", "code"):
            self.open.append(tag)
        if tag == "a" and "nav" in self.open and (target := words.get("href", "").partition("#")[0]):
            self.leads.add((self.page.parent / target).resolve())
        if tag != "a":
            self.loads |= {words[name] for name in ("src", "href", "data") if name in words}
        if words.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(words["content"])

    def handle_endtag(self, tag):
        if tag in self.open:
            del self.open[len(self.open) - 1 - self.open[::-1].index(tag) :]

    def handle_data(self, data):
        if {"article", "p"} <= set(self.open) and not {"pre", "code"} & set(self.open):
            self.lines += data.splitlines()


def pages(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def test_every_page_is_in_the_navigation(site):
    assert {path.parent for path in pages(site)} == Reader(site / "index.html").leads
    written = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert written == {path.parent.name for path in pages(site)} & written
    tables = {path.parent.name for path in (ROOT / "results" / "published").glob("*/table.md")}
    assert tables == {path.parents[1].name for path in site.glob("results/published/*/table/index.html")}


def test_nothing_is_loaded_from_elsewhere(site):
    for page in pages(site):
        found = Reader(page)
        assert [load for load in found.loads if re.match(r"(\w+:)?//", load)] == []
        assert found.policies == ["default-src 'self' 'unsafe-inline' data:"]


def test_scripts_are_no_part_of_it(site):
    assert [path for path in site.rglob("*") if path.suffix in (".py", ".pyc")] == []


def test_lists_and_tables_are_no_paragraphs(site):
    marked = [line for page in pages(site) for line in Reader(page).lines if re.match(r"\s*([-*|]|\d+\.) ", line)]
    assert marked == []


def test_pages_and_links_that_lead_nowhere_fail_the_build(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "docs" / "new.md").write_text("# New\n", encoding="utf-8")
    links = "[a](gone.md) [b](studies.md#gone) [c](../results/published/gone/table.md) [d](/studies.md)\n"
    (tmp_path / "docs" / "docker.md").write_text(links, encoding="utf-8")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    warned = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert len(warned) == 5
    for link in ("'gone.md'", "'studies.md#gone'", "'results/published/gone/table.md'", "'/studies.md'"):
        assert sum(link in line for line in warned) == 1
    assert "  - new.md" in done.stderr
