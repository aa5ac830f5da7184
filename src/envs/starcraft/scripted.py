"""Scripted teams for the team battles. They look at nothing but the time step.

Shape letters: B battles, A agents, M tags (= A), E entities (allies, then enemies), U actions.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from envs.base import EnvSpec, ScriptedPolicy, TimeStep
from envs.starcraft.encoding import FIGURES, FIRST_MOVE, FIRST_TARGET
from envs.starcraft.scenarios import UNITS
from utils.masking import masked_argmax


class _Reader:
    """What scripted teams need to know of the units, read from their features."""

    def __init__(self, spec: EnvSpec) -> None:
        self.agents = spec.agents
        self.slices = spec.feature_slices
        self.units = [UNITS[name] for name in spec.info_names[len(FIGURES) :]]

    def types(self, timestep: TimeStep) -> Tensor:
        """(B, E, K) one-hot, all zeros for the dead and the absent."""
        return timestep.entities[..., self.slices["type"]]

    def flagged(self, timestep: TimeStep, figure: str) -> Tensor:
        """(B, E) bool: living units whose type has a positive `figure`."""
        flags = torch.tensor([float(getattr(unit, figure) > 0) for unit in self.units], device=timestep.entities.device)
        return self.types(timestep) @ flags > 0

    def strength(self, timestep: TimeStep) -> Tensor:
        """(B, E) health and shield left, in points."""
        types, features = self.types(timestep), timestep.entities
        full = torch.tensor(
            [[unit.health, unit.shield] for unit in self.units], dtype=torch.float32, device=features.device
        )
        left = torch.cat([features[..., self.slices["health"]], features[..., self.slices["shield"]]], dim=-1)
        return ((types @ full) * left).sum(-1)

    def offsets(self, timestep: TimeStep) -> Tensor:
        """(B, A, E, 2) from every agent to every unit."""
        position = timestep.entities[..., self.slices["position"]]
        return position[:, None] - position[:, : self.agents, None]

    def by_slot(self, timestep: TimeStep) -> Tensor:
        """(B, A, E) whether agent a may target the unit in slot e."""
        legal = timestep.avail_mask[..., FIRST_TARGET:]
        tags = timestep.entities[..., self.slices["tag"]]
        enemy = legal.float() @ tags[:, self.agents :, self.agents :].transpose(1, 2) > 0
        ally = legal.float() @ tags[:, : self.agents, : self.agents].transpose(1, 2) > 0
        healer = self.flagged(timestep, "heal")[:, : self.agents, None]
        return torch.cat([ally & healer, enemy & ~healer], dim=-1)

    def action_on(self, timestep: TimeStep, slot: Tensor) -> Tensor:
        """(B, A) the action that targets the unit in `slot (B, A)`."""
        tags = timestep.entities[..., self.slices["tag"]].argmax(-1) % self.agents
        return FIRST_TARGET + tags.gather(1, slot)


def _walk(offset: Tensor, avail_mask: Tensor) -> Tensor:
    """The legal move (B, A) that leads furthest along `offset (B, A, 2)`; stop or no-op where none is legal."""
    east, north = offset.unbind(-1)
    gain = torch.stack([north, -north, east, -east], dim=-1)
    legal = avail_mask[..., FIRST_MOVE:FIRST_TARGET]
    move = FIRST_MOVE + masked_argmax(gain, legal)
    # action 1, stop, is legal exactly for the living
    return torch.where(legal.any(-1), move, avail_mask[..., 1].long())


def random_policy(spec: EnvSpec) -> ScriptedPolicy:
    """Every legal action with the same probability."""

    def act(timestep: TimeStep, generator: torch.Generator) -> Tensor:
        mask = timestep.avail_mask
        return masked_argmax(torch.rand(mask.shape, generator=generator, device=mask.device), mask)

    return act


def attack_nearest(spec: EnvSpec) -> ScriptedPolicy:
    """Each attacks the nearest enemy that can fight back, and walks towards it where that is not legal yet."""
    return _fighter(spec, focus=False)


def focus_fire(spec: EnvSpec) -> ScriptedPolicy:
    """Each attacks the weakest legal target (health + shield), and walks towards the nearest enemy where there is none."""
    return _fighter(spec, focus=True)


def _fighter(spec: EnvSpec, focus: bool) -> ScriptedPolicy:
    reader = _Reader(spec)

    def act(timestep: TimeStep, generator: torch.Generator) -> Tensor:
        agents = reader.agents
        offset = reader.offsets(timestep)
        distance = offset.norm(dim=-1)
        healer = reader.flagged(timestep, "heal")
        fighter = reader.flagged(timestep, "damage")
        friend = reader.flagged(timestep, "biological")[:, None, :agents].expand(-1, agents, -1)
        friend = friend & ~torch.eye(agents, dtype=torch.bool, device=friend.device)
        # fighters go for fighters; healers go for comrades
        heals = healer[:, :agents, None]
        goal = torch.cat([friend & heals, fighter[:, None, agents:] & ~heals], dim=-1)
        legal = reader.by_slot(timestep) & goal

        nearest = masked_argmax(-distance, goal)
        # healers always tend the weakest
        weakest = masked_argmax(-reader.strength(timestep)[:, None].expand_as(distance), legal)
        by_strength = healer[:, :agents] | focus
        target = torch.where(by_strength, weakest, nearest)
        may = torch.where(by_strength, legal.any(-1), legal.gather(2, nearest[..., None])[..., 0])
        way = offset.gather(2, nearest[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]
        return torch.where(may, reader.action_on(timestep, target), _walk(way, timestep.avail_mask))

    return act


SCRIPTED: dict[str, Callable[[EnvSpec], ScriptedPolicy]] = {
    "random": random_policy,
    "attack_nearest": attack_nearest,
    "focus_fire": focus_fire,
}
