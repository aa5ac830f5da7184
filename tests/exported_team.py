"""A team that plays by programs alone: it turns what an environment shows into their inputs and their answers back."""

from collections.abc import Callable

import torch
from torch import Tensor

from controllers.base import Controller, ControllerState, Decision
from controllers.entity import EntityController
from envs.base import EnvSpec, TimeStep
from exporting.policy import Program

#: name of a program, its inputs -> its outputs
Ask = Callable[[str, dict[str, Tensor]], dict[str, Tensor]]


class ExportedTeam(Controller):
    """Every agent asks for itself; its rows come in an order of its own, itself first (fixed slots: as they are)."""

    def __init__(self, model: EntityController, programs: dict[str, Program], ask: Ask) -> None:
        """`model`: whose settings it plays by (never whose networks); `programs`: what there is to ask."""
        self.view, self.fixed = model.view, model.FIXED_SLOTS
        self.joint, self.state_size = model.agent.sizes.joint, model.agent.state_size
        self.strategy = model.agent.sizes.strategy
        self.interval, self.beta = getattr(model, "interval", 1), getattr(model, "beta", 0.0)
        self.inputs = {name: list(program.inputs) for name, program in programs.items()}
        self.ask = ask
        #: (B, A, U) of the last step, in the environment's order
        self.values = torch.zeros(0)
        self.play_in(model.spec)

    def play_in(self, spec: EnvSpec) -> None:
        """Take environments like `spec`, which may have other slots."""
        self.spec, a, e = spec, spec.agents, spec.entities
        generator = torch.Generator().manual_seed(1)
        orders = []
        for slot in range(a):
            shuffled = torch.randperm(e, generator=generator)
            orders.append(torch.cat([torch.tensor([slot]), shuffled[shuffled != slot]]))
        #: (A, E) which entity is in which row of each agent
        self.order = torch.arange(e).expand(a, e) if self.fixed else torch.stack(orders)

    def initial_state(self, num_envs: int, agents: int) -> ControllerState:
        return {
            "memory": torch.zeros(num_envs, agents, self.state_size),
            "strategy": torch.zeros(num_envs, agents, self.strategy),
            "present": torch.zeros(num_envs, agents, dtype=torch.bool),
            "step": torch.zeros(num_envs, dtype=torch.int64),
        }

    def act(
        self,
        timestep: TimeStep,
        last_actions: Tensor,
        state: ControllerState,
        *,
        t_env: int,
        explore: bool,
        generator: torch.Generator,
    ) -> Decision:
        b, a = last_actions.shape
        here, step = timestep.agent_mask, state["step"]
        fresh = here & ~state["present"]
        strategy = self._advised(timestep, last_actions, state, fresh)
        given = self._rows(timestep, last_actions, self.order)
        sight = self.view.apply(timestep.obs_mask, timestep.entity_mask, step)
        given["mask"] = sight.gather(2, self.order.expand(b, -1, -1)).flatten(0, 1)
        if not self.joint:
            given["private"] = timestep.private.flatten(0, 1)
        memory = state["memory"].masked_fill(fresh.unsqueeze(-1), 0.0)
        given |= {"memory": memory.flatten(0, 1), "strategy": strategy.flatten(0, 1)}
        given |= {"step": step.repeat_interleave(a), "slot": torch.arange(a).repeat(b)}
        said = {name: value.unflatten(0, (b, a)) for name, value in self._ask("policy", given).items()}
        actions = self._in_slots(said)
        after = {"memory": said.get("next_memory", memory), "strategy": strategy, "present": here, "step": step + 1}
        return Decision(actions, after)

    def _ask(self, name: str, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.ask(name, {key: given[key].contiguous() for key in self.inputs[name]})

    def _rows(self, timestep: TimeStep, last_actions: Tensor, order: Tensor) -> dict[str, Tensor]:
        """What both kinds of programs read, for rows in each of the `order (N, E)`: (B * N, ...)."""
        spec, (b, a), (n, e) = self.spec, last_actions.shape, order.shape
        row_of = order.argsort(dim=1)  # where each entity is now
        acts, symbols = spec.split(last_actions)
        target = row_of.expand(b, -1, -1).gather(2, (acts - spec.basic).clamp(min=0).unsqueeze(1).expand(-1, n, -1))
        moved = torch.where(acts.unsqueeze(1) < spec.basic, acts.unsqueeze(1), spec.basic + target)
        last = torch.where(last_actions.unsqueeze(1) < 0, -1, spec.join(moved, symbols.unsqueeze(1)))
        avail = timestep.avail_mask.unflatten(-1, (spec.acts, -1))
        if spec.points:
            columns = torch.cat([torch.arange(spec.basic).expand(n, -1), spec.basic + order], dim=1)
            avail = torch.stack([avail[:, :, column] for column in columns], dim=1)
        else:
            avail = avail.unsqueeze(1).expand(-1, n, -1, -1, -1)
        avail = avail.flatten(-2)

        def rows(of_agents: Tensor, absent: float) -> Tensor:
            """`of_agents (B, N, A, ...)` -> (B * N, E, ...) in order, `absent` in rows that are no agents."""
            every = of_agents.new_full((b, n, e, *of_agents.shape[3:]), absent)
            every[:, :, :a] = of_agents
            return torch.stack([every[:, i, order[i]] for i in range(n)], dim=1).flatten(0, 1)

        return {
            "entities": torch.stack([timestep.entities[:, o] for o in order], dim=1).flatten(0, 1),
            "last_actions": rows(last, -1),
            "avail_mask": rows(avail, False),
            "teammates": (order < a).repeat(b, 1),
            "private": rows(timestep.private.unsqueeze(1).expand(-1, n, -1, -1), 0),
        }

    def _advised(self, timestep: TimeStep, last_actions: Tensor, state: ControllerState, fresh: Tensor) -> Tensor:
        """The strategies in force, (B, A, Z)."""
        if "coach" not in self.inputs:
            return state["strategy"]
        given = self._rows(timestep, last_actions, self.order)
        given["mask"] = timestep.entity_mask[:, self.order].flatten(0, 1)
        new = self._ask("coach", given)["strategy"].unflatten(0, last_actions.shape)
        regular = timestep.agent_mask & (state["step"] % self.interval == 0).unsqueeze(-1)
        if self.beta:
            regular &= (new - state["strategy"]).norm(dim=-1) > self.beta
        return torch.where((fresh | regular).unsqueeze(-1), new, state["strategy"])

    def _in_slots(self, said: dict[str, Tensor]) -> Tensor:
        """What the agents answered, in the environment's numbers; keeps their values."""
        spec, b, a = self.spec, len(said["action"]), self.spec.agents
        values = said["logits"] if "logits" in said else said["values"]
        values = values.unflatten(-1, (spec.acts, -1))
        if spec.points:
            basic, pointing = values.split([spec.basic, spec.entities], dim=2)
            back = self.order.argsort(dim=1)
            values = torch.cat([basic, torch.stack([pointing[:, i, back[i]] for i in range(a)], dim=1)], dim=2)
        self.values = values.flatten(2)
        acts, symbols = spec.split(said["action"])
        if spec.symbols:
            assert torch.equal(said["act"], acts)
            assert torch.equal(said["symbol"], symbols)
        if not spec.points:
            return said["action"]
        assert torch.equal(said["entity"], torch.where(acts < spec.basic, -1, acts - spec.basic))
        slot = self.order.expand(b, -1, -1).gather(2, said["entity"].clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return spec.join(torch.where(said["entity"] < 0, acts, spec.basic + slot), symbols)
