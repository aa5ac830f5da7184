"""The rows that every network reads: one per entity slot."""

import torch
from torch import Tensor
from torch.nn import functional as F


def entity_inputs(entities: Tensor, last_actions: Tensor, actions: int, private: Tensor | None = None) -> Tensor:
    """Append to each agent's row its last action (one-hot) and, if given, its private features; zeros elsewhere.

    Args:
        entities (..., E, D): entity features, agents first.
        last_actions (..., A): int64, -1 for none (a row of zeros).
        actions: U.
        private (..., A, P): only for networks that know everything (coach, mixer).

    Returns:
        (..., E, D + U [+ P])
    """
    codes = torch.arange(actions, device=entities.device)
    rows = (last_actions.unsqueeze(-1) == codes).to(entities.dtype)
    if private is not None and private.shape[-1] > 0:
        rows = torch.cat([rows, private], dim=-1)
    others = entities.shape[-2] - rows.shape[-2]
    return torch.cat([entities, F.pad(rows, (0, 0, 0, others))], dim=-1)
