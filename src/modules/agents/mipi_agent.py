"""MIPI's agent: a policy and a marginal policy beside the values (Wang et al., 2023, figure 1)."""

from modules.agents.entity_agent import AgentSizes, EntityAgent


class MipiAgent(EntityAgent):
    """One trunk with three last layers: from a recurrent state (..., H) `head` gives values, `policy` and `marginal`
    logits (..., U). The marginal policy's state has to come from a view of the agent itself alone.
    """

    def __init__(self, sizes: AgentSizes) -> None:
        super().__init__(sizes)
        self.policy = self.make_head()
        self.marginal = self.make_head()
