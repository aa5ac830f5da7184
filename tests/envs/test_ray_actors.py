"""Environments as actors of Ray: the episodes of worker processes, whatever dies; and nothing that listens or stays."""

import errno
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_overrides
from test_cli import PATIENCE, Program, metrics
from test_hosts import ARGS, gone
from toy_env import ToyEnv, random_team, reading_team

from controllers.base import ControllerState, Decision
from controllers.scripted import ScriptedController
from envs.base import EnvSpec, TimeStep
from envs.hosted import Timeouts
from envs.hosts import WorkerEnv
from envs.ray_actors import RayEnv
from runners.runner import Rollout, Runner
from utils.errors import RunFailed, UserError
from utils.interrupt import STOP_SIGNALS
from utils.ray_shared import Connection
from utils.seeding import make_generator

pytestmark = pytest.mark.slow

#: of the environments that play here
SEED = 3


@pytest.fixture(scope="module")
def local() -> Iterator[Connection]:
    """A Ray of this process, whose actors can import what the tests can."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        connection = Connection("the tests")
        yield connection
        connection.close()


@pytest.fixture(scope="module")
def actors(local: Connection) -> Iterator[RayEnv]:
    with RayEnv(ToyEnv, ARGS, num_envs=2, seed=SEED, timeouts=Timeouts(PATIENCE, 5.0)) as env:
        yield env


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerEnv]:
    with WorkerEnv(ToyEnv, ARGS, num_envs=2, seed=SEED) as env:
        yield env


def pid(env: RayEnv, i: int) -> int:
    return int(env._names[i].split()[1])


def together(*envs: Any) -> None:
    """Let the same episodes come next in all of them."""
    for env in envs:
        env.seed(17)


def assert_same(one: Rollout, other: Rollout) -> None:
    assert one.batch is not None
    assert other.batch is not None
    for name, value in one.batch.parts().items():
        assert torch.equal(value, other.batch.parts()[name]), name
    assert torch.equal(one.returns, other.returns)
    assert all(torch.equal(value, other.info[name]) for name, value in one.info.items())


class Disturbed(ScriptedController):
    """Plays what is best, and does something before a round's second step."""

    def __init__(self, spec: EnvSpec, then: Callable[[], None]) -> None:
        super().__init__(reading_team(spec))
        self.steps, self.then = 0, then

    def act(self, timestep: TimeStep, *args: Any, **how: Any) -> Decision:
        self.steps += 1
        if self.steps == 2:
            assert not bool(timestep.done.any())
            self.then()
        return super().act(timestep, *args, **how)

    def initial_state(self, num_envs: int, agents: int) -> ControllerState:
        return {}


def test_rounds_and_tests_are_those_of_worker_processes(actors: RayEnv, workers: WorkerEnv) -> None:
    together(actors, workers)
    one, other = (Runner(env, ScriptedController(random_team(env.spec)), seed=5) for env in (actors, workers))
    assert_same(one.play(), other.play())
    tests = [runner.evaluate("2", 3, seed=1) for runner in (one, other)]
    assert all(torch.equal(value, tests[1][name]) for name, value in tests[0].items())
    saved = one.state_dict()
    assert_same(one.play("1"), other.play("1"))
    other.load_state_dict(saved)
    one.load_state_dict(saved)
    assert_same(one.play(), other.play())


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_an_actor_that_dies_or_hangs_in_mid_episode_costs_nothing_but_time(
    actors: RayEnv, workers: WorkerEnv, signum: signal.Signals
) -> None:
    together(actors, workers)
    before, old = actors.restarts, pid(actors, 1)
    disturbed = Disturbed(actors.spec, lambda: os.kill(old, signum))
    one, other = Runner(actors, disturbed, seed=5), Runner(workers, ScriptedController(reading_team(workers.spec)), 5)
    for _ in range(3):
        assert_same(one.play(), other.play())
    assert disturbed.steps > 2
    assert actors.restarts == before + 1
    assert actors.lost is not None
    assert gone(old)
    assert pid(actors, 1) != old


