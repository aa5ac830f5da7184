"""MAPPO with attention: clipped policy gradients from fresh episodes and a centralised value (Yu et al., 2022)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from components.episodes import EpisodeBatch
from controllers.entity import EntityController, Prepared
from learners.learner import REPLAY_KEYS, TARGET_KEYS, Learner, LearnerConfig, Metrics, mean_metrics
from learners.returns import lambda_returns
from modules.critics.entity_critic import CriticSizes, EntityCritic
from modules.mixers.base import Mixer
from utils import ranks
from utils.masking import fill_illegal
from utils.means import mean, per, share, variance


@dataclass(frozen=True)
class MappoConfig(LearnerConfig):
    """Adds the settings of the clipped objective, and the widths of the critic, which are the agent's."""

    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ppo_epochs: int = 4
    num_mini_batch: int = 1
    entropy_coef: float = 0.01
    attn_embed_dim: int = 128
    attn_heads: int = 4


class Lesson(NamedTuple):
    """A mini-batch of fresh episodes, with S played steps, and what every pass over it reads."""

    data: Prepared
    #: (S, A) log-probabilities of the taken actions under the policy that took them
    log_probs: Tensor
    #: (S,) what the actions of a step gained for the team over what was expected
    advantages: Tensor
    #: (S,) lambda-returns, which values are drawn to
    returns: Tensor


