"""What mkdocs.yml cannot say: published results are pages, too, and lists are lists where GitHub has them."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = "results/published"
LINK = re.compile(r"\]\(([^)#:]+)[)#]")
POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'self' 'unsafe-inline' data:">"""
MARKER = re.compile(r"([-*]|\d+\.) ")


def tables() -> list[str]:
    """The tables of published studies, as paths in the repository."""
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / PUBLISHED).glob("*/table.md"))


def linked() -> list[str]:
    """What the page of published results links to beside it, as paths in the repository."""
    page = (ROOT / PUBLISHED / "README.md").read_text(encoding="utf-8")
    return sorted({f"{PUBLISHED}/{target}" for target in LINK.findall(page) if not target.startswith("..")})


def on_config(config: MkDocsConfig) -> None:
    """A line of the navigation for each table."""
    results = next(part["Results"] for part in config.nav if "Results" in part)
    results[-1]["Tables"] = [{Path(table).parent.name: table} for table in tables()]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Published results and what they link to belong to the site."""
    for path in {f"{PUBLISHED}/README.md", *tables(), *linked()}:
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Links from the repository's places to the site's, in which docs/ is at the top."""
    if page.file.src_uri.startswith(PUBLISHED):
        markdown = markdown.replace("](../../docs/", "](../../")
    return with_lists(markdown.replace(f"](../{PUBLISHED}/", f"]({PUBLISHED}/"))


def on_post_page(output: str, **_: object) -> str:
    """No page may load what is not on this site, whatever the theme comes to do."""
    return output.replace("<head>", f"<head>{POLICY}", 1)


def with_lists(markdown: str) -> str:
    """An empty line between a paragraph and a list that follows it, which Python-Markdown needs and GitHub does not."""
    lines: list[str] = []
    fenced = paragraph = False
    for line in markdown.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        marker, heading = MARKER.match(line), line.startswith("#")
        if marker and paragraph and not fenced:
            lines.append("")
        begins = not lines or not lines[-1] or lines[-1].startswith("#")
        paragraph = bool(line.strip()) and not marker and not heading and (paragraph or begins)
        lines.append(line)
    return "\n".join(lines) + "\n"
