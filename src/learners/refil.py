"""REFIL / AI-QMIX: the same values, learnt once more on imagined teams (Iqbal et al., 2021, section 3.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from controllers.entity import Prepared, Unroll
from learners.base import BellmanConfig, BellmanLearner, Metrics
from modules.mixers.base import Imagined
from utils.masking import full_view


@dataclass(frozen=True)
class RefilConfig(BellmanConfig):
    """Adds the imagined loss."""

    #: weight of the imagined loss; the real one has the rest
    imagine_lambda: float = 0.5
    #: probability of group one; "uniform" draws it anew for each episode
    imagine_split: float | str = "uniform"


def same_group(groups: Tensor, agents: int) -> Tensor:
    """`groups (B, E)` bool -> (B, A, E), True where agent and entity are in the same group."""
    return groups[:, :agents, None] == groups[:, None, :]


class RefilLearner(BellmanLearner):
    """Every episode's entities are split at random into two groups; each agent's value is recomputed from what it sees
    of its own group and from what it sees of the other, and the 2A parts are mixed to reach the same target.
    """

    Config = RefilConfig
    config: RefilConfig
    CONTROLLERS = ("entity",)  # imagined views have no coach
    NEEDS_MIXER = True  # imagined values are nothing but mixed

    def draw_groups(self, data: Prepared) -> Tensor:
        """One random split per episode: bool (B, E)."""
        entities, device = data.batch.entities, data.batch.entities.device
        split = self.config.imagine_split
        size = (entities.shape[0], entities.shape[2])
        if split == "uniform":
            probability = torch.rand(size[0], 1, generator=self.generator, device=device)
        else:
            probability = torch.full((size[0], 1), float(split), device=device)
        return torch.rand(size, generator=self.generator, device=device) < probability

    def groups(self, data: Prepared) -> tuple[Tensor, ...]:
        """The agent's own group (itself included), and the other one."""
        episode = data.rows // data.joined.shape[1]
        same = same_group(self.draw_groups(data), data.batch.agents)[episode]
        return same, ~same

    def objective(
        self, data: Prepared, online: Unroll, targets: Tensor, groups: tuple[Tensor, ...]
    ) -> tuple[Tensor, Metrics]:
        chosen, within, between = (self.chosen(data, q) for q in online.q[:3])
        same, other = (group[data.acts] for group in groups[:2])
        full = full_view(data.entity_mask[data.acts], data.batch.agents)
        imagined = Imagined(torch.cat([within, between], dim=-1), (full & same, full & other))
        mixed = self.mix(data, online, chosen, imagined)
        assert mixed.imagined is not None  # the builder refuses REFIL without a mixer
        real_loss = self.td_loss(data, mixed.q_tot, targets)
        imagined_loss = self.td_loss(data, mixed.imagined, targets)
        weight = self.config.imagine_lambda
        figures = self.figures(data, chosen, mixed.q_tot, targets)
        figures.update(td_loss=real_loss.detach(), imagined_loss=imagined_loss.detach())
        return (1.0 - weight) * real_loss + weight * imagined_loss, figures
