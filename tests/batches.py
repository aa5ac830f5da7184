"""Random episode batches and small learners for the tests of networks and learners; padding and reordering of both."""

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from components.action_selectors import EpsilonGreedy, SoftPolicies
from components.episodes import EpisodeBatch
from components.schedules import LinearDecay
from controllers.coach import CoachController
from controllers.collaq import CollaqController
from controllers.entity import EntityController, View
from controllers.flat import FlatController
from controllers.mipi import MipiController
from controllers.team import JointController, OneAtATimeController, OneView
from envs.base import EnvSpec
from learners import REGISTRY as LEARNERS
from learners.learner import Learner
from modules.agents.collaq_agent import CollaqAgent
from modules.agents.entity_agent import AgentSizes, EntityAgent
from modules.agents.flat_agent import FlatAgent
from modules.agents.mipi_agent import MipiAgent
from modules.agents.team_agent import TeamAgent
from modules.coach import Coach, CoachSizes
from modules.layers.inputs import make_reader
from modules.mixers import REGISTRY as MIXERS
from modules.mixers.base import MixerSizes

EMBED, HEADS, HIDDEN, STRATEGY = 16, 2, 12, 6
#: Names of either side, where actions point.
NAMES = 5
#: Controllers that decide for the team as one: all agents at once, or one in turn.
TEAMS = {"team": JointController, "turns": OneAtATimeController}
#: Symbols of a message, where there are messages.
SYMBOLS = 3


def make_spec(
    agents: int = 3,
    others: int = 2,
    features: int = 5,
    private: int = 2,
    actions: int = 4,
    points: str = "",
    symbols: int = 0,
) -> EnvSpec:
    """`actions` are basic ones; with `points` column 0 of the features is a name."""
    pointing = {"points": points, "names": NAMES, "legal_from": 1} if points else {}
    entities = agents + others
    return EnvSpec("random", agents, entities, features, private, actions, 8, symbols=symbols, **pointing)


def spec_for(kind: str, **sizes: int) -> EnvSpec:
    """What learners of `kind` play: an environment whose actions point at anybody or carry symbols, as it says."""
    words = set(kind.split("_"))
    return make_spec(
        **sizes, points="anybody" if words & {"pairs", "slots"} else "", symbols=SYMBOLS * ("messages" in words)
    )


def batch_for(kind: str, spec: EnvSpec) -> EpisodeBatch:
    """What learners of `kind` may get: pieces of episodes where those do, whole ones where they need them."""
    learner = make_learner(kind, spec)
    batch = random_batch(spec)
    return cut(batch, learner.controller.agent.state_size) if learner.PIECES and learner.controller.PIECES else batch


def cut(batch: EpisodeBatch, width: int, seed: int = 1) -> EpisodeBatch:
    """All but the first are pieces of episodes that have been going on for some steps, with memories (B, A, `width`) of
    most agents; of the last one, neither its end nor its time limit has been reached.
    """
    g = torch.Generator().manual_seed(seed)
    here = batch.agent_mask[:, 0]
    stays = here & (torch.rand(here.shape, generator=g) < 0.8)
    stays[0] = False
    legal = batch.avail_mask[:, 0]
    before = (torch.rand(legal.shape, generator=g) * legal).argmax(dim=-1)
    steps = torch.randint(1, 7, (len(here),), generator=g)
    steps[0] = 0
    goes_on = torch.arange(len(here)) == len(here) - 1
    return replace(
        batch,
        terminated=batch.terminated & ~goes_on[:, None],
        truncated=batch.truncated & ~goes_on[:, None],
        start_actions=before.masked_fill(~stays, -1),
        start_memory=torch.rand(*here.shape, width, generator=g).sub(0.5).masked_fill(~stays[..., None], 0.0),
        start_steps=steps,
    )


