"""The page in a browser: it plays, and what it says is what was recorded."""

import copy
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playing import Played

from replays.writing import write_replays

try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    sync_playwright = None

#: where this is set, a browser has to be there
NEEDED = "TESTS_NEED_BROWSER"
RUN = {"name": "copa", "run": "7", "steps": 1234567, "episodes": "test"}

#: frames come when a test says so, and are counted, as are the strokes of each
BY_HAND = """
(() => {
  const waiting = [];
  let stamp = 0;
  window.strokes = 0;
  window.requestAnimationFrame = (call) => waiting.push(call);
  window.tick = (milliseconds) => {
    stamp += milliseconds;
    window.strokes = 0;
    const due = waiting.splice(0);
    due.forEach((call) => call(stamp));
    return due.length;
  };
  const pen = CanvasRenderingContext2D.prototype;
  for (const name of ['fill', 'stroke', 'fillRect', 'strokeRect', 'fillText', 'clearRect']) {
    const real = pen[name];
    pen[name] = function (...words) {
      window.strokes += 1;
      return real.apply(this, words);
    };
  }
})();
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None or sync_playwright is None:
        reason = "needs Chromium (Debian's package chromium) and Python's playwright"
        if os.environ.get(NEEDED):
            pytest.fail(f"{NEEDED} is set: {reason}")
        pytest.skip(reason)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Files:
    """Pages of replays below a folder, each with its record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, tape: Any, run: dict[str, Any] | None = None) -> tuple[Path, dict[str, Any]]:
        page = write_replays(self.folder / name, tape, {**RUN, **(run or {})})
        return page, json.loads(page.with_name("replays.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    return Files(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def battles(files) -> tuple[Path, dict[str, Any]]:
    """COPA, with a coach, in battles of two sizes."""
    words = ("env_args.episode_limit=20", "target_values=pairs", "broadcast_interval=3")
    return files.write("battles", Played("copa", "sc2_csz", *words, teams=("3-5", "8")).tape)


@pytest.fixture(scope="module")
def large(files) -> tuple[Path, dict[str, Any]]:
    """A battle of 16 against 16, played over and over for 150 steps."""
    tape = Played("mappo", "sc2_sz", "env_args.episode_limit=20", "target_values=pairs", teams=("16",)).tape
    content = tape.content()
    (episode, *_) = content["episodes"]
    stretched = {**episode, "length": 150}
    for name, values in episode.items():
        if isinstance(values, list) and name not in ("looks", "present"):
            moments = 150 + (name == "bodies")
            stretched[name] = [values[t % len(values)] for t in range(moments)]

    class Long:
        def content(self) -> dict[str, Any]:
            return {**copy.deepcopy(content), "episodes": [stretched]}

    return files.write("large", Long())


@pytest.fixture(scope="module")
def messages(files) -> tuple[Path, dict[str, Any]]:
    """MAPPO where agents say one of ten symbols."""
    return files.write("messages", Played("mappo", "reference", teams=("2",)).tape)


@pytest.fixture
def visit(browser) -> Iterator[Callable[..., Any]]:
    """Opens a page; none may complain of anything."""
    complaints: list[str] = []
    contexts = []

    def see(path: Path, width: int = 1280, height: int = 800, script: str = "") -> Any:
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
        if script:
            page.add_init_script(script)
        page.goto(path.as_uri())
        return page

    yield see
    for context in contexts:
        context.close()
    assert complaints == []


def text(page, selector):
    return page.locator(selector).inner_text()


def numbers(page, selector):
    return [float(value) for value in page.locator(selector).all_inner_texts()]


def at(page, step):
    expect(page.locator("#clock")).to_have_text(re.compile(rf"^{step} / "))


def seek(page, step):
    page.locator("#scrub").fill(str(step))
    at(page, step)


def choose(page, agent):
    page.locator(f".chip[data-agent='{agent}']").click()
    expect(page.locator(f".chip[data-agent='{agent}']")).to_have_attribute("aria-pressed", "true")


def test_it_says_which_run_and_lists_the_episodes(visit, battles):
    path, record = battles
    page = visit(path)
    assert page.title() == text(page, "h1") == "copa on sc2_csz"
    assert text(page, "#run") == "run 7 \u00b7 1,234,567 steps of training \u00b7 test episodes"
    words = page.locator("#episode option").all_inner_texts()
    assert [word.split(",")[0] for word in words] == ["3-5: 1", "3-5: 2", "8: 1", "8: 2"]
    page.select_option("#team", "8")
    assert len(page.locator("#episode option").all()) == 2
    length = record["episodes"][2]["length"]
    expect(page.locator("#clock")).to_have_text(f"0 / {length}")
    page.select_option("#outcome", "won")
    won = [e for e in record["episodes"] if e["team"] == "8" and e["info"]["battle_won"]]
    assert len(page.locator("#episode option").all()) == len(won)


def test_it_plays_to_the_end_and_stops(visit, battles):
    page = visit(battles[0])
    length = battles[1]["episodes"][0]["length"]
    page.select_option("#speed", "40")
    page.keyboard.press("Space")
    expect(page.locator("#clock")).to_have_text(f"{length} / {length}")
    assert page.locator("#play").get_attribute("aria-label") == "play"
    assert text(page, "#course").count(f"{length} of {length}") == 1
    page.locator("#play").click()  # from the beginning
    expect(page.locator("#play")).to_have_attribute("aria-label", "pause")


def test_it_scrubs_and_steps(visit, battles):
    path, record = battles
    page = visit(path)
    episode = record["episodes"][0]
    for step in (5, 2, episode["length"]):
        seek(page, step)
        so_far = sum(episode["rewards"][:step])
        shown = page.locator("#course dd").all_inner_texts()
        assert shown[0] == f"{step} of {episode['length']}"
        assert float(shown[1]) == pytest.approx(so_far, abs=0.051)
        sides = [episode["looks"][body[0]]["side"] for body in episode["bodies"][step] if body]
        assert [int(value) for value in shown[2:4]] == [sides.count("team"), sides.count("enemy")]
    page.keyboard.press("Home")
    page.locator("#field").click(position={"x": 3, "y": 3})
    length = episode["length"]
    keys = {"ArrowRight": 1, "Shift+ArrowRight": 11, "ArrowLeft": 10, "End": length, "Shift+ArrowLeft": length - 10}
    for key, step in keys.items():
        page.keyboard.press(key)
        at(page, step)
    box = page.locator("#timeline").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 10)
    at(page, round(length / 2))


def test_the_chosen_agent_shows_what_was_recorded(visit, battles):
    path, record = battles
    page = visit(path)
    page.select_option("#episode", "2")
    episode = record["episodes"][2]
    for step, agent in ((0, 0), (4, 3), (7, 6)):
        seek(page, step)
        choose(page, agent)
        legal, figures = episode["legal"][step][agent], episode["figures"][step][agent]
        rows = page.locator("#figures tr[data-action]:not(.not)")
        assert [int(row.get_attribute("data-action")) for row in rows.all()] == legal
        assert numbers(page, "#figures tr[data-action]:not(.not) td.n") == pytest.approx(figures)
        chosen = page.locator("#figures tr.chosen")
        assert int(chosen.get_attribute("data-action")) == episode["actions"][step][agent]
        illegal = {int(row.get_attribute("data-action")) for row in page.locator("#figures tr.not").all()}
        assert illegal == set(range(6)) - set(legal)
        sees = episode["sees"][step][agent]
        assert [int(row.get_attribute("data-slot")) for row in page.locator("#attention tr[data-slot]").all()] == sees
        for head, weights in enumerate(episode["attention"][step][agent]):
            assert numbers(page, f"#attention td[data-head='{head}']") == pytest.approx(weights)
        means = [sum(column) / len(column) for column in zip(*episode["attention"][step][agent], strict=True)]
        assert numbers(page, "#attention td[data-head='-1']") == pytest.approx(means, abs=6e-4)
        look, _, _, health, *_ = episode["bodies"][step][agent]
        shown = text(page, "#agent")
        assert episode["looks"][look]["kind"].upper() in shown.upper()
        assert re.search(rf"health\s+{health:g}", shown) or re.search(rf"health\s+{health:.1f}", shown)


def test_the_coach(visit, battles):
    path, record = battles
    page = visit(path)
    episode = record["episodes"][2]
    page.select_option("#episode", "2")
    for step in (0, 4, 6):
        seek(page, step)
        for agent in range(8):
            last = max(t for t in range(step + 1) if agent in episode["sent"][t])
            cells = page.locator(f"#coach tr[data-agent='{agent}'] td").all_inner_texts()
            assert int(cells[1]) == last == step // 3 * 3
            assert float(cells[2]) == episode["moved"][last][episode["sent"][last].index(agent)]
        assert len(page.locator("#coach tr.now").all()) == (8 if step % 3 == 0 else 0)
        assert f"spoke in {step // 3 + 1} of {step + 1} steps" in text(page, "#coach")


def test_keys_choose_agents_and_heads(visit, battles):
    page = visit(battles[0])
    pressed = ".chip[aria-pressed='true']"

    def chosen() -> list[str]:
        page.evaluate("new Promise((done) => requestAnimationFrame(done))")
        return [chip.get_attribute("data-agent") for chip in page.locator(pressed).all()]

    seek(page, 2)  # by a slider that has the focus from then on
    page.keyboard.press("2")
    assert chosen() == ["1"]
    page.locator("#field").focus()
    page.keyboard.press("Tab")
    assert chosen() == ["2"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert chosen() == ["0"]
    page.keyboard.press("h")
    assert chosen() == ["0"]
    assert page.locator("#attention .heads [aria-pressed='true']").inner_text() == "1"
    page.keyboard.press("Escape")
    assert chosen() == []
    page.keyboard.press("?")
    assert page.locator("#help").evaluate("element => element.open")
    page.keyboard.press("Escape")
    assert not page.locator("#help").evaluate("element => element.open")


def test_a_click_on_the_field_chooses(visit, battles):
    page = visit(battles[0])
    body = page.evaluate("stage.bodies(now.episode, 0).find((one) => one.slot === 1)")
    page.locator("#field").click(position={"x": body["x"], "y": body["y"]})
    expect(page.locator(".chip[aria-pressed='true']")).to_have_attribute("data-agent", "1")


def test_every_frame_of_a_large_battle_is_one_small_drawing(visit, large):
    """16 units a side, 150 steps at 20 a second, 60 frames a second: each frame draws once, with so few strokes that
    any canvas keeps up, and none is left out.
    """
    page = visit(large[0], script=BY_HAND)
    page.evaluate("tick(16)")
    page.select_option("#speed", "20")
    page.locator(".chip[data-agent='3']").click()
    page.locator("#play").click()
    assert page.evaluate("tick(1000 / 60)") == 1
    drawn = page.evaluate(
        """() => {
          const frames = [];
          const seen = new Set();
          while (now.playing && frames.length < 1000) {
            frames.push([tick(1000 / 60), strokes]);
            seen.add(document.getElementById('clock').textContent);
          }
          return [frames, [...seen], tick(16)];
        }"""
    )
    frames, clocks, after = drawn
    assert len(frames) == 450
    assert {calls for calls, _ in frames} == {1}
    assert clocks == [f"{t} / 150" for t in range(151)]
    assert max(strokes for _, strokes in frames) < 1000
    assert min(strokes for _, strokes in frames) > 50
    assert after == 0


@pytest.mark.parametrize("width", [320, 480, 800, 1100])
def test_narrow_windows_scroll_only_down(visit, large, messages, width):
    for path, _ in (large, messages):
        page = visit(path, width=width, height=700)
        page.locator(".chip[data-agent='0']").click()
        page.locator("#attention tr[data-slot]").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        canvas = page.locator("#field").bounding_box()
        assert canvas["width"] > 0.5 * min(width, 500)
        assert canvas["x"] + canvas["width"] <= width


def test_messages_and_probabilities(visit, messages):
    page_file, record = messages
    page = visit(page_file)
    episode = record["episodes"][0]
    assert not page.locator("#outcomes").is_visible()
    seek(page, 3)
    choose(page, 1)
    assert page.locator("#figures h2").inner_text().lower().startswith("action probabilities")
    assert numbers(page, "#figures td[data-action]") == pytest.approx(episode["figures"][3][1])
    act, symbol = divmod(episode["actions"][3][1], 10)
    assert int(page.locator("#figures td.chosen").get_attribute("data-action")) == 10 * act + symbol
    name = record["about"]["actions"][act]
    assert f"{name}, say {symbol}" in text(page, "#agent")
    assert "its goal is landmark" in text(page, "#agent")
    assert f"says {episode['actions'][2][1] % 10}" in text(page, "#agent")


def test_a_task_without_a_look_is_a_table(visit, files):
    page_file, record = files.write("table", Played("vdn", "matrix_game", "env_args.train_team=AB", teams=("AB",)).tape)
    page = visit(page_file)
    choose(page, 0)
    rows = [row.inner_text().split("\t") for row in page.locator("#table tr").all()]
    assert rows[0] == ["entity", "agent", "type", "does"]
    episode = record["episodes"][0]
    assert [row[0] for row in rows[1:]] == ["agent 1", "agent 2", "entity 1", "entity 2"]
    assert [row[1] for row in rows[1:]] == [" ".join(map(str, entity[:2])) for entity in episode["entities"][0]]
    assert rows[1][3] == str(episode["actions"][0][0])
    assert not page.locator("#field").is_visible()
    assert [int(row.get_attribute("data-slot")) for row in page.locator("#attention tr[data-slot]").all()] == [0, 1, 2]


def test_hostile_names_are_text(visit, files):
    hostile = "</script><img src=x onerror=alert(1)><script>alert(2)</script>"

    class Hostile:
        def __init__(self, tape) -> None:
            self.tape = tape

        def content(self):
            content = self.tape.content()
            content["about"] |= {"task": hostile, "actions": [hostile] * 5}
            for look in content["episodes"][0]["looks"]:
                look |= {"kind": hostile, "about": hostile, "label": hostile}
            content["episodes"][0] |= {"team": hostile, "info": {hostile: 1}}
            return content

    played = Played("scripted", "navigation", "policy=greedy", "evaluate=True", teams=("3",))
    page_file, record = files.write("hostile", Hostile(played.tape), {"name": hostile})
    page = visit(page_file)
    assert page.title() == f"{hostile} on {hostile}"
    choose(page, 0)
    seek(page, record["episodes"][0]["length"])
    assert hostile in text(page, "#course")
    assert hostile in text(page, "#agent")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
