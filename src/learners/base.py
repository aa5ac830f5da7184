"""The one Bellman learner: replayed episodes -> individual values -> mixer -> TD loss -> optimiser -> targets.

An algorithm is the hooks that it overrides: `groups` (further views of the same entities), `objective` (what is
minimised), `td_loss`, `targets`, `next_value` and `improve` (further steps after that of the values),
`target_networks` (what follows what), and what it says of itself (`Learner`): `Config`, `CONTROLLERS`, `NEEDS_MIXER`.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from components.episodes import EpisodeBatch
from controllers.entity import EntityController, Prepared, Unroll
from learners.learner import Learner, LearnerConfig, Metrics, whole
from learners.returns import lambda_returns
from modules.mixers.base import Imagined, Mixed, Mixer, MixerInputs
from utils.masking import masked_argmax, masked_max
from utils.means import share


@dataclass(frozen=True)
class BellmanConfig(LearnerConfig):
    """Settings that every value learner has; the comments stand in config/default.yaml."""

    double_q: bool = True
    td_lambda: float = 0.0
    target_tau: float = 0.0
    target_update_interval: int = 200
    target_update_unit: str = "episodes"


class BellmanLearner(Learner):
    """Double Q-learning on a mixed team value (QMIX's scheme with entity networks).

    Padded steps have weight 0 and are never bootstrapped from; a terminated step does not bootstrap, a truncated one
    does; the legal-action mask applies to the arg max of the online network and to the target network's maximum.
    """

    Config = BellmanConfig
    config: BellmanConfig
    #: those whose agents act by the values that are learnt
    CONTROLLERS: ClassVar[tuple[str, ...]] = ("entity", "flat", "coach", "collaq", "joint", "one_at_a_time")
    OPTIMISER: ClassVar[type[torch.optim.Optimizer]] = torch.optim.RMSprop
    #: whether targets come from networks that follow those that are trained; False: from these themselves
    FOLLOWED: ClassVar[bool] = True

    def __init__(self, controller: EntityController, mixer: Mixer | None, config: BellmanConfig, seed: int) -> None:
        super().__init__(controller, mixer, config, seed)
        self.target_controller, self.target_mixer = controller, mixer
        if self.FOLLOWED:
            self.target_controller, self.target_mixer = copy.deepcopy(controller), copy.deepcopy(mixer)
        self.last_target_update = 0

    def compile(self) -> None:
        """Online and target networks each get their own: a compiled method is bound to the network that it was
        taken from.
        """
        for controller in dict.fromkeys((self.controller, self.target_controller)):
            controller.agent.perceive = torch.compile(controller.agent.perceive, dynamic=True)  # type: ignore[method-assign]
        for mixer in dict.fromkeys((self.mixer, self.target_mixer)):
            if mixer is not None:
                mixer.mix = torch.compile(mixer.mix, dynamic=True)  # type: ignore[method-assign]

    # --- one update -----------------------------------------------------------------------------------------------

    def train(self, batch: EpisodeBatch, episodes: int) -> Metrics:
        """Make one update and return its figures; `episodes` is for the target network's clock."""
        device_type = self.controller.device.type
        with torch.autocast(device_type, dtype=torch.bfloat16, enabled=self.config.amp):
            data, online, groups = self.passes(batch)
            loss, metrics = self._judge(data, online, groups)
        loss, grad_norm, metrics = self.descend(loss, "loss", metrics)
        metrics = {"loss": loss, "grad_norm": grad_norm, **metrics, **self.improve(data, online)}
        self.updates += 1
        self._update_targets(episodes if self.config.target_update_unit == "episodes" else self.updates)
        return metrics

    def descend(
        self, loss: Tensor, name: str, figures: Metrics, parameters: Iterable[nn.Parameter] | None = None
    ) -> tuple[Tensor, Tensor, Metrics]:
        """One step of the optimiser down `loss`, for the parameters that it depends on, or for those of them that are
        given. `name` and `figures` say what the loss is, and is made of.

        Returns:
            the loss, the gradient's norm before it was clipped, and the figures, of all ranks together
        """
        loss, figures = self.backward(loss, figures, parameters)
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.config.grad_norm_clip).detach()
        self.step({name: loss, f"gradient norm of the {name}": grad_norm}, figures)
        return loss, grad_norm, figures

    def loss(self, batch: EpisodeBatch) -> tuple[Tensor, Metrics]:
        """The scalar that the values' step of an update minimises, with gradients, and figures to log."""
        return self._judge(*self.passes(batch))

    def passes(self, batch: EpisodeBatch) -> tuple[Prepared, Unroll, tuple[Tensor, ...]]:
        """The online network's passes over `batch`: its data, what was computed, and the `groups` of further views."""
        data = self.controller.prepare(batch)
        groups = self.groups(data)
        extra_masks = tuple(data.view_mask & group for group in groups)
        return data, self.controller.unroll(data, extra_masks, self.generator), groups

    def _judge(self, data: Prepared, online: Unroll, groups: tuple[Tensor, ...]) -> tuple[Tensor, Metrics]:
        with torch.no_grad():
            targets = self.targets(data, online)
        return self.objective(data, online, targets, groups)

    def improve(self, data: Prepared, online: Unroll) -> Metrics:
        """Hook: steps that follow the one down `loss`, made of the same passes; figures to log, of all ranks."""
        return {}

    def groups(self, data: Prepared) -> tuple[Tensor, ...]:
        """Hook: masks (M, A, E) of further views to unroll the agents under."""
        return ()

    def targets(self, data: Prepared, online: Unroll) -> Tensor:
        """Hook: what the values of the played steps are drawn to, (S,), or (S, A) without a mixer:
        `r + gamma * (not terminated) * Q'_tot(next)`, or lambda-returns of it.
        """
        batch = data.batch
        next_value = self.next_value(data, online, self.target_pass(data, online))
        filled = batch.filled_mask
        goes_on = data.played(torch.cat([filled[:, 1:], torch.zeros_like(filled[:, :1])], dim=1))
        reward = data.played(batch.reward)
        discount = self.config.gamma * (~data.played(batch.terminated)).to(reward.dtype)
        if next_value.dim() > 1:
            goes_on = goes_on.unsqueeze(-1) & data.agent_mask[data.follows]
            reward, discount = reward.unsqueeze(-1), discount.unsqueeze(-1)
        if self.config.td_lambda == 0:
            return reward + discount * next_value
        return lambda_returns(reward, discount, next_value, goes_on, filled, self.config.td_lambda)

    def target_pass(self, data: Prepared, online: Unroll) -> Unroll:
        """Hook: what the target network says of `data`; of which `online` is the trained one's pass."""
        return self.target_controller.unroll(data, generator=self.generator) if self.FOLLOWED else online

    def next_value(self, data: Prepared, online: Unroll, target: Unroll) -> Tensor:
        """Hook: what the observation after each played step is worth, (S,), or (S, A) without a mixer; here by the
        target network, with the best legal actions of the online one (`double_q`) or its own.
        """
        avail_mask = data.pack(data.batch.avail_mask)[data.follows]
        values = target.q[0][data.follows]
        if not self.config.double_q:
            return self.mix_next(data, target, masked_max(values, avail_mask))
        best = masked_argmax(online.q[0][data.follows], avail_mask)
        return self.mix_next(data, target, values.gather(-1, best.unsqueeze(-1)).squeeze(-1))

    def mix_next(self, data: Prepared, target: Unroll, next_q: Tensor) -> Tensor:
        """The target network's team values (S,) of `next_q (S, A)`; without a mixer (S, A), 0 for absent agents."""
        next_q = next_q.masked_fill(~data.agent_mask[data.follows], 0.0)
        if self.target_mixer is None:
            return next_q.float()
        mixed: Mixed = self.target_mixer(next_q, self.mixer_inputs(data, target, data.follows))
        return mixed.q_tot.float()

    def objective(
        self, data: Prepared, online: Unroll, targets: Tensor, groups: tuple[Tensor, ...]
    ) -> tuple[Tensor, Metrics]:
        """Hook: what is minimised; here the mean squared TD error."""
        chosen = self.chosen(data, online.q[0])
        mixed = self.mix(data, online, chosen)
        return self.td_loss(data, mixed.q_tot, targets), self.figures(data, chosen, mixed.q_tot, targets)

    # --- parts for hooks; S is the number of played steps, all of them real -----------------------------------------

    def mixer_inputs(self, data: Prepared, unrolled: Unroll, which: Tensor) -> MixerInputs:
        """The state as mixers read it, at the rows `which (S,)`."""
        encoding = None if unrolled.broadcast is None else unrolled.broadcast.encoding[which]
        return MixerInputs(data.state_inputs[which], data.entity_mask[which], encoding)

    def chosen(self, data: Prepared, q: Tensor) -> Tensor:
        """Values of the actions taken: `q (M, A, U)` -> (S, A)."""
        actions = data.played(data.batch.actions)
        return q[data.acts].gather(-1, actions.unsqueeze(-1)).squeeze(-1)

    def mix(self, data: Prepared, online: Unroll, chosen: Tensor, imagined: Imagined | None = None) -> Mixed:
        """Team values (S,) of the taken actions; without a mixer the individual values (S, A) themselves."""
        if self.mixer is None:
            return Mixed(chosen, None)
        mixed: Mixed = self.mixer(chosen, self.mixer_inputs(data, online, data.acts), imagined)
        return mixed

    def td_loss(self, data: Prepared, q: Tensor, targets: Tensor) -> Tensor:
        """Hook: what the distance of `q` from `targets` costs, both (S,), or (S, A) without a mixer; here the mean
        squared error over the played steps (and, without a mixer, over present agents).
        """
        return self.mean(data, (q.float() - targets) ** 2)

    def figures(self, data: Prepared, chosen: Tensor, q: Tensor, targets: Tensor) -> Metrics:
        """What is worth logging of an update."""
        with torch.no_grad():
            return {
                "td_error_abs": self.mean(data, (q.float() - targets).abs()),
                "target_mean": self.mean(data, targets),
                "q_taken_mean": self.mean(data, chosen.float()),
            }

    @staticmethod
    def mean(data: Prepared, values: Tensor) -> Tensor:
        """Mean of `values (S,)`, or of `values (S, A)` over present agents; with several ranks a share of it."""
        return share(values, None if values.dim() == 1 else data.agent_mask[data.acts])

    # --- targets and checkpoints ----------------------------------------------------------------------------------

    def target_networks(self) -> dict[str, tuple[nn.Module, nn.Module]]:
        """Hook: by the names of their saved states, the networks that are followed and those that follow them."""
        networks: dict[str, tuple[nn.Module, nn.Module]] = {}
        if self.FOLLOWED:
            networks["target_controller"] = (self.controller, self.target_controller)
        if self.FOLLOWED and self.mixer is not None and self.target_mixer is not None:
            networks["target_mixer"] = (self.mixer, self.target_mixer)
        return networks

    def _update_targets(self, clock: int) -> None:
        if self.config.target_tau:
            for online, target in self.target_networks().values():
                approach(target, online, self.config.target_tau)
            return
        if clock - self.last_target_update < self.config.target_update_interval:
            return
        self.last_target_update = clock
        self._copy_to_targets()

    def _copy_to_targets(self) -> None:
        for online, target in self.target_networks().values():
            target.load_state_dict(online.state_dict())

    def start_from(self, state: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
        taken = super().start_from(state)
        self._copy_to_targets()
        return taken

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        for name, (_, target) in self.target_networks().items():
            state[name] = target.state_dict()
        state["counters"]["last_target_update"] = self.last_target_update
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        for name, (_, target) in self.target_networks().items():
            target.load_state_dict(state[name])
        self.last_target_update = whole(state["counters"], "last_target_update")


@torch.no_grad()
def approach(target: nn.Module, online: nn.Module, share: float) -> None:
    """Move the parameters of `target` by `share` of the way to those of `online`, the same network otherwise."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), share)
    for follows, followed in zip(target.buffers(), online.buffers(), strict=True):
        follows.copy_(followed)