def random_batch(spec: EnvSpec, batch: int = 4, steps: int = 6, seed: int = 0) -> EpisodeBatch:
    """Episodes of different lengths in which agents and others come and go; some end, some are cut short."""
    g = torch.Generator().manual_seed(seed)
    a, e, u = spec.agents, spec.entities, spec.actions
    lengths = torch.randint(2, steps + 1, (batch,), generator=g)
    lengths[0] = steps
    filled = torch.arange(steps) < lengths[:, None]
    seen = torch.arange(steps + 1) <= lengths[:, None]
    entity_mask = torch.rand(batch, steps + 1, e, generator=g) < 0.7
    entity_mask[:, :, 0] = True  # somebody is always there
    entity_mask &= seen[:, :, None]
    obs = torch.rand(batch, steps + 1, a, e, generator=g) < 0.6
    obs[:, :, torch.arange(a), torch.arange(a)] = True
    obs &= entity_mask[:, :, None] & entity_mask[:, :, :a, None]
    avail = torch.rand(batch, steps + 1, a, u, generator=g) < 0.6
    avail[..., 0] = False
    avail[..., 1] = True
    avail &= entity_mask[:, :, :a, None]
    if spec.points:  # at whom they see, each agent on one side: every other one at agents, the rest at the others
        side = (torch.arange(e) < a)[None] == (torch.arange(a) % 2 == 0)[:, None]
        at = (obs & side).repeat_interleave(max(spec.symbols, 1), dim=-1)
        avail[..., spec.basic * max(spec.symbols, 1) :] &= at
    avail[..., 0] |= ~entity_mask[:, :, :a]
    actions = (torch.rand(batch, steps, a, u, generator=g) * avail[:, :-1]).argmax(dim=-1) * filled[:, :, None]
    last = torch.zeros(batch, steps, dtype=torch.bool).scatter(1, lengths[:, None] - 1, True)
    ends = (torch.arange(batch) % 2 == 0)[:, None]
    entities = torch.randn(batch, steps + 1, e, spec.features, generator=g)
    if spec.points:
        names = torch.cat([torch.rand(batch, NAMES, generator=g).argsort(1)[:, :n] for n in (a, e - a)], dim=1)
        entities[..., 0] = (names + 1.0)[:, None] * (1 - 2 * (torch.rand(batch, steps + 1, e, generator=g) < 0.1))
    return EpisodeBatch(
        entities=entities * entity_mask[..., None],
        private=torch.randn(batch, steps + 1, a, spec.private, generator=g) * entity_mask[:, :, :a, None],
        entity_mask=entity_mask,
        obs_mask=obs,
        avail_mask=avail,
        actions=actions,
        reward=torch.randn(batch, steps, generator=g) * filled,
        terminated=last & ends,
        truncated=last & ~ends,
        filled_mask=filled,
        start_actions=torch.full((batch, a), -1),
    )


@dataclass
class Layout:
    """Where each slot of a batch goes in another batch with at least as many slots."""

    #: (A,) new agent slot of each agent
    agents: Tensor
    #: (E - A,) new place of each other entity among the others
    others: Tensor
    new_agents: int
    new_others: int
    #: actions that stay what they are; the others point at entities, wherever those go
    basic: int
    #: numbers that an act has, one for each symbol that may go with it
    each: int = 1
    extra_steps: int = 0

    def entities(self) -> Tensor:
        return torch.cat([self.agents, self.others + self.new_agents])

    def actions(self, count: int) -> Tensor:
        """Where each of `count` actions goes."""
        moved = torch.cat([torch.arange(self.basic), self.basic + self.entities()])
        return (moved[:, None] * self.each + torch.arange(self.each)).flatten()[:count]