def test_a_connection_that_breaks_costs_the_episode(actors: RayEnv, workers: WorkerEnv) -> None:
    together(actors, workers)
    before, old = actors.restarts, pid(actors, 0)

    def breaks() -> None:
        with socket.socket(fileno=os.dup(actors._pipes[0].fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)

    one = Runner(actors, Disturbed(actors.spec, breaks), seed=5)
    other = Runner(workers, ScriptedController(reading_team(workers.spec)), seed=5)
    for _ in range(2):
        assert_same(one.play(), other.play())
    assert actors.restarts == before + 1
    assert pid(actors, 0) == old


def test_half_a_command_is_not_waited_for(actors: RayEnv, workers: WorkerEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "timeouts", Timeouts(PATIENCE, 30.0))
    together(actors, workers)
    before, old = actors.restarts, pid(actors, 0)

    def stall() -> None:
        def send_bytes(message: bytes) -> None:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

        monkeypatch.setattr(actors._pipes[0], "send_bytes", send_bytes)

    one = Runner(actors, Disturbed(actors.spec, stall), seed=5)
    other = Runner(workers, ScriptedController(reading_team(workers.spec)), seed=5)
    for _ in range(2):
        assert_same(one.play(), other.play())
    assert actors.restarts == before + 1
    assert pid(actors, 0) == old  # it was not killed for its silence


def test_a_death_that_its_connection_does_not_show_is_seen_by_ray(
    actors: RayEnv, workers: WorkerEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "timeouts", Timeouts(PATIENCE, 10 * PATIENCE))
    together(actors, workers)
    before, old = actors.restarts, pid(actors, 0)
    silent, other = multiprocessing.Pipe()

    def vanish() -> None:
        actors._pipes[0].close()
        actors._pipes[0] = silent
        os.kill(old, signal.SIGKILL)

    one = Runner(actors, Disturbed(actors.spec, vanish), seed=5)
    two = Runner(workers, ScriptedController(reading_team(workers.spec)), seed=5)
    for _ in range(2):
        assert_same(one.play(), two.play())
    assert actors.restarts == before + 1
    other.close()


def test_an_actor_that_dies_before_its_state_is_asked_for_has_lost_its_episode(actors: RayEnv) -> None:
    actors.seed(17)
    first = actors.reset()
    before, old = actors.restarts, pid(actors, 1)
    os.kill(old, signal.SIGKILL)
    state = actors.state_dict()
    assert actors.seen().truncated.tolist() == [False, True]
    assert actors.lost is not None
    assert actors.lost.tolist() == [False, True]
    assert actors.restarts == before + 1
    actors.load_state_dict(state)
    again = actors.reset()  # of the one that is lost: the same episode; of the other: its next
    assert torch.equal(again.entities[1], first.entities[1])
    assert not torch.equal(again.entities[0], first.entities[0])


def test_an_actor_that_dies_between_episodes_goes_on_with_the_next(actors: RayEnv, workers: WorkerEnv) -> None:
    together(actors, workers)
    one, other = (Runner(env, ScriptedController(reading_team(env.spec)), seed=5) for env in (actors, workers))
    assert_same(one.play(), other.play())
    before = actors.restarts
    os.kill(pid(actors, 0), signal.SIGKILL)
    assert_same(one.play(), other.play())
    assert actors.restarts == before + 1


def test_an_address_that_is_not_this_machines(local: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.ray.util, "get_node_ip_address", lambda: "192.0.2.1")  # nobody's
    holders = Connection._holders
    with pytest.raises(UserError, match=r"runner=ray: cannot listen at 192\.0\.2\.1, this machine's address in Ray \("):
        RayEnv(ToyEnv, ARGS, 1, 0)
    assert Connection._holders == holders


class StartsAnew(ToyEnv):
    """Needs a new game for every episode."""

    restarts: int | None = 0

    def _reset(self, env_mask: torch.Tensor, team: str | None) -> TimeStep:
        assert self.restarts is not None
        self.restarts += 1
        return super()._reset(env_mask, team)


@pytest.mark.usefixtures("local")
def test_games_that_earlier_lives_started_anew_count() -> None:
    with RayEnv(StartsAnew, ARGS, 1, 0) as env:
        seen = env.reset()
        seen = env.reset()
        assert env.restarts == 2
        os.kill(pid(env, 0), signal.SIGKILL)
        env.step(reading_team(env.spec)(seen, make_generator(0)))
        assert env.restarts == 3  # the actor's death
        env.reset()
        assert env.restarts == 4  # two of the first life, its death, and one of the second


class DiesInStep(ToyEnv):
    def _step(self, actions: torch.Tensor) -> TimeStep:
        os._exit(1)


@pytest.mark.usefixtures("local")
def test_an_environment_that_dies_again_and_again_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RayEnv, "DEATHS", 0)
    with RayEnv(DiesInStep, ARGS, 1, 0) as env:
        runner = Runner(env, ScriptedController(random_team(env.spec)), seed=0)
        with pytest.raises(RunFailed, match=r"worker 0 \(pid .*\) died 1 times in a row without playing an episode to"):
            runner.play()


