"""The real command line in processes of its own: every YAML file, stopping, killing, resuming."""

import contextlib
import fcntl
import json
import math
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import pytest
import torch
import yaml
from conftest import fitting, tiny_overrides

from utils.checkpoints import load_checkpoint
from utils.command_line import CONFIG_DIR, PAPER, config_names, recipe_names
from utils.records import status_of

MAIN = Path(__file__).parents[1] / "src" / "main.py"
#: starts the program where sacred is not installed
WITHOUT_SACRED = (
    "-c",
    "import sys; sys.modules.update(sacred=None, pymongo=None); sys.path.insert(0, sys.argv[1]); import main; "
    "sys.exit(main.main(sys.argv[2:]))",
    str(MAIN.parent),
)
#: a run that does not end in time is killed after so many seconds, and the test fails
PATIENCE = 240.0
STOPPING = "\nstopping after this round; a second signal stops at once\n"

pytestmark = pytest.mark.slow


class Program:
    """A started `python src/main.py ...`; use it in a `with` statement, which leaves no process behind."""

    def __init__(self, *words: str, results: Path, command: tuple[str, ...] = (str(MAIN),), **streams: Any) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, *command, *words, f"local_results_path={results}"],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TEST_PROGRAM": self.mark},
            start_new_session=True,  # a group of its own, which a test can signal as a terminal does
        )
        self._watch = threading.Timer(PATIENCE, self.process.kill)

    def __enter__(self) -> "Program":
        self._watch.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._watch.cancel()
        self.process.kill()
        self.process.communicate()

    def wait_for(self, text: str) -> str:
        """Return the next line of output that holds `text`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return line.strip()
        raise AssertionError(f"ended without {text!r}: {self.process.communicate()[1]}")

    def processes(self) -> dict[int, str]:
        """The running processes of the program, also those in other groups: their ids and command lines."""
        running = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(
                OSError
            ):  # it may end while it is looked at; one that has ended has no environment
                if f"TEST_PROGRAM={self.mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    running[int(entry.name)] = (entry / "cmdline").read_text()
        return running

    def wait_until_gone(self) -> None:
        """Wait until no process is left: the one that started the workers ends when it finds itself alone."""
        deadline = time.monotonic() + PATIENCE
        while self.processes():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def finish(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what is on stderr."""
        err = self.process.communicate()[1]
        return self.process.returncode, err


def complete(*words: str, results: Path) -> None:
    """Run the command line, which must succeed silently."""
    with Program(*words, results=results) as program:
        assert program.finish() == (0, "")


def status(results: Path, run: int) -> str:
    return json.loads((results / "sacred" / str(run) / "run.json").read_text())["status"]


def metrics(results: Path, run: int) -> list[tuple[str, int, float]]:
    lines = (results / "sacred" / str(run) / "metrics.jsonl").read_text().splitlines()
    entries = map(json.loads, lines)
    return [(entry["name"], entry["step"], entry["value"]) for entry in entries]


def runs() -> list[tuple[str, str, str]]:
    """Algorithms, tasks and recipes: each algorithm and task occurs at least once, and each file of a recipe."""
    algorithms, tasks = config_names("algs"), config_names("envs")
    count = max(len(algorithms), len(tasks))
    tasks += ["sc2_3m"] * (count - len(tasks))
    found = [(algorithms[i % len(algorithms)], tasks[i]) for i in range(count)]
    refused = [("aqmix", task) for algorithm, task in found if fitting(algorithm, task) != task]
    pairs = [(algorithm, fitting(algorithm, task)) for algorithm, task in found] + refused
    recipes = [name for name in recipe_names() if name != PAPER]
    chosen = [(name, "sc2_3m", recipe) for recipe in recipes for name in config_names(f"recipes/{recipe}")]
    return [(*pair, PAPER) for pair in pairs] + chosen


def short(task: str) -> list[str]:
    """Short episodes, where a task lets us."""
    env_args = yaml.safe_load((CONFIG_DIR / "envs" / f"{task}.yaml").read_text())["env_args"]
    return ["env_args.episode_limit=20"] if "episode_limit" in env_args else []


@pytest.mark.parametrize(("algorithm", "task", "recipe"), runs())
def test_every_yaml_runs(results, algorithm, task, recipe, request):
    if task.startswith("smac"):
        request.getfixturevalue("smac")
    scripted = algorithm == "scripted"
    more = ["evaluate=true"] if scripted else []
    words = [f"--config={algorithm}", f"--env-config={task}", f"--recipe={recipe}", "with"]
    words += [*tiny_overrides(algorithm, t_max=60), *short(task), *more]
    complete(*words, results=results)
    assert status(results, 1) == "COMPLETED"
    recorded = metrics(results, 1)
    assert all(math.isfinite(value) for _, _, value in recorded)
    names = {name for name, _, _ in recorded}
    assert any(name.startswith("test/") for name in names)
    assert ("loss" in names) is not scripted
    if not scripted:
        folder, state = load_checkpoint(results / "models" / "1")
        assert state["progress"]["t_env"] == int(folder.name) >= 60


