"""What an exported agent computes equals what the controller computes, whatever the kind of networks."""

import copy

import batches
import pytest
import torch
from exported_team import ExportedTeam

from components.action_selectors import EpsilonGreedy
from envs.base import TimeStep
from exporting.policy import Policy, programs
from exporting.programs import write_program
from utils.masking import fill_illegal

#: controller's settings, and what the environment's are
CASES = {
    "entity": ({}, {}),
    "memoryless": ({"recurrent": False, "norm": True}, {}),
    "full": ({"view": "full"}, {}),
    "periodic": ({"view": "periodic", "interval": 3}, {}),
    "joint": ({"view": "joint"}, {}),
    "pairs": ({}, {"points": "anybody"}),
    "pairs_others": ({}, {"points": "others"}),
    "slots": ({"pairs": False}, {"points": "anybody"}),
    "messages": ({}, {"symbols": 3}),
    "pairs_messages": ({}, {"points": "teammates", "symbols": 3}),
    "slots_messages": ({"pairs": False}, {"points": "anybody", "symbols": 3}),
    "coach": ({"kind": "coach", "interval": 2}, {}),
    "coach_pairs": ({"kind": "coach", "interval": 3}, {"points": "anybody"}),
    "coach_slots": ({"kind": "coach", "interval": 2, "beta": 0.1, "pairs": False}, {"points": "anybody"}),
    "collaq": ({"kind": "collaq"}, {}),
    "collaq_pairs": ({"kind": "collaq"}, {"points": "anybody"}),
    "collaq_self": ({"kind": "collaq", "alone_view": "self", "pairs": False}, {"points": "anybody"}),
    "mipi": ({"kind": "mipi"}, {"points": "anybody"}),
    "mipi_alone": ({"kind": "mipi", "alone": True}, {"points": "anybody"}),
    "flat": ({"kind": "flat"}, {}),
    "flat_memoryless": ({"kind": "flat", "recurrent": False}, {"points": "anybody", "symbols": 3}),
    "flat_pairs": ({"kind": "flat"}, {"points": "others"}),
    "flat_slots": ({"kind": "flat", "pairs": False, "view": "joint"}, {"points": "anybody"}),
}


def stirred(controller):
    """With weights that start at 0, and so would not be missed, at something else."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in controller.parameters():
            if not parameter.any():
                parameter.normal_(generator=generator)
    return controller


def both(controller, batch):
    """Of each step of the same episodes: actions of the controller and of a team of programs, and their values."""
    made = programs(controller)
    team = ExportedTeam(controller, made, lambda name, inputs: made[name](**inputs))
    shape = batch.actions.shape[0], batch.agents
    states, heard = [controller.initial_state(*shape), team.initial_state(*shape)], []

    class Listening(EpsilonGreedy):
        def select(self, values, avail_mask, **more):
            heard.append(fill_illegal(values, avail_mask))
            return super().select(values, avail_mask, **more)

    controller.selector = Listening(controller.selector.schedule)
    found = []
    with torch.no_grad():
        for t in range(batch.actions.shape[1]):
            none = torch.zeros(shape[0])
            names = ("entities", "private", "entity_mask", "obs_mask", "avail_mask")
            shown = TimeStep(*(getattr(batch, name)[:, t] for name in names), none, none.bool(), none.bool(), {})
            decisions = [
                player.act(shown, batch.last_actions[:, t], state, t_env=0, explore=False, generator=torch.Generator())
                for player, state in zip((controller, team), states, strict=True)
            ]
            states = [decision.state for decision in decisions]
            present = shown.agent_mask
            found.append([d.actions for d in decisions] + [v[present] for v in (heard[-1], team.values)])
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("memory_steps", [0, 2])
def test_every_kind_of_network_answers_as_its_controller(case, memory_steps):
    """Agents come and go, rows are in any order, and memories may start anew."""
    settings, sizes = CASES[case]
    spec = batches.make_spec(**sizes)
    torch.manual_seed(0)
    controller = stirred(batches.make_controller(spec, **settings))
    controller.memory_steps = memory_steps
    batch = batches.random_batch(spec, batch=3, steps=6)
    if spec.points == "others":
        batch.avail_mask[..., spec.basic : spec.basic + spec.agents] = False
    legal = 0
    for theirs, ours, values, found in both(controller, batch):
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(found, values, rtol=1e-4, atol=1e-5)
        legal += int((values > -6e4).sum())
    assert legal > 50


def test_of_what_is_not_seen_nothing_is_read():
    spec = batches.make_spec(points="anybody")
    policy = Policy(stirred(batches.make_controller(spec)))
    given = policy.example(2, 5)
    given["mask"][:, 3:] = False
    given["avail_mask"][:, 0, spec.basic + 3 :] = False
    before = policy(**given)["values"]
    for name in ("entities", "last_actions", "avail_mask"):
        given[name] = given[name].clone()
        given[name][:, 3:] = 0
    assert torch.equal(policy(**given)["values"], before)


def test_wrong_inputs_are_named():
    policy = Policy(batches.make_controller(batches.make_spec()))
    given = policy.example(2, 5)
    with pytest.raises(ValueError, match="the input memory is missing"):
        policy(**{name: value for name, value in given.items() if name != "memory"})
    with pytest.raises(ValueError, match=r"memory must be \(2, 12\), got \(1, 12\)"):
        policy(**{**given, "memory": given["memory"][:1]})
    with pytest.raises(ValueError, match="there is no input slot"):
        policy(**given, slot=torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(
    "case", ["collaq", "mipi_alone", "pairs_messages", "slots_messages", "flat_memoryless", "joint"]
)
def test_a_program_computes_what_the_module_does(case, tmp_path):
    settings, sizes = CASES[case]
    module = Policy(stirred(batches.make_controller(batches.make_spec(**sizes), **settings)))
    write_program(module, tmp_path / "policy.pt2")
    program = torch.export.load(tmp_path / "policy.pt2").module()
    for batch, rows in ((1, 3), (5, 20)):
        given = module.example(batch, rows, seed=2)
        given["mask"][:, 2:] = torch.arange(given["mask"].shape[1] - 2) % 3 == 0
        wanted, found = module(**given), program(**given)
        assert list(found) == list(module.outputs)
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
            sizes_of = {"B": batch, "E": rows, **module.sizes(batch, rows)}
            assert tuple(value.shape) == tuple(sizes_of.get(size, size) for size in module.outputs[name].shape)


def test_a_program_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    settings, sizes = CASES["memoryless"]
    module = Policy(batches.make_controller(batches.make_spec(**sizes), **settings))
    other, export = Policy(stirred(copy.deepcopy(module.controller))), torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda module, *rest, **more: export(other, *rest, **more))
    with pytest.raises(RuntimeError, match="the exported program's values is not the policy's"):
        write_program(module, tmp_path / "policy.pt2")
    assert not list(tmp_path.iterdir())
