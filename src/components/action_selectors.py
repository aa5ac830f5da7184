"""How a controller turns values into actions. Shape letters: B environments, A agent slots, U actions."""

from typing import ClassVar, Protocol

import torch
from torch import Tensor

from components.schedules import Schedule
from utils.masking import masked_argmax, masked_softmax


class ActionSelector(Protocol):
    """Chooses one legal action per agent."""

    #: what `figures` are, one of them in a word
    FIGURE: ClassVar[str]

    #: t_env -> epsilon while exploring
    schedule: Schedule

    def select(
        self, values: Tensor, avail_mask: Tensor, *, t_env: int, explore: bool, generator: torch.Generator
    ) -> Tensor:
        """Return `actions (B, A)`, int64, for `values (B, A, U)` and `avail_mask (B, A, U)`."""

    def figures(self, values: Tensor, avail_mask: Tensor) -> Tensor:
        """By what it chooses among legal actions, for people: (B, A, U); arguments as for `select`."""


def random_legal(avail_mask: Tensor, generator: torch.Generator) -> Tensor:
    """One uniformly random legal action each; 0 where nothing is legal.

    `avail_mask (..., U)` -> int64 `(...)`. One draw per row, however many actions are legal.
    """
    legal = avail_mask.sum(dim=-1)
    draw = torch.rand(legal.shape, generator=generator, device=legal.device)
    nth = torch.minimum((draw * legal).long(), (legal - 1).clamp(min=0))  # rounding could reach `legal` itself
    # the nth legal action is the first one that has n + 1 legal actions up to and including itself
    return (avail_mask.cumsum(dim=-1) > nth[..., None]).long().argmax(dim=-1)


def draw_from(probabilities: Tensor, draw: Tensor) -> Tensor:
    """The actions that uniform numbers `draw (...)` from 0 to 1 pick from `probabilities (..., U)`: int64 `(...)`. One
    without probability is never picked.
    """
    reached = probabilities.cumsum(dim=-1)
    # scaled, because rounding may leave the sum below 1; the first action that passes the draw adds something itself
    return (reached > (draw * reached[..., -1])[..., None]).long().argmax(dim=-1)


class EpsilonGreedy:
    """The best legal action, or with probability epsilon, drawn for each agent alone, a uniformly random legal one."""

    FIGURE = "value"

    def __init__(self, schedule: Schedule) -> None:
        """`schedule`: t_env -> epsilon while exploring; without exploration epsilon is 0."""
        self.schedule = schedule

    def select(
        self, values: Tensor, avail_mask: Tensor, *, t_env: int, explore: bool, generator: torch.Generator
    ) -> Tensor:
        """Choose actions.

        Args:
            values (B, A, U): what each action is worth to each agent.
            avail_mask (B, A, U): bool, legal actions.
            t_env: environment steps so far.
            explore: False gives the best legal action always.
            generator: on the device of `values`; two draws per agent slot in every call, whatever happens, so that
                the random stream does not depend on what was chosen.

        Returns:
            actions (B, A), int64.
        """
        epsilon = self.schedule(t_env) if explore else 0.0
        dice = torch.rand(values.shape[:-1], generator=generator, device=values.device)
        anything = random_legal(avail_mask, generator)
        return torch.where(dice < epsilon, anything, masked_argmax(values, avail_mask))

    def figures(self, values: Tensor, avail_mask: Tensor) -> Tensor:
        """The values themselves."""
        return values


class SoftPolicies:
    """A draw from each agent's policy, whose logits the values are; without exploration its most probable action.

    With probability epsilon a uniformly random legal action instead; an on-policy learner needs epsilon 0.
    """

    FIGURE = "probability"

    def __init__(self, schedule: Schedule) -> None:
        """`schedule`: t_env -> epsilon while exploring."""
        self.schedule = schedule

    def select(
        self, values: Tensor, avail_mask: Tensor, *, t_env: int, explore: bool, generator: torch.Generator
    ) -> Tensor:
        """As `EpsilonGreedy.select`, with three draws per agent slot in every call."""
        epsilon = self.schedule(t_env) if explore else 0.0
        dice, draw = torch.rand(2, *values.shape[:-1], generator=generator, device=values.device)
        anything = random_legal(avail_mask, generator)
        if not explore:
            return masked_argmax(values, avail_mask)
        own = draw_from(self.figures(values, avail_mask), draw)
        return torch.where(dice < epsilon, anything, own)

    def figures(self, values: Tensor, avail_mask: Tensor) -> Tensor:
        """The policies' probabilities."""
        return masked_softmax(values.float(), avail_mask)


#: the key `action_selector` -> class(schedule)
REGISTRY: dict[str, type[EpsilonGreedy | SoftPolicies]] = {
    "epsilon_greedy": EpsilonGreedy,
    "soft_policies": SoftPolicies,
}
