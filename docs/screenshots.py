"""Takes the pictures of docs/recording.md, and looks whether Omniboard and TensorBoard show what was recorded.

    .venv/bin/python docs/screenshots.py

Four short trainings are recorded in the database that stands in for MongoDB in the tests, with a password, and as event
files; Omniboard (./run.sh board) and TensorBoard are started on them, and a Chromium without a window goes through what
they show: the last training while it runs, its end, the settings, the metrics. It ends with an error where something is
missing. Needs, beside requirements-dev.txt: Node.js, Chromium (Debian's package chromium), `pip install playwright`.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import pymongo  # noqa: E402
from mongo_standin import Mongo  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

#: algorithm and seed of the trainings, on the matrix game, where seconds are enough; the last one is stopped
RUNS = (("mipi", 1), ("mipi", 2), ("mipi_entropy", 1), ("mipi_value", 1))
METRIC = "test/BB/return_mean"
#: what the table of runs shows: the last of `METRIC` by that name, and settings
COLUMNS = ("Id", "Status", "Duration", "Return BB", "C Name", "C Env", "C Seed", "C Lr")


def main() -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None or not shutil.which("npx"):
        sys.exit("this needs Chromium and Node.js")
    password = secrets.token_hex(8)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, contextlib.ExitStack() as stack:
        results = Path(folder, "results")
        database = stack.enter_context(Mongo(Path(folder, "mongo"), password))
        runs = stack.enter_context(contextlib.closing(pymongo.MongoClient(database.url))).sacred.runs
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = stack.enter_context(chromium).new_page()
        page.set_default_timeout(120_000)
        for algorithm, seed in RUNS[:-1]:
            train(results, database.url, algorithm, seed).wait()
        last = train(results, database.url, *RUNS[-1], "t_max=1000000")
        stack.callback(last.kill)
        # once its metrics are there, too
        wait_for(
            lambda: runs.find_one({"status": "RUNNING", "info.metrics.name": METRIC}), "the last run in the database"
        )

        port = free_port()
        board = [sys.executable, ROOT / "src/board.py", "--port", port]
        address = f"http://localhost:{port}/"
        with serving(board, f"{address}sacred/api/v1/Runs/count", MONGO_URL=database.url):
            show_omniboard(page, address, ROOT / "docs/omniboard.png")
            last.send_signal(signal.SIGINT)
            last.wait()
            page.get_by_text("Reload").click()
            see(page, "INTERRUPTED")

        port = free_port()
        address = f"http://localhost:{port}/"
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", results / "sacred", "--port", port]
        with serving([*command, "--host", "127.0.0.1"], address):
            show_tensorboard(page, address, ROOT / "docs/tensorboard.png")


def train(results: Path, url: str, algorithm: str, seed: int, *more: str) -> "subprocess.Popen[bytes]":
    """Start a training that is recorded in files below `results`, event files among them, and at `url`."""
    words = [f"--config={algorithm}", "--env-config=matrix_game", "with", f"seed={seed}", "t_max=4000", *more]
    words += ["test_interval=400", "threads=1", "use_tensorboard=True", f"local_results_path={results}"]
    return subprocess.Popen([sys.executable, ROOT / "src/main.py", *words], env={**os.environ, "MONGO_URL": url})


def show_omniboard(page: Page, address: str, picture: Path) -> None:
    """Choose columns as a user would, look at what is in them, and at the newest run's settings and metrics."""
    page.set_viewport_size({"width": 1280, "height": 1040})
    page.goto(address)
    see(page, f"{len(RUNS)} experiments")

    page.get_by_text("+/- Metric Columns").click()
    page.locator("[test-attr=add-column-btn]").click()
    fields = page.locator(".modal-body input")
    fields.nth(0).fill("Return BB")
    for number, value in ((1, METRIC), (2, "last")):
        fields.nth(number).fill(value)
        page.locator("[id*=-option-]").filter(has_text=re.compile(f"^{value}$")).click()
    page.locator("[test-attr=apply-btn]").click()

    page.get_by_text("Show/Hide Columns").click()
    menu = page.locator(".multiselect-container").filter(has_text="Experiment Name")
    menu.get_by_text("Select all").click()
    for name in COLUMNS:
        menu.get_by_text(name, exact=True).click()
    page.get_by_text("Show/Hide Columns").click()
    for text in (*COLUMNS, "COMPLETED", "RUNNING", *(algorithm for algorithm, _ in RUNS), "matrix_game", "0.001"):
        see(page, text)

    page.get_by_text("►").first.click()
    page.get_by_text("Config", exact=True).click()
    page.get_by_text("env_args").first.wait_for()
    page.get_by_text("Metrics Plot", exact=True).click()
    see(page, METRIC)
    page.wait_for_timeout(2000)  # the curves
    page.screenshot(path=picture)


def show_tensorboard(page: Page, address: str, picture: Path) -> None:
    """Look at the curves of the tests."""
    page.set_viewport_size({"width": 1280, "height": 620})
    page.goto(f"{address}#timeseries")
    page.get_by_role("combobox", name="Filter tags (regex)").fill("(AB|BB)/return")
    page.keyboard.press("Escape")
    page.get_by_role("button").filter(has_text="Settings").first.click()  # which take room
    see(page, METRIC)
    for number in range(1, len(RUNS) + 1):
        see(page, str(number))
    page.wait_for_timeout(3000)  # the curves
    page.screenshot(path=picture)


def see(page: Page, text: str) -> None:
    """Wait until the page shows `text`; raises where it does not."""
    page.get_by_text(text, exact=True).first.wait_for()


@contextlib.contextmanager
def serving(command: Sequence[object], address: str, **environment: str) -> Iterator[None]:
    """Run a program until the end of a `with` statement, which begins when `address` answers."""
    words, own = [str(word) for word in command], {**os.environ, **environment}
    with subprocess.Popen(words, env=own, stdout=subprocess.DEVNULL) as program:
        try:
            wait_for(lambda: urllib.request.urlopen(address, timeout=5).status == 200, address)
            yield
        finally:
            program.terminate()


def wait_for(holds: Callable[[], object], what: str, seconds: float = 300) -> None:
    due = time.monotonic() + seconds
    while time.monotonic() < due:
        with contextlib.suppress(OSError):
            if holds():
                return
        time.sleep(0.5)
    sys.exit(f"in vain, after {seconds:.0f} seconds: {what}")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


if __name__ == "__main__":
    main()
