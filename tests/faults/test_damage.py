"""Files that are not what was saved, at places that a seed draws: one line or the same figures, never a silent use."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_study
from conftest import tiny_overrides

import main
import study
from faults.campaign import STUDY, TASK, drawn, figures, is_one_line, newest, recorded, runs, tries


def flip(path: Path, draw: random.Random) -> None:
    """Change one bit."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def replace_bytes(path: Path, draw: random.Random) -> None:
    """Overwrite a stretch of up to 64 bytes."""
    content = bytearray(path.read_bytes())
    start = draw.randrange(len(content))
    for place in range(start, min(start + draw.randint(1, 64), len(content))):
        content[place] = draw.randrange(256)
    path.write_bytes(content)


def cut(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content))])


def empty(path: Path, draw: random.Random) -> None:
    path.write_bytes(b"")


def remove(path: Path, draw: random.Random) -> None:
    path.unlink()


def append(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes() + draw.randbytes(draw.randint(1, 64)))


def exchange(path: Path, draw: random.Random) -> None:
    """Swap it with another file of its folder."""
    other = draw.choice(sorted(set(path.parent.iterdir()) - {path}))
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def take_another_step(path: Path, draw: random.Random) -> None:
    """Put the file of the same name of an earlier checkpoint in its place."""
    earlier = min(path.parents[1].iterdir(), key=lambda folder: int(folder.name))
    shutil.copy(earlier / path.name, path)


OF_ANY_FILE = [flip, replace_bytes, cut, empty, remove, append]
OF_CHECKPOINTS = [*OF_ANY_FILE, exchange, take_another_step]


@pytest.fixture(scope="session")
def expected(trained, tmp_path_factory) -> dict[bool, dict]:
    """What a test of the sound checkpoint says, and a training that goes on from it (True)."""
    results = tmp_path_factory.mktemp("expected")
    for resume in (False, True):
        assert main.main(load(trained / "models" / "1", resume, results / str(resume))) == 0
    return {resume: recorded(runs(results / str(resume))[-1], "evaluation") for resume in (False, True)}


def load(models: Path, resume: bool, results: Path) -> list[str]:
    """The words of a test of the newest checkpoint in `models`, or of a training that resumes it."""
    more = {"t_max": 150, "save_replay_buffer": True} if resume else {"evaluate": True}
    return [*TASK, *tiny_overrides(checkpoint_path=models, **more), f"local_results_path={results}"]


@pytest.mark.parametrize("damage", OF_CHECKPOINTS)
@tries("a damaged checkpoint is loaded", 16, always=1)
def test_a_checkpoint(trained, expected, results, tmp_path, capsys, damage, seed):
    draw = drawn(f"checkpoint {damage.__name__}", seed)
    models = Path(shutil.copytree(trained / "models" / "1", tmp_path / "models"))
    folder = models / str(newest(trained)[1])
    damage(draw.choice(sorted(folder.iterdir())), draw)
    resume = draw.random() < 0.5
    code = main.main(load(models, resume, results))
    err = capsys.readouterr().err
    if code == 0:  # what was damaged was not read, or does not count
        assert recorded(runs(results)[-1], "evaluation") == expected[resume]
        assert err == ""
    else:
        assert code == 2
        assert is_one_line(err)
        assert str(models) in err


@pytest.mark.parametrize("damage", OF_ANY_FILE)
@tries("a damaged file of a study", 10, always=1)
def test_a_study(copied, undisturbed, capsys, damage: Callable, seed):
    draw = drawn(f"study {damage.__name__}", seed)
    place = copied / "sc2_3m" / "aqmix" / f"seed{draw.randint(0, 1)}"
    test = place / "tests" / "plain"
    checkpoint = draw.choice(sorted((place / "models" / "1" / str(newest(place)[1])).iterdir()))
    files = [checkpoint, place / "settings.json", test / "test.json", test / "sacred" / "1" / "evaluation.json"]
    damaged = draw.choice(files)
    damage(damaged, draw)
    code = study.main([STUDY[0], f"--results={copied}", *STUDY[1:]], toy_study.REGISTRY)
    out, err = capsys.readouterr()
    if code == 0:
        assert figures(copied) == figures(undisturbed)
        assert err == ""
    else:  # nobody knows how its models were trained
        assert code == 2
        assert is_one_line(err)
        assert str(place) in err
        assert damaged.name in ("settings.json", "manifest.json")
    if damaged.suffix == ".pt":
        assert out.count("passed over") == 1