def rearrange(batch: EpisodeBatch, layout: Layout, garbage: float = 7.0) -> EpisodeBatch:
    """The same episodes in other slots, with `garbage` in the features of every slot and step that does not exist."""
    b, steps = batch.filled_mask.shape
    t, a, e = steps + layout.extra_steps, layout.new_agents, layout.new_agents + layout.new_others
    ent, ag, act = layout.entities(), layout.agents, layout.actions(batch.avail_mask.shape[-1])
    points = len(act) > layout.basic * layout.each
    u = (layout.basic + e * points) * layout.each

    def place(value: Tensor, shape: tuple[int, ...], index: tuple[Tensor, ...], fill: float = 0) -> Tensor:
        out = torch.full((b, *shape), fill, dtype=value.dtype)
        out[(slice(None), slice(0, value.shape[1]), *index)] = value
        return out

    avail = torch.zeros(b, t + 1, a, u, dtype=torch.bool)
    legal = torch.zeros(b, steps + 1, a, len(act), dtype=torch.bool)
    legal[:, :, ag] = batch.avail_mask
    avail[:, : steps + 1, :, act] = legal
    avail[..., 0] |= ~avail.any(dim=-1)
    obs = torch.zeros(b, t + 1, a, e, dtype=torch.bool)
    rows = torch.zeros(b, steps + 1, a, batch.entity_mask.shape[2], dtype=torch.bool)
    rows[:, :, ag] = batch.obs_mask
    obs[:, : steps + 1, :, ent] = rows
    memory = batch.start_memory
    if memory is not None:
        memory = torch.full((b, a, memory.shape[-1]), garbage).index_copy(1, ag, memory)
    return EpisodeBatch(
        entities=place(batch.entities, (t + 1, e, batch.entities.shape[-1]), (ent,), garbage),
        private=place(batch.private, (t + 1, a, batch.private.shape[-1]), (ag,), garbage),
        entity_mask=place(batch.entity_mask, (t + 1, e), (ent,)),
        obs_mask=obs,
        avail_mask=avail,
        actions=place(act[batch.actions], (t, a), (ag,)),
        reward=place(batch.reward, (t,), (), garbage),
        terminated=place(batch.terminated, (t,), ()),
        truncated=place(batch.truncated, (t,), ()),
        filled_mask=place(batch.filled_mask, (t,), ()),
        start_actions=torch.full((b, a), -1).index_copy(1, ag, _moved(batch.start_actions, act)),
        start_memory=memory,
        start_steps=batch.start_steps,
    )


def _moved(actions: Tensor, act: Tensor) -> Tensor:
    return torch.where(actions < 0, actions, act[actions.clamp(min=0)])


def padded(batch: EpisodeBatch, spec: EnvSpec) -> tuple[EpisodeBatch, Layout]:
    """Two more agent slots, one more other entity and three more steps, all empty; slots keep their order."""
    a, e = batch.agents, batch.entity_mask.shape[2]
    layout = Layout(torch.arange(a), torch.arange(e - a), a + 2, e - a + 1, spec.basic, max(spec.symbols, 1), 3)
    return rearrange(batch, layout), layout


def permuted(batch: EpisodeBatch, spec: EnvSpec) -> tuple[EpisodeBatch, Layout]:
    """The slots of the agents, and those of the others, in reverse order."""
    a, e = batch.agents, batch.entity_mask.shape[2]
    layout = Layout(torch.arange(a).flip(0), torch.arange(e - a).flip(0), a, e - a, spec.basic, max(spec.symbols, 1))
    return rearrange(batch, layout), layout


def extended(batch: EpisodeBatch, spec: EnvSpec) -> tuple[EpisodeBatch, Layout]:
    """The same slots, with three more steps, and garbage where nobody is."""
    a, e = batch.agents, batch.entity_mask.shape[2]
    layout = Layout(torch.arange(a), torch.arange(e - a), a, e - a, spec.basic, max(spec.symbols, 1), 3)
    return rearrange(batch, layout), layout


def make_mixer(name: str, spec: EnvSpec, coached: bool = False, pairs: bool = True):
    mixer_class = MIXERS[name]
    inputs = make_reader(spec, pairs).width + spec.private
    return mixer_class and mixer_class(MixerSizes(inputs, HEADS, EMBED, 8, EMBED * coached, spec.agents, spec.entities))


