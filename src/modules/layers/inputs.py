"""What every network reads of a time step, and how actions are written in it: one row per entity slot.

Shape letters: A agent slots, E entity slots, D features, U actions, W outputs of a network (acts as it knows them, then
the symbols of messages), I width of a row, F pair features.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from envs.base import SAID, EnvSpec
from utils.errors import UserError

#: F: may be targeted now, was the last target.
PAIR_FEATURES = 2


class Rows(NamedTuple):
    """What agents' networks read."""

    #: (..., E, I)
    inputs: Tensor
    #: (..., E) int64, the names of the entities, -1 for none; None where no network asks for them
    names: Tensor | None = None
    #: (..., A, E, F) what agent and entity are to each other, 0 or 1; None where no network asks for it
    pairs: Tensor | None = None
    #: (..., E) bool, which rows are those of agents; None: the first A
    agents: Tensor | None = None

    def at(self, which: Tensor) -> "Rows":
        """Those of the steps where `which (M,)`."""
        return Rows(self.inputs[which], *(part if part is None else part[which] for part in self[1:]))


class Reader:
    """Rows of entities: their features and, on agents' rows, the last action (one-hot; act and symbol apart).

    Here, where no action points, networks know acts as the environment does.
    """

    def __init__(self, spec: EnvSpec) -> None:
        self.spec = spec

    @property
    def acts(self) -> int:
        """How many acts a network knows."""
        return self.spec.basic

    @property
    def outputs(self) -> int:
        """W."""
        return self.acts + self.spec.symbols

    @property
    def pair_features(self) -> int:
        """F, 0 for none."""
        return 0

    @property
    def width(self) -> int:
        """I, without private features."""
        told = 0 if self.spec.legal_from is None else self.acts - self.spec.legal_from
        named = int(self.spec.names > 0)
        return self._name_columns + told + self.spec.features - named + self.outputs

    @property
    def targets(self) -> str:
        """What tells targets apart, in a few words: of networks that differ in it one cannot take the other's place."""
        return "none"

    def read(self, entities: Tensor, avail_mask: Tensor, last_actions: Tensor) -> Rows:
        """
        Args:
            entities (..., E, D): agents first.
            avail_mask (..., A, U): bool.
            last_actions (..., A): int64, -1 for none (a row of zeros).
        """
        agents, others = last_actions.shape[-1], entities.shape[-2] - last_actions.shape[-1]
        features, names = entities, None
        parts = []
        if self.spec.names:
            shown, features = entities[..., 0].round(), entities[..., 1:]
            names = (shown.abs() - 1).long().clamp(max=self.spec.names - 1)
            parts += self._name_rows(shown, agents)
        if self.spec.legal_from is not None:
            legal = self._merged(self.spec.legal_acts(avail_mask).float(), names)[..., self.spec.legal_from :] > 0
            parts.append(F.pad(legal.to(entities.dtype), (0, 0, 0, others)))
        last = self.one_hot(last_actions, names).to(entities.dtype)
        inputs = torch.cat([*parts, features, F.pad(last, (0, 0, 0, others))], dim=-1)
        return self._rows(inputs, names, avail_mask, last_actions)

    def one_hot(self, actions: Tensor, names: Tensor | None) -> Tensor:
        """`actions (..., A)`, -1 for none -> (..., A, W), 0 or 1; `names (..., E)` of the same moment."""
        acts, symbols = self.spec.split(actions)
        codes = torch.arange(self.outputs, device=actions.device)
        done = self._codes(acts, names).unsqueeze(-1) == codes
        if not self.spec.symbols:
            return done
        return done | ((self.acts + symbols).unsqueeze(-1) == codes) & (symbols >= 0).unsqueeze(-1)

    def hear(self, rows: Rows, symbols: Tensor, where: Tensor) -> Rows:
        """`rows` in which agents have said something else.

        Args:
            rows: from `read`, of M steps.
            symbols (N, A, S): what each agent said before the N of these steps that `where (M,)` names, as weights of
                symbols that sum up to 1. What was nobody's word stays.
        """
        inputs = rows.inputs.clone()
        said = self.spec.feature_slices.get(SAID, slice(0, 0))
        first = self.width - self.outputs - self.spec.features
        for start, stop in ((first + said.start, first + said.stop), (self.width - self.spec.symbols, self.width)):
            old = inputs[where, : symbols.shape[1], start:stop]
            if old.shape[-1]:
                new = torch.where(old.any(dim=-1, keepdim=True), symbols, old)
                inputs[where, : symbols.shape[1], start:stop] = new
        return rows._replace(inputs=inputs)

    def shares(self, actions: Tensor, names: Tensor | None) -> Tensor:
        """Distributions of actions, `actions (..., A, U)`, over those that the network knows: pairs of act and symbol,
        since what a symbol is worth depends on the act; with gradients, (..., A, acts * S).
        """
        by_symbol = actions.unflatten(-1, (-1, max(self.spec.symbols, 1))).unbind(-1)
        return torch.stack([self._merged(acts, names) for acts in by_symbol], dim=-1).flatten(-2)

    # --- what differs where actions point -----------------------------------------------------------------------------

    @property
    def _name_columns(self) -> int:
        return 0

    def _name_rows(self, shown: Tensor, agents: int) -> list[Tensor]:
        """Columns that tell names, from `shown (..., E)`."""
        return []

    def _codes(self, acts: Tensor, names: Tensor | None) -> Tensor:
        """Acts as the network knows them."""
        return acts

    def _merged(self, shares: Tensor, names: Tensor | None) -> Tensor:
        """`shares (..., A, acts)` of the environment's acts -> sums over those that are one act to the network."""
        return shares

    def _rows(self, inputs: Tensor, names: Tensor | None, avail_mask: Tensor, last_actions: Tensor) -> Rows:
        return Rows(inputs)


