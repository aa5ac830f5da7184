"""COPA: the TD loss trains coach and players together; a variational term ties strategies to what agents then do."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from controllers.coach import CoachController
from controllers.entity import Broadcast, Prepared, Unroll
from learners.base import BellmanConfig, BellmanLearner, Metrics
from modules.coach import CoachSizes, Gaussian, Posterior
from modules.layers.inputs import PairReader
from modules.mixers.base import Mixer
from utils.masking import full_view
from utils.means import per, share

#: bounds that the authors' code puts on a step's log-density per coordinate, and on the entropy per coordinate
LOG_DENSITY_BOUNDS = (-1000.0, 0.0)
ENTROPY_BOUNDS = (0.0, 10.0)


@dataclass(frozen=True)
class CopaConfig(BellmanConfig):
    """Adds the variational term (COPA, equation 4) and the widths of its posterior, which are the coach's."""

    #: lambda 1: weight of the log-density; 0 together with lambda 2 leaves the whole term out
    lambda_variational: float = 0.0
    #: lambda 2: weight of the strategies' entropy
    lambda_entropy: float = 0.0
    coach_embed_dim: int = 128
    attn_heads: int = 4


class CopaLearner(BellmanLearner):
    """Adds `-lambda1 E[log q(z | what follows)] - lambda2 H(z | s)` to the TD loss."""

    Config = CopaConfig
    config: CopaConfig
    controller: CoachController
    CONTROLLERS = ("coach",)

    def __init__(self, controller: CoachController, mixer: Mixer | None, config: CopaConfig, seed: int) -> None:
        self.posterior: Posterior | None = None
        if config.lambda_variational > 0:
            reader, private = controller.reader, controller.agent.sizes.private
            strategy = controller.agent.sizes.strategy
            sizes = CoachSizes(reader.width + private, config.coach_embed_dim, config.attn_heads, strategy)
            self.posterior = Posterior(sizes, reader.outputs, min(reader.pair_features, 1)).to(controller.device)
        super().__init__(controller, mixer, config, seed)

    def modules(self) -> dict[str, nn.Module]:
        trained = super().modules()
        if self.posterior is not None:
            trained["posterior"] = self.posterior
        return trained

    def objective(
        self, data: Prepared, online: Unroll, targets: Tensor, groups: tuple[Tensor, ...]
    ) -> tuple[Tensor, Metrics]:
        loss, figures = super().objective(data, online, targets, groups)
        assert online.broadcast is not None
        figures["td_loss"] = loss.detach()
        entropy = self.entropy(data, online.broadcast)
        figures["strategy_entropy"] = entropy.detach()
        loss = loss - self.config.lambda_entropy * entropy
        if self.posterior is not None:
            log_density = self.log_density(data, online.broadcast)
            figures["strategy_log_density"] = log_density.detach()
            loss = loss - self.config.lambda_variational * log_density
        return loss, figures

    def entropy(self, data: Prepared, broadcast: Broadcast) -> Tensor:
        """Mean entropy per coordinate over the strategies sent at played steps."""
        counts = broadcast.sent & data.acts_mask.unsqueeze(-1)
        entropy = Gaussian(broadcast.mean, broadcast.log_variance).entropy().clamp(*ENTROPY_BOUNDS)
        return share(entropy.mean(dim=-1), counts)

    def log_density(self, data: Prepared, broadcast: Broadcast) -> Tensor:
        """`log q(z | the state that it was made from, and what the agent then saw and did)`, mean over strategies sent.

        A product of Gaussians, one for each of the T steps that a strategy is in force (equation 4 and appendix A): the
        first is told the whole state and the action, `q(z | s_t, u_t)`, the others what the agent itself saw and did.
        Log-densities are summed over steps and coordinates. Fewer than T steps where an agent joins between broadcasts
        or an episode ends.
        """
        assert self.posterior is not None
        rows = data.acts
        full = full_view(data.entity_mask, data.batch.agents)
        masks = torch.where(broadcast.sent.unsqueeze(-1), full, data.view_mask)
        inputs, pairs = self._with_actions(data)
        judged = self.posterior(inputs[rows], masks[rows], None if pairs is None else pairs[rows])
        present = data.agent_mask[rows]
        log_density = judged.log_density(broadcast.strategy[rows]).clamp(*LOG_DENSITY_BOUNDS).sum(dim=-1)
        return per(log_density.masked_fill(~present, 0.0).sum(), (broadcast.sent[rows] & present).sum())

    def _with_actions(self, data: Prepared) -> tuple[Tensor, Tensor | None]:
        """The state inputs with the action that was chosen next on each agent's row (M, E, I + P + W), and at whom it
        points (M, A, E, 1) where the row does not tell.
        """
        reader = self.controller.reader
        actions = data.pack(F.pad(data.batch.actions, (0, 0, 0, 1)))  # nothing is chosen at the last observation
        taken = reader.one_hot(actions, data.read.names).to(data.state_inputs.dtype)
        others = data.state_inputs.shape[1] - taken.shape[1]
        inputs = torch.cat([data.state_inputs, F.pad(taken, (0, 0, 0, others))], dim=-1)
        if not isinstance(reader, PairReader):
            return inputs, None
        return inputs, reader.pointed(actions, inputs.shape[1]).unsqueeze(-1).to(inputs.dtype)