def make_controller(
    spec: EnvSpec,
    kind: str = "entity",
    interval: int = 4,
    beta: float = 0.0,
    view: str = "local",
    alone_view: str = "no_teammates",
    alone: bool = False,
    pairs: bool = True,
    recurrent: bool = True,
    norm: bool = False,
):
    """`kind`: a name in controllers.REGISTRY, or in `TEAMS`; `pairs`: where actions point, values are made of pairs."""
    strategy = STRATEGY if kind == "coach" else 0
    reader = make_reader(spec, pairs)
    sizes = AgentSizes(reader, spec.private, EMBED, HEADS, HIDDEN, strategy, 1, recurrent, view == "joint", norm=norm)
    selector = EpsilonGreedy(LinearDecay(0.0, 0.0, 0))
    if kind == "collaq":
        return CollaqController(CollaqAgent(sizes, alone_view), selector, View(view, interval), spec)
    if kind == "mipi":
        policies = SoftPolicies(LinearDecay(0.0, 0.0, 0))
        return MipiController(MipiAgent(sizes), policies, View(view, interval), spec, alone=alone)
    if kind == "flat":
        return FlatController(FlatAgent(sizes), selector, View(view, interval), spec)
    if kind in TEAMS:
        sizes = replace(sizes, joint=True)
        agent = TeamAgent(sizes, TEAMS[kind].JOINT_ACTIONS(spec.agents, spec.actions).count)
        return TEAMS[kind](agent, selector, OneView("joint"), spec)
    agent = EntityAgent(sizes)
    if kind == "entity":
        return EntityController(agent, selector, View(view, interval), spec)
    coach = Coach(CoachSizes(reader.width + spec.private, EMBED, HEADS, STRATEGY))
    return CoachController(agent, coach, selector, View(view, interval), spec, interval=interval, beta=beta)


#: every mixer under plain Q-learning and every other learner, as they are registered, and further combinations
KINDS = (
    *MIXERS,
    *(name for name in LEARNERS if name != "q"),
    *("flex_qmix_pairs", "none_pairs", "refil_pairs", "copa_pairs", "collaq_pairs", "mappo_pairs", "mipi_pairs"),
    *("cesma_pairs", "cesma_pairs_messages"),
    *("flex_qmix_joint", "copa_joint", "flex_qmix_memoryless", "mappo_memoryless", "cesma_pairs_joint"),
    *("ddpg_local", "ddpg_pairs", "ddpg_slots", "ddpg_local_pairs", "ddpg_local_slots", "ddpg_joint_memoryless"),
    *("ddpg_messages", "ddpg_pairs_messages", "ddpg_local_pairs_messages", "ddpg_local_joint"),
    *("ddpg_flat", "ddpg_memoryless_flat", "ddpg_local_flat", "ddpg_slots_flat", "ddpg_local_slots_messages_flat"),
    *(
        "qmix_flat",
        "vdn_joint_flat",
        "none_memoryless_flat",
        "none_memoryless_norm_flat",
        "mappo_flat",
        "cesma_flat",
        "qmix_slots_flat",
    ),
    *("none_team", "none_norm_turns", "none_turns", "none_memoryless_team", "none_memoryless_turns"),
    *("none_messages_team", "none_pairs_messages_turns"),
    *("refil_slots", "copa_slots", "collaq_slots", "mappo_slots", "mipi_slots"),
    *("flex_qmix_messages", "refil_messages", "copa_messages", "collaq_messages", "mappo_messages", "mipi_messages"),
    *(
        "refil_pairs_messages",
        "copa_pairs_messages",
        "mipi_pairs_messages",
        "mappo_slots_messages",
        "copa_slots_messages",
    ),
    *(
        "refil_vdn",
        "refil_linear",
        "refil_linear_softmax",
        "refil_linear_abs",
        "copa_no_var",
        "mipi_linear",
        "mipi_entropy",
        "mipi_alone",
        "mipi_plain_critic",
    ),
)
#: those with weights for each slot, which slots may not be added to
FIXED = tuple(kind for kind in KINDS if kind.startswith("qmix") or set(kind.split("_")) & {"flat", *TEAMS})
FLEXIBLE = tuple(kind for kind in KINDS if kind not in FIXED)
#: (kind, rearrangement) in which nothing changes
REARRANGED = (
    *((kind, rearranged) for kind in FLEXIBLE for rearranged in (padded, permuted)),
    *((kind, extended) for kind in FIXED),
)
#: kinds of MIPI that differ by settings
MIPI = {
    "mipi": {"alpha": 0.5},
    "mipi_linear": {"alpha": 0.5, "ba_iterations": 3},
    "mipi_entropy": {"alpha": 0.5, "regulariser": "entropy"},
    "mipi_alone": {"alpha": math.inf},
    "mipi_plain_critic": {"alpha": 0.5, "imagine_critic": False},
}


