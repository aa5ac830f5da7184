"""A node of a cluster dies: the environments that it had go on elsewhere."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from test_cli import PATIENCE
from test_hosts import ARGS
from test_ray_actors import Disturbed, assert_same
from toy_env import ToyEnv, reading_team

from controllers.scripted import ScriptedController
from envs.hosted import Timeouts
from envs.hosts import WorkerEnv
from envs.ray_actors import RayEnv
from runners.runner import Runner
from utils.temporary import marked_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A node, on this machine, with room for one environment."""
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.setenv("RAY_TMPDIR", str(marked_folder()))
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
    finally:
        cluster.shutdown()


def test_a_node_that_dies_costs_the_episodes_of_its_environments(cluster: Any) -> None:
    node = cluster.add_node(num_cpus=1)

    def replace_node() -> None:
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1)

    with (
        RayEnv(ToyEnv, ARGS, 2, seed=3, timeouts=Timeouts(PATIENCE, PATIENCE)) as actors,
        WorkerEnv(ToyEnv, ARGS, 2, seed=3) as workers,
    ):
        disturbed = Disturbed(actors.spec, replace_node)
        one = Runner(actors, disturbed, seed=5)
        other = Runner(workers, ScriptedController(reading_team(workers.spec)), seed=5)
        for _ in range(2):
            assert_same(one.play(), other.play())
        assert actors.restarts == 1
