"""What a test leaves in the record; the tests of runners and studies see to its figures."""

import io
import json
from types import SimpleNamespace

import torch

from evaluating import test as play_tests
from utils.interrupt import StopSignal
from utils.logging import Console, Recorder


def test_a_later_test_replaces_the_file_and_does_not_write_over_it(tmp_path):
    # so that a disk that is full by then leaves the earlier one whole
    config = SimpleNamespace(test_teams=("3",), test_nepisode=2, test_episodes="test")
    recorder = Recorder(tmp_path, "1", Console(10, io.StringIO()))
    path = tmp_path / "evaluation.json"

    def play(score: float) -> None:
        returns = {"return": torch.tensor([score, score])}
        runner = SimpleNamespace(evaluate=lambda *args, **kwargs: returns, env=SimpleNamespace(restarts=None))
        play_tests(config, recorder, StopSignal(), runner, t_env=0)

    play(1.0)
    with path.open() as earlier:
        play(2.0)
        assert json.load(earlier)["3"]["return"]["mean"] == 1.0
    assert json.loads(path.read_text())["3"]["return"]["mean"] == 2.0
    recorder.close()