def make_learner(kind: str, spec: EnvSpec, seed: int = 0, **config) -> Learner:
    """`kind`: one of `KINDS`; a learner's name alone gets the flexible mixer, and none where it learns on-policy."""
    marks = {"flat", "local", "memoryless", "joint", "messages", "norm", "pairs", "slots", *TEAMS} & set(
        kind.split("_")
    )
    kind, pairs = "_".join(word for word in kind.split("_") if word not in marks), "slots" not in marks
    torch.manual_seed(seed)
    combinations = {
        "refil_vdn": ("refil", "vdn"),
        **{f"refil_{mixer}": ("refil", mixer) for mixer in MIXERS if mixer.startswith("linear")},
        "copa_no_var": ("copa", "flex_qmix"),
        **dict.fromkeys(MIPI, ("mipi", "linear")),
        "mipi": ("mipi", "flex_qmix"),
    }
    alone = ("q", kind) if kind in MIXERS else (kind, "flex_qmix")
    name, mixer = combinations.get(kind, alone)
    learner_class = LEARNERS[name]
    config = {**MIPI.get(kind, {}), **config}
    alone_policy = config.get("alpha") == math.inf
    acts = next(iter(marks & {"flat", *TEAMS}), learner_class.CONTROLLERS[0])
    view, recurrent = "joint" if "joint" in marks else "local", "memoryless" not in marks
    norm = name.startswith("pqn") or "norm" in marks
    controller = make_controller(spec, acts, view=view, alone=alone_policy, pairs=pairs, recurrent=recurrent, norm=norm)
    coached = name.endswith("copa")
    if coached:
        strength = 0.0 if kind == "copa_no_var" else 0.1
        config = {"lambda_variational": strength, "lambda_entropy": strength, **config}
        config = {"coach_embed_dim": EMBED, "attn_heads": HEADS, **config}
    if name == "mappo":
        controller.selector = SoftPolicies(LinearDecay(0.0, 0.0, 0))
        # target networks, for one, are of no concern to it
        known = {field.name for field in fields(learner_class.Config)}
        config = {"attn_embed_dim": EMBED, "attn_heads": HEADS, **{k: v for k, v in config.items() if k in known}}
    if name == "ddpg":
        controller.selector = SoftPolicies(LinearDecay(0.0, 0.0, 0))
        config = {"critic": "local" if "local" in marks else "central", **config}
    if not learner_class.MIXES:
        mixer = "none"
    if learner_class.LABELS:
        known = {field.name for field in fields(learner_class.Config)}
        config = {key: value for key, value in config.items() if key in known}
    mixing = make_mixer(mixer, spec, coached, pairs)
    learner = learner_class(controller, mixing, learner_class.Config(**config), seed)
    if learner_class.LABELS:
        torch.manual_seed(100)  # the same one whatever the learner's seed
        learner.expert = make_controller(spec, "coach", pairs=pairs)
    with torch.no_grad():
        for module in learner.modules().values():
            for name, parameter in module.named_parameters():
                if name.endswith("attention.pair"):  # starts at 0, which would hide what it weighs
                    parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    return learner
