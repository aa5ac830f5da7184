"""From a world to what agents see. Shape letters: B worlds, A agent slots, E = A + 8 entities, D and P features."""

import torch
from torch import Tensor

from envs.base import EnvSpec, TimeStep
from envs.particle.resource_collection.scenarios import COLOURS, RESOURCES
from envs.particle.resource_collection.world import OBJECTS, TOUCHES, World, radii

ACTIONS = ("nothing", "left", "right", "down", "up")
KINDS = ("agent", "home", "red", "green", "blue", "invader")
#: Columns of `private`: the agent's own velocity and place, what it carries (nothing, red, green, blue) and what it has
#: just touched (nothing, home, red, green, blue, invader).
PRIVATE = {"velocity": slice(0, 2), "position": slice(2, 4), "load": slice(4, 8), "touched": slice(8, 14)}
#: What positions are counted in, of entities and in `private`: the usual sight. The square is 9 of these wide; where a
#: resource in sight lies from the agent has to show in the difference of two positions.
POSITION_UNIT = 0.2
FIGURES = ("collected", "delivered", "invaders_caught", "invaders_home")


def make_spec(slots: int, episode_limit: int) -> EnvSpec:
    """Sizes and feature columns for `slots` agents."""
    widths = {"position": 2, "kind": len(KINDS), "efficiency": COLOURS, "speed": 1}
    slices, start = {}, 0
    for name, width in widths.items():
        slices[name] = slice(start, start + width)
        start += width
    return EnvSpec(
        name="resource_collection",
        agents=slots,
        entities=slots + OBJECTS,
        features=start,
        private=4 + (1 + COLOURS) + (1 + TOUCHES),
        basic=len(ACTIONS),
        episode_limit=episode_limit,
        feature_slices=slices,
        action_names=ACTIONS,
        info_names=(*FIGURES, "team_size"),
        own_moves=True,
    )


class Encoder:
    """Turns a world into features and masks."""

    def __init__(self, spec: EnvSpec, sight: float, device: torch.device) -> None:
        """`sight`: how far agents see: others' centres and objects' edges."""
        self.spec = spec
        slots = spec.agents
        #: (E, 1) the square of the distance up to which an agent sees an entity
        self._reach = (radii(slots, device) + sight).index_fill(0, torch.arange(slots, device=device), sight).square()
        kinds = [0] * slots + [1] + [2 + i % COLOURS for i in range(RESOURCES)] + [len(KINDS) - 1]
        self._kinds = torch.nn.functional.one_hot(torch.tensor(kinds, device=device), len(KINDS)).float()
        self._nothing = torch.arange(spec.actions, device=device) == 0
        #: (B, E, D) what everybody is, without places, and the members (4, A, B) for which that was made
        self._traits = self._traits_of = torch.empty(0)

    def show(self, world: World, reward: Tensor, truncated: Tensor) -> TimeStep:
        """The time step of `world` after `reward (B,)`; `truncated (B,)`."""
        slots = self.spec.agents
        here = world.present.T.contiguous()
        entity_mask = here > 0
        agents = world.present[:slots]
        private = torch.cat(
            [
                world.velocity,
                world.position[:, :slots] / POSITION_UNIT,
                (agents - world.load.sum(dim=0))[None],
                world.load,
                (agents - world.touched.sum(dim=0))[None],
                world.touched,
            ]
        )
        return TimeStep(
            entities=self._entities(world, here),
            private=private.permute(2, 1, 0).contiguous(),
            entity_mask=entity_mask,
            obs_mask=self._sees(world),
            avail_mask=entity_mask[:, :slots, None] | self._nothing,
            reward=reward,
            terminated=torch.zeros_like(truncated),
            truncated=truncated,
            info=dict(zip(self.spec.info_names, (*world.figures, agents.sum(dim=0)), strict=True)),
        )

    def _entities(self, world: World, here: Tensor) -> Tensor:
        """(B, E, D) for everybody who is `here (B, E)`."""
        spec = self.spec
        if self._traits_of is not world.members:  # tensors are replaced, never written to
            traits = here.new_zeros(*here.shape, spec.features)
            traits[:, :, spec.feature_slices["kind"]] = self._kinds
            member = slice(spec.feature_slices["efficiency"].start, spec.feature_slices["speed"].stop)
            traits[:, : spec.agents, member] = world.members.permute(2, 1, 0)
            self._traits, self._traits_of = traits, world.members
        entities = self._traits * here[:, :, None]
        entities[:, :, spec.feature_slices["position"]] = world.position.permute(2, 1, 0) / POSITION_UNIT
        return entities

    def _sees(self, world: World) -> Tensor:
        """(B, A, E) who sees what."""
        slots = self.spec.agents
        x, y = world.position
        squared = (x[:slots, None] - x).square_().add_((y[:slots, None] - y).square_())
        sees = squared.le_(self._reach).mul_(world.present).mul_(world.present[:slots, None])
        return sees.bool().permute(2, 0, 1).contiguous()
