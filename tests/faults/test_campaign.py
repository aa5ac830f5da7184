"""The campaign itself: when its tries run, and how they are counted."""

from types import SimpleNamespace

import conftest
import pytest

from faults import conftest as campaign


def an_item(*marks: pytest.Mark) -> SimpleNamespace:
    return SimpleNamespace(get_closest_marker=lambda name: next((mark for mark in marks if mark.name == name), None))


@pytest.mark.parametrize(("expression", "left"), [("", 2), ("not slow", 2), ("faults", 3), ("faults and not slow", 3)])
def test_long_tries_are_left_out_unless_they_are_named(expression, left):
    often, always = (pytest.mark.faults("a fault", always=always).mark for always in (False, True))
    items = [an_item(), an_item(often), an_item(always)]
    kept = [items[0], items[2]] if left == 2 else list(items)
    dropped: list = []
    hook = SimpleNamespace(pytest_deselected=lambda items: dropped.extend(items))
    conftest.pytest_collection_modifyitems(SimpleNamespace(getoption=lambda name: expression, hook=hook), items)
    assert items == kept
    assert len(dropped) == 3 - left


def test_the_table_replaces_the_one_before(tmp_path, monkeypatch):
    def report(number: int, fault: str, failed: bool = False) -> SimpleNamespace:
        return SimpleNamespace(nodeid=str(number), user_properties=[("fault", fault)], failed=failed)

    stats = {"passed": [report(1, "fire"), report(2, "water"), report(3, "fire"), report(4, "fire")]}
    stats |= {"failed": [report(5, "water", failed=True)], "error": [report(4, "fire", failed=True)]}
    said: list[str] = []
    page = tmp_path / "page.md"
    page.write_text(f"before\n{campaign.BEGIN}| old | 1 | 1 |\n{campaign.END}after\n")
    monkeypatch.setenv("FAULTS_TABLE", str(page))
    config = SimpleNamespace(getoption=lambda name: "faults", option=SimpleNamespace(collectonly=False))
    campaign.pytest_terminal_summary(SimpleNamespace(stats=stats, write=said.append), config)
    table = "| fault | tries | survived |\n|---|---|---|\n| fire | 3 | 2 |\n| water | 2 | 1 |\n| all | 5 | 3 |\n"
    assert table in said[0]
    text = page.read_text()
    assert text.startswith(f"before\n{campaign.BEGIN}{table}")
    assert text.endswith(f"{campaign.END}after\n")
    assert "old" not in text
