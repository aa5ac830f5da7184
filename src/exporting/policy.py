"""One agent's policy, and a coach, as modules of plain tensors: what a program is made of.

Shape letters: B agents that are asked (coach: asked for) at once, E rows, U actions. The rows are entities, the agent
itself first, the others in any order; where networks have weights for each slot they are the slots.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from components.action_selectors import SoftPolicies
from controllers.coach import CoachController
from controllers.entity import EntityController
from envs.base import TimeStep
from modules.agents.collaq_agent import CollaqAgent
from modules.agents.heads import Candidates
from modules.layers.inputs import Rows, SlotReader, with_private
from utils.masking import fill_illegal, full_view

#: Rows that a program needs at least, absent ones counted: torch.export takes shapes of 0 and 1 for constants, and of
#: the rows one is the agent itself.
MIN_ROWS = 3


@dataclass(frozen=True)
class Port:
    """An input or an output."""

    #: sizes, or letters of those that may differ from call to call
    shape: tuple[int | str, ...]
    dtype: torch.dtype
    #: what it is, for the card
    says: str


class Program(nn.Module):
    """What both programs read: rows, of which the first is the agent itself."""

    def __init__(self, controller: EntityController) -> None:
        super().__init__()
        self.controller = controller
        self.spec, self.reader = controller.spec, controller.reader
        rows: int | str = self.spec.entities if controller.FIXED_SLOTS else "E"
        self.rows = rows
        actions = "U" if self.spec.points and rows == "E" else self.spec.actions
        #: by name, in the order of the arguments
        self.inputs = {
            "entities": Port(("B", rows, self.spec.features), torch.float32, "features, a row for each entity"),
            "mask": Port(("B", rows), torch.bool, self._mask_says()),
            "last_actions": Port(
                ("B", rows), torch.int64, "what each agent did in the step before; -1: nothing, or no agent"
            ),
            "avail_mask": Port(("B", rows, actions), torch.bool, self._avail_says()),
        }
        #: by name, in the order in which they are returned
        self.outputs: dict[str, Port] = {}
        self.eval()

    def _mask_says(self) -> str:
        return "which rows are present"

    def _avail_says(self) -> str:
        if self.spec.legal_from is None:
            return "nothing of it is read"
        return "the legal actions of each agent; False in rows that are no agents"

    @property
    def asks_for_teammates(self) -> bool:
        """Whether the networks have to be told which rows are agents."""
        reads = isinstance(self.reader, SlotReader) or isinstance(self.controller.agent, CollaqAgent)
        return reads and not self.controller.FIXED_SLOTS

    def sizes(self, batch: Any, rows: Any) -> dict[int | str, Any]:
        """What the letters stand for, numbers or `Dim`s."""
        factor = max(self.spec.symbols, 1)
        actions = rows if factor == 1 else rows * factor
        return {"B": batch, "E": rows, "U": actions + factor * self.spec.basic}

    def check(self, given: Mapping[str, Tensor]) -> None:
        """
        Raises:
            ValueError: an input is missing, or of another shape.
        """
        # in an export this also tells that the same letter is the same number everywhere
        missing = [name for name in self.inputs if name not in given]
        if missing:
            raise ValueError(f"the input {missing[0]} is missing")
        sizes = self.sizes(*given["mask"].shape)
        for name, tensor in given.items():
            if name not in self.inputs:
                raise ValueError(f"there is no input {name}")
            wanted = tuple(sizes.get(size, size) for size in self.inputs[name].shape)
            if tuple(tensor.shape) != wanted:
                raise ValueError(f"{name} must be {wanted}, got {tuple(tensor.shape)}")

    def example(self, batch: int, rows: int, seed: int = 0) -> dict[str, Tensor]:
        """Inputs of the right shapes and types: all is present and legal, and the features are noise."""
        if isinstance(self.rows, int):
            rows = self.rows
        sizes, generator = self.sizes(batch, rows), torch.Generator().manual_seed(seed)
        made = {}
        for name, port in self.inputs.items():
            shape = [sizes.get(size, size) for size in port.shape]
            made[name] = torch.ones(shape, dtype=port.dtype)
            if port.dtype == torch.float32:
                made[name] = torch.randn(shape, generator=generator)
        if self.spec.names:
            names = torch.arange(rows) % self.spec.names + 1.0
            made["entities"][..., 0] = names
        return made

    def dynamic_shapes(self) -> dict[str, tuple[Any, ...]]:
        """For `torch.export.export`."""
        # torch hands the names to sympy, to which E is a number
        sizes = self.sizes(Dim("batch", min=1), Dim("rows", min=MIN_ROWS))
        return {
            name: tuple(sizes[size] if isinstance(size, str) else Dim.STATIC for size in port.shape)
            for name, port in self.inputs.items()
        }

    def read(self, entities: Tensor, avail_mask: Tensor, last_actions: Tensor, teammates: Tensor | None) -> Rows:
        """As `Reader.read`, but every row may be an agent's, which `teammates (B, E)` tells."""
        rows = self.reader.read(entities, avail_mask, last_actions)
        if self.controller.FIXED_SLOTS:
            teammates = (torch.arange(self.spec.entities) < self.spec.agents).expand(entities.shape[:2])
        if isinstance(self.reader, SlotReader):
            assert teammates is not None
            count, here = self.spec.names, teammates.unsqueeze(-1)
            names, others = rows.inputs[..., :count], rows.inputs[..., 2 * count :]  # all were taken for agents
            rows = rows._replace(inputs=torch.cat([names * here, names * ~here, others], dim=-1))
        return rows._replace(agents=teammates)

    def _add_teammates(self) -> None:
        if self.asks_for_teammates:
            self.inputs["teammates"] = Port(("B", self.rows), torch.bool, "which rows are agents, itself among them")


