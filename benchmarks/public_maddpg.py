"""MADDPG as its public code sets it up: one world, a network of its own for every actor and critic, plain torch.

Lowe et al., 2017: Adam at 0.01, a replay of transitions, every 100 steps an update of every agent from 1,024 of them,
gradients clipped at 0.5, targets that follow softly, actions by Gumbel-softmax. Two hidden layers of 128 and gamma 0.9
as in CESMA's comparison (Lin et al., 2019, appendix E.2). The world is `simple_spread` of `mpe2`. A peer to measure,
and no part of Muster, whose own MADDPG is an algorithm like any other.
"""

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

AGENTS, LIMIT, BATCH, INTERVAL, CAPACITY = 3, 25, 1024, 100, 200_000
GAMMA, FOLLOW, LR, CLIP = 0.9, 0.01, 0.01, 0.5


def network(inputs: int, outputs: int) -> nn.Sequential:
    """(..., inputs) -> (..., outputs)."""
    return nn.Sequential(nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, outputs))


class Agent:
    """Actor and critic with their targets and optimisers."""

    def __init__(self, observed: int, seen: int, choices: int) -> None:
        self.actor, self.critic = network(observed, choices), network(seen, 1)
        self.actor_target, self.critic_target = copy.deepcopy(self.actor), copy.deepcopy(self.critic)
        self.actor_step = torch.optim.Adam(self.actor.parameters(), LR)
        self.critic_step = torch.optim.Adam(self.critic.parameters(), LR)

    def follow(self) -> None:
        """Move the targets a little."""
        for network, target in ((self.actor, self.actor_target), (self.critic, self.critic_target)):
            for own, kept in zip(network.parameters(), target.parameters(), strict=True):
                kept.data.lerp_(own.data, FOLLOW)


class PublicMaddpg:
    """One world and its learners. Shape letters: A agents, O features that one observes, U acts, W transitions."""

    def __init__(self, seed: int = 0) -> None:
        from mpe2 import simple_spread_v3

        torch.manual_seed(seed)
        self.draw = np.random.default_rng(seed)
        self.env = simple_spread_v3.parallel_env(N=AGENTS, max_cycles=LIMIT)
        self.observed, _ = self.env.reset(seed=seed)
        self.names = list(self.env.agents)
        observed, choices = len(self.observed[self.names[0]]), self.env.action_space(self.names[0]).n
        self.agents = [Agent(observed, AGENTS * (observed + choices), choices) for _ in self.names]
        shape = (CAPACITY, AGENTS)
        self.seen, self.then = (np.zeros((*shape, observed), dtype=np.float32) for _ in range(2))
        self.acts, self.rewards = np.zeros((*shape, choices), dtype=np.float32), np.zeros(shape, dtype=np.float32)
        self.steps = self.updates = 0
        #: mean over agents of what each episode paid
        self.returns = [0.0]

    def play(self, steps: int) -> None:
        """Collect `steps` steps, with the updates that are due."""
        for _ in range(steps):
            self._step()
            self.steps += 1
            if self.steps >= BATCH and self.steps % INTERVAL == 0:
                for number in range(AGENTS):
                    self._learn(number)
                for agent in self.agents:
                    agent.follow()
                self.updates += 1

    def _step(self) -> None:
        place = self.steps % CAPACITY
        with torch.no_grad():
            for number, (name, agent) in enumerate(zip(self.names, self.agents, strict=True)):
                self.seen[place, number] = self.observed[name]
                logits = agent.actor(torch.from_numpy(self.seen[place, number]))
                self.acts[place, number] = F.gumbel_softmax(logits, hard=True).numpy()
        chosen = {name: int(self.acts[place, number].argmax()) for number, name in enumerate(self.names)}
        self.observed, rewards, _, _, _ = self.env.step(chosen)
        for number, name in enumerate(self.names):
            self.rewards[place, number], self.then[place, number] = rewards[name], self.observed[name]
        self.returns[-1] += float(self.rewards[place].mean())
        if not self.env.agents:  # cut short: there is a value left, and targets bootstrap
            self.observed, _ = self.env.reset()
            self.returns.append(0.0)

    def _learn(self, number: int) -> None:
        """An update of agent `number` from a batch of its own."""
        at = self.draw.integers(min(self.steps, CAPACITY), size=BATCH)
        seen, acts, rewards, then = (
            torch.from_numpy(kept[at]) for kept in (self.seen, self.acts, self.rewards, self.then)
        )
        agent = self.agents[number]
        with torch.no_grad():
            later = [F.gumbel_softmax(other.actor_target(then[:, i])) for i, other in enumerate(self.agents)]
            follow = agent.critic_target(_joint(then, torch.stack(later, dim=1)))[:, 0]
            target = rewards[:, number] + GAMMA * follow
        loss = F.mse_loss(agent.critic(_joint(seen, acts))[:, 0], target)
        _descend(loss, agent.critic, agent.critic_step)

        logits = agent.actor(seen[:, number])
        acts[:, number] = F.gumbel_softmax(logits)
        loss = -agent.critic(_joint(seen, acts)).mean() + 1e-3 * logits.square().mean()
        _descend(loss, agent.actor, agent.actor_step)


def _joint(seen: Tensor, acts: Tensor) -> Tensor:
    """`seen (W, A, O)`, `acts (W, A, U)` -> (W, A * O + A * U)."""
    return torch.cat([seen.flatten(1), acts.flatten(1)], dim=1)


def _descend(loss: Tensor, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    optimiser.step()
