"""Deep deterministic policy gradients for teams with discrete actions: MADDPG (Lowe et al., 2017, section 4.1), and the
independent DDPG that it is compared with. Actions are made differentiable by Gumbel-softmax (Jang et al., 2017).
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.episodes import EpisodeBatch
from controllers.entity import EntityController, Prepared, Unroll
from learners.base import BellmanConfig, BellmanLearner
from learners.learner import Metrics
from modules.critics.action_critics import Situation, make_critic
from modules.mixers.base import Mixer
from utils.masking import masked_argmax, masked_log_softmax, masked_mean, masked_softmax
from utils.means import share

#: Weight of the logits' mean square in what actors minimise, as in the authors' code: their scale stays where noise of
#: scale 1 still turns an action.
LOGITS_WEIGHT = 1e-3


@dataclass(frozen=True)
class DdpgConfig(BellmanConfig):
    """Adds what critics see."""

    critic: str = "central"


class DdpgLearner(BellmanLearner):
    """A critic judges the state with the actions of all (`central`), or each agent's view with its own action
    (`local`); the agents' values are the logits of their policies, which climb the critic.

    The team has one reward, so that one central critic serves all agents. Absent agents and padded steps are in no
    mean; a terminated step does not bootstrap, a truncated one does.
    """

    Config = DdpgConfig
    config: DdpgConfig
    CONTROLLERS = ("entity", "flat")  # a coach is no part of what a critic judges
    MIXES = False
    OPTIMISER = torch.optim.Adam

    def __init__(self, controller: EntityController, mixer: Mixer | None, config: DdpgConfig, seed: int) -> None:
        self.critic = make_critic(config.critic, controller.agent, controller.FIXED_SLOTS).to(controller.device)
        super().__init__(controller, mixer, config, seed)
        self.target_critic = copy.deepcopy(self.critic)

    def modules(self) -> dict[str, nn.Module]:
        return {**super().modules(), "critic": self.critic}

    def target_networks(self) -> dict[str, tuple[nn.Module, nn.Module]]:
        return {**super().target_networks(), "target_critic": (self.critic, self.target_critic)}

    def compile(self) -> None:
        super().compile()
        for critic in (self.critic, self.target_critic):
            critic.forward = torch.compile(critic.forward, dynamic=True)

    # Actors are asked where they are needed: without a memory, at one observation of each transition alone.

    def passes(self, batch: EpisodeBatch) -> tuple[Prepared, Unroll, tuple[Tensor, ...]]:
        return self.controller.prepare(batch), Unroll(()), ()

    def target_pass(self, data: Prepared, online: Unroll) -> Unroll:
        return Unroll(())

    # --- the critic -----------------------------------------------------------------------------------------------

    def next_value(self, data: Prepared, online: Unroll, target: Unroll) -> Tensor:
        """`Q'(s', u')`, u' drawn from the target actors."""
        logits = self.target_controller.values_at(data, data.follows).float()
        avail_mask = self._legal(data, data.follows)
        drawn = masked_argmax(logits + self.noise(logits), avail_mask)
        value: Tensor = self.target_critic(situation(data, data.follows), self._one_hot(data, drawn, data.follows))
        return value.float()

    def objective(
        self, data: Prepared, online: Unroll, targets: Tensor, groups: tuple[Tensor, ...]
    ) -> tuple[Tensor, Metrics]:
        """The squared TD error of the actions that were taken."""
        taken = self._one_hot(data, data.played(data.batch.actions), data.acts)
        value = self.critic(situation(data, data.acts), taken)
        return self.td_loss(data, value, targets), self.figures(data, value, value, targets)

    # --- the actors -----------------------------------------------------------------------------------------------

    def improve(self, data: Prepared, online: Unroll) -> Metrics:
        """A step of the actors up the critic."""
        loss, figures = self.policy_loss(data)
        loss, grad_norm, figures = self.descend(loss, "policy_loss", figures, self.controller.parameters())
        return {"policy_loss": loss, "policy_grad_norm": grad_norm, **figures}

    def policy_loss(self, data: Prepared) -> tuple[Tensor, Metrics]:
        """`-Q(s, u)` for relaxed actions u that all agents draw from their policies as they are now; and the price of
        large logits.
        """
        logits, avail_mask = self.controller.values_at(data, data.acts), self._legal(data, data.acts)
        present = data.agent_mask[data.acts]
        actions = self.relaxed(logits, avail_mask).masked_fill(~present.unsqueeze(-1), 0.0)
        value = self.critic(situation(data, data.acts), actions)
        price = LOGITS_WEIGHT * masked_mean(logits**2, avail_mask, dim=-1).masked_fill(~present, 0.0)
        loss = self.mean(data, (price.sum(dim=-1) if value.dim() == 1 else price) - value)
        with torch.no_grad():
            log_policy = masked_log_softmax(logits, avail_mask)
            entropy = -(log_policy.exp() * log_policy).sum(dim=-1)
            return loss, {"policy_entropy": share(entropy, present)}

    def relaxed(self, logits: Tensor, avail_mask: Tensor) -> Tensor:
        """Gumbel-softmax at temperature 1 over the legal actions, as in the authors' code: (S, A, U) -> (S, A, U)."""
        return masked_softmax(logits + self.noise(logits), avail_mask)

    def noise(self, like: Tensor) -> Tensor:
        """Of Gumbel's distribution, in the shape of `like`."""
        return -torch.empty_like(like).exponential_(generator=self.generator).log()

    @staticmethod
    def _legal(data: Prepared, which: Tensor) -> Tensor:
        return data.pack(data.batch.avail_mask)[which]

    @staticmethod
    def _one_hot(data: Prepared, actions: Tensor, which: Tensor) -> Tensor:
        """`actions (S, A)` at the rows `which (S,)` -> (S, A, U), zeros for absent agents."""
        hot = F.one_hot(actions, data.batch.avail_mask.shape[-1]).float()
        return hot.masked_fill(~data.agent_mask[which].unsqueeze(-1), 0.0)


def situation(data: Prepared, which: Tensor) -> Situation:
    """What critics read at the rows `which (S,)`."""
    parts = data.private, data.state_inputs, data.entity_mask, data.view_mask
    return Situation(data.read.at(which), *(part[which] for part in parts))