class Policy(Program):
    """What one agent does in one step: greedily the best, or most probable, legal action."""

    def __init__(self, controller: EntityController) -> None:
        super().__init__(controller)
        agent, spec = controller.agent, self.spec
        self._add_teammates()
        if spec.private:
            own = ("B", self.rows, spec.private) if agent.sizes.joint else ("B", spec.private)
            whose = (
                "of each agent; zeros in other rows" if agent.sizes.joint else "what the agent alone knows of itself"
            )
            self.inputs["private"] = Port(own, torch.float32, whose)
        memory = Port(
            ("B", agent.state_size), torch.float32, "next_memory of the last call; zeros when the agent begins or joins"
        )
        if agent.sizes.recurrent:
            self.inputs["memory"] = memory
            if controller.memory_steps:
                what = f"steps since the episode began: memories start anew every {controller.memory_steps} steps"
                self.inputs["step"] = Port(("B",), torch.int64, what)
        if agent.sizes.strategy:
            self.inputs["strategy"] = Port(("B", agent.sizes.strategy), torch.float32, "what the coach sent last")
        if controller.FIXED_SLOTS:
            self.inputs["slot"] = Port(("B",), torch.int64, "which of the slots is the agent itself, from 0 on")
        self._make_outputs(memory)

    def _make_outputs(self, memory: Port) -> None:
        spec, actions = self.spec, self.inputs["avail_mask"].shape[-1]
        self.values_name = "logits" if self.acts_by_policy else "values"
        self.outputs["action"] = Port(("B",), torch.int64, "the action, and what `last_actions` says in the next step")
        if spec.points:
            self.outputs["entity"] = Port(("B",), torch.int64, "the row that it points at; -1: a basic action")
        if spec.symbols:
            self.outputs["act"] = Port(("B",), torch.int64, f"what it does: action // {spec.symbols}")
            self.outputs["symbol"] = Port(("B",), torch.int64, f"what it says: action % {spec.symbols}")
        what = "whose soft-max is the policy" if self.acts_by_policy else "what each action is worth"
        self.outputs[self.values_name] = Port(("B", actions), torch.float32, f"{what}; -60000 where it is illegal")
        if "memory" in self.inputs:
            # ONNX knows one thing by one name
            self.outputs["next_memory"] = Port(memory.shape, memory.dtype, "what memory is in the next call")

    @property
    def acts_by_policy(self) -> bool:
        """Whether actions are valued by logits."""
        return isinstance(self.controller.selector, SoftPolicies)

    def _mask_says(self) -> str:
        view = self.controller.view
        if view.kind in ("full", "joint"):
            return "which rows are present: it was trained to see them all"
        if view.kind == "periodic":
            steps = f"the steps 0, {view.interval}, {2 * view.interval}, ... of an episode"
            return f"which rows the agent sees, its own always; in {steps}, all that are present"
        return "which rows the agent sees, its own always"

    def _avail_says(self) -> str:
        if self.spec.legal_from is None:
            return "the legal actions of the agent itself, in its row; of other rows nothing is read"
        return "the legal actions of each agent; False in rows that are no agents"

    def forward(
        self,
        entities: Tensor,
        mask: Tensor,
        last_actions: Tensor,
        avail_mask: Tensor,
        teammates: Tensor | None = None,
        private: Tensor | None = None,
        memory: Tensor | None = None,
        step: Tensor | None = None,
        strategy: Tensor | None = None,
        slot: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Arguments and results as `inputs` and `outputs` describe them. The agent itself is row 0, or `slot`."""
        named = {"teammates": teammates, "private": private, "memory": memory}
        named |= {"step": step, "strategy": strategy, "slot": slot}
        given = {"entities": entities, "mask": mask, "last_actions": last_actions, "avail_mask": avail_mask}
        self.check(given | {name: tensor for name, tensor in named.items() if tensor is not None})

        agent, controller = self.controller.agent, self.controller
        rows = self.read(entities, avail_mask, last_actions, teammates)
        if private is None:
            private = entities.new_zeros(entities.shape[0], 1, 0)
        elif agent.sizes.joint:
            rows = rows._replace(inputs=with_private(rows.inputs, private))
            private = own(private, slot)
        else:
            private = private.unsqueeze(1)
        if rows.pairs is not None:
            rows = rows._replace(pairs=own(rows.pairs, slot))
        legal = own(avail_mask, slot)
        sight = (self._sight(entities, private, mask, legal),)
        seen = agent.perceive(rows, private, sight)[0]
        if slot is not None:  # one for each number that the agent might have
            seen = own(seen, slot)
        nobody = torch.zeros(entities.shape[0], 1, dtype=torch.bool)
        begins = nobody if step is None else (step % controller.memory_steps == 0).unsqueeze(1)
        before = entities.new_zeros(entities.shape[0], agent.state_size) if memory is None else memory
        hidden = agent.remember(seen, before.unsqueeze(1), begins)
        (targets,) = agent.targets(rows, sight)
        if isinstance(targets, Candidates):
            targets = targets._replace(own=own(rows.inputs, slot))
        told = None if strategy is None else strategy.unsqueeze(1)
        values = controller._preferences(hidden, ~nobody, told, targets)
        values = fill_illegal(values, legal).squeeze(1)
        return self._answer(values, hidden.squeeze(1))

    def _sight(self, entities: Tensor, private: Tensor, mask: Tensor, legal: Tensor) -> Tensor:
        """(B, 1, E), by the controller's own rule: what may be seen, `mask`, is all that there is to it."""
        none = entities.new_zeros(entities.shape[0])
        shown = TimeStep(entities, private, mask, mask.unsqueeze(1), legal, none, none.bool(), none.bool(), {})
        return self.controller._sight(shown, none.long())

    def _answer(self, values: Tensor, memory: Tensor) -> dict[str, Tensor]:
        action = values.argmax(dim=-1)
        acts, symbols = self.spec.split(action)
        points = acts - self.spec.basic
        said = {
            "action": action,
            "entity": torch.where(points < 0, -1, points),
            "act": acts,
            "symbol": symbols,
            self.values_name: values,
            "next_memory": memory,
        }
        return {name: said[name] for name in self.outputs}


class CoachProgram(Program):
    """What a coach, who sees everything, tells the agent in row 0: the mean of its strategy (COPA, section 3.2)."""

    def __init__(self, controller: CoachController) -> None:
        super().__init__(controller)
        self.coach = controller.coach
        self._add_teammates()
        if self.spec.private:
            shape = ("B", self.rows, self.spec.private)
            self.inputs["private"] = Port(shape, torch.float32, "of each agent; zeros in other rows")
        strategy = Port(("B", controller.agent.sizes.strategy), torch.float32, "for the agent in row 0")
        self.outputs = {"strategy": strategy}

    def forward(
        self,
        entities: Tensor,
        mask: Tensor,
        last_actions: Tensor,
        avail_mask: Tensor,
        teammates: Tensor | None = None,
        private: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Arguments and results as `inputs` and `outputs` describe them."""
        named = {"teammates": teammates, "private": private}
        given = {"entities": entities, "mask": mask, "last_actions": last_actions, "avail_mask": avail_mask}
        self.check(given | {name: tensor for name, tensor in named.items() if tensor is not None})
        inputs = self.read(entities, avail_mask, last_actions, teammates).inputs
        if private is not None:
            inputs = with_private(inputs, private)
        encoding = self.coach.encode(inputs, full_view(mask, 1))
        return {"strategy": self.coach.strategies(encoding).mean.squeeze(1)}


def own(rows: Tensor, slot: Tensor | None) -> Tensor:
    """The agent's own entry of `rows (B, E, ...)`: (B, 1, ...)."""
    if slot is None:
        return rows[:, :1]
    index = slot.reshape(-1, *[1] * (rows.dim() - 1))
    return rows.gather(1, index.expand(-1, 1, *rows.shape[2:]))


def programs(controller: EntityController) -> dict[str, Program]:
    """The programs that make up a team of `controller`: "policy" and, where there is one, "coach"."""
    made: dict[str, Program] = {"policy": Policy(controller)}
    if isinstance(controller, CoachController):
        made["coach"] = CoachProgram(controller)
    return made
