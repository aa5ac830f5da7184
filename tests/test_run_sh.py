"""run.sh: what it makes, when, and what it starts. A stand-in for Python notes its calls; nothing is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("bash", "env", "dirname", "basename", "sha256sum", "cat", "cp", "mkdir", "flock")

# makes an environment by copying itself; everything else only goes into the log
FAKE_PYTHON = """\
#!/usr/bin/env bash
name="$(basename "$0")"
[[ "$1" == -c ]] && exit "$(cat "$FAKE/unsupported-$name" 2>/dev/null || echo 0)"
[[ "$1" == --version ]] && { echo "Python 3.99"; exit; }
echo "$name $*" >>"$FAKE/log"
case "$1 ${2:-}" in
"-m venv") mkdir -p "${!#}/bin"; cp "$0" "${!#}/bin/python" ;;
"-m pip") exit "$(cat "$FAKE/pip-fails" 2>/dev/null || echo 0)" ;;
"-m ruff") exit "$(cat "$FAKE/ruff-fails" 2>/dev/null || echo 0)" ;;
esac
echo "$$ $PWD ${PYTHONPATH:-}" >"$FAKE/started"
"""


class Checkout:
    """A copy of run.sh and six requirement files, and a PATH with nothing but stand-ins and a few tools."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.state = folder / "state"
        self.bin = folder / "bin"
        for made in (self.root, self.state, self.bin):
            made.mkdir()
        shutil.copy(ROOT / "run.sh", self.root)
        (self.root / "requirements.txt").write_text("one==1\n")
        (self.root / "requirements-dev.txt").write_text("two==2\n")
        (self.root / "requirements-sc2.txt").write_text("three==3\n")
        (self.root / "requirements-export.txt").write_text("four==4\n")
        (self.root / "requirements-docs.txt").write_text("five==5\n")
        (self.root / "requirements-cluster.txt").write_text("six==6\n")
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found or tool == "flock"  # not every system has that one
            if found:
                (self.bin / tool).symlink_to(found)
        self.add_python("python3")

    def add_python(self, name: str) -> None:
        (self.bin / name).write_text(FAKE_PYTHON)
        (self.bin / name).chmod(0o755)

    def start(self, *words: str, cwd: Path | None = None) -> subprocess.Popen:
        environment = {"PATH": str(self.bin), "FAKE": str(self.state), "HOME": str(self.state)}
        command = [str(self.root / "run.sh"), *words]
        return subprocess.Popen(
            command, cwd=cwd or self.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def call(self, *words: str, cwd: Path | None = None) -> tuple[int, str]:
        process = self.start(*words, cwd=cwd)
        _, err = process.communicate(timeout=60)
        return process.returncode, err

    def calls(self) -> list[str]:
        """How Python was called since the last time, with the checkout's path as R."""
        log = self.state / "log"
        lines = log.read_text().replace(str(self.root), "R").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def started(self) -> str:
        return (self.state / "started").read_text().strip()


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return Checkout(tmp_path)


def pip(file: str, options: str = "") -> str:
    return f"python -m pip install --quiet --disable-pip-version-check{options} -r R/{file}"


TOOLS_INSTALLED = [
    pip("requirements-dev.txt"),
    pip("requirements-docs.txt"),
    pip("requirements-export.txt"),
    pip("requirements-cluster.txt"),
    pip("requirements-sc2.txt", " --no-deps"),
]


@pytest.mark.parametrize("script", ["run.sh", ".ci/run"])
def test_scripts_are_valid_and_executable(script):
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / script], check=True)


def test_the_environment_is_made_once(checkout, tmp_path):
    assert checkout.call("--config=copa", "with", "a b=c", cwd=tmp_path)[0] == 0
    assert checkout.calls() == [
        "python3 -m venv --clear R/.venv",
        pip("requirements.txt"),
        "python R/src/main.py --config=copa with a b=c",
    ]
    assert checkout.started().split()[1] == str(tmp_path)
    assert checkout.call("--help") == (0, "")
    assert checkout.calls() == ["python R/src/main.py --help"]


def test_changed_requirements_are_installed(checkout):
    checkout.call()
    checkout.calls()
    (checkout.root / "requirements.txt").write_text("one==2\n")
    for expected in ([pip("requirements.txt"), "python R/src/main.py"], ["python R/src/main.py"]):
        assert checkout.call()[0] == 0
        assert checkout.calls() == expected


