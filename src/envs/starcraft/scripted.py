"""Scripted teams for the team battles. They look at nothing but the time step.

Shape letters: B battles, A agents, E entities (allies, then enemies), U actions.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from envs.base import EnvSpec, ScriptedPolicy, TimeStep
from envs.starcraft.encoding import FIGURES, FIRST_MOVE, FIRST_TARGET
from envs.starcraft.scenarios import MAP_SIZE, UNITS
from utils.masking import masked_argmax

#: What a weapon reaches within a few game loops counts as in its range.
NEARLY = 0.3


class _Reader:
    """What scripted teams need to know of the units, read from their features."""

    def __init__(self, spec: EnvSpec) -> None:
        self.agents = spec.agents
        self.slices = spec.feature_slices
        self.units = [UNITS[name] for name in spec.info_names[len(FIGURES) :]]

    def types(self, timestep: TimeStep) -> Tensor:
        """(B, E, K) one-hot, all zeros for the dead and the absent."""
        return timestep.entities[..., self.slices["type"]]

    def figure(self, timestep: TimeStep, name: str) -> Tensor:
        """(B, E) a figure of every living unit's type, 0 for the others."""
        types = self.types(timestep)
        return types @ torch.tensor([float(getattr(unit, name)) for unit in self.units], device=types.device)

    def column(self, timestep: TimeStep, name: str) -> Tensor:
        """(B, E) a feature that is one column wide."""
        return timestep.entities[..., self.slices[name].start]

    def strength(self, timestep: TimeStep) -> Tensor:
        """(B, E) health and shield left, in points."""
        return sum(
            (self.column(timestep, name) * self.figure(timestep, name) for name in ("health", "shield")),
            start=torch.zeros((), device=timestep.entities.device),
        )

    def offsets(self, timestep: TimeStep) -> Tensor:
        """(B, A, E, 2) from every agent to every unit, in distances on the map."""
        position = timestep.entities[..., self.slices["position"]] * (MAP_SIZE / 2)
        return position[:, None] - position[:, : self.agents, None]


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
    """Each attacks the weakest legal target (health + shield) among those that its weapon reaches from where it stands,
    so that nobody runs past one enemy to get at another; otherwise it attacks, or walks to, the nearest.
    """
    return _fighter(spec, focus=True)


def _fighter(spec: EnvSpec, focus: bool) -> ScriptedPolicy:
    """The two teams above. Healers tend the comrade with the least share of its health, and follow the nearest."""
    reader = _Reader(spec)

    def act(timestep: TimeStep, generator: torch.Generator) -> Tensor:
        agents = reader.agents
        offset = reader.offsets(timestep)
        distance = offset.norm(dim=-1)
        fights, patient = reader.figure(timestep, "damage") > 0, reader.figure(timestep, "biological") > 0
        heals = reader.figure(timestep, "heal")[:, :agents, None] > 0
        others = ~torch.eye(agents, dtype=torch.bool, device=distance.device)
        goal = torch.cat([patient[:, None, :agents] & heals & others, fights[:, None, agents:] & ~heals], dim=-1)
        legal = timestep.avail_mask[..., FIRST_TARGET:] & goal

        reach = reader.figure(timestep, "range") + reader.figure(timestep, "radius")
        reach = reach[:, :agents, None] + reader.figure(timestep, "radius")[:, None] + NEARLY
        weakness = -torch.where(heals, reader.column(timestep, "health")[:, None], reader.strength(timestep)[:, None])
        by_weakness = heals | (focus & (distance <= reach))
        # Distance decides between equals, and among targets that are out of reach. Strengths are below 1000, and so is
        # any distance, so that the first term always comes first.
        score = torch.where(by_weakness, 1000 + weakness, 0.0) - distance * torch.where(by_weakness, 1e-3, 1.0)
        best = masked_argmax(score, legal)
        nearest = masked_argmax(-distance, goal)
        if not focus:
            # a fighter goes for the nearest, legal or not
            best = torch.where(heals[..., 0], best, nearest)
        may = legal.gather(2, best[..., None])[..., 0]
        way = offset.gather(2, nearest[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]
        return torch.where(may, FIRST_TARGET + best, _walk(way, timestep.avail_mask))

    return act


SCRIPTED: dict[str, Callable[[EnvSpec], ScriptedPolicy]] = {
    "random": random_policy,
    "attack_nearest": attack_nearest,
    "focus_fire": focus_fire,
}
