"""src/report.py as users call it: the page and the files beside it, errors in a line, runs of a database."""

import base64
import csv
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pymongo
import pytest
from mongo_standin import Mongo
from recorded import WON, straight, write, write_two_methods

import report
from utils.interrupt import StopSignal

#: what a name may be, and must not become
NASTY = "<script src=\"//x\">alert('1')</script> & $\\frac{$ _\u65e5\ud800\x1b[2J\n"


class Page(HTMLParser):
    """Elements, links and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def make(tmp_path: Path, *words: str) -> Page:
    """The page that is made of the runs in `results`."""
    assert report.main([str(tmp_path / "results"), "--out", str(tmp_path / "out"), *words]) == 0
    return Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with results of two methods on a task, a coach in one of them, a scripted team, and a failed run; and
    their report.
    """
    place = tmp_path_factory.mktemp("report")
    write_two_methods(place / "results")
    return place, make(place)


def test_the_page_has_what_was_asked_of_it(made):
    _, page = made
    for text in (
        "sc2_sz: battle_won, team 3-5", "refil: 3 of 4 trainings count. Left out: 20 (seed 9) FAILED at 100 steps.",
        "Learning curves", "Last scores by team", "Performance profiles", "Probability of improvement",
        "Score against communication", "focus_fire (scripted) (1)", "1,234", "skirmish", "no: FAILED at 100 steps",
    ):  # fmt: skip
        assert text in page.text
    assert [image["alt"] for image in page.all("img")] == [
        "learning curves", "performance profiles", "score against communication",
    ]  # fmt: skip


def test_training_sizes_are_marked(made):
    _, page = made
    framed = [cell for cell in page.all("td") if "trained" in (cell.get("class") or "")]
    assert len(framed) == 2  # both methods, on 3-5


def test_scores_are_shaded_from_the_least_to_the_greatest(made):
    """0.2 has the first of eight shades, 0.5 the last, 0.4 and 0.38 two in between; improvements are of 0 to 1."""
    _, page = made
    shades = [shade for cell in page.all("td") for shade in re.findall(r"\bs(\d)\b", cell.get("class") or "")]
    refil, copa, focus_fire, improvements = ["5", "0"], ["7", "5"], ["4"], ["2", "5"]
    assert shades == [*refil, *copa, *focus_fire, *improvements]


def test_every_link_leads_somewhere(made):
    place, page = made
    names = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    for link in page.all("a"):
        target = str(link["href"])
        assert target[1:] in names if target.startswith("#") else (place / "out" / target).stat().st_size > 0


def test_a_browser_is_told_to_run_and_load_nothing(made):
    place, page = made
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    style = re.search("<style>(.*?)</style>", (place / "out" / "report.html").read_text(), re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style
    assert "@import" not in style
    assert {tag for tag, _ in page.elements} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "nav", "a", "p", "ul", "li", "div",
        "figure", "img", "table", "tr", "th", "td", "small",
    }  # fmt: skip
    allowed = {"lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "alt", "src"}
    assert all(attributes.keys() <= allowed for _, attributes in page.elements)
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in page.all("img"))


def test_numbers_are_in_tables(made):
    place, _ = made
    out = place / "out"
    scores = {(row["method"], row["team"]): row for row in rows(out / "scores.csv")}
    assert float(scores["refil", "3-5"]["interquartile_mean"]) == pytest.approx(0.4)
    assert (scores["refil", "8"]["trained_with"], scores["refil", "3-5"]["trained_with"]) == ("False", "True")
    (pair,) = (row for row in rows(out / "improvement.csv") if row["method"] == "copa")
    assert float(pair["probability_of_improvement"]) == pytest.approx(6 / 9)  # .3 > .2; .5 > .2, .4; .7 > all
    last = [row for row in rows(out / "curves.csv") if (row["method"], row["axis"]) == ("copa", "updates")][-1]
    assert (float(last["x"]), float(last["interquartile_mean"])) == (40, 0.5)
    assert {row["method"] for row in rows(out / "profiles.csv")} == {"refil", "copa"}
    failed = next(row for row in rows(out / "runs.csv") if row["run"] == "20")
    assert (failed["status"], failed["counts"], failed["steps_per_second"]) == (
        "FAILED",
        "no: FAILED at 100 steps",
        "1.0",
    )


