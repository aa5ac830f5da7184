"""The campaign against faults: what its tries share, and the table that counts them.

With FAULTS_TABLE=docs/reliability.md in the environment, the table also replaces what stands in that page between its
two comments.
"""

import os
import platform
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
import toy_study
from conftest import tiny_overrides

import main
import study
from faults.campaign import STUDY, TASK, start_study

BEGIN, END = "<!-- faults: written by the campaign -->\n", "<!-- faults: end -->\n"


def pytest_runtest_setup(item: pytest.Item) -> None:
    mark = item.get_closest_marker("faults")
    if mark is not None:
        item.user_properties.append(("fault", mark.args[0]))


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    if "faults" not in config.getoption("markexpr") or config.option.collectonly:
        return
    reports = [report for key in ("passed", "failed", "error") for report in terminalreporter.stats.get(key, [])]
    reports = [report for report in reports if hasattr(report, "user_properties")]  # not those of collecting
    faults = {report.nodeid: dict(report.user_properties)["fault"] for report in reports}
    failed = {report.nodeid for report in reports if report.failed}
    tries, survived = Counter(faults.values()), Counter(fault for try_, fault in faults.items() if try_ not in failed)
    lines = ["| fault | tries | survived |", "|---|---|---|"]
    lines += [f"| {fault} | {tries[fault]} | {survived[fault]} |" for fault in dict.fromkeys(faults.values())]
    lines += [f"| all | {tries.total()} | {survived.total()} |", ""]
    lines += [
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.system()} {platform.machine()}."
    ]
    terminalreporter.write("\n" + "\n".join(lines) + "\n")
    page = os.environ.get("FAULTS_TABLE")
    if page and not Path(page).is_file():
        terminalreporter.write(f"FAULTS_TABLE={page}: there is no such page; docs/reliability.md is the one\n")
    elif page:
        text = Path(page).read_text(encoding="utf-8")
        head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
        Path(page).write_text(head + BEGIN + "\n".join(lines) + "\n" + END + tail, encoding="utf-8")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Path:
    """The results of the campaign's study when nothing happens to it; read them, or copy them."""
    results = tmp_path_factory.mktemp("undisturbed") / "results"
    assert study.main([STUDY[0], f"--results={results}", *STUDY[1:]], toy_study.REGISTRY) == 0
    return results


@pytest.fixture(scope="session")
def undisturbed_with_workers(tmp_path_factory) -> Path:
    """The same with worker processes."""
    results = tmp_path_factory.mktemp("undisturbed") / "results"
    with start_study("runner=parallel", results=results) as program:
        assert program.finish() == (0, "")
    return results


@pytest.fixture
def copied(undisturbed, results) -> Path:
    return Path(shutil.copytree(undisturbed, results))


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The results of a training that is over."""
    results = tmp_path_factory.mktemp("trained") / "results"
    words = [*TASK, *tiny_overrides(t_max=120, save_model_interval=48, save_replay_buffer=True)]
    assert main.main([*words, f"local_results_path={results}"]) == 0
    return results
