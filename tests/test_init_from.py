"""Trainings that begin with the networks of another run (`init_from`)."""

import pytest
import torch
from conftest import tiny_overrides
from test_training import BATTLE, Run, StopAfter, parts

from training import Training
from utils.config import load_config
from utils.errors import UserError
from utils.interrupt import Interrupted, StopSignal


def words_of(algorithm: str, *more: str) -> list[str]:
    settings = tiny_overrides(algorithm, target_values="pairs", t_max=60)
    return [f"--config={algorithm}", *BATTLE, *settings, *more]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished A-QMIX run with values of pairs: its newest checkpoint."""
    run = Run(tmp_path_factory.mktemp("trained"), words_of("aqmix", "seed=5"))
    run.train(StopSignal())
    return run.folders()[-1]


def begun(folder, words) -> tuple[Training, Run]:
    run = Run(folder, words)
    return Training(run.config, run.recorder, StopSignal()), run


def test_the_same_algorithm_begins_with_all_of_it_and_its_targets_too(tmp_path, trained):
    training, run = begun(tmp_path, words_of("aqmix", "seed=6", f"init_from={trained.parent}"))
    with training:
        state = parts(trained)["learner"]
        for name in ("controller", "mixer"):
            for key, value in training.learner.modules()[name].state_dict().items():
                assert torch.equal(value, state[name][key])
        for online, target in training.learner.target_networks().values():
            assert all(torch.equal(a, b) for a, b in zip(online.parameters(), target.parameters(), strict=True))
        assert training.t_env == training.learner.updates == 0
        assert not training.learner.optimiser.state
    count = len(state["controller"])
    assert f"init_from {trained}: tensors taken: controller {count} of {count}, mixer" in run.notes[-1]


def test_another_algorithm_takes_the_agents_and_begins_the_rest_anew(tmp_path, trained):
    training, run = begun(tmp_path, words_of("mappo", f"init_from={trained}"))
    with training:
        for key, value in training.controller.state_dict().items():
            assert torch.equal(value, parts(trained)["learner"]["controller"][key])
    assert "critic 0 of" in run.notes[-1]


def test_where_nothing_fits_the_run_does_not_begin(tmp_path, trained):
    widths = tiny_overrides("iql", attn_embed_dim=24, rnn_hidden_dim=12, t_max=60)
    with pytest.raises(UserError, match=r"init_from=.*nothing there has the name and shape .* widths of networks"):
        begun(tmp_path, ["--config=iql", "--env-config=navigation", *widths, f"init_from={trained}"])


def test_who_resumes_does_not_begin_again(tmp_path, trained):
    words = words_of("aqmix", "seed=6", f"init_from={trained}")
    first = Run(tmp_path, words)
    with pytest.raises(Interrupted):
        first.train(StopAfter(20))
    half = first.folders()[-1]
    second = Run(tmp_path, [*words, f"checkpoint_path={half}"], number=2)
    second.train(StopSignal())
    assert not [note for note in second.notes if note.startswith("init_from")]
    assert [note for note in second.notes if note.startswith(f"resuming {half}")]


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="init_from"):
        load_config(["--config=aqmix", f"init_from={tmp_path / 'nowhere'}"])
