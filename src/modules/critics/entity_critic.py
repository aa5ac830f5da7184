"""A centralised value over entities."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modules.critics.value_norm import ValueNorm
from modules.layers.attention import EntityAttention
from modules.layers.linear import Linear, scaled_linear
from utils.masking import full_view


@dataclass(frozen=True)
class CriticSizes:
    """Widths of a critic."""

    #: I + P: a row with private features
    inputs: int
    #: width of embedding and attention
    embed: int
    #: N
    heads: int
    #: F: what entities are to each other; 0 for nothing
    pair_features: int = 0


class TeamValue(nn.Module):
    """Linear, ReLU -> attention of every present entity to every present entity -> a two-layer head on each entity and
    what it attends to -> sum over the present entities.

    A sum, not a mean: what is left to win grows with the number of opponents, and a mean cannot count them. Without a
    memory, because the state holds everything that the environment shows to anybody.
    """

    def __init__(self, sizes: CriticSizes) -> None:
        super().__init__()
        self.embed = scaled_linear(sizes.inputs, sizes.embed, relu=True)
        self.attention = EntityAttention(
            *(sizes.embed, sizes.embed, sizes.embed, sizes.heads), pair_features=sizes.pair_features
        )
        self.head = nn.Sequential(
            scaled_linear(2 * sizes.embed, sizes.embed, relu=True), nn.ReLU(), Linear(sizes.embed, 1)
        )

    def forward(self, entities: Tensor, entity_mask: Tensor, pairs: Tensor | None = None) -> Tensor:
        """
        Args:
            entities (M, E, I + P): rows from a reader, with private features.
            entity_mask (M, E): bool.
            pairs (M, E, E, F): where there are pair features.

        Returns:
            (M,)
        """
        x = torch.relu_(self.embed(entities))
        (seen,) = self.attention(x, (full_view(entity_mask, entity_mask.shape[-1]),), None, pairs)
        worth: Tensor = self.head(torch.cat([x, seen], dim=-1)).squeeze(-1)
        return worth.masked_fill(~entity_mask, 0.0).sum(dim=-1)


class EntityCritic(TeamValue):
    """V(s), normalised: `norm.denormalise` gives returns."""

    def __init__(self, sizes: CriticSizes) -> None:
        super().__init__(sizes)
        self.norm = ValueNorm()
