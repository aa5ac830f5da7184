"""Environments in worker processes: the same contract, and no way to hang or to leave a process behind."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_env import ToyEnv, make_toy

from components.action_selectors import random_legal
from envs import hosts
from envs.base import TimeStep
from envs.check import check_env
from envs.hosted import TICK, EnvironmentFailed, Timeouts, WorkerError
from envs.hosts import WorkerEnv
from envs.scene import Arena, Body, Look, Scene
from envs.worker import FIELDS
from utils.errors import RunFailed, UserError
from utils.interrupt import STOP_SIGNALS
from utils.seeding import derive_seed, make_generator
from utils.temporary import clear_away_dead

ARGS = ToyEnv.resolve_args({"team": "varying", "private": 2}, [])
NOTHING = torch.zeros(2, ARGS.slots, dtype=torch.int64)


class DiesInStep(ToyEnv):
    """Is killed while it steps, in the environment whose episodes follow from the second worker's seed."""

    def __init__(self, args: Any, num_envs: int, seed: int, device: str) -> None:
        super().__init__(args, num_envs, seed, device)
        self.second = seed == derive_seed(0, "worker", 1)

    def _step(self, actions: torch.Tensor) -> TimeStep:
        if self.second:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._step(actions)


class DiesInStart(ToyEnv):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        os._exit(7)


class RaisesInStep(ToyEnv):
    def _step(self, actions: torch.Tensor) -> TimeStep:
        raise ConnectionError("the game has hung up")


class NeverStarts(ToyEnv):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        time.sleep(3600)


class CannotStart(ToyEnv):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise UserError("the game is not installed")


class Breaks(ToyEnv):
    """Loses its first episode in the first step, is repaired then, and gives up in step 4."""

    restarts = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lost = torch.zeros(1, dtype=torch.bool)
        self.steps = 0

    def _reset(self, env_mask: torch.Tensor, team: str | None) -> TimeStep:
        if bool(self.lost):
            self.restarts, self.lost = self.restarts + 1, torch.zeros(1, dtype=torch.bool)
        return super()._reset(env_mask, team)

    def _step(self, actions: torch.Tensor) -> TimeStep:
        self.steps += 1
        if self.steps == 4:
            raise RunFailed("the game went wrong too often")
        seen = super()._step(actions)
        if self.steps > 1:
            return seen
        self.lost, self.truncated = torch.ones(1, dtype=torch.bool), torch.ones(1, dtype=torch.bool)
        return seen._replace(truncated=self.truncated, terminated=~self.truncated)


class SaysClosed(ToyEnv):
    """`args` is a file, in which a line appears when a step begins, which never ends, and when it is closed."""

    def __init__(self, args: Any, num_envs: int, seed: int, device: str) -> None:
        self.file = Path(args)
        super().__init__(ARGS, num_envs, seed, device)

    def _step(self, actions: torch.Tensor) -> TimeStep:
        self.say("busy")
        time.sleep(3600)
        raise AssertionError("nobody waits this long")

    def close(self) -> None:
        self.say("closed")

    def say(self, word: str) -> None:
        with self.file.open("a") as file:
            file.write(word + "\n")


class Pictures(ToyEnv):
    def render(self, index: int = 0, marked=()) -> np.ndarray:
        return np.full((2, 3, 3), int(self.hits[index]), dtype=np.uint8)

    def scene(self, index: int = 0) -> Scene:
        return Scene(Arena(0, 0, 1, 1), {0: Body(Look("agent", "team", "disc", 0.1), float(self.hits[index]), 0.0)})


