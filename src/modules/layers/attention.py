"""Multi-head attention from agents to entities (REFIL, section 3.1; COPA, section 2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modules.layers.linear import scaled_linear
from utils.masking import masked_softmax


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

    def _logits(
        self, x: Tensor, key: Tensor, agents: int, extra: Tensor | None = None, pairs: Tensor | None = None
    ) -> Tensor:
        """`x (M, E, I)`, `key (M, E, embed)` -> logits (M, N, A, E)."""
        rows, entities, _ = x.shape
        queries = x[:, :agents]
        if extra is not None and extra.shape[-1] > 0:
            queries = torch.cat([queries, extra], dim=-1)
        width = self.embed_dim // self.heads
        query = self.query(queries).view(rows, agents, self.heads, width).transpose(1, 2)
        keys = key.view(rows, entities, self.heads, width).permute(0, 2, 3, 1)
        logits = torch.matmul(query * width**-0.5, keys)
        return logits if pairs is None else logits + F.linear(pairs, self.pair).movedim(-1, 1)

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
        rows, entities, _ = x.shape
        agents = masks[0].shape[1]
        key, value = self.key_value(x).chunk(2, dim=-1)
        logits = self._logits(x, key, agents, extra, pairs)
        values = value.view(rows, entities, self.heads, -1).transpose(1, 2)
        seen = torch.stack([torch.matmul(masked_softmax(logits, mask.unsqueeze(1)), values) for mask in masks])
        return seen.transpose(2, 3).reshape(len(masks), rows, agents, self.embed_dim)

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
        logits = self._logits(x, F.linear(x, key_weight), mask.shape[1])
        present = mask.any(dim=-1).sum(dim=-1).clamp(min=1)
        weights = masked_softmax(logits, mask.unsqueeze(1)).sum(dim=2) / present[:, None, None]
        mixed = torch.matmul(weights, x)  # (M, N, I)
        heads = value_weight.view(self.heads, -1, in_dim)
        return torch.einsum("mni,nwi->mnw", mixed, heads).reshape(rows, self.embed_dim)

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
