"""What a user reads who has no Ray, no cluster or no room for its sockets."""

import pytest

from utils import ray_connection
from utils.errors import UserError
from utils.ray_shared import Connection


def test_without_ray_or_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    if ray_connection.find_spec("ray") is not None:
        with pytest.raises(UserError, match="RAY_ADDRESS=127.0.0.1:1: no Ray answers there"):
            Connection("runner=ray")
    monkeypatch.setattr(ray_connection, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="runner=ray needs ray, which is not installed: .* requirements-cluster.txt"):
        Connection("runner=ray")


def test_a_folder_that_is_too_deep_for_its_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = "/tmp/" + "x" * 35
    monkeypatch.setenv("RAY_TMPDIR", deep)
    with pytest.raises(UserError, match=f"the path {deep} is too long for Ray's sockets: set RAY_TMPDIR"):
        Connection("runner=ray")