def gone(pid: int | None) -> bool:
    """Whether the process has ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(pids: list[int]) -> list[int]:
    """The processes that are still there after a time that is long for any machine."""
    deadline = time.monotonic() + 30
    while (left := [pid for pid in pids if not gone(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def interrupted(handles: Any, timeout: float) -> Any:
    """In the place of `hosts.wait`: Ctrl-C while the answers are awaited."""
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerEnv]:
    with WorkerEnv(ToyEnv, ARGS, num_envs=2, seed=3) as env:
        yield env


def test_workers_keep_the_contract(workers: WorkerEnv) -> None:
    check_env(workers, teams=("1", "2-3", "varying"))


def test_each_worker_plays_what_a_single_environment_plays(workers: WorkerEnv) -> None:
    workers.seed(9)
    singles = [ToyEnv(ARGS, 1, derive_seed(9, "worker", i)) for i in range(2)]
    generator = make_generator(0)
    seen = workers.reset(team="2-3")
    alone = [single.reset(team="2-3") for single in singles]
    for _ in range(ARGS.episode_limit + 2):
        for i, other in enumerate(alone):
            assert set(seen.info) == set(other.info)
            for name in FIELDS:
                assert torch.equal(getattr(seen, name)[i], getattr(other, name)[0]), name
            for name in seen.info:
                assert torch.equal(seen.info[name][i], other.info[name][0]), name
        actions = random_legal(seen.avail_mask, generator)
        seen = workers.step(actions)
        alone = [single.step(actions[i : i + 1]) for i, single in enumerate(singles)]
    assert seen.done.all()


def test_workers_have_different_episodes(workers: WorkerEnv) -> None:
    assert not torch.equal(*workers.reset().private)


@pytest.mark.parametrize("signum", STOP_SIGNALS)
def test_what_stops_a_run_is_left_to_the_parent(workers: WorkerEnv, signum: signal.Signals) -> None:
    for pid in workers.pids:
        assert pid is not None
        assert os.getsid(pid) == pid  # what is sent to the parent's whole group does not reach it
        os.kill(pid, signum)
    workers.step(random_legal(workers.reset().avail_mask, make_generator(0)))
    assert not any(gone(pid) for pid in workers.pids)


@pytest.mark.usefixtures("workers")
def test_what_stops_a_run_does_not_reach_the_servers_of_multiprocessing() -> None:
    for pid in (resource_tracker._resource_tracker._pid, forkserver._forkserver._forkserver_pid):
        fields = dict(line.split(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        deaf = int(fields["SigBlk"], 16) | int(fields["SigIgn"], 16)
        assert [signum for signum in STOP_SIGNALS if not deaf & 1 << signum - 1] == []


def test_state_of_another_number_of_workers_is_refused(workers: WorkerEnv) -> None:
    with pytest.raises(ValueError, match="the state of 3 workers does not fit 2"):
        workers.load_state_dict({"workers": [{}, {}, {}]})


def test_environments_that_are_over_are_left_in_peace() -> None:
    args = ToyEnv.resolve_args({"team": "2", "episode_limit": 1}, [])
    with WorkerEnv(RaisesInSecondStep, args, 1, 0) as env:
        seen = env.reset()
        actions = random_legal(seen.avail_mask, make_generator(0))
        last = env.step(actions)
        rest = env.step(actions)
    assert last.done.all()
    assert rest.done.all()
    assert torch.equal(rest.entities, last.entities)
    assert rest.reward.tolist() == [0.0]


class RaisesInSecondStep(ToyEnv):
    def _step(self, actions: torch.Tensor) -> TimeStep:
        assert self.t.max() == 0, "a second step"
        return super()._step(actions)


def test_pictures_come_from_the_environment_asked_for() -> None:
    with WorkerEnv(Pictures, ToyEnv.resolve_args({"team": "1", "end_chance": 0.0}, []), 2, 0) as env:
        seen = env.reset()
        best = env.step((seen.entities[:, 1:, :3] * seen.obs_mask[:, 0, 1:, None]).sum(dim=1).argmax(1)[:, None] + 1)
        assert best.reward.tolist() == [1, 1]
        env.reset(torch.tensor([True, False]))
        assert env.render(0).tolist() == np.zeros((2, 3, 3)).tolist()
        assert env.render(1).tolist() == np.ones((2, 3, 3)).tolist()
        assert [env.scene(index).bodies[0].x for index in (0, 1)] == [0, 1]


def test_a_worker_killed_in_the_middle_of_a_step_is_named() -> None:
    env = WorkerEnv(DiesInStep, ARGS, num_envs=2, seed=0)
    pids = env.pids
    seen = env.reset()
    with pytest.raises(WorkerError, match=rf"worker 1 \(pid {pids[1]}\) died with exit code -9 during step"):
        env.step(random_legal(seen.avail_mask, make_generator(0)))
    assert all(gone(pid) for pid in pids)
    with pytest.raises(WorkerError, match="died"):  # what comes after on the way out does not hide the reason
        env.reset()
    env.close()


def test_a_worker_killed_between_steps_is_named() -> None:
    env = WorkerEnv(ToyEnv, ARGS, num_envs=2, seed=0)
    pid = env.pids[0]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=rf"worker 0 \(pid {pid}\) died with exit code -9 during reset"):
        env.reset()


def test_a_worker_that_dies_at_the_start_is_named() -> None:
    with pytest.raises(WorkerError, match=r"worker 0 \(pid \d+\) died with exit code 7 during start"):
        WorkerEnv(DiesInStart, ARGS, num_envs=1, seed=0)


def test_an_exception_arrives_with_its_traceback() -> None:
    env = WorkerEnv(RaisesInStep, ARGS, num_envs=2, seed=0)
    env.reset()
    with pytest.raises(EnvironmentFailed) as caught:
        env.step(NOTHING)
    lines = r"(?s)worker \d \(pid \d+\) failed during step:\nTraceback .* in _step\n.*ConnectionError: the game .*"
    assert re.fullmatch(lines, str(caught.value))
    # not a RunFailed, whose lines are squeezed into one: a mistake in an environment is to be found
    assert not isinstance(caught.value, RunFailed)
    assert all(gone(pid) for pid in env.pids)


def test_lost_episodes_restarts_and_giving_up_arrive() -> None:
    args = ToyEnv.resolve_args({"team": "2", "end_chance": 0.0}, [])
    with WorkerEnv(Breaks, args, num_envs=2, seed=0) as env:
        assert env.restarts is None
        env.reset()
        assert (env.restarts, env.lost.tolist()) == (0, [False, False])
        seen = env.step(torch.zeros(2, args.slots, dtype=torch.int64))
        assert (env.restarts, env.lost.tolist(), seen.truncated.tolist()) == (0, [True, True], [True, True])
        env.reset(env_mask=torch.tensor([False, True]))
        assert (env.restarts, env.lost.tolist()) == (1, [True, False])
        env.reset(env_mask=torch.tensor([True, False]))
        assert (env.restarts, env.lost.tolist()) == (2, [False, False])
        for _ in range(2):
            env.step(torch.zeros(2, args.slots, dtype=torch.int64))
        with pytest.raises(RunFailed, match=r"^worker [01] \(pid \d+\): the game went wrong too often$"):
            env.step(torch.zeros(2, args.slots, dtype=torch.int64))


def test_a_host_without_games_knows_no_restarts(workers: WorkerEnv) -> None:
    workers.reset()
    assert workers.restarts is None
    assert workers.lost is None


def test_what_the_user_can_put_right_stays_such_an_error() -> None:
    with pytest.raises(UserError, match=r"^the game is not installed$"):
        WorkerEnv(CannotStart, ARGS, num_envs=2, seed=0)


def test_an_interrupted_call_closes_the_workers_and_their_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkerEnv, "GRACE", 0.2)
    env = WorkerEnv(SaysClosed, tmp_path / "log", num_envs=2, seed=0)
    pids = env.pids
    env.reset()
    with monkeypatch.context() as patch:
        patch.setattr(hosts, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            env.step(NOTHING)  # they are busy for an hour
    assert all(gone(pid) for pid in pids)
    assert sorted((tmp_path / "log").read_text().split()) == ["busy", "busy", "closed", "closed"]
    # whoever tidies up on the way out must not turn an interrupted run into a failed one
    with pytest.raises(KeyboardInterrupt):
        env.load_state_dict({"workers": [{}, {}]})
    env.close()


def test_a_worker_that_stands_still_is_named_and_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkerEnv, "GRACE", 0.2)
    env = WorkerEnv(ToyEnv, ARGS, num_envs=2, seed=0, timeouts=Timeouts(step=2.0))
    pids = env.pids
    env.reset()
    assert pids[1] is not None
    os.kill(pids[1], signal.SIGSTOP)
    message = rf"worker 1 \(pid {pids[1]}\) hangs: no answer for 2 s during step; .* a longer worker_step_timeout"
    with pytest.raises(WorkerError, match=message) as caught:
        env.step(NOTHING)
    assert all(gone(pid) for pid in pids)
    assert isinstance(caught.value, RunFailed)
    assert "\n" not in str(caught.value)


def test_workers_that_do_not_get_started_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkerEnv, "GRACE", 0.2)
    others = set(multiprocessing.active_children())
    message = (
        r"^worker 0 \(pid \d+\) hangs: no answer for 0.3 s during start, nor from 1 more; .* worker_start_timeout$"
    )
    with pytest.raises(WorkerError, match=message) as caught:
        WorkerEnv(NeverStarts, ARGS, num_envs=2, seed=0, timeouts=Timeouts(start=0.3))
    assert set(multiprocessing.active_children()) == others
    assert "\n" not in str(caught.value)


def test_a_run_that_stood_still_itself_has_not_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z and `fg`: the clock went on, and nobody was silent."""
    with WorkerEnv(ToyEnv, ARGS, num_envs=1, seed=0, timeouts=Timeouts(step=60 * TICK)) as env:
        really_wait = hosts.wait
        late = iter([True])

        def stopped(handles: Any, timeout: float) -> Any:
            if next(late, False):
                monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 3600)
                return []
            return really_wait(handles, timeout)

        monkeypatch.setattr(hosts, "wait", stopped)
        env.reset()


