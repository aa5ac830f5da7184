"""Takes the picture of docs/report.md, of a report of short trainings on the matrix game.

    .venv/bin/python docs/screenshot_report.py

A study trains MIPI with mutual information, with entropy and with the reward alone, four seeds each, in two processes;
src/report.py reports on them, and a Chromium without a window shows the page. It ends with an error where the browser
complains. Needs, beside requirements.txt: Chromium (Debian's package chromium).
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "report.png"
#: what a browser says where a page asks for what its policy forbids, or for what is not there
COMPLAINTS = ("CONSOLE", "Refused", "Content Security Policy", "ERR_")


def main() -> None:
    """Train, report, look."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("this needs Chromium")
    with tempfile.TemporaryDirectory() as folder:
        results, out = Path(folder, "results"), Path(folder, "out")
        words = ["--results", results, "with", "test_interval=400", "log_interval=400", "threads=1"]
        studies = [start("src/study.py", "mipi_figure2", "--seeds", *seeds, *words) for seeds in ("01", "23")]
        codes = [study.wait() for study in studies]
        if any(codes):
            sys.exit("the trainings failed")
        if start("src/report.py", results, "--out", out).wait():
            sys.exit("there is no report")
        shot = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
        shot += ["--window-size=1280,1560", f"--screenshot={PICTURE}", (out / "report.html").as_uri()]
        said = subprocess.run(shot, check=True, capture_output=True, text=True, timeout=300).stderr
    found = [line for line in said.splitlines() if any(word in line for word in COMPLAINTS)]
    if found:
        sys.exit("\n".join(found))


def start(program: str, *words: object) -> "subprocess.Popen[bytes]":
    """Start one of ours."""
    command = [sys.executable, ROOT / program, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
