"""CESMA: decentralised students imitate a centralised expert, by DAgger (Lin et al., 2019, section 4 and appendix B).

The students act; in every state that they come to, the expert says what it would have done, and all of that is kept and
learnt from (algorithm 1). The expert may see everything, the students see what the environment lets them see.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from components.episodes import EpisodeBatch
from controllers.base import Controller
from controllers.entity import EntityController, Prepared
from envs.base import TimeStep
from learners.experts import build_expert, check_expert, expert_config, expert_fixes_slots
from learners.learner import Learner, LearnerConfig, Metrics
from modules.mixers.base import Mixer
from utils.config import Config as RunConfig
from utils.errors import UserError
from utils.masking import fill_illegal, lowest_legal, masked_argmax, masked_log_softmax
from utils.means import share, weighted_share


@dataclass(frozen=True)
class CesmaConfig(LearnerConfig):
    """Adds the weight decay of Adam, and what students make of the expert's words."""

    weight_decay: float = 0.0
    data_sets: str = "shared"
    messages: str = "receivers"
    idle_weight: float = 1.0


class CesmaLearner(Learner):
    """Cross-entropy of what the expert would have done under the students' policies, whose logits are agents' values.

    Absent agents, padded steps and steps in which the expert has nothing to say are in no mean. Where actions carry
    symbols, only acts are imitated: policies are computed once for what agents say now, and once more, from what they
    hear then (algorithm 2).
    """

    Config = CesmaConfig
    config: CesmaConfig
    CONTROLLERS = ("entity", "flat")
    MIXES = False
    LABELS = True
    OPTIMISER = torch.optim.Adam
    #: Of the soft-max that makes messages, and how much of Gumbel's noise goes into it; so chosen that a language comes
    #: up (docs/cesma.md). Sharp messages stop teaching a sender that is sure of itself, and two meanings that came to
    #: share a symbol go on sharing it; noisy ones tell so little in the beginning that nobody comes to listen.
    TEMPERATURE: ClassVar[float] = 2.0
    NOISE: ClassVar[float] = 0.3
    #: who is imitated; None in tests of what has been learnt
    expert: Controller | None = None
    #: whether checkpoints hold it, for it is nowhere else
    keeps_expert = False

    def __init__(self, controller: EntityController, mixer: Mixer | None, config: CesmaConfig, seed: int) -> None:
        super().__init__(controller, mixer, config, seed)
        #: team -> mean return of the expert in a test; empty: there was none yet
        self.expert_returns: dict[str, float] = {}

    def _optimiser_settings(self) -> dict[str, Any]:
        return {**super()._optimiser_settings(), "weight_decay": self.config.weight_decay}

    def compile(self) -> None:
        self.controller.agent.perceive = torch.compile(self.controller.agent.perceive, dynamic=True)  # type: ignore[method-assign]

    @classmethod
    def check(cls, config: RunConfig) -> None:
        check_expert(config)

    @classmethod
    def fixes_slots(cls, config: RunConfig) -> bool:
        return expert_fixes_slots(config)

    def get_ready(self, config: RunConfig) -> None:
        if self.controller.spec.symbols and self.config.messages == "receivers" and config.sequence_length == 1:
            raise UserError(
                f"sequence_length=1: what agents of env={config.env} say in one step is heard in the next, so that "
                "pieces of a single step teach nobody what to say: take longer ones, or 0 for whole episodes"
            )
        self.expert = build_expert(config, self.controller)
        self.keeps_expert = expert_config(config) is not None

    @torch.no_grad()
    def label(self, batch: EpisodeBatch) -> EpisodeBatch:
        """Whole episodes with what the expert would have done in every state of theirs.

        Raises:
            UserError: it moves all agents by a rule that no action expresses.
        """
        assert self.expert is not None  # `get_ready`
        seen = batch.to(self.controller.device)
        episodes, steps, agents = seen.actions.shape
        state, last = self.expert.initial_state(episodes, agents), seen.last_actions
        nothing = torch.zeros(episodes, device=self.controller.device)
        labels = []
        for t in range(steps):
            shown = TimeStep(
                entities=seen.entities[:, t],
                private=seen.private[:, t],
                entity_mask=seen.entity_mask[:, t],
                obs_mask=seen.obs_mask[:, t],
                avail_mask=seen.avail_mask[:, t],
                reward=nothing,
                terminated=nothing.bool(),
                truncated=nothing.bool(),
                info={},
            )
            with torch.autocast(self.controller.device.type, enabled=False):
                said = self.expert.act(shown, last[:, t], state, t_env=0, explore=False, generator=self.generator)
            state = said.state
            labels.append(said.actions)
        taught = torch.stack(labels, dim=1).masked_fill(~seen.filled_mask.unsqueeze(-1), 0)
        if not bool(((taught >= 0) & seen.agent_mask[:, :-1] & seen.filled_mask.unsqueeze(-1)).any()):
            raise UserError("expert: it moves agents by a rule of its own, which no action expresses: take another one")
        return replace(batch, labels=taught.to(batch.actions.device))

    def train(self, batch: EpisodeBatch, episodes: int) -> Metrics:
        """Make one update and return its figures."""
        with torch.autocast(self.controller.device.type, dtype=torch.bfloat16, enabled=self.config.amp):
            loss, metrics = self.loss(batch)
        loss, metrics = self.backward(loss, metrics)
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.config.grad_norm_clip).detach()
        self.step({"loss": loss, "gradient norm": grad_norm}, metrics)
        self.updates += 1
        return {"loss": loss, "grad_norm": grad_norm, **metrics}

    def loss(self, batch: EpisodeBatch) -> tuple[Tensor, Metrics]:
        """The scalar that an update minimises, with gradients, and figures to log."""
        batch = batch if batch.labels is not None else self.label(batch)
        assert batch.labels is not None
        data, spec = self.controller.prepare(batch), self.controller.spec
        labels, avail_mask = data.played(batch.labels), data.pack(batch.avail_mask)[data.acts]
        log_policy = self._log_policy(data, avail_mask)
        counts = self._counts(data) & (labels >= 0)
        if spec.symbols and self.config.messages == "receivers":
            data = data._replace(read=self.controller.reader.hear(data.read, self.say(log_policy), data.follows))
            log_policy = marginal(self._log_policy(data, avail_mask), spec.symbols, over=-1)
            labels, avail_mask = spec.split(labels)[0], spec.legal_acts(avail_mask)
        told = labels.clamp(min=0).unsqueeze(-1)
        agrees = masked_argmax(log_policy, avail_mask) == labels
        loss = -weighted_share(log_policy.gather(-1, told).squeeze(-1), self.weights(labels, avail_mask, counts))
        return loss, {"agreement": share(agrees.float(), counts), **self._each(log_policy, told, counts)}

    def _each(self, log_policy: Tensor, told: Tensor, counts: Tensor) -> Metrics:
        """The loss of each agent, where a slot is the same agent's in every episode."""
        if not self.controller.FIXED_SLOTS:
            return {}
        losses = share(-log_policy.detach().gather(-1, told).squeeze(-1), counts, dim=0)
        return {f"loss_of_agent_{slot}": loss for slot, loss in enumerate(losses)}

    def _log_policy(self, data: Prepared, avail_mask: Tensor) -> Tensor:
        """(S, A, U), `ILLEGAL` for what may not be done."""
        logits = self.controller.values_at(data, data.acts).float()
        return fill_illegal(masked_log_softmax(logits, avail_mask), avail_mask)

    def weights(self, labels: Tensor, avail_mask: Tensor, counts: Tensor) -> Tensor:
        """How much each of `labels (S, A)` counts, where `counts`: less, or more, where the agent is to do as little as
        it may, by `avail_mask (S, A, U)`. Experts that move one agent at a time say that most of the time (appendix
        E.4).
        """
        return counts * torch.where(labels == lowest_legal(avail_mask), self.config.idle_weight, 1.0)

    def _counts(self, data: Prepared) -> Tensor:
        """(S, A) which agents learn from which steps: all that were there, or with data sets of their own, which are
        drawn apart, each from its share of the sequences.
        """
        present = data.agent_mask[data.acts]
        if self.config.data_sets == "shared":
            return present
        sequence = (data.rows // data.joined.shape[1])[data.acts]
        agents = torch.arange(present.shape[1], device=present.device)
        return present & (sequence.unsqueeze(1) % present.shape[1] == agents)

    def say(self, log_policy: Tensor) -> Tensor:
        """What agents would say now: mixtures of symbols (S, A, symbols), a Gumbel-softmax of `log_policy (S, A, U)`,
        so that who hears a message teaches who says it (algorithm 2, line 10). In play they say one symbol.
        """
        logits = marginal(log_policy, self.controller.spec.symbols, over=-2)
        return torch.softmax((logits + self.NOISE * self.gumbel(logits)) / self.TEMPERATURE, dim=-1)

    def gumbel(self, logits: Tensor) -> Tensor:
        """Noise, as many numbers as `logits`."""
        return torch.empty_like(logits).exponential_(generator=self.generator).log().neg()

    def state_dict(self) -> dict[str, Any]:
        state = {**super().state_dict(), "expert_returns": dict(self.expert_returns)}
        if self.keeps_expert:
            assert isinstance(self.expert, EntityController)  # an algorithm's, `build_expert`
            state["expert"] = self.expert.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.expert_returns = {str(team): float(value) for team, value in state.get("expert_returns", {}).items()}
        if self.keeps_expert:
            assert isinstance(self.expert, EntityController)
            self.expert.load_state_dict(state["expert"])


def marginal(log_policy: Tensor, symbols: int, over: int) -> Tensor:
    """Of `log_policy (..., U)` over pairs of act and symbol, that over acts (`over` -1) or over symbols (-2)."""
    return log_policy.unflatten(-1, (-1, symbols)).logsumexp(dim=over)
