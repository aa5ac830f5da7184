"""docker/: the Dockerfiles by hadolint's rules and carried out in a folder, build.sh and run.sh with a stand-in that
notes its words, compose.yaml by the rules that matter. No engine, no download, no image.
"""

import fnmatch
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo.uri_parser import parse_uri
from test_run_sh import FAKE_PYTHON

from board import OMNIBOARD, with_database
from envs.smac.games import SOURCES
from utils.version import git_revision

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docker"
FILES = ("Dockerfile", "Dockerfile.sc2", "Dockerfile.board")
HADOLINT = Path(sys.executable).with_name("hadolint")
#: packages of other commands that RUN lines may use; those of an image are not here, and not wanted
COMMANDS = ("bash", "env", "dirname", "basename", "sha256sum", "cat", "cp", "mkdir", "chmod", "rm", "flock")


def instructions(name: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, each as its word and the rest in one line."""
    lines = [line for line in (FOLDER / name).read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def copies(name: str) -> list[tuple[list[str], str]]:
    """What is copied, and where to."""
    words = [rest.split() for word, rest in instructions(name) if word == "COPY"]
    return [(sources, target) for *sources, target in words]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps `path` out; the last line that matches decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        places = [pattern] if not pattern.startswith("**/") else [f"*/{pattern[3:]}", pattern[3:]]
        whole = [path, *map(str, Path(path).parents)]
        if line and not line.startswith("#") and any(fnmatch.fnmatch(one, to) for one in whole for to in places):
            out = not line.startswith("!")
    return out


# --- the Dockerfiles ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is for Linux on x86_64")
@pytest.mark.parametrize("name", FILES)
def test_hadolint_finds_nothing(name):
    found = subprocess.run([HADOLINT, "--no-color", FOLDER / name], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("name", FILES)
def test_everything_that_is_copied_is_there(name):
    for sources, _ in copies(name):
        for source in sources:
            assert (ROOT / source).exists()
            assert not ignored(source)
    for left_out in (".git", ".venv/bin/python", "results/models", "3rdparty", "tests", "src/utils/__pycache__/x.pyc"):
        assert ignored(left_out)


def test_images_are_pinned_and_for_no_root():
    base = dict(instructions("Dockerfile"))["FROM"]
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu\d\d\.\d\d", base)
    for name in FILES:
        assert [rest for word, rest in instructions(name) if word == "USER"][-1] == "10000"
    assert re.fullmatch(r"node:\d+\.\d+\.\d+-bookworm-slim", dict(instructions("Dockerfile.board"))["FROM"])
    assert f" {OMNIBOARD} " in dict(instructions("Dockerfile.board"))["RUN"]
    tag = next(rest for word, rest in instructions("Dockerfile.sc2") if word == "FROM")
    assert f"--tag {tag} " in (FOLDER / "build.sh").read_text()
    packages = re.findall(r"https://\S+", (FOLDER / "Dockerfile.sc2").read_text())
    assert packages == list(SOURCES.values())
    assert all(re.fullmatch(r"https://github.com/oxwhirl/\w+/archive/[0-9a-f]{40}\.zip", url) for url in packages)


def test_a_change_of_the_source_installs_nothing():
    done = [f"{word} {rest}" for word, rest in instructions("Dockerfile")]
    installing = next(i for i, line in enumerate(done) if line.startswith("RUN") and "run.sh" in line)
    copied = [source for line in done[:installing] if line.startswith("COPY") for source in line.split()[1:-1]]
    assert copied == ["run.sh", "requirements.txt"]
    assert not [line for line in done[installing + 1 :] if line.startswith("RUN")]


class Image:
    """Dockerfiles carried out in the folder `root`, with stand-ins for Python and for what changes a system."""

    def __init__(self, root: Path) -> None:
        self.root, self.state, self.bin = root / "image", root / "state", root / "bin"
        self.environment: dict[str, str] = {}
        self.at = self.root
        self.entrypoint: list[str] = []
        self.command: list[str] = []
        for folder in (self.root, self.state, self.bin):
            folder.mkdir()
            folder.chmod(0o777)
        (self.root / "var/lib/apt/lists/old").mkdir(parents=True)
        (self.root / "home/muster").mkdir(parents=True)  # by useradd
        for tool in COMMANDS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        note = '#!/usr/bin/env bash\necho "${0##*/} $*" >>"$FAKE/log"\n'
        for name, text in {"apt-get": note, "useradd": note, "python3": FAKE_PYTHON}.items():
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)

    def inside(self, text: str) -> str:
        """`text` with its absolute paths in the folder."""
        return re.sub(r"(?<![\w:/.$])/(?=\w)", f"{self.root}/", text)

    def build(self, name: str) -> None:
        for word, rest in instructions(name):
            if word == "WORKDIR":
                self.at = Path(self.inside(rest))
                self.at.mkdir(exist_ok=True)
            elif word == "ENV":
                key, _, value = rest.partition("=")
                self.environment[key] = self.inside(value)
            elif word == "COPY":
                *sources, target = rest.split()
                for source in sources:
                    to = self.at / target if (ROOT / source).is_dir() else self.at / target / source
                    (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, to)
            elif word == "RUN":
                self.call(["bash", "-euc", self.inside(rest)])
            elif word == "ENTRYPOINT":
                self.entrypoint = [self.inside(part) for part in shlex.split(rest.strip("[]").replace(",", " "))]
            elif word == "CMD":
                self.command = shlex.split(rest.strip("[]").replace(",", " "))
            else:
                assert word in ("FROM", "ARG", "USER")

    def call(self, words: list[str], **more: object) -> None:
        environment = {**self.environment, "PATH": str(self.bin), "FAKE": str(self.state)}
        done = subprocess.run(words, cwd=self.at, env=environment, capture_output=True, text=True, timeout=60, **more)
        assert done.returncode == 0, done.stderr

    def calls(self) -> list[str]:
        log = self.state / "log"
        lines = log.read_text().replace(f"{self.root}/muster", "R").splitlines()
        log.unlink()
        return lines


def test_the_lines_carried_out_and_the_entry_point_of_a_user_who_may_write_nothing(open_folder):
    image = Image(open_folder)
    image.build("Dockerfile")
    assert image.calls() == [
        "apt-get update",
        "apt-get install --yes --no-install-recommends python3 python3-venv",
        "useradd --create-home --uid 10000 muster",
        "python3 -m venv --clear R/.venv",
        "python -m pip install --quiet --disable-pip-version-check -r R/requirements.txt",
    ]
    assert not list((image.root / "var/lib/apt/lists").iterdir())
    for everybodys in ("home/muster", "muster/results"):
        assert stat.S_IMODE((image.root / everybodys).stat().st_mode) == 0o1777
    assert not (image.at / "tests").exists()

    image.build("Dockerfile.sc2")
    packages = " ".join(SOURCES.values())
    assert image.calls() == [f"python -m pip install --no-cache-dir --no-deps -r requirements-sc2.txt {packages}"]
    assert (image.at / "requirements-sc2.txt").exists()

    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    (image.state / "started").unlink()  # root's
    for folder in (image.at, image.at / ".venv"):
        folder.chmod(0o555)
    image.call([*image.entrypoint, *image.command], **nobody)
    image.call([*image.entrypoint, "python", "src/main.py", "with", "a b=c"], **nobody)
    assert image.calls() == ["python R/src/main.py --help", "python src/main.py with a b=c"]
    for folder in (image.at, image.at / ".venv"):
        folder.chmod(0o755)


# --- build.sh and run.sh --------------------------------------------------------------------------------------------

FAKE_DOCKER = """\
#!/usr/bin/env bash
printf '%s\\0' "$PWD" "$@" >>"$FAKE/log"
echo >>"$FAKE/log"
[[ "$1 $2" == "image inspect" ]] && exit "$(cat "$FAKE/no-image" 2>/dev/null || echo 0)"
exit "$(cat "$FAKE/fails" 2>/dev/null || echo 0)"
"""


class Checkout:
    """A checkout with docker/, and a docker that notes its words."""

    def __init__(self, folder: Path) -> None:
        self.root, self.state, self.bin = folder / "a checkout", folder / "state", folder / "bin"
        for made in (self.root, self.state, self.bin):
            made.mkdir()
        shutil.copytree(FOLDER, self.root / "docker")
        (self.bin / "docker").write_text(FAKE_DOCKER)
        (self.bin / "docker").chmod(0o755)

    def call(self, script: str, *words: str, cwd: Path | None = None, **environment: str) -> tuple[int, str]:
        kept = {key: value for key, value in os.environ.items() if key != "SC2PATH"}
        done = subprocess.run(
            [self.root / "docker" / script, *words],
            cwd=cwd or self.root,
            env={
                **kept,
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                "FAKE": str(self.state),
                "USER": "ann",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stderr

    def calls(self) -> list[list[str]]:
        """The words of docker's calls since the last time, the folder first."""
        log = self.state / "log"
        lines = log.read_text().split("\0\n")[:-1] if log.exists() else []
        log.unlink(missing_ok=True)
        return [line.replace(str(self.root), "R").split("\0") for line in lines]


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("script", ["build.sh", "run.sh"])
def test_scripts_are_valid_and_executable(script):
    assert os.access(FOLDER / script, os.X_OK)
    subprocess.run(["bash", "-n", FOLDER / script], check=True)


def words(line: str) -> list[str]:
    return ["R", *shlex.split(line)]


def test_images_are_built_in_their_order(checkout, tmp_path):
    gpu = words("build --file docker/Dockerfile --tag muster:gpu --build-arg REVISION= .")
    assert checkout.call("build.sh", cwd=tmp_path) == (0, "")
    assert checkout.calls() == [gpu]
    assert checkout.call("build.sh", "sc2") == (0, "")
    assert checkout.calls() == [gpu, words("build --file docker/Dockerfile.sc2 --tag muster:sc2 .")]
    (checkout.state / "fails").write_text("1")
    assert checkout.call("build.sh", "sc2")[0] == 1
    assert checkout.calls() == [gpu]
    assert checkout.call("build.sh", "cpu") == (
        2,
        "error: 'cpu' is no image: docker/build.sh, or docker/build.sh sc2\n",
    )


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_an_image_knows_its_revision(checkout, monkeypatch):
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=ann", "-c", "user.email=ann@localhost", *words]
        return subprocess.run(command, cwd=checkout.root, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    commit = git("rev-parse", "HEAD")
    for changed in (False, True):
        if changed:
            (checkout.root / "new").touch()
        checkout.call("build.sh")
        revision = checkout.calls()[0][-2].removeprefix("REVISION=")
        monkeypatch.setenv("MUSTER_REVISION", revision)
        assert git_revision(checkout.state) == {"commit": commit, "dirty": changed}
        assert git_revision(checkout.root) == {"commit": commit, "dirty": changed}
    monkeypatch.setenv("MUSTER_REVISION", "")  # built of no checkout
    assert git_revision(checkout.state) == {"commit": None, "dirty": None}


def ran(call: list[str]) -> tuple[str, list[str], list[str]]:
    """The name of the container, docker's other options, and what follows the image with it."""
    assert call[:3] == ["R", "run", "--name"]
    at = next(i for i, word in enumerate(call) if word.startswith("muster:"))
    return call[3], call[4:at], call[at:]


PLAIN = ["--stop-timeout", "120", "--rm", "--init", "--user", f"{os.getuid()}:{os.getgid()}"]
RESULTS = ["--mount", "type=bind,source=R/results,target=/muster/results"]


@pytest.mark.parametrize(
    ("gpu", "option"),
    [("0", ["--gpus", '"device=0"']), ("0,12", ["--gpus", '"device=0,12"']), ("all", ["--gpus", "all"]), ("cpu", [])],
)
def test_a_run_has_a_name_a_gpu_and_its_results(checkout, tmp_path, gpu, option):
    code, err = checkout.call("run.sh", gpu, "--config=copa", "with", "a b=c", "d=[1, 2]", cwd=tmp_path)
    assert code == 0
    seen, call = checkout.calls()
    assert seen[1:] == ["image", "inspect", "muster:gpu"]
    call[0] = "R"  # it may be called from anywhere
    name, options, rest = ran(call)
    assert re.fullmatch(rf"ann_muster_GPU_{gpu.replace(',', '_')}_[0-9a-f]{{4}}", name)
    assert err == f"container {name}\n"
    assert options == [*PLAIN, *option, *RESULTS]
    assert rest == ["muster:gpu", "--config=copa", "with", "a b=c", "d=[1, 2]"]
    assert (checkout.root / "results").is_dir()


@pytest.mark.parametrize("place", ["3rdparty/StarCraftII", "elsewhere"])
def test_the_game_goes_where_it_is_looked_for(checkout, place):
    (checkout.root / place / "Versions").mkdir(parents=True)
    setting = {"SC2PATH": str(checkout.root / place)} if place == "elsewhere" else {}
    assert checkout.call("run.sh", "1", **setting)[0] == 0
    seen, call = checkout.calls()
    assert seen[1:] == ["image", "inspect", "muster:sc2"]
    _, options, rest = ran(call)
    assert options[-2:] == ["--mount", f"type=bind,source=R/{place},target=/muster/3rdparty/StarCraftII"]
    assert rest == ["muster:sc2"]
    assert dict(instructions("Dockerfile.sc2"))["ENV"] == "SC2PATH=/muster/3rdparty/StarCraftII"


def test_the_containers_exit_code_is_the_runs(checkout):
    (checkout.state / "fails").write_text("3")
    assert checkout.call("run.sh", "0")[0] == 3


@pytest.mark.parametrize("gpu", [(), ("--config=copa",), ("0,",), ("gpu0",)])
def test_what_is_no_gpu_is_named(checkout, gpu):
    code, err = checkout.call("run.sh", *gpu)
    assert (code, checkout.calls()) == (2, [])
    assert err.startswith(f"error: GPU '{''.join(gpu)}' is not a number, several (0,1), all or cpu")


def test_an_image_that_is_missing_is_named(checkout):
    (checkout.state / "no-image").write_text("1")
    code, err = checkout.call("run.sh", "0")
    assert (code, err) == (
        2, "error: there is no image muster:gpu, or docker does not run; docker/build.sh makes it\n"
    )  # fmt: skip
    (checkout.root / "3rdparty/StarCraftII/Versions").mkdir(parents=True)
    assert (
        "no image muster:sc2, or docker does not run; docker/build.sh sc2 makes it" in checkout.call("run.sh", "0")[1]
    )


# --- compose.yaml ----------------------------------------------------------------------------------------------------

PASSWORD = "letters0digits"


def services(**environment: str) -> dict[str, Any]:
    """The services of compose.yaml, as docker reads them in that environment."""

    def expanded(found: re.Match[str]) -> str:
        name, kind, text = found.groups()
        assert kind == "-" or name in environment, text
        return environment.get(name, text)

    text = (FOLDER / "compose.yaml").read_text()
    return yaml.safe_load(re.sub(r"\$\{(\w+):([-?])([^}]*)\}", expanded, text))["services"]


def test_services_are_pinned_and_found_on_this_machine_alone():
    found = services(MONGO_PASSWORD=PASSWORD)
    assert found.keys() == {"mongo", "board", "trainer", "trainer-cpu"}
    for service in found.values():
        assert re.fullmatch(r"mongo:\d+\.\d+\.\d+|muster:(gpu|board)", service["image"])
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)
        assert service.get("network_mode") is None
    assert found["mongo"]["ports"] == ["127.0.0.1:27017:27017"]
    assert found["board"]["ports"] == ["127.0.0.1:9000:9000"]
    assert found["board"]["build"] == {"context": "..", "dockerfile": "docker/Dockerfile.board"}
    assert f"--tag {found['trainer']['image']} " in (FOLDER / "build.sh").read_text()


def test_the_password_comes_from_the_environment_and_must_be_there():
    text = (FOLDER / "compose.yaml").read_text()
    values = re.findall(r"(?:PASSWORD|MONGO_UR[IL]): (.+)", text)
    assert len(values) == 3
    assert all("${MONGO_PASSWORD:?" in value for value in values)
    with pytest.raises(AssertionError, match="export MONGO_PASSWORD first"):
        services()
    found = services(MONGO_PASSWORD=PASSWORD)
    own = found["mongo"]["environment"]
    assert (own["MONGO_INITDB_ROOT_USERNAME"], own["MONGO_INITDB_ROOT_PASSWORD"]) == ("muster", PASSWORD)
    url = found["trainer"]["environment"]["MONGO_URL"]
    address = parse_uri(url)
    assert (address["username"], address["password"]) == ("muster", PASSWORD)
    assert (address["nodelist"], address["options"]["authSource"]) == ([("mongo", 27017)], "admin")
    assert found["board"]["environment"]["MONGO_URI"] == with_database(url, "sacred")


def test_who_needs_the_database_waits_for_it_and_its_data_outlive_it():
    found = services(MONGO_PASSWORD=PASSWORD)
    healthy = {"mongo": {"condition": "service_healthy"}}
    for name, service in found.items():
        assert service.get("depends_on", healthy) == healthy
        assert ("healthcheck" in service) == (name in ("mongo", "board"))
    asked = found["mongo"]["healthcheck"]["test"]
    assert asked[asked.index("--host") + 1] == "mongo"  # and not a server that only makes the user
    volume, place = found["mongo"]["volumes"][0].split(":")
    assert place == "/data/db"
    assert volume in yaml.safe_load((FOLDER / "compose.yaml").read_text())["volumes"]


def test_the_trainer_is_what_run_sh_starts():
    found = services(MONGO_PASSWORD=PASSWORD, MUSTER_USER="7:8", MUSTER_GPU="2")
    for name in ("trainer", "trainer-cpu"):
        assert found[name]["volumes"] == [
            {
                "type": "bind",
                "source": "../results",
                "target": RESULTS[1].rpartition("=")[2],
                "bind": {"create_host_path": False},
            }
        ]
        assert (found[name]["user"], found[name]["stop_grace_period"], found[name]["init"]) == ("7:8", "2m", True)
        assert found[name]["profiles"] == ["trainer"]  # `up` starts none
    (device,) = found["trainer"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": ["2"], "capabilities": ["gpu"]}
    assert "deploy" not in found["trainer-cpu"]


@pytest.mark.parametrize("page", ["docker/compose.yaml", "docs/recording.md"])
def test_the_commands_that_are_told_name_services(page):
    told = re.findall(r"docker compose -f docker/compose.yaml (up|run) ((?:--\S+ )*)(\S+)", (ROOT / page).read_text())
    assert {"mongo", "board", "trainer"} <= {service for _, _, service in told} <= services(MONGO_PASSWORD="x").keys()


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
@pytest.mark.parametrize("status", [200, 500, None])
def test_the_boards_health_is_that_its_database_answers(status):
    class Board(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/sacred/api/v1/Runs/count" else 404)
            self.end_headers()

        def log_message(self, *words: object) -> None: ...

    word, *test = services(MONGO_PASSWORD=PASSWORD)["board"]["healthcheck"]["test"]
    with HTTPServer(("127.0.0.1", 0), Board) as board:
        port = str(board.server_address[1])
        if status is None:
            board.server_close()
        else:
            threading.Thread(target=board.serve_forever, daemon=True).start()
        done = subprocess.run([part.replace("9000", port) for part in test], capture_output=True, timeout=60)
        if status is not None:
            board.shutdown()
    assert (word, done.returncode) == ("CMD", 0 if status == 200 else 1)
