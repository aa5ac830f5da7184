"""Recorded episodes as one batch of padded tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from envs.base import EnvSpec
from utils import ranks
from utils.masking import joined


@dataclass
class EpisodeBatch:
    """B sequences of up to T steps. Observations have T + 1 entries: the last one is what bootstrapping looks at.

    A sequence of length L fills steps 0..L-1 and observations 0..L; everything behind is padding (zeros, masks False,
    and only action 0 legal), never read by a loss or a target. A sequence may be a whole episode or a piece of one.
    """

    #: (B, T+1, E, D)
    entities: Tensor
    #: (B, T+1, A, P)
    private: Tensor
    #: (B, T+1, E) bool
    entity_mask: Tensor
    #: (B, T+1, A, E) bool
    obs_mask: Tensor
    #: (B, T+1, A, U) bool
    avail_mask: Tensor
    #: (B, T, A) int64; 0 for absent agents
    actions: Tensor
    #: (B, T)
    reward: Tensor
    #: (B, T) bool: the step ended the episode for good
    terminated: Tensor
    #: (B, T) bool: the time limit fell after this step
    truncated: Tensor
    #: (B, T) bool: the step was really played
    filled_mask: Tensor
    #: (B, A) int64: the action before the first step, -1 for none (whole episodes, agents that were absent)
    start_actions: Tensor
    #: (B, T, A) int64: what a teacher would have done, -1 where it has nothing to say; None where nobody teaches
    labels: Tensor | None = None
    #: (B, A, H) memories before the first step, of agents that were there and still are; None: empty, as an episode's
    #: first
    start_memory: Tensor | None = None
    #: (B,) int64: steps of the episode before the first one; None: 0
    start_steps: Tensor | None = None

    def parts(self) -> dict[str, Tensor]:
        """The tensors that there are, by the names of their fields."""
        every = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in every.items() if value is not None}

    @property
    def agents(self) -> int:
        """A, the number of agent slots."""
        return self.actions.shape[2]

    @property
    def agent_mask(self) -> Tensor:
        """(B, T+1, A) which agent slots are in use."""
        return self.entity_mask[:, :, : self.agents]

    @property
    def last_actions(self) -> Tensor:
        """(B, T+1, A) int64: each agent's own previous action; -1 at the start, and where the agent has just joined."""
        last = torch.cat([self.start_actions[:, None], self.actions], dim=1)
        return last.masked_fill(joined(self.agent_mask) | ~self.agent_mask, -1)

    def to(self, device: torch.device | str) -> "EpisodeBatch":
        """The same batch on `device`."""
        return EpisodeBatch(**{name: value.to(device, non_blocking=True) for name, value in self.parts().items()})

    @staticmethod
    def joined(batches: Sequence["EpisodeBatch"]) -> "EpisodeBatch":
        """The sequences of all `batches`, one after another."""
        steps = max(batch.actions.shape[1] for batch in batches)
        parts = [batch._padded(steps).parts() for batch in batches]
        return EpisodeBatch(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def at(self, rows: Tensor) -> "EpisodeBatch":
        """The sequences `rows (R,)` (int64), in that order."""
        return EpisodeBatch(**{name: value.index_select(0, rows) for name, value in self.parts().items()})

    def split(self, parts: int) -> list["EpisodeBatch"]:
        """At most `parts` batches of neighbouring sequences, of equal size as far as possible; several ranks make as
        many each, whatever the numbers of their sequences.
        """
        if ranks.several():
            pieces = {name: value.tensor_split(parts) for name, value in self.parts().items()}
        else:
            size = -(-len(self.filled_mask) // parts)
            pieces = {name: value.split(size) for name, value in self.parts().items()}
        return [EpisodeBatch(**dict(zip(pieces, values, strict=True))) for values in zip(*pieces.values(), strict=True)]

    def replaced(self, rows: Tensor, other: "EpisodeBatch") -> "EpisodeBatch":
        """The same batch with the sequences of `rows (B,)` (bool) from `other`; both may be of any length."""
        steps = max(self.actions.shape[1], other.actions.shape[1])
        mine, theirs = self._padded(steps).parts(), other._padded(steps).parts()

        def chosen(name: str) -> Tensor:
            return torch.where(rows.view(-1, *[1] * (mine[name].dim() - 1)), theirs[name], mine[name])

        return EpisodeBatch(**{name: chosen(name) for name in mine})

    def _padded(self, steps: int) -> "EpisodeBatch":
        more = steps - self.actions.shape[1]

        def longer(name: str, value: Tensor) -> Tensor:
            if name.startswith("start_"):
                return value
            padding = value.new_zeros(len(value), more, *value.shape[2:])
            if name == "avail_mask":
                padding[..., 0] = True
            return torch.cat([value, padding], dim=1)

        return EpisodeBatch(**{name: longer(name, value) for name, value in self.parts().items()}) if more else self

    def trim(self, spec: EnvSpec, keep_slots: bool = False) -> "EpisodeBatch":
        """Cut the batch to its longest sequence and to the entity slots that are used in it at all.

        Padding changes no value, loss or gradient, so this only saves time. Slots keep their order.

        Args:
            spec: of the environment, whose slots may be more; it says which actions point.
            keep_slots: for networks that know slots by their numbers.
        """
        used = self.entity_mask.any(dim=0).any(dim=0) | keep_slots
        if spec.points:  # somebody who has gone since may have been meant by the action before
            before = spec.split(self.start_actions)[0]
            meant = used.new_zeros(1 + len(used)).index_fill(0, (before - spec.basic + 1).clamp(min=0).flatten(), True)
            used |= meant[1:]
        # what the host has to know of a batch on a GPU it asks at once
        longest, count = torch.stack([self.filled_mask.any(dim=0).sum(), used[: self.agents].sum()]).tolist()
        steps = max(longest, 1)
        slots = used.nonzero().squeeze(1)
        agents = slots[:count]
        if len(agents) == 0:  # keep one slot: an empty team axis has no meaning anywhere
            agents = slots.new_zeros(1)
            slots = torch.cat([agents, slots])
        obs, avail = self.obs_mask[:, : steps + 1], self.avail_mask[:, : steps + 1]
        actions, start, memory = self.actions[:, :steps], self.start_actions, self.start_memory
        labels = None if self.labels is None else self.labels[:, :steps]
        if len(slots) < self.entity_mask.shape[2]:
            obs = obs[:, :, agents][:, :, :, slots]
            avail, actions, start = avail[:, :, agents], actions[:, :, agents], start[:, agents]
            labels = None if labels is None else labels[:, :, agents]
            memory = None if memory is None else memory[:, agents]
            if spec.points:
                kept = torch.cat([torch.arange(spec.basic, device=slots.device), spec.basic + slots])
                if spec.symbols:
                    kept = spec.join(kept.unsqueeze(1), torch.arange(spec.symbols, device=slots.device)).flatten()
                # where an action went; -1 is the last entry
                moved = torch.zeros(avail.shape[3] + 1, dtype=torch.int64, device=slots.device)
                moved[kept], moved[-1] = torch.arange(len(kept), device=slots.device), -1
                avail = avail.index_select(3, kept)
                actions, start = moved[actions], moved[start]
                labels = None if labels is None else moved[labels]
            pick = lambda x, index: x.index_select(2, index)  # noqa: E731
        else:
            pick = lambda x, index: x  # noqa: E731
        return EpisodeBatch(
            entities=pick(self.entities[:, : steps + 1], slots),
            private=pick(self.private[:, : steps + 1], agents),
            entity_mask=pick(self.entity_mask[:, : steps + 1], slots),
            obs_mask=obs,
            avail_mask=avail,
            actions=actions,
            reward=self.reward[:, :steps],
            terminated=self.terminated[:, :steps],
            truncated=self.truncated[:, :steps],
            filled_mask=self.filled_mask[:, :steps],
            start_actions=start,
            labels=labels,
            start_memory=memory,
            start_steps=self.start_steps,
        )
