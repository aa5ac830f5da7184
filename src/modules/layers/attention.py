"""Multi-head attention from agents to entities (REFIL, section 3.1; COPA, section 2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modules.layers.linear import scaled_linear
from modules.layers.products import linear
from modules.layers.shares import gather, shares


class EntityAttention(nn.Module):
    """Queries are the agents, keys and values the entities that the mask lets them see.

    Several masks may look at the same entities (REFIL's imagined views): projections and logits are computed once,
    and each mask costs only its soft-max and weighted sum. A row that sees nothing gives exactly the output layer's
    bias.

    What an agent and an entity are to each other may be added to the logits, by one weight per head and feature, which
    starts at 0.
    """

    def __init__(
        self, in_dim: int, embed_dim: int, out_dim: int, heads: int, query_extra: int = 0, pair_features: int = 0
    ) -> None:
        """
        Args:
            in_dim: width of an entity's embedding.
            embed_dim: width of queries, keys and values over all heads; a multiple of `heads`.
            out_dim: width of the result.
            heads: N.
            query_extra: further features that only the querying agent knows (its private ones).
            pair_features: F.
        """
        super().__init__()
        if embed_dim % heads:
            raise ValueError(f"embed_dim ({embed_dim}) must be a multiple of heads ({heads})")
        self.heads, self.embed_dim = heads, embed_dim
        self.query = scaled_linear(in_dim + query_extra, embed_dim, bias=False)
        self.key_value = scaled_linear(in_dim, 2 * embed_dim, bias=False)
        self.out = scaled_linear(embed_dim, out_dim)
        if pair_features:
            self.pair = nn.Parameter(torch.zeros(heads, pair_features))

    def _heads(self, x: Tensor) -> Tensor:
        """`x (M, S, embed)` -> (M, N, S, W), W the width of a head."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2).contiguous()

    def _weights(
        self,
        x: Tensor,
        key: Tensor,
        masks: tuple[Tensor, ...],
        extra: Tensor | None = None,
        pairs: Tensor | None = None,
    ) -> Tensor:
        """`x (M, E, I)`, `key (M, E, embed)` -> the share of each entity in what each agent sees (M, N, E, K, A)."""
        queries = x[:, : masks[0].shape[1]]
        if extra is not None and extra.shape[-1] > 0:
            queries = torch.cat([queries, extra], dim=-1)
        query = linear(queries, self.query.weight * (self.embed_dim // self.heads) ** -0.5)
        bias = None if pairs is None else linear(pairs, self.pair).permute(0, 3, 2, 1)
        return shares(self._heads(query), self._heads(key), masks, bias)

    def attend(
        self,
        x: Tensor,
        masks: tuple[Tensor, ...],
        extra: Tensor | None = None,
        pairs: Tensor | None = None,
    ) -> Tensor:
        """What each agent attends to, before the output layer; arguments as for `forward`.

        Returns:
            (K, M, A, embed_dim); zeros where an agent sees nothing
        """
        rows, agents = masks[0].shape[:2]
        key, value = self.key_value(x).chunk(2, dim=-1)
        weights = self._weights(x, key, masks, extra, pairs)
        seen = gather(weights.flatten(0, 1).flatten(2), self._heads(value).flatten(0, 1))  # (M * N, K * A, W)
        seen = seen.view(rows, self.heads, len(masks), agents, -1).permute(2, 0, 3, 1, 4)
        return seen.reshape(len(masks), rows, agents, self.embed_dim)

    def weights(self, x: Tensor, mask: Tensor, extra: Tensor | None = None, pairs: Tensor | None = None) -> Tensor:
        """By how much of each entity `attend` sums it up; arguments as for `forward`, with one mask.

        Returns:
            (M, N, A, E): sums to 1 over what an agent sees and is exactly 0 elsewhere
        """
        key, _ = self.key_value(x).chunk(2, dim=-1)
        return self._weights(x, key, (mask,), extra, pairs)[:, :, :, 0].transpose(2, 3)

    def attend_mean(self, x: Tensor, mask: Tensor) -> Tensor:
        """The mean over present agents of what `attend` gives for one mask, at a fraction of the cost.

        Averaging the weights first makes it one weighted sum of entities per head, and the value projection is then
        applied to that sum instead of to every entity. Agents count as present where they see anything.

        Args:
            x (M, E, I): embedded entities.
            mask (M, A, E): bool.

        Returns:
            (M, embed_dim)
        """
        rows, _, in_dim = x.shape
        key_weight, value_weight = self.key_value.weight.chunk(2)
        present = mask.any(dim=-1).sum(dim=-1).clamp(min=1)
        weights = self._weights(x, linear(x, key_weight), (mask,)).sum(dim=(-2, -1)) / present[:, None, None]
        mixed = torch.matmul(weights, x)  # (M, N, I)
        heads = value_weight.view(self.heads, -1, in_dim)
        return torch.einsum("mni,nwi->mnw", mixed, heads).reshape(rows, self.embed_dim)

    def read_out(self, seen: Tensor, layer: nn.Linear, beside: Tensor | None = None) -> Tensor:
        """The output layer and a linear layer behind it in one product: nothing non-linear stands between them.

        Args:
            seen (..., embed_dim): what agents attend to.
            layer: reads `out_dim` features, and those `beside` (..., F) after them.

        Returns:
            (..., the layer's width)
        """
        own, rest = layer.weight.tensor_split([self.out.out_features], dim=1)
        weight, bias = own @ self.out.weight, F.linear(self.out.bias, own, layer.bias)
        if beside is not None:
            seen, weight = (
                torch.cat([seen, beside.expand(*seen.shape[:-1], -1)], dim=-1),
                torch.cat([weight, rest], dim=1),
            )
        return linear(seen, weight, bias)

    def forward(
        self,
        x: Tensor,
        masks: tuple[Tensor, ...],
        extra: Tensor | None = None,
        pairs: Tensor | None = None,
    ) -> Tensor:
        """
        Args:
            x (M, E, I): embedded entities, agents first; M is any flattened batch.
            masks: K bool masks (M, A, E), True = the agent sees the entity.
            extra (M, A, query_extra): what only the querying agent knows.
            pairs (M, A, E, F): where the layer was built with `pair_features`.

        Returns:
            (K, M, A, out_dim)
        """
        result: Tensor = self.out(self.attend(x, masks, extra, pairs))
        return result
