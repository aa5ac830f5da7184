"""install_sc2.sh, with tiny archives from a server in this process; nothing comes from elsewhere."""

import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: zip -r -P iagreetotheeula SC2.4.10.zip StarCraftII, with a program and an empty folder of maps in it
GAME = (ROOT / "tests/data/SC2.4.10.zip").read_bytes()
PASSWORD = "iagreetotheeula\n"
EMPTY = b"an empty map"

pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("curl", "unzip", "sha256sum")), reason="needs curl, unzip and sha256sum"
)


def archive(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        for name, text in files.items():
            target.writestr(f"{name}.SC2Map", text)
    return packed.getvalue()


MAPS = archive(**{"3s5z": "map one", "32x32_flat": "map two"})


class Mirror(ThreadingHTTPServer):
    """Serves `files`; notes every request as (path, first byte)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/SC2.4.10.zip": GAME, "/SMAC_Maps.zip": MAPS, "/empty_passive.SC2Map": EMPTY}
        self.cut: dict[str, int] = {}  # path: how much of it is sent before the connection breaks
        self.ranges = True  # whether it can send a rest alone
        self.asked: list[tuple[str, int]] = []


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror = self.server
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))
        first = int(wanted[1])
        mirror.asked.append((self.path, first))
        whole = mirror.files.get(self.path)
        if whole is None:
            self.send_error(404)
            return
        if first and first >= len(whole) and mirror.ranges:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(whole)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if first and mirror.ranges:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(whole) - 1}/{len(whole)}")
        else:
            first = 0
            self.send_response(200)
        self.send_header("Content-Length", str(len(whole) - first))
        self.end_headers()
        self.wfile.write(whole[first : mirror.cut.get(self.path, len(whole))])

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Checkout:
    """A checkout in which the maps' checksums are those of the tiny ones."""

    def __init__(self, root: Path, mirror: Mirror) -> None:
        root.mkdir()
        self.root, self.mirror = root, mirror
        self.game = root / "3rdparty" / "StarCraftII"
        self.program = self.game / "Versions" / "Base75689" / "SC2_x64"
        self.maps = self.game / "Maps" / "SMAC_Maps"
        script = (ROOT / "install_sc2.sh").read_text()
        for name, data in (("MAPS_SUM", MAPS), ("EMPTY_SUM", EMPTY)):
            script, found = re.subn(rf'(?m)^{name}="\w{{64}}"$', f'{name}="{hashlib.sha256(data).hexdigest()}"', script)
            assert found == 1
        (root / "install_sc2.sh").write_text(script)

    def run(self, *words: str, typed: str = PASSWORD, **environment: str) -> tuple[int, str, str]:
        base = f"http://127.0.0.1:{self.mirror.server_address[1]}/"
        kept = {key: value for key, value in os.environ.items() if key != "SC2PATH" and "proxy" not in key.lower()}
        done = subprocess.run(
            ["bash", str(self.root / "install_sc2.sh"), *words],
            input=typed,
            env={**kept, "SC2_BASE_URL": base, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())


@pytest.fixture
def checkout(tmp_path, mirror) -> Checkout:
    return Checkout(tmp_path / "a checkout", mirror)


INSTALLED = [
    "3rdparty/StarCraftII/Maps/SMAC_Maps/.installed",
    "3rdparty/StarCraftII/Maps/SMAC_Maps/32x32_flat.SC2Map",
    "3rdparty/StarCraftII/Maps/SMAC_Maps/3s5z.SC2Map",
    "3rdparty/StarCraftII/Maps/SMAC_Maps/empty_passive.SC2Map",
    "3rdparty/StarCraftII/Versions/Base75689/SC2_x64",
    "install_sc2.sh",
]


def test_script_is_valid_and_executable():
    assert os.access(ROOT / "install_sc2.sh", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / "install_sc2.sh"], check=True)


def test_all_is_installed_once(checkout, mirror):
    code, out, err = checkout.run()
    assert (code, out) == (0, f"StarCraft II and the maps are in {checkout.game}\n")
    assert "AI and Machine Learning License" in err
    assert checkout.files() == INSTALLED  # nothing is left over
    assert subprocess.run([checkout.program], capture_output=True, check=True).stdout == b"a game\n"
    assert (checkout.maps / "empty_passive.SC2Map").read_bytes() == EMPTY
    assert mirror.asked == [("/SC2.4.10.zip", 0), ("/SMAC_Maps.zip", 0), ("/empty_passive.SC2Map", 0)]
    times = {path: (checkout.root / path).stat().st_mtime_ns for path in INSTALLED}
    assert checkout.run(typed="") == (0, out, "")  # asks nothing, fetches nothing
    assert len(mirror.asked) == 3
    assert {path: (checkout.root / path).stat().st_mtime_ns for path in INSTALLED} == times


def test_it_goes_where_SC2PATH_says(checkout, tmp_path):
    assert checkout.run(SC2PATH=str(tmp_path / "my games" / "SC2"))[0] == 0
    assert (tmp_path / "my games" / "SC2" / "Versions" / "Base75689" / "SC2_x64").exists()
    assert checkout.files() == ["install_sc2.sh"]


@pytest.mark.parametrize("typed", ["", "no\n", "IAGREETOTHEEULA\n"])
def test_without_the_password_nothing_is_fetched(checkout, mirror, typed):
    code, _, err = checkout.run(typed=typed)
    assert code == 2
    assert "By typing iagreetotheeula you accept it." in err
    assert err.splitlines()[-1].startswith(f"error: the licence was not accepted: '{typed.strip()}' is not iagree")
    assert mirror.asked == []
    assert checkout.files() == ["install_sc2.sh"]


def test_a_dry_run_tells_and_does_nothing(checkout, mirror):
    code, out, err = checkout.run("--dry-run", typed="", SC2_BASE_URL="")
    assert (code, err) == (0, "")
    assert re.findall(r"would fetch https://(\S+?)/\S*/(\S+)", out) == [
        ("blzdistsc2-a.akamaihd.net", "SC2.4.10.zip"),
        ("github.com", "SMAC_Maps.zip"),
        ("github.com", "empty_passive.SC2Map"),
    ]
    assert mirror.asked == []
    assert checkout.files() == ["install_sc2.sh"]
    checkout.run()
    (checkout.maps / "empty_passive.SC2Map").unlink()
    _, out, _ = checkout.run("--dry-run")
    assert re.findall(r"would fetch \S+/(\S+)", out) == ["empty_passive.SC2Map"]


@pytest.mark.parametrize("ranges", [True, False], ids=["", "server-without-ranges"])
@pytest.mark.parametrize(("path", "size"), [("/SC2.4.10.zip", len(GAME)), ("/SMAC_Maps.zip", len(MAPS))])
def test_an_interrupted_download_goes_on(checkout, mirror, path, size, ranges):
    mirror.cut = {path: size // 2}
    code, _, err = checkout.run()
    assert code == 2
    assert re.search(rf"error: could not fetch http://\S+{path} \(curl's exit code 18\); the next call", err)
    assert not (checkout.maps / "3s5z.SC2Map").exists()
    mirror.cut, mirror.asked, mirror.ranges = {}, [], ranges
    assert checkout.run()[0] == 0
    assert [first for asked, first in mirror.asked if asked == path] == [size // 2] + [0] * (not ranges)
    assert checkout.files() == INSTALLED


def test_a_download_that_was_whole_is_taken(checkout, mirror):
    folder = checkout.root / "3rdparty" / "StarCraftII.download"
    folder.mkdir(parents=True)
    (folder / "SC2.4.10.zip.part").write_bytes(GAME)  # stopped before it had its name
    assert checkout.run()[0] == 0
    assert checkout.files() == INSTALLED
    assert mirror.asked[0] == ("/SC2.4.10.zip", len(GAME))


@pytest.mark.parametrize(
    "damage", [GAME[: len(GAME) // 2], GAME.replace(GAME[90:100], bytes(10)), b"<html>moved</html>"]
)
def test_a_broken_archive_is_thrown_away(checkout, mirror, damage):
    assert damage != GAME
    mirror.files["/SC2.4.10.zip"] = damage
    code, _, err = checkout.run()
    assert code == 2
    assert re.search(r"error: \S.*SC2.4.10.zip was damaged \(unzip's exit code \d+\) and has been removed", err)
    assert not checkout.game.exists()
    mirror.files["/SC2.4.10.zip"] = GAME
    assert checkout.run()[0] == 0
    assert checkout.files() == INSTALLED


@pytest.mark.parametrize("path", ["/SMAC_Maps.zip", "/empty_passive.SC2Map"])
def test_maps_that_are_not_the_published_ones_are_refused(checkout, mirror, path):
    mirror.files[path] = archive(**{"3s5z": "another map"})
    code, _, err = checkout.run()
    assert code == 2
    assert re.search(rf"error: http://\S+{path} is not the file it should be: its SHA-256 is not \w{{64}}", err)
    mirror.files.update({"/SMAC_Maps.zip": MAPS, "/empty_passive.SC2Map": EMPTY})
    mirror.asked = []
    assert checkout.run(typed="")[0] == 0  # the game is there, and was accepted
    assert checkout.files() == INSTALLED
    assert ("/SC2.4.10.zip", 0) not in mirror.asked


def test_an_archive_without_the_game_is_named(checkout, mirror):
    mirror.files["/SC2.4.10.zip"] = MAPS
    code, _, err = checkout.run()
    assert code == 2
    assert "SC2.4.10.zip holds no StarCraft II" in err


def test_another_version_of_the_game_is_kept(checkout, mirror):
    older = checkout.game / "Versions" / "Base69232" / "SC2_x64"
    older.parent.mkdir(parents=True)
    older.touch()
    assert checkout.run(typed="")[0] == 0
    assert (checkout.maps / "3s5z.SC2Map").exists()
    assert not checkout.program.exists()


def test_a_folder_of_something_else_is_left_alone(checkout, mirror):
    checkout.game.mkdir(parents=True)
    assert checkout.run()[0] == 0  # an empty one will do
    shutil.rmtree(checkout.game)
    (checkout.game / "Replays").mkdir(parents=True)
    code, _, err = checkout.run()
    assert code == 2
    assert f"error: SC2PATH={checkout.game} is there and holds no StarCraft II; name another folder" in err
    assert (checkout.game / "Replays").exists()


@pytest.mark.skipif(not shutil.which("flock"), reason="needs flock")
def test_two_at_once_do_not_meet(checkout, mirror):
    folder = checkout.root / "3rdparty" / "StarCraftII.download"
    folder.mkdir(parents=True)
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    code, _, err = checkout.run()
    os.close(held)
    assert code == 2
    assert err.splitlines()[-1] == f"error: another install_sc2.sh is at work on {checkout.game}"
    assert mirror.asked == []


def test_what_is_missing_is_named(checkout, mirror):
    del mirror.files["/SMAC_Maps.zip"]
    code, _, err = checkout.run()
    assert code == 2
    assert re.search(r"could not fetch http://\S+/SMAC_Maps.zip \(curl's exit code 22\)", err)
    code, _, err = checkout.run("--accept")
    assert (code, err) == (2, "error: '--accept': install_sc2.sh knows no word but --dry-run\n")