class MappoLearner(Learner):
    """Proximal policy optimisation of agents that share one network, with advantages of the whole team.

    The agents' values are the logits of their policies. Absent agents and padded steps enter no mean; a terminated
    step does not bootstrap, a truncated one does, from the value of the last observation.
    """

    Config = MappoConfig
    config: MappoConfig
    CONTROLLERS = ("entity", "flat")  # a coach samples strategies, which recomputing would draw anew
    MIXES = False
    ON_POLICY = True
    PIECES = True
    UNUSED = (*REPLAY_KEYS, *TARGET_KEYS, "epsilon_decay", "epsilon_anneal_time", "optim_alpha", "td_lambda")
    NEEDS: ClassVar[Mapping[str, object]] = {
        "epsilon_start": 0.0,
        "epsilon_finish": 0.0,
        "action_selector": "soft_policies",
        "sequence_length": 0,
    }
    OPTIMISER = torch.optim.Adam  # as in MAPPO; its steps do not depend on the scale of a loss

    def __init__(self, controller: EntityController, mixer: Mixer | None, config: MappoConfig, seed: int) -> None:
        inputs = controller.reader.width + controller.agent.sizes.private
        sizes = CriticSizes(inputs, config.attn_embed_dim, config.attn_heads)
        self.critic = EntityCritic(sizes).to(controller.device)
        super().__init__(controller, mixer, config, seed)

    def modules(self) -> dict[str, nn.Module]:
        return {**super().modules(), "critic": self.critic}

    def compile(self) -> None:
        self.controller.agent.perceive = torch.compile(self.controller.agent.perceive, dynamic=True)  # type: ignore[method-assign]
        self.critic.forward = torch.compile(self.critic.forward, dynamic=True)  # type: ignore[method-assign]

    def train(self, batch: EpisodeBatch, episodes: int) -> Metrics:
        """Make `ppo_epochs * num_mini_batch` updates; figures are means over them."""
        device_type = self.controller.device.type
        passes: list[Metrics] = []
        with torch.autocast(device_type, dtype=torch.bfloat16, enabled=self.config.amp):
            lessons, figures = self.prepare(batch)
        for _ in range(self.config.ppo_epochs):
            for lesson in lessons:
                with torch.autocast(device_type, dtype=torch.bfloat16, enabled=self.config.amp):
                    loss, metrics = self.loss(lesson)
                loss, metrics = self.backward(loss, metrics)
                norms = {}
                # each network by itself: they share no parameter, and with Adam need no weight between their losses
                for name, module in self.modules().items():
                    norm = nn.utils.clip_grad_norm_(module.parameters(), self.config.grad_norm_clip)
                    norms[f"grad_norm_{name}"] = norm.detach()
                self.step({"loss": loss, **norms}, metrics)
                self.updates += 1
                passes.append({"loss": loss, **metrics, **norms})
        return {**mean_metrics(passes), **figures}

    # --- before the first pass --------------------------------------------------------------------------------------

    @torch.no_grad()
    def prepare(self, batch: EpisodeBatch) -> tuple[list[Lesson], Metrics]:
        """Judge fresh episodes by the networks that played them, and cut them into mini-batches.

        Episodes are independent of each other, so neighbours make a mini-batch as random as any.
        """
        spec, fixed = self.controller.spec, self.controller.FIXED_SLOTS
        lessons = [self._judge(part.trim(spec, fixed)) for part in batch.split(self.config.num_mini_batch)]
        returns = torch.cat([lesson.returns for lesson in lessons])
        advantages = torch.cat([lesson.advantages for lesson in lessons])
        # an advantage counts once for each agent that was there
        counts = torch.cat([lesson.data.agent_mask[lesson.data.acts].sum(dim=1) for lesson in lessons])
        centre = ranks.total(per((advantages * counts).sum(), counts.sum()))
        std = ranks.total(per(((advantages - centre) ** 2 * counts).sum(), counts.sum())).sqrt()
        self.critic.norm.update(returns)
        figures = {
            "advantage_std": std,
            "return_target_mean": mean(returns),
            "explained_variance": 1.0 - variance(advantages) / variance(returns).clamp(min=1e-8),
        }
        scaled = [lesson._replace(advantages=(lesson.advantages - centre) / (std + 1e-8)) for lesson in lessons]
        return scaled, figures

    def _judge(self, batch: EpisodeBatch) -> Lesson:
        """The episodes with advantages as they are, not yet scaled."""
        data = self.controller.prepare(batch)
        taken, _ = self.policies(data)
        value = self.critic.norm.denormalise(self.critic(data.state_inputs, data.entity_mask).float())
        filled = batch.filled_mask
        goes_on = data.played(torch.cat([filled[:, 1:], torch.zeros_like(filled[:, :1])], dim=1))
        reward = data.played(batch.reward)
        discount = self.config.gamma * (~data.played(batch.terminated)).to(reward.dtype)
        returns = lambda_returns(reward, discount, value[data.follows], goes_on, filled, self.config.gae_lambda)
        # generalised advantage estimation: the lambda-return less the value, which is the same sum
        return Lesson(data, taken, returns - value[data.acts], returns)

    # --- one pass ---------------------------------------------------------------------------------------------------

    def policies(self, data: Prepared) -> tuple[Tensor, Tensor]:
        """Log-probabilities (S, A) of the taken actions, and entropies (S, A) over the legal ones."""
        logits = self.controller.unroll(data, generator=self.generator).q[0][data.acts].float()
        avail_mask = data.pack(data.batch.avail_mask)[data.acts]
        log_probs = fill_illegal(logits, avail_mask).log_softmax(dim=-1)  # finite; its exponential is exactly 0
        actions = data.played(data.batch.actions)
        taken = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        return taken, -(log_probs.exp() * log_probs).sum(dim=-1)

    def loss(self, lesson: Lesson) -> tuple[Tensor, Metrics]:
        """What an update minimises, with gradients, and figures to log."""
        data, clip = lesson.data, self.config.clip_range
        present = data.agent_mask[data.acts]
        taken, entropies = self.policies(data)
        log_ratio = taken - lesson.log_probs
        policy_loss = -share(clipped(log_ratio.exp(), lesson.advantages.unsqueeze(-1), clip), present)
        entropy = share(entropies, present)
        value = self.critic(data.state_inputs[data.acts], data.entity_mask[data.acts]).float()
        value_loss = share((value - self.critic.norm.normalise(lesson.returns)) ** 2)
        loss = policy_loss - self.config.entropy_coef * entropy + value_loss
        with torch.no_grad():
            ratio = log_ratio.exp()
            figures = {
                "policy_loss": policy_loss,
                "value_loss": value_loss,
                "entropy": entropy,
                # Schulman's estimate, which is never negative
                "approx_kl": share(ratio - 1.0 - log_ratio, present),
                "clip_fraction": share(((ratio - 1.0).abs() > clip).float(), present),
            }
        return loss, {name: value.detach() for name, value in figures.items()}


def clipped(ratio: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """`min(ratio * A, clip(ratio, 1 - clip_range, 1 + clip_range) * A)` (Schulman et al., 2017, equation 7): nothing is
    gained by moving a probability further than that. Shapes broadcast.
    """
    return torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip_range, 1.0 + clip_range) * advantages)
