"""Takes the picture of docs/replay.md: a battle of 8 against 8 by MAPPO, after a short training.

    .venv/bin/python docs/screenshot_replay.py [CHECKPOINT]

MAPPO learns sc2_sz with the recipe fast for 800,000 steps, unless a CHECKPOINT of that is given; it is tested with
`record`, and a Chromium without a window shows the first battle of 8 that was won. It ends with an error where the
browser complains. Needs, beside requirements-dev.txt: Chromium (Debian's package chromium).
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "replay.png"
#: what the page shows: an agent, and a moment, as a share of the episode
AGENT, MOMENT = 2, 0.12


def main() -> None:
    """Train, test, look."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("this needs Chromium")
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results")
        if len(sys.argv) > 1:
            checkpoint = Path(sys.argv[1])
        else:
            run(results, "t_max=800000", "test_interval=800000", "test_nepisode=32")
            checkpoint = results / "models" / "1"
        tests = Path(folder, "tests")
        run(tests, "evaluate=True", f"checkpoint_path={checkpoint}", "test_teams=3-5,8", "test_nepisode=8", "record=4")
        look(browser, tests / "sacred" / "1" / "replays" / "replays.html")


def run(results: Path, *words: str) -> None:
    """Carry out one run."""
    command = [sys.executable, ROOT / "src/main.py", "--config=mappo", "--recipe=fast", "--env-config=sc2_sz", "with"]
    command += [*words, "env_args.backend=skirmish", "threads=1", f"local_results_path={results}"]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        sys.exit("the run failed")


def look(browser: str, page_file: Path) -> None:
    """Show the page as in the picture."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1360, "height": 940})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(page_file.as_uri())
        page.select_option("#team", "8")
        page.select_option("#outcome", "won")
        scrub = page.locator("#scrub")
        moment = round(MOMENT * int(scrub.get_attribute("max") or 0))
        scrub.fill(str(moment))
        scrub.blur()
        page.keyboard.press(str(AGENT))
        page.locator("#clock").filter(has_text=f"{moment} /").wait_for()
        page.locator("#attention tr[data-slot]").first.wait_for()
        page.screenshot(path=PICTURE)
        chromium.close()
    if complaints:
        sys.exit("\n".join(complaints))


if __name__ == "__main__":
    main()
