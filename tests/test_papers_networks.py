"""The papers' networks (`target_values=slots`) are what they were before actions pointed at entities.

`data/papers_networks.json` holds numbers from then (revision 812d4c0), when actions were numbered by tags: losses,
figures and gradients of fresh networks on battles that a scripted team fights. What COPA's posterior has a part in is
from later, when it was given the last of its T pairs.
"""

import json
from pathlib import Path

import pytest
import torch

import builders
from controllers.scripted import ScriptedController
from learners.mipi import MipiLearner
from runners.runner import Runner
from utils.config import load_config

STORED = json.loads((Path(__file__).parent / "data" / "papers_networks.json").read_text(encoding="utf-8"))
SMALL = (
    *("attn_embed_dim=16", "attn_heads=2", "rnn_hidden_dim=12", "hypernet_embed=16", "mixing_embed_dim=8"),
    *("coach_embed_dim=16", "strategy_dim=6", "device=cpu", "env_args.episode_limit=24", "env_args.max_team=8"),
    *("env_args.max_enemies=8", "seed=3"),
)


@pytest.mark.parametrize("algorithm", ["aqmix", "refil", "copa", "collaq", "mipi", "mappo"])
@pytest.mark.parametrize("task", ["sc2_sz", "sc2_mmm"])
def test_loss_and_gradients_are_those_of_before(task, algorithm, monkeypatch):
    # a draw depends on the order of actions: take the least probable
    monkeypatch.setattr(MipiLearner, "draw", lambda self, policy: policy.masked_fill(policy == 0, 2.0).argmin(dim=-1))
    # what linear and flex_qmix meant then
    mixer = {"mipi": ["mixer=linear_abs"], "mappo": []}.get(algorithm, ["mixer=flex_qmix_low"])
    config = load_config([f"--config={algorithm}", f"--env-config={task}", *SMALL, *mixer])
    env = builders.build_env(config, 4, 11, tests=True)
    team = ScriptedController(type(env).SCRIPTED["focus_fire"](env.spec))
    batch = Runner(env, team, seed=0).play(record=True).batch
    controller = builders.build_controller(config, env.spec)
    learner = builders.build_learner(config, controller, env.spec)
    if algorithm == "mappo":
        (lesson,), _ = learner.prepare(batch)
        loss, figures = learner.loss(lesson)
    else:
        with torch.no_grad():  # apart from the online networks, so that a mix-up of the two shows
            for parameter in learner.target_controller.parameters():
                parameter.mul_(0.9)
        loss, figures = learner.loss(batch)
    loss.backward()
    found = {"loss": loss, "steps": batch.filled_mask.sum(), "reward": batch.reward.sum(), **figures}
    for name, module in learner.modules().items():
        for key, parameter in module.named_parameters():
            if parameter.grad is not None:
                found[f"gradient of {name}.{key}"] = parameter.grad.norm()
    stored = STORED[f"{task} {algorithm}"]
    assert set(found) == set(stored)
    for name, value in found.items():
        assert float(value.detach()) == pytest.approx(stored[name], rel=1e-4, abs=1e-6), name