def tensors(state: object, where: str = "") -> dict[str, torch.Tensor]:
    """All tensors in a nested state, by their place."""
    if isinstance(state, torch.Tensor):
        return {where: state}
    entries = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    return {place: found for key, entry in entries for place, found in tensors(entry, f"{where}/{key}").items()}


@pytest.mark.parametrize("algorithm", ["copa", "mappo"])
def test_a_resumed_run_goes_on_as_if_nothing_had_happened(results, algorithm):
    words = [f"--config={algorithm}", "--env-config=sc2_3m", *short("sc2_3m")]
    words += tiny_overrides(algorithm, t_max=240, save_model_interval=80, save_replay_buffer=True, lr_decay="linear")
    complete(*words, results=results)
    first = min(int(folder.name) for folder in (results / "models" / "1").iterdir())
    assert first < 240
    complete(*words, f"checkpoint_path={results / 'models' / '1'}", f"load_step={first}", results=results)
    straight, resumed = (load_checkpoint(results / "models" / run) for run in ("1", "2"))
    assert straight[0].name == resumed[0].name
    expected, found = tensors(straight[1]), tensors(resumed[1])
    assert list(expected) == list(found)
    assert [place for place in expected if not torch.equal(expected[place], found[place])] == []
    # the first run logged its test at that step before or after the checkpoint; what comes later must be the same
    assert [m for m in metrics(results, 1) if m[1] > first] == [m for m in metrics(results, 2) if m[1] > first]
    assert any(name == "loss" for name, step, _ in metrics(results, 2) if step > first)
    rates = [value for name, _, value in metrics(results, 1) if name == "lr"]
    assert rates == sorted(set(rates), reverse=True)  # falls from log line to log line
    assert rates[-1] > 0


def test_killed_resumed_stopped_and_evaluated(results):
    words = ["--config=refil", "--env-config=sc2_3m", *short("sc2_3m"), *tiny_overrides(t_max=1_000_000)]
    with Program(*words, results=results) as program:
        program.wait_for("checkpoint")
        program.process.kill()
        program.finish()
    assert status(results, 1) == "RUNNING"  # nobody was left to write anything else
    assert status_of(results / "sacred" / "1") == "DIED"
    killed_at = max(int(folder.name) for folder in (results / "models" / "1").iterdir() if folder.name.isdecimal())

    with Program(*words, f"checkpoint_path={results / 'models' / '1'}", results=results) as program:
        assert f"models/1/{killed_at}" in program.wait_for("resuming")
        program.wait_for("/1,000,000 steps")
        program.process.send_signal(signal.SIGINT)
        assert program.finish() == (130, STOPPING + "stopped by SIGINT\n")
    assert status(results, 2) == "INTERRUPTED"
    folder, state = load_checkpoint(results / "models" / "2")
    assert state["progress"]["t_env"] == int(folder.name) > killed_at

    complete(*words, "evaluate=true", f"checkpoint_path={folder}", results=results)
    assert status(results, 3) == "COMPLETED"
    assert {step for _, step, _ in metrics(results, 3)} == {int(folder.name)}
    assert not (results / "models" / "3").exists()


def parallel(**more: object) -> list[str]:
    """Words of a run that does not end by itself, with two worker processes."""
    return ["--env-config=sc2_3m", *short("sc2_3m"), *tiny_overrides(t_max=1_000_000, runner="parallel", **more)]


def test_ctrl_c_with_worker_processes(results):
    # a terminal signals the whole group: the workers must leave it to the parent, and go with it
    with Program(*parallel(), results=results) as program:
        program.wait_for("/1,000,000 steps")
        os.killpg(program.process.pid, signal.SIGINT)
        assert program.finish() == (130, STOPPING + "stopped by SIGINT\n")
        program.wait_until_gone()
    assert status(results, 1) == "INTERRUPTED"
    load_checkpoint(results / "models" / "1")


