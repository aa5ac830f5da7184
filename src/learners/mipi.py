"""MIPI: policies that tell little of the team they are in (Wang et al., NeurIPS 2023).

The critic learns as REFIL's does, from a target that charges for the mutual information between an agent's action and
what it sees of its team. Then marginal and policy take steps in turn (Blahut-Arimoto).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from components.action_selectors import draw_from
from controllers.entity import Prepared, Unroll
from controllers.mipi import MipiController, only_itself
from learners.base import BellmanLearner, Metrics
from learners.refil import RefilConfig, RefilLearner
from modules.agents.heads import ActionHead, Targets
from utils import ranks
from utils.masking import masked_log_softmax
from utils.means import per


@dataclass(frozen=True)
class MipiConfig(RefilConfig):
    """Adds the regulariser (section 4.1) and how its policies are improved (section 4.3)."""

    #: temperature; infinity is for a controller whose policies see their own agent alone
    alpha: float = 0.05
    #: mutual_information | entropy
    regulariser: str = "mutual_information"
    #: M: alternations of marginal and policy in an update
    ba_iterations: int = 1
    #: whether the critic has REFIL's imagined loss as well; REFIL itself may imagine where MIPI does not
    imagine_critic: bool = True


class Features(NamedTuple):
    """What the policies' steps are made of, at the N played steps of agents that are present. Nothing here has a
    gradient: only the last layers of policy and marginal learn from it.
    """

    #: (N, H) recurrent states: of what the policy sees, ...
    whole: Tensor
    #: ... of what it sees of the agent's own group in an imagined split, ...
    imagined: Tensor
    #: ... of the agent itself
    own: Tensor
    #: (N, U) utilities
    utility: Tensor
    #: (N, U) legal actions
    avail_mask: Tensor
    #: what heads read beside the three kinds of states, of these single agents
    targets: tuple[Targets, ...] = (None, None, None)


class MipiLearner(RefilLearner):
    """Agents have a utility, a policy pi(u|s) and a marginal pi(u|s+) of what they know of themselves.

    Illegal actions have probability 0 in both policies and drop out of every ratio; absent agents and padded steps are
    in no loss.
    """

    Config = MipiConfig
    config: MipiConfig
    controller: MipiController
    CONTROLLERS = ("mipi",)

    @property
    def strength(self) -> float:
        """Alpha as a factor: policies that see only themselves have nothing to pay for."""
        return 0.0 if math.isinf(self.config.alpha) else self.config.alpha

    # --- the critic -----------------------------------------------------------------------------------------------

    def groups(self, data: Prepared) -> tuple[Tensor, ...]:
        """The agent's own group of an imagined split; the other one, where the critic imagines; the agent itself."""
        same, other = super().groups(data)
        itself = only_itself(torch.ones_like(same))
        return (same, other, itself) if self._imagines else (same, itself)

    def next_value(self, data: Prepared, online: Unroll, target: Unroll) -> Tensor:
        """`Q'_tot(s', u') - alpha * sum_i log(pi_i(u_i'|s') / pi_i(u_i'|s_i'+))`, u' drawn from the policies (equation
        16); the sum is over present agents.
        """
        assert online.states is not None
        follows = data.follows
        avail_mask = data.pack(data.batch.avail_mask)[follows]
        whole, own = (seen and seen.at(follows) for seen in (online.targets[self._policy_view], online.targets[-1]))
        log_policy = self._log_policy(online.states[self._policy_view][follows], avail_mask, whole)
        log_prior = self._log_prior(online.states[-1][follows], avail_mask, own)
        actions = self.draw(log_policy.exp() * avail_mask).unsqueeze(-1)
        value = self.mix_next(data, target, target.q[0][follows].gather(-1, actions).squeeze(-1))
        ratio = (log_policy - log_prior).gather(-1, actions).squeeze(-1)
        return value - self.strength * ratio.masked_fill(~data.agent_mask[follows], 0.0).sum(dim=-1)

    def draw(self, policy: Tensor) -> Tensor:
        """One action each from `policy (M, A, U)`: (M, A)."""
        draws = torch.rand(policy.shape[:-1], generator=self.generator, device=policy.device)
        return draw_from(policy, draws)

    def objective(
        self, data: Prepared, online: Unroll, targets: Tensor, groups: tuple[Tensor, ...]
    ) -> tuple[Tensor, Metrics]:
        if self._imagines:
            return super().objective(data, online, targets, groups)
        return BellmanLearner.objective(self, data, online, targets, groups)

    # --- the policies ---------------------------------------------------------------------------------------------

    def improve(self, data: Prepared, online: Unroll) -> Metrics:
        """`ba_iterations` times a step of the marginal and one of the policy."""
        features = self.features(data, online)
        for _ in range(self.config.ba_iterations):
            marginal_loss, _, _ = self.descend(self.marginal_loss(features), "marginal_loss", {})
            policy_loss, _, _ = self.descend(self.policy_loss(features), "policy_loss", {})
        figures = ranks.totals(self.policy_figures(features))
        return {"marginal_loss": marginal_loss, "policy_loss": policy_loss, **figures}

    def features(self, data: Prepared, online: Unroll) -> Features:
        """Cut what the policies learn from out of the passes of the critic."""
        assert online.states is not None
        played = data.agent_mask & data.acts_mask.unsqueeze(-1)
        states = online.states[:, played].float()
        whole, imagined, own = views = self._policy_view, -1 if self.controller.alone else 1, -1
        avail_mask = data.pack(data.batch.avail_mask)[played]
        utility = online.q[0].detach()[played].float()
        targets = tuple(seen and seen.of(played) for seen in (online.targets[view] for view in views))
        return Features(states[whole], states[imagined], states[own], utility, avail_mask, targets)

    def marginal_loss(self, features: Features) -> Tensor:
        """Cross-entropy of the marginal with the policies of imagined teams, the negative of equation 17."""
        with torch.no_grad():
            log_policy = self._log_policy(features.imagined, features.avail_mask, features.targets[1])
            policy = log_policy.exp() * features.avail_mask
        log_marginal = self._log_marginal(features.own, features.avail_mask, features.targets[2])
        return per(-(policy * log_marginal).sum(), len(policy))

    def policy_loss(self, features: Features) -> Tensor:
        """`E_u[alpha * log(pi(u|s) / pi(u|s+)) - Q(s, u)]` exactly, over all legal actions (equation 18)."""
        with torch.no_grad():
            log_prior = self._log_prior(features.own, features.avail_mask, features.targets[2])
        log_policy = self._log_policy(features.whole, features.avail_mask, features.targets[0])
        cost = self.strength * (log_policy - log_prior) - features.utility
        return per((log_policy.exp() * features.avail_mask * cost).sum(), len(cost))

    @torch.no_grad()
    def policy_figures(self, features: Features) -> Metrics:
        """Mutual information and entropy of the policies, in nats, means over present agents and played steps; of
        several ranks, this one's shares.
        """
        log_policy = self._log_policy(features.whole, features.avail_mask, features.targets[0])
        log_marginal = self._log_marginal(features.own, features.avail_mask, features.targets[2])
        policy = log_policy.exp() * features.avail_mask
        return {
            "mutual_information": per((policy * (log_policy - log_marginal)).sum(), len(policy)),
            "policy_entropy": per(-(policy * log_policy).sum(), len(policy)),
        }

    @property
    def _imagines(self) -> bool:
        return self.config.imagine_critic and self.config.imagine_lambda > 0

    @property
    def _policy_view(self) -> int:
        """Which of the passes the policy's states come from."""
        return -1 if self.controller.alone else 0

    def _log_policy(self, states: Tensor, avail_mask: Tensor, targets: Targets = None) -> Tensor:
        """`states (..., H)`, `avail_mask (..., U)` -> log pi(u|s) (..., U), 0 for illegal actions."""
        return masked_log_softmax(logits(self.controller.agent.policy, states, targets), avail_mask)

    def _log_marginal(self, states: Tensor, avail_mask: Tensor, targets: Targets = None) -> Tensor:
        """As `_log_policy`, log pi(u|s+)."""
        return masked_log_softmax(logits(self.controller.agent.marginal, states, targets), avail_mask)

    def _log_prior(self, states: Tensor, avail_mask: Tensor, targets: Targets = None) -> Tensor:
        """What the policy is compared with: the marginal; for the entropy nothing, whose logarithm is 0."""
        if self.config.regulariser == "entropy":
            return torch.zeros_like(avail_mask, dtype=torch.float32)
        return self._log_marginal(states, avail_mask, targets)


def logits(head: ActionHead, states: Tensor, targets: Targets) -> Tensor:
    """What `head` makes of teams (M, A, H), or of single agents (N, H), which are teams of one to it: (..., U)."""
    if states.dim() == 2:
        return logits(head, states.unsqueeze(-2), targets).squeeze(-2)
    found: Tensor = head(states, targets)
    return found.float()