def test_a_failed_installation_is_tried_again(checkout):
    (checkout.state / "pip-fails").write_text("1")
    code, err = checkout.call()
    assert code == 2
    assert err.splitlines()[-1].startswith("error: could not install requirements.txt")
    checkout.calls()
    (checkout.state / "pip-fails").unlink()
    assert checkout.call()[0] == 0
    assert checkout.calls() == [pip("requirements.txt"), "python R/src/main.py"]


def test_an_environment_that_lost_its_python_is_made_again(checkout):
    checkout.call()
    checkout.calls()
    (checkout.root / ".venv" / "bin" / "python").unlink()
    assert checkout.call()[0] == 0
    assert checkout.calls()[:2] == ["python3 -m venv --clear R/.venv", pip("requirements.txt")]


def test_tests_run_what_ci_runs(checkout, tmp_path):
    assert checkout.call("test", "-k", "config", cwd=tmp_path)[0] == 0
    assert checkout.calls()[1:] == [
        pip("requirements.txt"),
        *TOOLS_INSTALLED,
        "python -m ruff check .",
        "python -m ruff format --check .",
        "python -m mypy",
        "python -m pytest -k config",
    ]
    assert checkout.started().partition(" ")[2].strip() == str(checkout.root)
    assert checkout.call("test")[0] == 0
    assert checkout.calls()[-1] == "python -m pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile"
    (checkout.state / "ruff-fails").write_text("1")
    assert checkout.call("test")[0] == 1
    assert checkout.calls() == ["python -m ruff check ."]


def test_a_tool_alone(checkout):
    assert checkout.call("tool", "pytest", "-k", "config")[0] == 0
    assert checkout.calls()[2:] == [*TOOLS_INSTALLED, "python -m pytest -k config"]


def test_any_program_runs_in_the_environment(checkout, tmp_path):
    assert checkout.call("python", "bench.py", "-n", "3", cwd=tmp_path)[0] == 0
    assert checkout.calls()[-1] == "python bench.py -n 3"
    assert checkout.started().partition(" ")[2] == f"{tmp_path} {checkout.root}/src"


@pytest.mark.parametrize(
    ("word", "program"), [("queue", "evidence.py"), ("board", "board.py"), ("export", "export.py")]
)
def test_programs_that_have_a_word_of_their_own(checkout, word, program):
    assert checkout.call(word, "--status")[0] == 0
    assert checkout.calls()[-1] == f"python R/src/{program} --status"


def test_onnx_is_installed_for_whoever_exports_it(checkout):
    checkout.call("export", "models/1", "--out", "a.pt2")
    assert checkout.calls()[-2:] == [pip("requirements.txt"), "python R/src/export.py models/1 --out a.pt2"]
    assert checkout.call("export", "models/1", "--out", "a.onnx")[0] == 0
    assert checkout.calls() == [pip("requirements-export.txt"), "python R/src/export.py models/1 --out a.onnx"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["docs"], "build --strict"),
        (["docs", "--site-dir", "/a b"], "build --strict --site-dir /a b"),
        (["docs", "serve"], "serve --strict"),
        (["docs", "serve", "--open"], "serve --strict --open"),
    ],
)
def test_the_site_has_packages_of_its_own(checkout, tmp_path, words, expected):
    assert checkout.call(*words, cwd=tmp_path)[0] == 0
    assert checkout.calls()[-2:] == [pip("requirements-docs.txt"), f"python -m mkdocs {expected}"]
    assert checkout.started().partition(" ")[2].strip() == str(checkout.root)


def test_signals_reach_the_program(checkout):
    checkout.call()
    process = checkout.start()
    process.communicate(timeout=60)
    assert checkout.started().split()[0] == str(process.pid)  # run.sh became the program


def test_another_python_is_taken_where_python3_does_not_do(checkout):
    (checkout.state / "unsupported-python3").write_text("1")
    checkout.add_python("python3.11")
    assert checkout.call()[0] == 0
    assert checkout.calls()[0] == "python3.11 -m venv --clear R/.venv"


def test_without_a_supported_python(checkout):
    (checkout.state / "unsupported-python3").write_text("1")
    code, err = checkout.call()
    assert code == 2
    assert err == "error: Muster needs Python 3.10, 3.11 or 3.12; python3 is Python 3.99\n"
    assert not (checkout.root / ".venv").exists()
