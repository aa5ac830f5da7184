"""From settings to parts: what does not go together is refused, what a learner asks for it gets."""

import batches
import pytest

import builders
from learners import REGISTRY
from runners.runner import Runner
from runners.stream import Stream
from utils.config import load_config
from utils.errors import UserError


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--config=copa", "controller=entity"], "learner=copa needs controller=coach, got controller=entity"),
        (["--config=refil", "controller=coach"], "learner=refil needs controller=entity, got controller=coach"),
        (["--config=collaq", "controller=entity"], "learner=collaq needs controller=collaq, got controller=entity"),
        (["--config=mipi", "controller=entity"], "learner=mipi needs controller=mipi, got controller=entity"),
        (
            ["--config=mipi", "learner=q"],
            "learner=q needs controller=entity or flat or coach or collaq or joint or one_at_a_time, got controller=m",
        ),
        (["--config=refil", "mixer=none"], "learner=refil needs a mixer, got mixer=none: use one of flex_qmix, "),
        (["--config=mappo", "mixer=vdn"], "learner=mappo .* needs mixer=none"),
        (["--config=mappo", "controller=coach"], "learner=mappo needs controller=entity or flat"),
        (["--config=joint", "mixer=vdn"], "controller=joint has one value for the whole team: it needs mixer=none"),
        (["--config=one_at_a_time", "view=full"], "controller=one_at_a_time knows all .* needs view=joint"),
        (["--config=refil", "controller=joint"], "learner=refil needs controller=entity, got controller=joint"),
        (["--config=maddpg", "mixer=vdn"], "learner=ddpg mixes no values of agents: it needs mixer=none"),
        (["--config=maddpg", "controller=coach"], "learner=ddpg needs controller=entity or flat, got controller=coach"),
        (["--config=scripted"], "evaluate=True"),
        (["evaluate=true"], "checkpoint_path"),
        (["--env-config=rescue", "target_values=pairs"], "target_values=pairs: no action of env=rescue points"),
        (["--config=copa", "sequence_length=6"], "sequence_length=6 must be a multiple of broadcast_interval=4"),
        (["--config=refil", "rollout_steps=9", "runner=parallel"], "rollout_steps=9 needs all environments"),
        (["--config=mappo", "rollout_steps=9", "runner=episode"], "rollout_steps=9 needs all environments"),
        (["--env-config=pettingzoo", "rollout_steps=9"], "rollout_steps=9: env=pettingzoo cannot save episodes"),
        (
            ["--config=pqn_refil", "rollout_steps=9"],
            "rollout_steps=9: learner=pqn_refil with controller=entity learns from whole episodes; leave it 0",
        ),
        (["learner=pqn_copa", "controller=coach", "rollout_steps=9"], "learner=pqn_copa with controller=coach learns"),
        (["--config=pqn_vdn", "controller=coach", "rollout_steps=9"], "learner=pqn with controller=coach learns"),
        (["--config=pqn_vdn", "controller=collaq", "rollout_steps=9"], "learner=pqn with controller=collaq learns"),
        *(
            (
                ["--config=pqn_vdn", f"controller={name}", "mixer=none", "view=joint", "rollout_steps=9"],
                f"learner=pqn with controller={name} learns",
            )
            for name in ("joint", "one_at_a_time")
        ),
    ],
)
def test_what_does_not_go_together_is_refused(words, named):
    with pytest.raises(UserError, match=named):
        builders.check(load_config([*words, "device=cpu"]))


@pytest.mark.parametrize(
    "words",
    [
        *(
            [f"--config={name}"]
            for name in ("mappo", "pqn_vdn", "pqn_qmix", "copa", "collaq", "mipi", "maddpg", "joint")
        ),
        ["--config=mappo", "controller=flat"],
        ["--config=pqn_vdn", "view=periodic"],
        ["--config=refil", "sequence_length=10"],
    ],
)
def test_rounds_of_so_many_steps_suit_the_others(words):
    builders.check(load_config([*words, "--env-config=navigation", "rollout_steps=9", "device=cpu"]))


@pytest.mark.parametrize(
    ("algorithm", "pieces"), [("mappo", True), ("pqn_vdn", True), ("refil", False), ("copa", False)]
)
def test_who_collects_and_what(algorithm, pieces):
    words = [f"--config={algorithm}", "--env-config=navigation", "device=cpu"]
    for steps in (0, 9):
        config = load_config([*words, f"rollout_steps={steps}"])
        env = builders.build_env(config, 2, 0, tests=False)
        runner = builders.build_runner(config, env, builders.build_controller(config, env.spec), 3)
        assert type(runner) is (Stream if steps else Runner)
        if isinstance(runner, Stream):
            assert (runner.steps, runner.pieces) == (9, pieces)


@pytest.mark.parametrize("name", REGISTRY)
def test_a_learner_gets_the_settings_that_its_config_names(name):
    learner_class = REGISTRY[name]
    controller = next(iter(learner_class.CONTROLLERS), "entity")
    words = [f"learner={name}", f"controller={controller}", "device=cpu", "gamma=0.5", "seed=3"]
    words += [f"{key}={value}" for key, value in learner_class.NEEDS.items() if key != "sequence_length"]
    if not learner_class.MIXES:
        words += ["mixer=none"]
    if learner_class.LABELS:
        words += ["expert=random"]
    config = load_config([*words, "imagine_split=0.25", "lambda_entropy=0.125"])
    builders.check(config)
    spec = batches.make_spec()
    learner = builders.build_learner(config, builders.build_controller(config, spec), spec)
    assert type(learner) is learner_class
    assert type(learner.config) is learner_class.Config
    assert vars(learner.config) == {key: config[key] for key in vars(learner.config)}
    assert learner.config.gamma == 0.5
