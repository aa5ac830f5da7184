"""Tasks in which agents are told where others have to go, and have to say it.

Shape letters: B worlds (the last axis of state), A agents, L landmarks, E = A + L entities, S symbols, U = 5 S actions.
"""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from envs import teams
from envs.base import SAID, EnvSpec, ScriptedPolicy, TimeStep
from envs.particle.arena import ACTS, REACHED, ArenaEnv
from envs.particle.physics import ACCELERATION
from envs.particle.picture import LANDMARK_RADIUS
from envs.particle.steering import random_team, steer
from envs.scene import Look
from utils.errors import UserError
from utils.masking import full_view

#: Red, green, blue, and what goes well with them: the landmarks' colours in pictures.
PALETTE = ((0.92, 0.33, 0.3), (0.36, 0.78, 0.4), (0.33, 0.55, 0.96), (0.95, 0.78, 0.25), (0.7, 0.36, 0.94))


#: More than any task has a use for.
MOST_SYMBOLS = 100


class MessageEnv(ArenaEnv):
    """Each of some agents has a landmark as its goal, which all others know and it does not. What an agent says along
    with an act stands on its row from the next step on, for whoever sees the row.

    Nobody bumps into anybody. Agents see landmarks but not where other agents are. Who cannot move sees nothing but
    itself, and what it knows.
    """

    RUNNING = (*ArenaEnv.RUNNING, "_goal", "_said")

    def __init__(
        self,
        name: str,
        moves: Sequence[bool],
        speaks: Sequence[bool],
        landmarks: int,
        symbols: int,
        episode_limit: int,
        num_envs: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """`moves` and `speaks`: for each agent, whether it can. Who moves has a goal."""
        agents = len(moves)
        widths = {SAID: symbols, "agent": agents, "position": 2, "colour": landmarks}
        slices, start = {}, 0
        for feature, width in widths.items():
            slices[feature] = slice(start, start + width)
            start += width
        spec = EnvSpec(
            name=name,
            agents=agents,
            entities=agents + landmarks,
            features=start,
            private=4 + (agents - 1) * landmarks,
            basic=len(ACTS),
            episode_limit=episode_limit,
            feature_slices=slices,
            action_names=ACTS,
            info_names=("distance", "reached"),
            symbols=symbols,
        )
        super().__init__(spec, num_envs, seed, device)
        self.moves = torch.tensor(moves, device=self.device)
        self.speaks = torch.tensor(speaks, device=self.device)
        acts = self.moves[:, None] | (torch.arange(len(ACTS), device=self.device) == 0)
        said = self.speaks[:, None] | (torch.arange(symbols, device=self.device) == 0)
        self._may = (acts[:, :, None] & said[:, None]).flatten(1)  # (A, U)
        self._goal = torch.zeros(num_envs, agents, dtype=torch.int64, device=self.device)  # a landmark
        self._said = torch.full_like(self._goal, -1)  # a symbol, -1 for none

    @abstractmethod
    def _reward(self, distance: Tensor) -> Tensor:
        """(B,) for the `distance (A, B)` of each agent from its goal, 0 for who has none."""

    def _sizes(self, team: str | None) -> tuple[int, int]:
        agents = self.spec.agents
        return (agents, agents) if team is None else teams.parse_team(team, agents, agents)

    def _landmarks(self, size: Tensor) -> int:
        return self.spec.entities - self.spec.agents

    def _begin(self, env_mask: Tensor) -> None:
        landmarks = self.spec.entities - self.spec.agents
        goal = torch.randint(landmarks, self._goal.shape, generator=self.generator, device=self.device)
        self._goal = torch.where(env_mask[:, None], goal, self._goal)
        self._said = self._said.masked_fill(env_mask[:, None], -1)

    def _score(self, actions: Tensor, running: Tensor) -> Tensor:
        _, symbols = self.spec.split(actions)
        said = symbols.masked_fill(~self.speaks, -1)
        self._said = torch.where(running[:, None], said, self._said)
        return self._reward(self._distance())

    def _distance(self) -> Tensor:
        """(A, B) of each agent from its goal, 0 for who has none."""
        return self._away().gather(1, self._goal.T[:, None])[:, 0] * self.moves[:, None]

    def _entities(self) -> Tensor:
        agents, part = self.spec.agents, self.spec.feature_slices
        landmarks = self.spec.entities - agents
        entities = torch.zeros(self.num_envs, self.spec.entities, self.spec.features, device=self.device)
        symbols = torch.arange(self.spec.symbols, device=self.device)
        entities[:, :agents, part[SAID]] = (self._said[:, :, None] == symbols).float()
        entities[:, :agents, part["agent"]] = torch.eye(agents, device=self.device)
        entities[:, agents:, part["position"]] = self._position[:, agents:].permute(2, 1, 0)
        entities[:, agents:, part["colour"]] = torch.eye(landmarks, device=self.device)
        return entities

    def _private(self) -> Tensor:
        agents = self.spec.agents
        own = torch.cat([self._velocity, self._position[:, :agents]]).permute(2, 1, 0) * self.moves[:, None]
        goal = F.one_hot(self._goal, self.spec.entities - agents) * self.moves[:, None]
        # those of the others: of the agent in the next slot first, the first slot comes after the last
        others = [goal.roll(-step, dims=1) for step in range(1, agents)]
        return torch.cat([own, *others], dim=2)

    def _legal(self, agent_mask: Tensor) -> Tensor:
        # everybody is there, but in worlds that have never been reset
        return super()._legal(agent_mask) & self._may

    def _sees(self, entity_mask: Tensor) -> Tensor:
        itself = torch.eye(self.spec.agents, self.spec.entities, dtype=torch.bool, device=self.device)
        return full_view(entity_mask, self.spec.agents) & (self.moves[:, None] | itself)

    def _info(self) -> dict[str, Tensor]:
        distance, movers = self._distance(), self.moves[:, None]
        reached = (distance < REACHED) & movers
        return {"distance": distance.sum(dim=0) / movers.sum(), "reached": reached.sum(dim=0) / movers.sum()}

    def _looks(self, index: int) -> list[Look]:
        landmarks = [
            Look("landmark", "object", "diamond", LANDMARK_RADIUS, str(number), _hex(PALETTE[number % len(PALETTE)]))
            for number in range(self.spec.entities - self.spec.agents)
        ]
        goals, moves = self._goal[index].tolist(), self.moves.tolist()
        agents = []
        for radius, goal, can_move in zip(self.radius[:, 0].tolist(), goals, moves, strict=True):
            about = f"its goal is landmark {goal}, which only others know" if can_move else "cannot move"
            colour = landmarks[goal].colour if can_move else ""
            shape = "disc" if can_move else "square"
            agents.append(Look("agent", "team", shape, radius, colour=colour, about=about))
        return agents + landmarks

    def _notes(self, index: int) -> dict[int, str]:
        return {slot: f"says {symbol}" for slot, symbol in enumerate(self._said[index].tolist()) if symbol >= 0}

    def _colours(self, index: int) -> np.ndarray:
        landmarks = np.array([PALETTE[i % len(PALETTE)] for i in range(self.spec.entities - self.spec.agents)])
        goal, moves = self._goal[index].cpu().numpy(), self.moves.cpu().numpy()
        return np.concatenate([np.where(moves[:, None], landmarks[goal], 0.5), landmarks])


def _hex(colour: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


def check_team(agents: int, test_teams: Sequence[str]) -> None:
    """Refuse every team but that of all `agents`, with a `UserError`."""
    teams.refuse_repeats(test_teams, lambda team: teams.parse_team(team, agents, agents, "test_teams"))


def check_symbols(symbols: int) -> None:
    """Refuse a number of symbols that cannot be, with a `UserError`."""
    if not 1 <= symbols <= MOST_SYMBOLS:
        raise UserError(f"env_args.symbols = {symbols} must be from 1 (nothing can be told) to {MOST_SYMBOLS}")


def greedy_team(spec: EnvSpec) -> ScriptedPolicy:
    """Everybody says the number of the goal of the agent in the next slot, and goes where the one in the slot before
    said in the last step. Where there are too few symbols for that, the last one stands for several landmarks.
    """
    said, position = spec.feature_slices[SAID], spec.feature_slices["position"]
    landmarks = spec.entities - spec.agents
    known = min(landmarks, spec.symbols)

    def act(seen: TimeStep, generator: torch.Generator) -> Tensor:
        symbols = seen.private[:, :, 4 : 4 + landmarks].argmax(dim=2).clamp(max=known - 1)  # 0 for who knows of no goal
        heard = seen.entities[:, : spec.agents, said].roll(1, dims=1)
        target = heard[:, :, :known] @ seen.entities[:, spec.agents : spec.agents + known, position]
        acts = steer(target - seen.private[:, :, 2:4], seen.private[:, :, :2], ACCELERATION)
        return torch.where(seen.agent_mask, spec.join(torch.where(heard.any(dim=2), acts, 0), symbols), 0)

    return act


MessageEnv.SCRIPTED = {"random": random_team, "greedy": greedy_team}
