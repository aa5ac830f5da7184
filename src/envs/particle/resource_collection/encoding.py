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
        actions=len(ACTIONS),
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
        reach = radii(slots, device) + sight
        reach[:slots] = sight
        self._reach = reach
        kinds = [0] * slots + [1] + [2 + i % COLOURS for i in range(RESOURCES)] + [len(KINDS) - 1]
        self._kinds = torch.nn.functional.one_hot(torch.tensor(kinds, device=device), len(KINDS)).float()

    def show(self, world: World, reward: Tensor, truncated: Tensor) -> TimeStep:
        """The time step of `world` after `reward (B,)`; `truncated (B,)`."""
        spec, slots = self.spec, self.spec.agents
        worlds = len(reward)
        position = world.position.permute(2, 1, 0)  # (B, E, 2)
        here = world.present.T.contiguous()
        entities = here.new_zeros(worlds, spec.entities, spec.features)
        entities[:, :, spec.feature_slices["position"]] = position
        entities[:, :, spec.feature_slices["kind"]] = self._kinds * here[:, :, None]
        members = slice(spec.feature_slices["efficiency"].start, spec.feature_slices["speed"].stop)
        entities[:, :slots, members] = world.members.permute(2, 1, 0)
        agents = world.present[:slots]
        private = torch.cat(
            [
                world.velocity,
                world.position[:, :slots],
                (agents - world.load.sum(dim=0))[None],
                world.load,
                (agents - world.touched.sum(dim=0))[None],
                world.touched,
            ]
        )
        entity_mask = here > 0
        agent_mask = entity_mask[:, :slots, None]
        avail_mask = agent_mask.repeat(1, 1, spec.actions)
        avail_mask[:, :, 0] = True
        return TimeStep(
            entities=entities,
            private=private.permute(2, 1, 0).contiguous(),
            entity_mask=entity_mask,
            obs_mask=self._sees(world, entity_mask),
            avail_mask=avail_mask,
            reward=reward,
            terminated=torch.zeros_like(truncated),
            truncated=truncated,
            info=dict(zip(spec.info_names, (*world.figures, agents.sum(dim=0)), strict=True)),
        )

    def _sees(self, world: World, entity_mask: Tensor) -> Tensor:
        """(B, A, E) who sees what."""
        slots = self.spec.agents
        offset = world.position[:, :slots, None] - world.position[:, None]
        distance = (offset[0].square() + offset[1].square()).sqrt_()
        near = (distance <= self._reach).permute(2, 0, 1)
        return near & entity_mask[:, None] & entity_mask[:, :slots, None]