PARENT = """
import os, signal, sys
import test_hosts
from envs.hosts import WorkerEnv
if __name__ == "__main__":
    WorkerEnv.GRACE = 0.2
    idle = WorkerEnv(test_hosts.ToyEnv, test_hosts.ARGS, 2, 0)
    busy = WorkerEnv(test_hosts.SaysClosed, sys.argv[1], 1, 0)
    os.kill(idle.pids[1], signal.SIGSTOP)
    print(os.getpid(), *busy.pids, *idle.pids, flush=True)
    busy.reset()
    busy.step(test_hosts.NOTHING[:1])
"""


def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    script, log = tmp_path / "parent.py", tmp_path / "log"
    script.write_text(PARENT)
    paths = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryDirectory() as name:  # a short one, as a socket's path must be
        temporary = Path(name)
        parent = subprocess.Popen(
            [sys.executable, str(script), str(log)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "TMPDIR": name},
        )
        assert parent.stdout is not None
        *pids, stopped = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 3
        while not log.exists():  # the last one is in the middle of its step
            assert not any(gone(pid) for pid in pids)
            time.sleep(0.02)
        clear_away_dead(temporary)
        assert len(list(temporary.iterdir())) == 1  # of all its environments, and its process lives
        parent.kill()
        parent.wait()
        parent.stdout.close()
        left = wait_until_gone(pids)
        os.kill(stopped, signal.SIGCONT)  # nobody waited for it; it ends as soon as it can
        left += wait_until_gone([stopped])
        for pid in left:  # a failed test leaves nothing behind either
            os.kill(pid, signal.SIGKILL)
        assert left == []
        assert log.read_text().split() == ["busy", "closed"]
        clear_away_dead(temporary)
        assert list(temporary.iterdir()) == []


def test_a_toy_batch_and_workers_agree_on_the_specification(workers: WorkerEnv) -> None:
    assert workers.spec == make_toy(2, team="varying", private=2).spec