class SlotReader(Reader):
    """The papers' way: an output for each name, after the basic actions; names are features (one-hot, those of agents
    and those of others), and which names may be targeted is one of the agent's own row. A network built so knows as
    many names as there were in training, and no larger team.
    """

    @property
    def acts(self) -> int:
        return self.spec.basic + self.spec.names

    @property
    def targets(self) -> str:
        return f"slots for up to {self.spec.names} a side"

    @property
    def _name_columns(self) -> int:
        return 2 * self.spec.names

    def _name_rows(self, shown: Tensor, agents: int) -> list[Tensor]:
        count = self.spec.names
        names = (shown.unsqueeze(-1) == torch.arange(1, count + 1, device=shown.device)).to(shown.dtype)
        own, others = names[..., :agents, :], names[..., agents:, :]
        return [torch.cat([F.pad(own, (0, count)), F.pad(others, (count, 0))], dim=-2)]

    def _codes(self, acts: Tensor, names: Tensor | None) -> Tensor:
        assert names is not None  # `readable`
        target = (acts - self.spec.basic).clamp(min=0)
        named = self.spec.basic + names.gather(-1, target)
        return torch.where(acts < self.spec.basic, acts, named)

    def _merged(self, shares: Tensor, names: Tensor | None) -> Tensor:
        assert names is not None
        basic, targets = shares.split([self.spec.basic, shares.shape[-1] - self.spec.basic], dim=-1)
        named = names.unsqueeze(-1) == torch.arange(self.spec.names, device=names.device)
        return torch.cat([basic, targets @ named.to(targets.dtype)], dim=-1)

    def _rows(self, inputs: Tensor, names: Tensor | None, avail_mask: Tensor, last_actions: Tensor) -> Rows:
        return Rows(inputs, names=names)


class PairReader(Reader):
    """One output for "target somebody", after the basic actions; whom is told by features of pairs. Names are not read,
    and no width depends on slots.
    """

    @property
    def acts(self) -> int:
        return self.spec.basic + 1

    @property
    def targets(self) -> str:
        return "pairs"

    @property
    def pair_features(self) -> int:
        return PAIR_FEATURES

    def _codes(self, acts: Tensor, names: Tensor | None) -> Tensor:
        return acts.clamp(max=self.spec.basic)

    def _merged(self, shares: Tensor, names: Tensor | None) -> Tensor:
        basic, targets = shares.split([self.spec.basic, shares.shape[-1] - self.spec.basic], dim=-1)
        return torch.cat([basic, targets.sum(dim=-1, keepdim=True)], dim=-1)

    def _rows(self, inputs: Tensor, names: Tensor | None, avail_mask: Tensor, last_actions: Tensor) -> Rows:
        may = self.spec.legal_acts(avail_mask)[..., self.spec.basic :]
        return Rows(
            inputs, pairs=torch.stack([may, self.pointed(last_actions, may.shape[-1])], dim=-1).to(inputs.dtype)
        )

    def target_shares(self, actions: Tensor) -> Tensor:
        """As `pointed`, of actions that are distributions, `actions (..., A, U)`: with gradients, (..., A, E)."""
        pairs = actions.unflatten(-1, (-1, max(self.spec.symbols, 1)))
        return pairs.sum(dim=-1)[..., self.spec.basic :]

    def pointed(self, actions: Tensor, entities: int) -> Tensor:
        """At whom `actions (..., A)` point: bool (..., A, E)."""
        acts, _ = self.spec.split(actions)
        return (acts - self.spec.basic).unsqueeze(-1) == torch.arange(entities, device=actions.device)


def make_reader(spec: EnvSpec, pairs: bool) -> Reader:
    """How networks read environments like `spec`; `pairs`: where actions point, values are made of pairs."""
    if not spec.points:
        return Reader(spec)
    if not pairs and not spec.names:
        raise UserError(f"target_values=slots: the entities of {spec.name} have no names to tell targets by; use pairs")
    return PairReader(spec) if pairs else SlotReader(spec)


def with_private(inputs: Tensor, private: Tensor) -> Tensor:
    """`inputs (..., E, I)` and, on agents' rows, `private (..., A, P)`, for networks that know everything (coach,
    mixer, critic): (..., E, I + P); the same tensor where P = 0.
    """
    if private.shape[-1] == 0:
        return inputs
    others = inputs.shape[-2] - private.shape[-2]
    return torch.cat([inputs, F.pad(private, (0, 0, 0, others))], dim=-1)
