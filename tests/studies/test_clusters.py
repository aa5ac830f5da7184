"""Studies on a cluster, from the command line to the table: as without one, killed or not.

One Ray cluster of two nodes serves all tests here that need one.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_study
from cluster_runs import PLACES, STEPS, carry_out, learnt, newest, runs, start, wait_until, worker

import study
from studies.clusters import on_ray, slurm
from studies.clusters.base import Job, Share, Site
from studies.clusters.local import seats_on
from studies.declaration import Entry
from utils.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[str, list[str]]:
    """What the study learns without a cluster."""
    results = tmp_path_factory.mktemp("undisturbed") / "results"
    assert carry_out(results) == 0
    return learnt(results)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two nodes of one CPU each, which only this machine can reach."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 2}
    arguments = {"num_cpus": 1, "include_dashboard": False, "_system_config": soon}
    cluster = Cluster(initialize_head=True, head_node_args=arguments)
    try:
        cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()


def in_the_background(what) -> threading.Thread:
    thread = threading.Thread(target=what, daemon=True)
    thread.start()
    return thread


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_two_jobs_on_this_machine(results, undisturbed, capfd):
    assert carry_out(results, "--on=local", "--jobs=2") == 0
    assert learnt(results) == undisturbed
    out = capfd.readouterr().out
    assert all(f"{place}: {STEPS} of {STEPS} steps, {STEPS // 16} updates, finished\n" in out for place in PLACES)
    assert [runs(results, place) for place in PLACES] == [[("COMPLETED", 0)]] * 2
    assert len({worker(results, place) for place in PLACES}) == 2
    assert os.getpid() not in {worker(results, place) for place in PLACES}


def test_ray_with_a_killed_driver_and_a_killed_node(results, undisturbed, nodes, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    (node,) = nodes.worker_nodes
    raylet = node.all_processes["raylet"][0].process.pid
    with start(results, "--on=ray", "--jobs=2") as driver:
        wait_until(lambda: any(newest(results, place) for place in PLACES))
        driver.kill()
    killed_at = [newest(results, place) for place in PLACES]
    assert max(killed_at) < STEPS

    def is_there(place):
        """Whether the node that is lost has gone further with it than where it took it up."""
        with contextlib.suppress(OSError, ValueError):
            return parent(parent(worker(results, place))) == raylet and newest(results, place) > begun(place)[-1]
        return False

    def lose_node():
        wait_until(lambda: lost.extend(filter(is_there, PLACES)) or lost)
        pid = worker(results, *lost)
        os.kill(pid, signal.SIGSTOP)  # a machine without power saves nothing
        lost_at.append(newest(results, *lost))
        nodes.remove_node(node, allow_graceful=False)
        os.kill(pid, signal.SIGKILL)

    def begun(place):
        return [step for _, step in runs(results, place)]

    lost, lost_at = [], []
    losing = in_the_background(lose_node)
    assert carry_out(results, "--on=ray", "--jobs=2") == 0
    losing.join()
    assert len(lost) == 1
    for place, step in zip(PLACES, killed_at, strict=True):  # nothing that had a checkpoint begins from zero again
        assert all(one >= step for one in begun(place)[1:])
        assert runs(results, place)[-1][0] == "COMPLETED"
    assert begun(*lost)[-1] == lost_at[0] > begun(*lost)[-2]
    assert learnt(results) == undisturbed


def test_slurm_with_a_preemption(results, undisturbed, monkeypatch):
    monkeypatch.setattr(slurm, "CLUSTER", "local")

    def preempt():
        wait_until(lambda: newest(results, PLACES[0]))
        task = parent(worker(results, PLACES[0]))
        os.kill(task, signal.SIGUSR2)

    preempting = in_the_background(preempt)
    assert carry_out(results, "--on=slurm", "--jobs=2") == 0
    preempting.join()
    (first, none), (second, begun) = runs(results, PLACES[0])
    assert (first, none, second) == ("INTERRUPTED", 0, "COMPLETED")
    assert 0 < begun < STEPS
    assert runs(results, PLACES[1]) == [("COMPLETED", 0)]
    assert learnt(results) == undisturbed


def test_slurm_goes_on_with_jobs_of_an_earlier_driver(tmp_path, monkeypatch):
    class Known:
        def __init__(self, folder, number):
            self.job_id = number
            self.state = {"3": "UNKNOWN"}.get(number, "RUNNING")

        def done(self, force_check=False):
            return self.job_id == "2"

        def cancel(self, check=True):
            cancelled.append(self.job_id)

    cancelled: list[str] = []
    monkeypatch.setattr(slurm, "CLUSTER", "local")
    monkeypatch.setattr("submitit.LocalJob", Known)
    (tmp_path / "slurm.json").write_text(json.dumps({"at work": "1", "over": "2", "forgotten": "3", "another": "4"}))
    jobs = [Job(place, Entry(toy_study.SINGLE, (0,), 1, ()), 0) for place in ("new", "at work", "over", "forgotten")]
    with slurm.Slurm(Site(tmp_path, tmp_path), Share(1, None)) as cluster:
        cluster.adopt(jobs)
        assert cluster.active == {"at work": jobs[1]}
        assert cluster.ended() == []
    assert cancelled == ["1"]


# --- what a user can correct ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--on=local", "--jobs=0"], "--jobs 0: must be at least 1"),
        (["--on=local"], "--on local: say with --jobs N"),
        (["--jobs=2"], "--jobs 2: say with --on"),
        (["--gpus-per-job=0.5"], "--gpus-per-job 0.5: say with --on"),
        (["--on=local", "--jobs=1", "--gpus-per-job=1.5"], "--gpus-per-job 1.5: must be a part of one GPU"),
        (["--on=local", "--jobs=1", "--gpus-per-job=0"], "--gpus-per-job 0: must be a part of one GPU"),
        (["--on=local", "--jobs=1", "--evaluate-only=."], "leave out --on"),
        (["--on=moon", "--jobs=1"], "--on"),
        (["--on=slurm", "--jobs=1"], "--on slurm: there is no sbatch here"),
        (["--on=slurm", "--jobs=1", "--gpus-per-job=0.5"], "--gpus-per-job 0.5: Slurm's jobs have whole GPUs"),
    ],
)
def test_wrong_words_end_in_one_line(results, capsys, monkeypatch, words, named):
    monkeypatch.setenv("PATH", "/nowhere")
    assert study.main(["single", f"--results={results}", *words], toy_study.REGISTRY) == 2
    assert_one_line(capsys, named)


def assert_one_line(capsys, named: str) -> None:
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert named in err


@pytest.mark.parametrize(("on", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_what_is_not_installed_is_named(results, capsys, monkeypatch, on, package):
    for module in list(sys.modules):
        if module.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    assert carry_out(results, f"--on={on}", "--jobs=1") == 2
    assert_one_line(capsys, f"--on {on} needs {package}, which is not installed: ./run.sh python -m pip install -r")


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("127.0.0.1:1", "RAY_ADDRESS=127.0.0.1:1: no Ray answers there"),
        ("ray://127.0.0.1:1", "must be HOST:PORT"),
        ("somewhere", "must be HOST:PORT"),
    ],
)
def test_no_cluster_at_the_address(results, capsys, monkeypatch, address, named):
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert carry_out(results, "--on=ray", "--jobs=1") == 2
    assert_one_line(capsys, named)


def test_more_gpus_than_there_are(results, capsys, monkeypatch, nodes):
    monkeypatch.setattr("studies.clusters.local.visible_gpus", lambda: ["0"])
    assert carry_out(results, "--on=local", "--jobs=3", "--gpus-per-job=0.5") == 2
    assert_one_line(capsys, "--jobs 3 with --gpus-per-job 0.5: this machine has 1 GPUs, enough for 2 jobs at a time")
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    assert carry_out(results, "--on=ray", "--jobs=1", "--gpus-per-job=1") == 2
    assert_one_line(capsys, "--jobs 1 with --gpus-per-job 1: the cluster has 0 GPUs on ")


def test_what_each_job_gets():
    assert seats_on(["0", "1"], 0.4) == ["0", "0", "1", "1"]
    assert seats_on(["a", "b", "c"], 1) == ["a", "b", "c"]
    assert seats_on(["0", "1", "2"], 2) == ["0,1"]
    assert on_ray.cpus_each([16, 16], 2) == 16
    assert on_ray.cpus_each([16, 16], 3) == 8
    assert on_ray.cpus_each([4, 2], 3) == 2
    assert on_ray.cpus_each([4], 9) == 1
    two_nodes = [{"GPU": 4.0}, {"GPU": 2.0}, {"CPU": 64.0}]
    on_ray.check_gpus(two_nodes, Share(3, 2))
    on_ray.check_gpus(two_nodes, Share(24, 0.25))
    for share in (Share(4, 2), Share(2, 4), Share(25, 0.25)):
        with pytest.raises(UserError):
            on_ray.check_gpus(two_nodes, share)
