"""CESMA: decentralised students imitate a centralised expert, by DAgger (Lin et al., 2019, section 4 and appendix B).

The students act; in every state that they come to, the expert says what it would have done, and all of that is kept and
learnt from (algorithm 1). The expert may see everything, the students see what the environment lets them see.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

import controllers
import envs
from components.episodes import EpisodeBatch
from controllers.base import Controller
from controllers.entity import EntityController
from controllers.scripted import ScriptedController
from envs.base import EnvSpec, TimeStep
from learners.learner import Learner, LearnerConfig, Metrics
from utils.checkpoints import load_checkpoint
from utils.config import Config as RunConfig
from utils.errors import UserError, one_line
from utils.masking import masked_argmax, masked_log_softmax, masked_mean


@dataclass(frozen=True)
class CesmaConfig(LearnerConfig):
    """Adds the weight decay of Adam."""

    weight_decay: float = 0.0


class CesmaLearner(Learner):
    """Cross-entropy of what the expert would have done under the students' policies, whose logits are agents' values.

    Absent agents, padded steps and steps in which the expert has nothing to say are in no mean.
    """

    Config = CesmaConfig
    config: CesmaConfig
    CONTROLLERS = ("entity", "flat")
    MIXES = False
    LABELS = True
    OPTIMISER = torch.optim.Adam
    #: who is imitated; None in tests of what has been learnt
    expert: Controller | None = None

    def _optimiser_settings(self) -> dict[str, Any]:
        return {**super()._optimiser_settings(), "weight_decay": self.config.weight_decay}

    def compile(self) -> None:
        self.controller.agent.perceive = torch.compile(self.controller.agent.perceive, dynamic=True)  # type: ignore[method-assign]

    @classmethod
    def check(cls, config: RunConfig) -> None:
        teams = envs.REGISTRY[config.env].SCRIPTED
        if bool(config.expert) == bool(config.expert_path):
            named = "two are named" if config.expert else "none is named"
            raise UserError(
                f"learner=cesma learns from an expert, and {named}: give expert=NAME, one of "
                f"{', '.join(sorted(teams))}, or expert_path=FOLDER, a checkpoint"
            )
        if config.expert and config.expert not in teams:
            raise UserError(f"expert={config.expert!r}: env={config.env} has {', '.join(sorted(teams))}")

    def get_ready(self, config: RunConfig) -> None:
        self.expert = build_expert(config, self.controller)

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
        self.optimiser.zero_grad()
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.config.grad_norm_clip).detach()
        self.step({"loss": loss.detach(), "gradient norm": grad_norm}, metrics)
        self.updates += 1
        return {"loss": loss.detach(), "grad_norm": grad_norm, **metrics}

    def loss(self, batch: EpisodeBatch) -> tuple[Tensor, Metrics]:
        """The scalar that an update minimises, with gradients, and figures to log."""
        batch = batch if batch.labels is not None else self.label(batch)
        assert batch.labels is not None
        data = self.controller.prepare(batch)
        logits = self.controller.unroll(data).q[0][data.acts].float()
        labels = batch.labels[batch.filled_mask]
        avail_mask = data.pack(batch.avail_mask)[data.acts]
        log_policy = masked_log_softmax(logits, avail_mask)
        counts = data.agent_mask[data.acts] & (labels >= 0)
        told = labels.clamp(min=0).unsqueeze(-1)
        agrees = masked_argmax(logits, avail_mask) == labels
        loss = -masked_mean(log_policy.gather(-1, told).squeeze(-1), counts)
        return loss, {"agreement": masked_mean(agrees.float(), counts)}


def build_expert(config: RunConfig, student: EntityController) -> Controller:
    """The team that `config` names as the expert, for the environment of `student` and on its device.

    Raises:
        UserError: the checkpoint cannot be read, or is of another task.
    """
    if config.expert_path:
        return _trained(config.expert_path, student)
    return ScriptedController(envs.REGISTRY[config.env].SCRIPTED[config.expert](student.spec))


def _trained(path: str, student: EntityController) -> Controller:
    folder, state = load_checkpoint(path, 0, ("learner", "acts_by"), optional=("identity", "settings"))
    if "settings" not in state or "identity" not in state:
        raise UserError(f"expert_path: {str(folder)!r} is of an earlier version and does not say how it is built")
    _check_task(folder, state["identity"], student.spec)
    settings = RunConfig(state["settings"])
    try:
        expert = controllers.REGISTRY[settings.controller].build(settings, student.spec)
        assert isinstance(expert, EntityController)
        expert.load_state_dict(state["learner"]["controller"])
    except (KeyError, RuntimeError, ValueError, AttributeError) as error:
        raise UserError(
            f"expert_path: {str(folder)!r} cannot be built for this task (other sizes?): {one_line(error)}"
        ) from None
    return expert.to(student.device).requires_grad_(False)


def _check_task(folder: Any, identity: dict[str, str], spec: EnvSpec) -> None:
    here = {"env": spec.name, "features": ", ".join(spec.feature_slices), "actions": ", ".join(spec.action_names)}
    for name, value in here.items():
        if identity.get(name) != value:
            raise UserError(
                f"expert_path: {str(folder)!r} is one of {name}={identity.get(name)}, the students' task has {value}: "
                "take an expert of that task"
            )