@pytest.mark.parametrize(("helpers", "pause"), [(2, 0.3), (3, 0.0)])
def test_ctrl_c_while_worker_processes_start(results, helpers, pause):
    # What keeps track of resources comes first, then the server that forks workers, then they. The server imports torch
    # for longer than the pause, in which the run comes to wait for it.
    with Program(*parallel(), results=results) as program:
        while len([line for line in program.processes().values() if "multiprocessing" in line]) < helpers:
            assert program.process.poll() is None
        time.sleep(pause)
        os.killpg(program.process.pid, signal.SIGINT)
        assert program.finish() == (130, STOPPING + "stopped by SIGINT\n")
        program.wait_until_gone()
    assert status(results, 1) == "INTERRUPTED"


def test_a_closed_terminal_stops_a_run_in_order(results):
    master, terminal = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    with Program(
        *parallel(), results=results, **streams, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY)
    ) as program:
        os.close(terminal)
        shown = b""
        while b"/1,000,000 steps" not in shown:
            shown += os.read(master, 1000)
        os.close(master)
        assert program.process.wait() == 129
        program.wait_until_gone()
    assert status(results, 1) == "INTERRUPTED"
    load_checkpoint(results / "models" / "1")


def test_sigterm_without_sacred(results):
    words = ["--config=vdn", "--env-config=sc2_3m", *short("sc2_3m"), *tiny_overrides(t_max=1_000_000)]
    with Program(*words, results=results, command=WITHOUT_SACRED) as program:
        program.wait_for("/1,000,000 steps")
        program.process.send_signal(signal.SIGTERM)
        assert program.finish() == (143, STOPPING + "stopped by SIGTERM\n")
    assert status(results, 1) == "INTERRUPTED"
    load_checkpoint(results / "models" / "1")
    assert {"config.json", "info.json", "metrics.jsonl"} <= {path.name for path in (results / "sacred" / "1").iterdir()}


@pytest.mark.parametrize("command", [(str(MAIN),), WITHOUT_SACRED], ids=["with sacred", "without sacred"])
def test_a_full_disk_ends_a_run_in_one_line_and_leaves_whole_files(mounted, command):
    results = mounted("size=900k")
    words = ["--config=vdn", "--env-config=matrix_game", *tiny_overrides(t_max=1_000_000, save_model_interval=20)]
    with Program(*words, results=results, command=command) as program:
        code, err = program.finish()
    assert code == 1
    assert err.startswith(f"error: {results}/")
    assert "cannot be written (No space left on device); the newest checkpoint, " in err
    assert err.count("\n") == 1
    newest, _ = load_checkpoint(results / "models" / "1")
    assert f" {newest}, is whole" in err
    assert all(path.name.isdecimal() for path in newest.parent.iterdir())
    folder = results / "sacred" / "1"
    assert status_of(folder) == "FAILED"
    assert metrics(results, 1)
    assert (folder / "metrics.jsonl").read_text().endswith("\n")
    for path in folder.iterdir():
        assert path.suffix in (".json", ".jsonl", ".txt")
        if path.suffix == ".json":
            json.loads(path.read_text())


def test_errors_are_one_line_and_leave_nothing(results):
    for words, named in (
        (["--config=copa", "gama=0.9"], "'gamma'"),
        (["--config=collaq", "alone_view=nobody"], "one of no_teammates, self"),
        (["--config=mipi", "alpha=nan"], "a number or inf"),
        (["--config=mipi_entropy", "alpha=inf"], "regulariser=mutual_information"),
        (["--config=mipi", "--env-config=matrix_game", "test_teams=AA"], "AB, BA, BB"),
        (["--config=scripted", "evaluate=true", "policy=nonesuch"], "nonesuch"),
        (["--config=scripted", "evaluate=true", "save_video=battle.avi"], ".gif or .mp4"),
        (["save_video=battle.gif"], "evaluate=True"),
        (["--config=mappo", "buffer_size=100"], "buffer_size=100"),
    ):
        with Program(*words, results=results) as program:
            code, err = program.finish()
        assert code == 2
        assert err.startswith("error: ")
        assert named in err
        assert err.count("\n") == 1
        assert not results.exists()


@pytest.mark.parametrize("task", ["rescue", "resource_collection", "sc2_csz"])
def test_tests_are_filmed(results, tmp_path, task):
    film = tmp_path / "film.gif"
    words = ["--config=scripted", f"--env-config={task}", "policy=random", "evaluate=true", *short(task)]
    words += tiny_overrides(test_teams="3,4", test_nepisode=1)
    complete(*words, f"save_video={film}", results=results)
    evaluation = json.loads((results / "sacred" / "1" / "evaluation.json").read_text())
    # the picture before the first step, and one after every step
    assert len(imageio.mimread(film, memtest=False)) == sum(
        team["ep_length"]["mean"] + 1 for team in evaluation.values()
    )