# --- what Ray is on this machine --------------------------------------------------------------------------------------


def of_ray() -> dict[int, str]:
    """The processes that descend from this one and are Ray's."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue

    def is_ours(process: int) -> bool:
        return process == os.getpid() or (process in parents and is_ours(parents[process]))

    def is_rays(name: str) -> bool:
        words = name.replace("\0", " ").split(" ")
        return words[0].startswith("ray::") or any("/ray/" in word for word in words[:3])

    return {process: name for process, name in names.items() if is_ours(process) and is_rays(name)}


def listening(process: int) -> list[str]:
    """Its listening sockets' addresses, in hexadecimal."""
    sockets = set()
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended: Ray lets idle workers go
        for link in Path(f"/proc/{process}/fd").iterdir():
            with suppress(FileNotFoundError):  # it has been closed
                sockets.add(os.readlink(link))
    lines = [
        line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    ]
    return [line[1].split(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets]


@pytest.mark.usefixtures("actors")
def test_ray_listens_on_localhost_alone_and_is_deaf_to_what_stops_a_run() -> None:
    processes = of_ray()
    assert {"raylet", "gcs_server"} <= {name.split("\0")[0].rpartition("/")[2] for name in processes.values()}
    addresses = [address for process in processes for address in listening(process)]
    assert addresses
    assert {address[-8:] for address in addresses} == {"0100007F"}  # 127.0.0.1, also as IPv6
    for process in processes:
        try:
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        except (FileNotFoundError, ProcessLookupError):
            continue
        deaf = int(fields["SigBlk"], 16) | int(fields["SigIgn"], 16)
        assert [signum for signum in STOP_SIGNALS if not deaf & 1 << signum - 1] == [], processes[process]


# --- programs ---------------------------------------------------------------------------------------------------------

TASK = ["--config=vdn", "--env-config=navigation", "runner=ray", "env_args.episode_limit=20"]


def test_a_run_whose_worker_dies_goes_on_and_leaves_nothing_when_it_is_killed(results: Path) -> None:
    pytest.importorskip("ray")
    words = tiny_overrides("vdn", t_max=10**7, test_interval=10**7, save_model_interval=10**7, log_interval=40)
    with Program(*TASK, *words, "round_episodes=1", results=results) as program:
        program.wait_for("test at 0 steps")
        worker = next(process for process, name in program.processes().items() if name.startswith("ray::_Actor"))
        os.kill(worker, signal.SIGKILL)
        program.wait_for("1 games started anew after a fault")
        deadline = time.monotonic() + PATIENCE
        while not {("env/restarts", 1), ("env/stale", 0)} <= {(name, value) for name, _, value in metrics(results, 1)}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        program.process.kill()
        program.wait_until_gone()
    staleness = [value for name, _, value in metrics(results, 1) if name == "train/staleness_mean"]
    assert 0 <= max(staleness) <= 4
