"""CollaQ: the TD loss, and the MARA loss that keeps Q_collab at 0 for an agent on its own (Zhang et al., 2020)."""

from dataclasses import dataclass

from torch import Tensor

from controllers.entity import Prepared, Unroll
from learners.base import BellmanConfig, BellmanLearner, Metrics
from utils.means import share


@dataclass(frozen=True)
class CollaqConfig(BellmanConfig):
    """Adds the MARA loss."""

    #: weight of the MARA loss beside the TD loss
    mara_weight: float = 1.0


class CollaqLearner(BellmanLearner):
    """Adds `mara_weight` times the mean square of `Q_collab(o_alone)` to the TD loss."""

    Config = CollaqConfig
    config: CollaqConfig
    CONTROLLERS = ("collaq",)

    def objective(
        self, data: Prepared, online: Unroll, targets: Tensor, groups: tuple[Tensor, ...]
    ) -> tuple[Tensor, Metrics]:
        td_loss, figures = super().objective(data, online, targets, groups)
        mara_loss = self.mara_loss(data, online)
        figures.update(td_loss=td_loss.detach(), mara_loss=mara_loss.detach())
        return td_loss + self.config.mara_weight * mara_loss, figures

    @staticmethod
    def mara_loss(data: Prepared, online: Unroll) -> Tensor:
        """Mean of `Q_collab(o_alone)**2` over the legal actions of present agents at played steps."""
        assert online.collab_alone is not None  # CONTROLLERS
        legal = data.pack(data.batch.avail_mask) & data.agent_mask.unsqueeze(-1)
        return share(online.collab_alone[data.acts].float() ** 2, legal[data.acts])
