"""CESMA: an expert and its students beside learners that nobody teaches (Lin et al., 2019, figures 4 to 9), and which
experts teach teams that grow.

The paper has curves and no numbers; what it says of them stands in the notes. Networks, and MADDPG's learning rate and
gradient norms, are the paper's (appendix E); how much an update learns from, and how often there is one, suits a CPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from studies.copa import scripted
from studies.declaration import Cell, Column, LearningCurves, LearningLine, LearningPanel, Row, Study, TeamSizes

SOURCE = "CESMA, figure {}"

#: flat networks of two hidden layers, without memory
_PLAIN: Mapping[str, object] = {"controller": "flat", "recurrent": False}
#: from which steps, and how often, networks learn on particle tasks
_STEPS: Mapping[str, object] = {
    "sequence_length": 1,
    "batch_size": 128,
    "buffer_size": 200_000,
    "steps_per_update": 20,
    "lr": 0.001,
}
_STUDENTS: Mapping[str, object] = {**_PLAIN, **_STEPS}


def _of_expert(settings: Mapping[str, object]) -> dict[str, object]:
    return {f"expert_args.{key}": value for key, value in settings.items()}


#: How experts explore and learn on particle tasks, whatever their networks.
_TRAINED: Mapping[str, object] = {
    **_STEPS,
    "lr_decay": "linear",
    "target_update_unit": "updates",
    "target_update_interval": 100,
    "epsilon_anneal_time": 40_000,
}
_VDN = _of_expert({**_PLAIN, **_TRAINED})
#: An update costs flat networks little, and where agents find their places by themselves it takes many.
_VDN_OFTEN = _of_expert({**_PLAIN, **_TRAINED, "steps_per_update": 4})
_SHORT_EXPLORATION = _of_expert({"epsilon_anneal_time": 40_000})

#: Networks on entities, which are not the paper's, in place of flat ones.
_ENTITIES: Mapping[str, object] = {"controller": "entity", "head_layers": 2, "attn_embed_dim": 64}
_VDN_ENTITIES: Mapping[str, object] = {
    **_ENTITIES,
    "batch_size": 256,
    "steps_per_update": 16,
    "lr": 0.003,
    "lr_decay": "linear",
    **_of_expert({**_ENTITIES, "recurrent": False, **_TRAINED, "steps_per_update": 8}),
}


@dataclass(frozen=True)
class Place:
    """A particle task, as the paper has it."""

    title: str
    #: name of a file in config/envs
    task: str
    team: str
    #: hidden units of each layer
    hidden: int = 128
    #: what makes it another task than the YAML's, with a word for it
    variant: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    #: where agents talk, what is said in one step is heard in the next: episodes, and not single steps
    talks: bool = False
    #: whether CESMA is shown with networks on entities, too
    entities: bool = False

    def cell(self, name: str, algorithm: str, settings: Mapping[str, object]) -> Cell:
        """A training here."""
        words = {**settings, "rnn_hidden_dim": self.hidden, **self.settings}
        return Cell(name + f"_{self.variant}" * bool(self.variant), algorithm, self.task, words)

    def label(self, method: str) -> str:
        """Of a row."""
        return f"{self.title}: {method}"

    def students(self, expert: str, settings: Mapping[str, object], name: str = "") -> Cell:
        """Those of `expert`, which is as wide as they are."""
        wide = {"expert_args.rnn_hidden_dim": self.hidden}
        episodes = {"sequence_length": 0, "batch_size": 16, "buffer_size": 8000} if self.talks else {}
        own = {"expert": expert, **_STUDENTS, **episodes, **wide, **settings}
        return self.cell(name or f"cesma_{expert}", "cesma", own)


_MIXED: Mapping[str, object] = {"env_args.kinds": "mixed"}
NAVIGATION = Place("3 agents", "navigation", "3", entities=True)
MIXED = Place("3 agents, mixed", "navigation", "3", variant="mixed", settings=_MIXED)
NAVIGATION_6 = Place("6 agents", "navigation_6", "6")
MIXED_6 = Place("6 agents, mixed", "navigation_6", "6", variant="mixed", settings=_MIXED)
SPEAKER = Place("speaker and listener", "speaker_listener", "2", hidden=64, talks=True)
REFERENCE = Place("reference, 3 agents", "reference_3", "3", hidden=64, talks=True)
PLACES = (NAVIGATION, MIXED, NAVIGATION_6, MIXED_6, SPEAKER, REFERENCE)
_SEEDS = (0, 1, 2)
_TRAINING = {"test_interval": 10_000, "test_nepisode": 100, "batch_size_run": 32}
_TESTING = {"test_nepisode": 1000, "test_batch_size": 250}


def _taught(place: Place, row: str, label: str = "") -> tuple[LearningLine, ...]:
    """The curves of an expert and of its students, in one colour."""
    label = label or "expert, then students"
    return LearningLine(label, row, prefix="expert/", style="--"), LearningLine(label, row)


# --- figures 5 and 6: against MADDPG and independent DDPG -------------------------------------------------------------


def _expert(place: Place) -> Mapping[str, object]:
    """Settings of VDN as an expert with flat networks."""
    return _VDN if place.talks else _VDN_OFTEN


def _methods(place: Place) -> dict[str, Cell]:
    methods = {
        "CESMA": place.students("vdn", _expert(place)),
        "MADDPG": place.cell("maddpg", "maddpg", {}),
        "independent DDPG": place.cell("iddpg", "iddpg", {}),
    }
    if place.entities:
        methods["CESMA on entities"] = place.students("vdn", _VDN_ENTITIES, name="cesma_vdn_entities")
    return methods


def _rows(place: Place) -> tuple[Row, ...]:
    reference = place.label("MADDPG")
    return tuple(Row(place.label(method), cell, reference=reference) for method, cell in _methods(place).items())


def _compared(place: Place) -> LearningPanel:
    lines = [
        line
        for method in _methods(place)
        for line in (
            _taught(place, place.label(method), f"{method}: expert, then students")
            if method.startswith("CESMA")
            else [LearningLine(method, place.label(method))]
        )
    ]
    return LearningPanel(place.title, Column(place.team), tuple(lines))


_RETURNS = tuple(Column(team) for team in ("3", "6", "2"))
_SAMPLES = tuple(Column(team, until=True) for team in ("3", "6", "2"))

CESMA_FIGURE5 = Study(
    name="cesma_figure5",
    title="Steps that CESMA, MADDPG and independent DDPG take",
    seeds=_SEEDS,
    rows=tuple(row for place in PLACES for row in _rows(place)),
    columns=(*_RETURNS, *_SAMPLES),
    figure=LearningCurves("return", tuple(_compared(place) for place in PLACES)),
    source=SOURCE.format("5 and 6"),
    training=_TRAINING,
    testing=_TESTING,
    notes=(
        "The students' curve begins where the expert's, dashed, ended. The paper: CESMA reaches MADDPG's reward from "
        "fewer samples in all six tasks (figure 5), and its experts and students end above MADDPG, which ends above "
        "independent DDPG; the latter fails where agents have to talk (figure 6).",
        "The paper's experts there are centralised DDPG; these are centralised VDN.",
    ),
)

# --- a channel that is cut --------------------------------------------------------------------------------------------

_DEAF = Place(
    "speaker and listener, who cannot talk", "speaker_listener", "2", 64, "deaf", {"env_args.symbols": 1}, talks=True
)
CESMA_CHANNEL = Study(
    name="cesma_channel",
    title="What messages are worth to CESMA's students",
    seeds=_SEEDS,
    rows=(
        Row(SPEAKER.label("students"), SPEAKER.students("vdn", _VDN)),
        Row(_DEAF.label("students"), _DEAF.students("vdn", _VDN)),
    ),
    columns=(Column("2"), Column("2", "reached", digits=3)),
    figure=LearningCurves(
        "return",
        tuple(
            LearningPanel(place.title, Column("2"), _taught(place, place.label("students")))
            for place in (SPEAKER, _DEAF)
        ),
    ),
    training=_TRAINING,
    testing=_TESTING,
    notes=("With one symbol the speaker can tell nothing; its expert, which sees everything, is the same.",),
)

# --- figure 4: StarCraft ----------------------------------------------------------------------------------------------

_BATTLE: Mapping[str, object] = {"target_values": "pairs"}
_TEACHER = _of_expert({"epsilon_anneal_time": 50_000})
#: Narrow networks, pieces of episodes and many updates: what a few hundred thousand steps on a CPU can do.
_SMALL: Mapping[str, object] = {"attn_embed_dim": 64, "sequence_length": 8, "lr_decay": "linear"}
_BY_VALUES: Mapping[str, object] = {
    **_SMALL,
    "batch_size": 20,
    "buffer_size": 10_000,
    "steps_per_update": 24,
    "target_update_interval": 200,
    "target_update_unit": "updates",
    "epsilon_anneal_time": 60_000,
    "td_lambda": 0.6,
    "gamma": 0.97,
}
_BY_IMITATION: Mapping[str, object] = {**_SMALL, "buffer_size": 20_000, "steps_per_update": 40, "lr": 0.001}
_SMALL_CESMA = {**_BATTLE, "expert": "vdn", **_BY_IMITATION, **_of_expert(_BY_VALUES)}
CESMA_FIGURE4 = Study(
    name="cesma_figure4",
    title="CESMA and IQL, 3 Stalkers and 5 Zealots",
    seeds=_SEEDS,
    rows=(
        Row("CESMA", Cell("cesma_vdn_small", "cesma", "sc2_3s5z", _SMALL_CESMA)),
        Row("IQL", Cell("iql_small", "iql", "sc2_3s5z", {**_BATTLE, **_BY_VALUES})),
        Row("focus_fire", scripted("focus_fire", "sc2_3s5z")),
    ),
    columns=(Column("8", "battle_won", digits=3), Column("8")),
    figure=LearningCurves(
        "battles won",
        (
            LearningPanel(
                "3s5z",
                Column("8", "battle_won"),
                (
                    LearningLine("expert, then students", "CESMA", prefix="expert/", style="--"),
                    LearningLine("expert, then students", "CESMA"),
                    LearningLine("IQL", "IQL"),
                    LearningLine("focus_fire", "focus_fire", style=":"),
                ),
            ),
        ),
        middle="median",
    ),
    source=SOURCE.format(4),
    training={"batch_size_run": 64, "test_interval": 50_000},
    testing=_TESTING,
    notes=("The paper: students of a centralised VDN come to win nearly all battles, IQL hardly any.",),
)

# --- figure 7: kinds of experts ---------------------------------------------------------------------------------------


def _kind(place: Place, expert: str, settings: Mapping[str, object]) -> Row:
    return Row(place.label(expert), place.students(expert, settings))


_KINDS = (
    (MIXED, "vdn", _VDN_OFTEN),
    (MIXED, "joint", _SHORT_EXPLORATION),
    (NAVIGATION_6, "one_at_a_time", {**_SHORT_EXPLORATION, "idle_weight": 0.2}),
)
CESMA_FIGURE7 = Study(
    name="cesma_figure7",
    title="Experts that choose joint actions, and their students",
    seeds=_SEEDS,
    rows=tuple(_kind(*kind) for kind in _KINDS),
    columns=(Column("3"), Column("6")),
    figure=LearningCurves(
        "return",
        tuple(
            LearningPanel(f"{place.title}: {expert}", Column(place.team), _taught(place, place.label(expert)))
            for place, expert, _ in _KINDS
        ),
    ),
    source=SOURCE.format(7),
    training=_TRAINING,
    testing=_TESTING,
    notes=(
        "The paper: experts of all kinds can be imitated, and students of an expert that moves one agent at a time end "
        "above it, since they have learnt to move at once.",
    ),
)

# --- figure 8: whose data ---------------------------------------------------------------------------------------------

_OWN: Mapping[str, object] = {"data_sets": "own", "batch_size": 3 * 128}
CESMA_FIGURE8 = Study(
    name="cesma_figure8",
    title="One data set for all students, or one for each",
    seeds=_SEEDS,
    rows=(
        Row("shared", MIXED.students("vdn", _VDN_OFTEN)),
        Row("own", MIXED.students("vdn", {**_VDN_OFTEN, **_OWN}, name="cesma_vdn_own")),
    ),
    columns=(Column("3"),),
    figure=LearningCurves(
        "return",
        (LearningPanel(MIXED.title, Column("3"), (LearningLine("shared", "shared"), LearningLine("own", "own"))),),
    ),
    source=SOURCE.format(8),
    training=_TRAINING,
    testing=_TESTING,
    varied=("data_sets",),
    notes=("The paper: no difference. With own sets a batch is three times as large, a third of it for each agent.",),
)

# --- figure 9: reward and loss ----------------------------------------------------------------------------------------

CESMA_FIGURE9 = Study(
    name="cesma_figure9",
    title="Return and loss, slow and fast learners",
    seeds=_SEEDS,
    rows=(Row("same", NAVIGATION.students("vdn", _VDN_OFTEN)), Row("mixed", MIXED.students("vdn", _VDN_OFTEN))),
    columns=(Column("3"),),
    figure=LearningCurves(
        "",
        (
            LearningPanel("return", Column("3"), (LearningLine("same", "same"), LearningLine("mixed", "mixed"))),
            LearningPanel("loss", None, (LearningLine("same", "same"), LearningLine("mixed", "mixed")), "loss"),
            *(
                LearningPanel(
                    f"loss of the agent that is {kind}",
                    None,
                    (LearningLine("mixed", "mixed"),),
                    f"loss_of_agent_{slot}",
                )
                for slot, kind in enumerate(("big and slow", "medium", "small and fast"))
            ),
        ),
    ),
    source=SOURCE.format(9),
    training={**_TRAINING, "log_interval": 5000},
    testing=_TESTING,
    notes=("The paper: the loss falls as the return rises, and the big and slow agent has the largest.",),
)

# --- teams that grow --------------------------------------------------------------------------------------------------

_SIZES = ("3-5", "6", "7", "8")
_WON = tuple(Column(team, "battle_won", digits=3) for team in _SIZES)


def _teacher(label: str, expert: str, settings: Mapping[str, object]) -> Row:
    name = f"cesma_{expert}_pairs"
    return Row(label, Cell(name, "cesma", "sc2_sz", {**_BATTLE, "expert": expert, **settings}))


_TEAMS = (
    _teacher("students of focus_fire", "focus_fire", {}),
    _teacher("students of A-QMIX (full)", "aqmix_full", _TEACHER),
    _teacher("students of COPA", "copa", {**_TEACHER, "expert_args.view": "local"}),
    _teacher("students of VDN", "vdn", _TEACHER),
    Row("focus_fire", scripted("focus_fire", "sc2_sz")),
)
CESMA_TEAMS = Study(
    name="cesma_teams",
    title="Who teaches a team that grows",
    seeds=_SEEDS,
    rows=_TEAMS,
    columns=_WON,
    figure=TeamSizes(_WON, "battles won", (3, 5), (("", tuple((row.label, row.label) for row in _TEAMS)),)),
    testing=_TESTING,
    notes=("Experts and students have met 3 to 5 units; no paper has this.",),
)

CESMA = (
    CESMA_FIGURE4,
    CESMA_FIGURE5,
    CESMA_FIGURE7,
    CESMA_FIGURE8,
    CESMA_FIGURE9,
    CESMA_CHANNEL,
    CESMA_TEAMS,
)
