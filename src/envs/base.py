"""What an environment is: a batch of entity sets with masks. Shape letters: B environments, A agent slots, E entity
slots (agents first), D entity features, P private features, U actions.

**An action may point at an entity**: `U = basic + E` where actions point, and action `basic + e` means the entity in
slot e, agent or other. The basic actions mean nobody.

**An action may carry a symbol**: where messages have S symbols an act, as above, and what is said along with it are one
number, `act * S + symbol`. So whoever selects, masks, stores or learns knows of plain actions alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from envs.scene import Scene
from utils.errors import UserError
from utils.seeding import make_generator
from utils.snapshots import restored, snapshot

Env = TypeVar("Env", bound="EntityEnv")


class TimeStep(NamedTuple):
    """What a batch of environments shows after `reset` or `step`. Floats are float32, masks bool (True = present,
    visible, legal); rows of absent slots are zero.
    """

    #: (B, E, D) features of every entity, agents first. Global: `obs_mask` says who may look at what.
    entities: Tensor
    #: (B, A, P) what an agent alone knows of itself; P may be 0.
    private: Tensor
    #: (B, E) which entity slots are in use.
    entity_mask: Tensor
    #: (B, A, E) agent a sees entity e; always True for itself while present, always False for absent rows and columns.
    obs_mask: Tensor
    #: (B, A, U) legal actions; nobody may point at an absent entity. Absent agents have exactly action 0.
    avail_mask: Tensor
    #: (B,) the team's reward for the last step; 0 after a reset.
    reward: Tensor
    #: (B,) the episode came to its own end: no value is left, targets do not bootstrap.
    terminated: Tensor
    #: (B,) the time limit cut the episode short: targets bootstrap from this last observation. Never with `terminated`.
    truncated: Tensor
    #: name -> (B,) float32 figures of the running episode (battle_won, ...), final where the episode has ended.
    info: dict[str, Tensor]

    @property
    def agent_mask(self) -> Tensor:
        """(B, A) which agent slots are in use."""
        return self.entity_mask[:, : self.avail_mask.shape[1]]

    @property
    def done(self) -> Tensor:
        """(B,) the episode is over, for either reason."""
        return self.terminated | self.truncated


#: Whom actions may point at, for `EnvSpec.points`; "" is nobody.
POINTS = ("", "others", "teammates", "anybody")
#: The feature that tells the entities of an episode apart for networks with an output per target.
NAME = "name"
#: The feature of agents, if there is one, that repeats what they have just said (one-hot).
SAID = "said"


@dataclass(frozen=True)
class EnvSpec:
    """The sizes of an environment, and where its features are."""

    name: str
    agents: int
    entities: int
    features: int
    private: int
    #: actions that mean nobody; the first one is doing nothing
    basic: int
    #: longest episode, in steps
    episode_limit: int
    #: feature name -> its columns in `entities`; together they cover all of D without overlap
    feature_slices: Mapping[str, slice] = field(default_factory=dict)
    #: one name per basic action, for pages and pictures
    action_names: tuple[str, ...] = ()
    #: the names in `TimeStep.info`
    info_names: tuple[str, ...] = ()
    #: whether an agent may be given `OWN_MOVE` in place of an action
    own_moves: bool = False
    #: whom actions point at: "" (nobody), others (no agents), teammates, anybody; `avail_mask` says who may at whom
    points: str = ""
    #: how many names there are, which only networks with an output per target read; 0: none. Column 0 of `entities` is
    #: then `NAME`: 1 + the name, a number drawn anew for every episode, or minus that where the entity shows nothing of
    #: itself any more (the dead), so that whoever was meant a step ago can still be told. 0: nobody is there. Entities
    #: that one agent may point at have different names.
    names: int = 0
    #: from which action on networks are told which ones are legal, as features of the agents' rows; None: of none
    legal_from: int | None = None
    #: S: how many symbols an agent has to choose from with every act; 0: there are no messages
    symbols: int = 0

    def __post_init__(self) -> None:
        if self.points not in POINTS:
            raise ValueError(f"{self.name}: points={self.points!r} is not one of {', '.join(map(repr, POINTS))}")
        if self.points in ("others", "anybody") and self.entities == self.agents:
            raise UserError(f"{self.name}: actions point at {self.points}, but there are no entities beside the agents")

    @property
    def acts(self) -> int:
        """Basic actions, and one for each entity slot where actions point."""
        return self.basic + (self.entities if self.points else 0)

    @property
    def actions(self) -> int:
        """U: acts, with messages pairs of an act and a symbol."""
        return self.acts * max(self.symbols, 1)

    def split(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """The acts and, where there are messages, the symbols (otherwise 0) of `actions`; -1 is neither."""
        if not self.symbols:
            return actions, torch.zeros_like(actions)
        acts = actions.div(self.symbols, rounding_mode="floor")
        return acts, torch.where(actions < 0, actions, actions % self.symbols)

    def join(self, acts: Tensor, symbols: Tensor) -> Tensor:
        """The actions that are these acts (at least 0) with these symbols."""
        return acts * max(self.symbols, 1) + symbols

    def legal_acts(self, avail_mask: Tensor) -> Tensor:
        """`avail_mask (..., U)` -> bool (..., acts): legal with some symbol."""
        if not self.symbols:
            return avail_mask
        return avail_mask.unflatten(-1, (-1, self.symbols)).any(dim=-1)  # a batch may have fewer slots

    def as_plain(self) -> dict[str, Any]:
        """In plain values, as a checkpoint keeps it."""
        return {entry.name: _plain(getattr(self, entry.name)) for entry in fields(self)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "EnvSpec":
        """What `as_plain` was made of."""
        slices = {name: slice(*columns) for name, columns in plain["feature_slices"].items()}
        return cls(**{**plain, "feature_slices": slices})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): (int(columns.start), int(columns.stop)) for name, columns in value.items()}
    if type(value) not in (str, bool, tuple, type(None)):  # a game's sizes may be NumPy's
        return int(value)
    return value


#: In place of an action: the environment moves this agent by a rule of its own. For scripted teams whose moves no
#: action can express, in environments whose specification says `own_moves`; never in `avail_mask`.
OWN_MOVE = -1


#: A scripted team: `policy(timestep, generator) -> actions (B, A)`; it may look at everything in the time step.
ScriptedPolicy = Callable[[TimeStep, torch.Generator], Tensor]


class EntityEnv(ABC):
    """A batch of environments that are reset and stepped together.

    Subclasses set `spec` before calling `super().__init__` and implement `_reset`, `_step`; this class checks what
    comes in. Every random draw comes from `self.generator`, so the same seed gives the same episodes.
    """

    #: frozen dataclass of the settings under `env_args`; its fields are the known keys, its defaults the defaults
    Args: ClassVar[type]
    #: name -> factory(spec) of the scripted teams that know this environment
    SCRIPTED: ClassVar[Mapping[str, Callable[[EnvSpec], ScriptedPolicy]]] = {}
    #: whether its actions point at entities (`EnvSpec.points`)
    POINTS: ClassVar[bool] = False
    #: whether `running` can save episodes in the middle
    suspends: bool = False
    #: whether a test plays listed episodes, the same ones after any `seed`: then there are none for validation
    FIXED_TESTS: ClassVar[bool] = False
    #: where it can: the attributes that running episodes consist of, all of them tensors
    RUNNING: ClassVar[tuple[str, ...]] = ()

    spec: EnvSpec
    #: (B,) bool: which running episodes a fault of the game has cut short (`truncated`). Nothing of them counts: they
    #: are played again, and the next reset draws the same ones. None: that cannot happen here
    lost: Tensor | None = None

    def __init__(self, num_envs: int, seed: int, device: torch.device | str = "cpu") -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.generator = make_generator(seed, self.device)

    @classmethod
    def resolve_args(cls, env_args: Mapping[str, Any], test_teams: Sequence[str]) -> Any:
        """Return a complete, valid `Args` from the user's `env_args`; values that follow from others (such as the
        slots needed for the largest of the teams) are filled in.

        Raises:
            UserError: a key or a value is impossible, or a team does not fit the slots.
        """
        raise NotImplementedError(f"{cls.__name__} does not say how its arguments are resolved")

    @classmethod
    def fit(cls, args: Any, teams: Sequence[str]) -> Any:
        """`args` for an environment that plays the training team and `teams`: slots that the user left open become as
        many as those need. Slots are memory: which episodes are played does not depend on them.
        """
        return args

    @property
    def restarts(self) -> int | None:
        """How often games had to be started anew, of all environments; None: there are none that could."""
        return None

    @classmethod
    def external(cls, args: Any) -> bool:
        """Whether other programs play the episodes: then few environments serve training and tests in turn, on the CPU,
        and runner=parallel is the default.
        """
        return False

    @classmethod
    def patience(cls, args: Any) -> float:
        """Seconds that a call may take, beyond what it takes otherwise, while games are started anew."""
        return 0.0

    def reset(self, env_mask: Tensor | None = None, team: str | None = None) -> TimeStep:
        """Start new episodes where `env_mask (B,)` is True (everywhere by default) and return the state of all.

        Args:
            env_mask (B,): bool; environments that are left out stay as they are.
            team: which team to draw ("3-5", "8", ...); None draws the training team.
        """
        if env_mask is None:
            env_mask = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        if env_mask.shape != (self.num_envs,) or env_mask.dtype != torch.bool:
            raise ValueError(f"env_mask must be bool ({self.num_envs},), got {env_mask.dtype} {tuple(env_mask.shape)}")
        return self._reset(env_mask, team)

    def step(self, actions: Tensor) -> TimeStep:
        """Play `actions (B, A)` (int64, legal or `OWN_MOVE`; 0 for absent agents) in every environment.

        An environment whose episode is over stays as it ended, with reward 0, until it is reset.
        """
        shape = (self.num_envs, self.spec.agents)
        if actions.shape != shape or actions.dtype != torch.int64:
            raise ValueError(f"actions must be int64 {shape}, got {actions.dtype} {tuple(actions.shape)}")
        return self._step(actions)

    @abstractmethod
    def _reset(self, env_mask: Tensor, team: str | None) -> TimeStep: ...

    @abstractmethod
    def _step(self, actions: Tensor) -> TimeStep: ...

    def seed(self, seed: int) -> None:
        """Restart the random stream; the next full `reset` begins the episodes of `seed`."""
        self.generator.manual_seed(seed)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint between two episodes needs to continue the same sequence of episodes."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the sequence of episodes saved by `state_dict`."""
        self.generator.set_state(state["generator"].cpu())

    def running(self) -> dict[str, Any]:
        """What a checkpoint in the middle of episodes needs to go on with them, random stream included: copies, on the
        CPU.
        """
        if not self.suspends:
            raise NotImplementedError(f"{type(self).__name__} cannot save running episodes")
        return {**self.state_dict(), **snapshot({name: getattr(self, name) for name in self.RUNNING})}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on with the episodes saved by `running`: the next step continues them.

        Raises:
            ValueError: they are those of another number of environments, or of slots.
        """
        if not self.suspends:
            raise NotImplementedError(f"{type(self).__name__} cannot go on with saved episodes")
        self.load_state_dict(state)
        for name in self.RUNNING:
            setattr(self, name, restored(state[name], getattr(self, name)))

    def render(self, index: int = 0, marked: Collection[int] = ()) -> np.ndarray:
        """Return environment `index` as an RGB image, uint8 (height, width, 3). Agents in the slots `marked`, such as
        those that a coach has just sent to, get a ring.
        """
        raise NotImplementedError(f"{type(self).__name__} draws no picture")

    def scene(self, index: int = 0) -> Scene | None:
        """How environment `index` looks now, for pages that play episodes; None: these show a table of its entities."""
        return None

    def close(self) -> None:
        """Give back processes, games and windows; idempotent."""

    def __enter__(self: Env) -> Env:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
