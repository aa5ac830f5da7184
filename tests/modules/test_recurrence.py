"""A state starts anew where an agent joins, and nowhere else."""

import pytest
import torch

from modules.layers.recurrence import ResettingGRU


@pytest.mark.parametrize("resets", [[], [(0, 1)], [(3, 0)], [(2, 1), (4, 0), (4, 1)], [(0, 0), (1, 0), (5, 1)]])
def test_against_a_cell_step_by_step(resets):
    torch.manual_seed(0)
    layer = ResettingGRU(3, 4)
    x, hidden = torch.randn(6, 2, 3), torch.randn(2, 4)
    reset = torch.zeros(6, 2, dtype=torch.bool)
    for t, row in resets:
        reset[t, row] = True
    outputs, last = layer(x, hidden, reset)
    cell = torch.nn.GRUCell(3, 4)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.gru.state_dict().items()})
    state = hidden
    for t in range(6):
        state = cell(x[t], torch.where(reset[t][:, None], 0.0, state))
        torch.testing.assert_close(outputs[t], state, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(last, state, rtol=1e-5, atol=1e-6)