def test_pictures_are_png_and_svg(made):
    place, _ = made
    kinds = ["communication", "curves", "improvement", "profiles", "scores"]
    found = sorted(path.name for path in (place / "out" / "figures").iterdir())
    assert found == [f"1-sc2_sz-{kind}.{end}" for kind in kinds for end in ("png", "svg")]
    for path in (place / "out" / "figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")


def test_marl_eval_reads_the_json(made):
    place, _ = made
    data = json.loads((place / "out" / "marl_eval.json").read_text())
    assert data.keys() == {"starcraft"}
    assert {name: sorted(runs) for name, runs in data["starcraft"]["sc2_sz"].items()} == {
        "refil": ["seed_0", "seed_1", "seed_2"], "copa": ["seed_0", "seed_1", "seed_2"],
    }  # fmt: skip
    assert data["starcraft"]["sc2_sz"]["refil"]["seed_1"] == {
        "step_0": {"step_count": 0, "battle_won": [0.0]},
        "step_1": {"step_count": 50, "battle_won": [0.2]},
        "step_2": {"step_count": 100, "battle_won": [0.4]},
        "absolute_metrics": {"battle_won": [0.4]},
    }


def test_the_same_runs_make_the_same_report(made, tmp_path):
    place, _ = made
    assert report.main([str(place / "results"), "--out", str(tmp_path)]) == 0
    for path in sorted((place / "out").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.relative_to(place / "out")).read_bytes(), path


def test_whatever_names_say_is_text(tmp_path):
    results = tmp_path / "results"
    facts = {"device": NASTY, "git": {"commit": NASTY}}
    for number, name in enumerate([NASTY, "_" + NASTY], start=1):
        curves = {**straight(0.5), **straight(0.2, name=f"test/{NASTY.replace('/', '')}/battle_won_mean")}
        write(results, number, curves, name=name, task=NASTY, facts=facts, seed=NASTY, lr=NASTY)
    page = make(tmp_path, "--group-by", "config,env,lr")
    assert not page.all("script")
    assert page.text.count("<script") > 5
    for path in (tmp_path / "out" / "figures").glob("*.svg"):
        ElementTree.parse(path)


def test_runs_that_are_broken_are_named_and_the_others_shown(tmp_path, capsys):
    results = tmp_path / "results"
    write(results, 1, straight(0.5))
    broken = write(results, 2, straight(0.5))
    (broken / "config.json").write_text("{")
    (results / "sacred" / "picture.png").write_bytes(b"\x89PNG")
    page = make(tmp_path)
    assert f"{broken}: config.json is missing or cannot be read" in page.text
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in said] == ["left out", "left out"]


def test_runs_that_are_in_no_mean_say_why_in_the_list(tmp_path):
    results = tmp_path / "results"
    write(results, 1, {WON: [(0, 0.0), (60, 0.3)]}, status="INTERRUPTED")
    write(results, 2, {WON: [(100, 0.5)]}, start=50, seconds=2, checkpoint_path=str(results / "models" / "1" / "50"))
    copied = json.loads((results / "sacred" / "2" / "run.json").read_text())
    (results / "sacred" / "2" / "run.json").write_text(json.dumps({**copied, "meta": {"uuid": "f00"}}))
    shutil.copytree(results / "sacred" / "2", results / "copy" / "sacred" / "2")
    make(tmp_path)
    listed = {row["run"]: (row["counts"], row["steps_per_second"]) for row in rows(tmp_path / "out" / "runs.csv")}
    assert listed == {
        "1": ("in 2, which continues it", "1.0"), "2": ("yes", "0.5"), "copy/2": ("no: it is there twice", ""),
    }  # fmt: skip


