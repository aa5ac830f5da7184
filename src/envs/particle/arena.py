"""What the cooperative tasks of the particle environments share (Lowe et al., 2017; the package `mpe2`): agents that
move among landmarks on a plane without walls.

Shape letters: B worlds (the last axis of state, as in `physics`), A agent slots, L landmark slots, E = A + L, D and P
features, U actions.
"""

from abc import abstractmethod
from collections.abc import Collection
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from envs.base import EntityEnv, EnvSpec, TimeStep
from envs.particle import physics
from envs.particle.picture import draw
from envs.scene import Arena, Body, Look, Scene
from utils.errors import UserError
from utils.masking import full_view

ACTS = ("none", "left", "right", "down", "up")
#: Most agents, and most landmarks, that there may be.
LARGEST = 16
#: Nearer than this an agent is at a landmark, as `mpe2` counts.
REACHED = 0.1
#: Steps until an episode is cut short, in the paper as in `mpe2`.
EPISODE_LIMIT = 25
#: Where everybody starts; the plane goes on beyond it.
PLANE = Arena(-1.0, -1.0, 1.0, 1.0, grid=0.5, walls=False)
#: What a reward is: the paper's (CESMA, appendix D), or that of `mpe2`.
REWARDS = ("paper", "mpe2")


class ArenaEnv(EntityEnv):
    """A batch of worlds. Agents have the slots from 0 on, landmarks those from A on. They start anywhere in the square
    from -1 to 1, at rest. Landmarks stay, and nobody bumps into them. Episodes are truncated and never terminate.
    """

    suspends = True
    RUNNING: ClassVar[tuple[str, ...]] = ("_present", "_position", "_velocity", "_steps", "_over")

    def __init__(self, spec: EnvSpec, num_envs: int, seed: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_envs, seed, device)
        self.spec = spec
        #: (A, 1) what agents are like; a task overwrites these. `solid`: they bump into each other
        self.radius = torch.full((spec.agents, 1), 0.05, device=self.device)
        self.acceleration = torch.full((spec.agents, 1), physics.ACCELERATION, device=self.device)
        self.solid = False
        self._unit = torch.ones(spec.agents, 1, device=self.device)  # mass
        self._directions = torch.tensor(physics.DIRECTIONS, device=self.device).T
        self._present = torch.zeros(spec.entities, num_envs, device=self.device)  # 0 or 1
        self._position = torch.zeros(2, spec.entities, num_envs, device=self.device)  # 0 for who is absent
        self._velocity = torch.zeros(2, spec.agents, num_envs, device=self.device)
        self._steps = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        # worlds that have never been reset are over
        self._over = torch.ones(num_envs, dtype=torch.bool, device=self.device)

    # --- what a task adds ---

    @abstractmethod
    def _sizes(self, team: str | None) -> tuple[int, int]:
        """The smallest and the largest size of `team`, None for the training team."""

    @abstractmethod
    def _landmarks(self, size: Tensor) -> Tensor | int:
        """How many landmarks there are for `size (B,)` agents."""

    @abstractmethod
    def _begin(self, env_mask: Tensor) -> None:
        """Start what the task keeps of an episode, where `env_mask (B,)`; everybody is in place."""

    @abstractmethod
    def _score(self, actions: Tensor, running: Tensor) -> Tensor:
        """The reward (B,) after `actions (B, A)`, and what the task keeps; worlds that are not `running (B,)` stay."""

    @abstractmethod
    def _entities(self) -> Tensor:
        """(B, E, D); rows of absent slots may hold anything."""

    @abstractmethod
    def _private(self) -> Tensor:
        """(B, A, P); rows of absent slots may hold anything."""

    @abstractmethod
    def _info(self) -> dict[str, Tensor]: ...

    @abstractmethod
    def _colours(self, index: int) -> np.ndarray:
        """(E, 3) colours of world `index` from 0 to 1, for a picture."""

    @abstractmethod
    def _looks(self, index: int) -> list[Look]:
        """Of the E entities of world `index`, for a scene."""

    def _notes(self, index: int) -> dict[int, str]:
        """Hook: what entities of world `index` say, by their slots."""
        return {}

    def _legal(self, agent_mask: Tensor) -> Tensor:
        """(B, A, U), for `agent_mask (B, A)`."""
        nothing = torch.arange(self.spec.actions, device=self.device) == 0
        return agent_mask[:, :, None] | nothing

    def _sees(self, entity_mask: Tensor) -> Tensor:
        """(B, A, E), for `entity_mask (B, E)`."""
        return full_view(entity_mask, self.spec.agents)

    # --- what is the same in all ---

    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep:
        low, high = self._sizes(team)
        agents, landmarks = self.spec.agents, self.spec.entities - self.spec.agents
        if high > agents:
            raise UserError(f"team = {team!r} needs {high} slots; this environment has {agents}")
        # Everything is drawn for all worlds and as many bodies as there may be, then kept for some: neither which
        # worlds are reset nor how many slots there are changes what comes later.
        shape = (self.num_envs,)
        size = torch.randint(low, high + 1, shape, generator=self.generator, device=self.device)
        place = 2 * torch.rand(2, 2 * LARGEST, self.num_envs, generator=self.generator, device=self.device) - 1
        slot = torch.arange(self.spec.entities, device=self.device)[:, None]
        present = torch.where(slot < agents, slot < size, slot - agents < self._landmarks(size)).float()
        place = torch.cat([place[:, :agents], place[:, LARGEST : LARGEST + landmarks]], dim=1) * present
        self._present = torch.where(env_mask, present, self._present)
        self._position = torch.where(env_mask, place, self._position)
        self._velocity = self._velocity.masked_fill(env_mask, 0)
        self._steps = self._steps.masked_fill(env_mask, 0)
        self._over = self._over & ~env_mask
        self._begin(env_mask)
        return self._show(torch.zeros(self.num_envs, device=self.device))

    def _step(self, actions: Tensor) -> TimeStep:
        running, slots = ~self._over, self.spec.agents
        legal = self._legal(self._present[:slots].T > 0)
        illegal = ~legal.gather(2, actions[:, :, None])[:, :, 0] & running[:, None]
        if bool(illegal.any()):
            raise ValueError(f"illegal actions: (world, agent) {illegal.nonzero().tolist()}")
        acts, _ = self.spec.split(actions)
        force = self._directions[:, acts.T] * self.acceleration
        solid = self._present[:slots] * float(self.solid)
        bodies = physics.Bodies(self.radius, solid, self._unit, torch.inf * self._unit)
        place = self._position[:, :slots]
        place, velocity = physics.step(place, self._velocity, force, bodies, position_first=True)
        moved = torch.cat([place, self._position[:, slots:]], dim=1)
        self._position = torch.where(running, moved, self._position)
        self._velocity = torch.where(running, velocity, self._velocity)
        self._steps = self._steps + running
        self._over = self._steps >= self.spec.episode_limit
        return self._show(self._score(actions, running) * running)

    def _show(self, reward: Tensor) -> TimeStep:
        entity_mask = self._present.T > 0
        agent_mask = entity_mask[:, : self.spec.agents]
        return TimeStep(
            entities=self._entities().masked_fill(~entity_mask[:, :, None], 0),
            private=self._private().masked_fill(~agent_mask[:, :, None], 0),
            entity_mask=entity_mask,
            obs_mask=self._sees(entity_mask),
            avail_mask=self._legal(agent_mask),
            reward=reward,
            terminated=torch.zeros_like(self._over),
            truncated=self._over,
            info=self._info(),
        )

    def _away(self) -> Tensor:
        """(A, L, B) distances from agents to landmarks."""
        slots = self.spec.agents
        return physics.length(self._position[:, :slots, None] - self._position[:, None, slots:])

    def scene(self, index: int = 0) -> Scene:
        present = self._present[:, index].nonzero()[:, 0].tolist()
        x, y = self._position[:, :, index].tolist()
        looks, notes = self._looks(index), self._notes(index)
        bodies = {slot: Body(looks[slot], x[slot], y[slot], note=notes.get(slot, "")) for slot in present}
        return Scene(PLANE, bodies)

    def render(self, index: int = 0, marked: Collection[int] = ()) -> np.ndarray:
        return draw(
            self._position[:, :, index].cpu().numpy().T,
            self._present[:, index].cpu().numpy() > 0,
            self.radius[:, 0].cpu().numpy(),
            self._colours(index),
            marked,
        )


def check_settings(episode_limit: int, reward: str = REWARDS[0]) -> None:
    """Refuse settings that cannot be, with a `UserError`."""
    if episode_limit < 1:
        raise UserError(f"env_args.episode_limit = {episode_limit} must be at least 1")
    if reward not in REWARDS:
        raise UserError(f"env_args.reward = {reward!r} is not one of {', '.join(REWARDS)}")
