"""Returns over several steps."""

import torch
from torch import Tensor


def lambda_returns(
    reward: Tensor, discount: Tensor, next_value: Tensor, goes_on: Tensor, filled_mask: Tensor, td_lambda: float
) -> Tensor:
    """`G_t = r_t + discount_t * ((1 - lambda) * V_{t+1} + lambda * G_{t+1})`, and `V_{t+1}` alone where nothing goes on
    (Peng and Williams, 1996). It leans on the actions that were taken, so with an old replay it is biased towards the
    behaviour that filled it.

    Args:
        reward (S,) or (S, 1): of the S played steps, sequence after sequence.
        discount (S,) or (S, 1): gamma, 0 after a terminated step.
        next_value (S,) or (S, A): values after each step.
        goes_on (S,) or (S, A): bool, True where the next step was played as well (by that agent).
        filled_mask (B, T): bool, where the S steps stand.
        td_lambda: lambda in [0, 1]; 0 gives one-step targets.

    Returns:
        as `next_value`
    """

    where = filled_mask.flatten().nonzero().squeeze(1)

    def dense(values: Tensor) -> Tensor:
        steps = values.new_zeros(filled_mask.numel(), *values.shape[1:]).index_copy(0, where, values)
        return steps.unflatten(0, filled_mask.shape)

    reward, discount, value = dense(reward), dense(discount), dense(next_value)
    weight = dense(goes_on * td_lambda)
    returns = torch.empty_like(value)
    ahead = torch.zeros_like(value[:, 0])
    for t in reversed(range(filled_mask.shape[1])):
        ahead = reward[:, t] + discount[:, t] * torch.lerp(value[:, t], ahead, weight[:, t])
        returns[:, t] = ahead
    return returns.flatten(0, 1)[where]
