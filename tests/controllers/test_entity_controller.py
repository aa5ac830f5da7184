"""Acting step by step gives the values that learning computes at once; views, memories, strategies."""

import batches
import pytest
import torch
from toy_env import make_pointing_toy, make_toy

from components.replay import cut
from controllers.entity import View
from runners.runner import Runner


class Listener:
    """An action selector that keeps the values it is shown."""

    def __init__(self):
        self.values = []

    def select(self, values, avail_mask, *, t_env, explore, generator):
        self.values.append(values)
        return (torch.rand(avail_mask.shape, generator=generator) * avail_mask).argmax(dim=-1)


@pytest.mark.parametrize("view", ["local", "full", "periodic"])
@pytest.mark.parametrize("kind", ["entity", "coach", "collaq"])
@pytest.mark.parametrize("points", ["", "slots", "pairs"])
def test_acting_and_unrolling_agree(kind, view, points, monkeypatch):
    """Also where a slot is left and taken again: an empty memory, no last action, a new strategy."""
    from modules.coach import Gaussian

    monkeypatch.setattr(Gaussian, "sample", lambda self, generator: self.mean)
    make = make_pointing_toy if points else make_toy
    env = make(num_envs=6, seed=1, team="varying", private=2, end_chance=0.05)
    torch.manual_seed(0)
    controller = batches.make_controller(env.spec, kind, interval=3, view=view, pairs=points == "pairs")
    controller.selector = Listener()
    rollout = Runner(env, controller, seed=0).play(explore=True)
    batch = rollout.batch
    came_back = (batch.agent_mask[:, 1:-1] & ~batch.agent_mask[:, :-2]).sum()
    assert came_back > 3
    with torch.no_grad():
        data = controller.prepare(batch)
        q = data.unpack(controller.unroll(data).q[0])
    acted = torch.stack(controller.selector.values, dim=1)
    filled = batch.filled_mask
    torch.testing.assert_close(acted[filled], q[:, : acted.shape[1]][filled], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["entity", "coach", "collaq"])
def test_acting_with_the_memory_of_a_piece_and_unrolling_pieces_agree(kind, monkeypatch):
    from modules.coach import Gaussian

    monkeypatch.setattr(Gaussian, "sample", lambda self, generator: self.mean)
    env = make_toy(num_envs=6, seed=1, team="varying", private=2, end_chance=0.05)
    torch.manual_seed(0)
    controller = batches.make_controller(env.spec, kind, interval=2)
    controller.memory_steps = 4
    controller.selector = Listener()
    batch = Runner(env, controller, seed=0).play(explore=True).batch
    acted = torch.stack(controller.selector.values, dim=1)  # (B, T, A, U)
    pieces = cut(batch, 4)
    with torch.no_grad():
        data = controller.prepare(pieces)
        q = data.unpack(controller.unroll(data).q[0])[:, :4]
    steps = batch.filled_mask.sum(dim=1)
    assert steps.max() > 4
    taken = [acted[row, begin : begin + 4] for row, end in enumerate(steps) for begin in range(0, end, 4)]
    assert len(taken) == len(q)
    for values, expected, filled in zip(taken, q, pieces.filled_mask, strict=True):
        torch.testing.assert_close(values[: filled.sum()], expected[filled], rtol=1e-4, atol=1e-5)


def test_views_by_hand():
    obs = torch.tensor([[[True, False, True], [False, True, False]]]).expand(4, 2, 3)
    entity_mask = torch.tensor([[True, True, True], [True, True, True], [True, False, True], [True, True, True]])
    step = torch.arange(4)
    everything = torch.ones(2, 3, dtype=torch.bool)
    local, full, periodic = (View(kind, 2).apply(obs, entity_mask, step) for kind in ("local", "full", "periodic"))
    assert torch.equal(local, obs)
    assert torch.equal(full[0], everything)
    assert full[2].tolist() == [[True, False, True], [False, False, False]]
    assert torch.equal(periodic[0], everything)
    assert torch.equal(periodic[1], obs[1])
    assert torch.equal(periodic[2], full[2])
    with pytest.raises(ValueError, match="unknown view"):
        View("blind")


def test_actions_do_not_depend_on_the_batch_around_them():
    env = make_toy(num_envs=5, seed=2)
    torch.manual_seed(0)
    controller = batches.make_controller(env.spec)
    seen = env.reset()
    last = torch.full((5, env.spec.agents), -1)

    def values(rows):
        listener = controller.selector = Listener()
        part = seen._replace(**{k: v[rows] for k, v in seen._asdict().items() if k != "info"})
        controller.act(
            part,
            last[rows],
            controller.initial_state(len(rows), 3),
            t_env=0,
            explore=False,
            generator=torch.Generator(),
        )
        return listener.values[0]

    torch.testing.assert_close(values([3]), values([0, 1, 2, 3, 4])[3:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["entity", "coach", "collaq", "mipi"])
@pytest.mark.parametrize("points", ["", "anybody"])
def test_a_further_view_gives_what_it_would_give_alone(kind, points, monkeypatch):
    """Also at whom an agent may point: REFIL's groups hide their values."""
    from modules.coach import Gaussian

    monkeypatch.setattr(Gaussian, "sample", lambda self, generator: self.mean)
    spec = batches.make_spec(points=points)
    torch.manual_seed(0)
    controller = batches.make_controller(spec, kind)
    data = controller.prepare(batches.random_batch(spec))
    group = data.view_mask & (torch.rand(data.view_mask.shape) < 0.5)
    with torch.no_grad():
        whole, further = controller.unroll(data, (group,)).q
        alone = controller.unroll(data._replace(view_mask=group)).q[0]
    torch.testing.assert_close(further, alone)
    assert not torch.allclose(further, whole)
