"""Summaries by hand."""

import json

import pytest
import torch

from runners.evaluation import summarise


def test_mean_and_sample_deviation() -> None:
    summary = summarise({"return": torch.tensor([1.0, 2.0, 6.0]), "battle_won": torch.tensor([0.0, 1.0, 1.0])})
    assert summary["return"] == {"mean": 3.0, "std": pytest.approx(7**0.5), "n": 3}
    assert summary["battle_won"] == {"mean": pytest.approx(2 / 3), "std": pytest.approx((1 / 3) ** 0.5), "n": 3}


def test_a_single_episode_has_no_deviation() -> None:
    assert summarise({"return": torch.tensor([4.0])}) == {"return": {"mean": 4.0, "std": 0.0, "n": 1}}


def test_it_fits_into_a_json_file() -> None:
    summary = summarise({"ep_length": torch.tensor([3, 5])})
    assert json.loads(json.dumps(summary)) == {"ep_length": {"mean": 4.0, "std": pytest.approx(2**0.5), "n": 2}}