def test_a_folder_in_which_nothing_is_complete_has_a_page(tmp_path):
    write(tmp_path / "results", 1, straight(0.5), status="RUNNING")
    write(tmp_path / "results", 2, {}, status="RUNNING")
    page = make(tmp_path)
    assert "refil: 0 of 2 trainings count. Left out: 1 (seed 1) RUNNING at 100 steps" in page.text
    assert "Nothing here counts." in page.text


def test_any_metric_may_be_shown(tmp_path):
    write(tmp_path / "results", 1, straight(3.0, name="loss"))
    page = make(tmp_path, "--metric", "loss")
    assert "sc2_sz: loss" in page.text
    assert [row["metric"] for row in rows(tmp_path / "out" / "scores.csv")] == ["loss"]


def test_several_folders_are_one_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a", 1, straight(0.5))
    write(tmp_path / "b", 1, straight(0.7), seed=2)
    assert report.main(["a", "b/", "--out", "out"]) == 0
    assert [row["run"] for row in rows(tmp_path / "out" / "runs.csv")] == ["a/1", "b/1"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["nothing"], "error: RESULTS=nothing: there is no such folder; name one that runs were recorded in"),
        (["empty"], "error: no run is recorded in empty; name a folder of results"),
        (["runs", "--metric", "los"], "error: --metric los: no run has recorded it; the nearest is 'loss'"),
        (["runs", "--group-by", ""], "error: --group-by : no run has such a setting; the nearest is"),
        (["runs", "--out", "runs/file/out"], "error: --out "),
        (["mongodb://"], "error: RESULTS=mongodb://: which database? Set MONGO_URL in the environment"),
        (["mongodb://me:s3cret@:x/"], "error: RESULTS: is no address such as mongodb://HOST:PORT/"),
        (["--all"], "error: unrecognized arguments: --all; --help explains the words"),
    ],
)
def test_what_the_user_can_correct_is_said_in_a_line(tmp_path, monkeypatch, capfd, words, error):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "runs", 1, straight(0.5, name="loss"))
    (tmp_path / "runs" / "file").write_text("")
    assert report.main(words) == 2
    said = capfd.readouterr().err
    assert said.startswith(error)
    assert len(said.splitlines()) == 1
    assert "s3cret" not in said


def test_a_database_is_read_as_the_files_are(made, tmp_path, monkeypatch):
    from observers.sync import synchronise

    place, _ = made
    with Mongo(tmp_path / "mongo", password="s3cret") as server, StopSignal() as stop:
        monkeypatch.setenv("MONGO_URL", server.url)
        assert synchronise(place / "results", "", "sacred", False, False, stop) == 0
        with pymongo.MongoClient(server.url) as client:
            client.sacred.runs.insert_many(
                [
                    {"_id": 90, "config": {"x": 1}},
                    {"_id": 91},
                    {"_id": 92, "config": {"name": "a", "env": "b"}, "info": 3},
                ]
            )
        assert report.main(["mongodb://", "--out", str(tmp_path / "out")]) == 0
    for name in ("scores.csv", "improvement.csv", "profiles.csv", "curves.csv", "marl_eval.json"):
        assert (tmp_path / "out" / name).read_bytes() == (place / "out" / name).read_bytes(), name
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "sacred/90: is no run of Muster" in page.text
    assert "sacred/91: cannot be read" in page.text
    assert "sacred/92: cannot be read" in page.text
    assert "s3cret" not in page.text


def test_a_database_that_is_away_is_said_in_a_line(capfd):
    assert report.main(["mongodb://me:s3cret@127.0.0.1:9/"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: MongoDB at 127.0.0.1:9: ")
    assert "s3cret" not in said
