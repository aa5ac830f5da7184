"""What every learner is: trained networks, one optimiser, and a state that can be saved and taken up again."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from components.episodes import EpisodeBatch
from controllers.entity import EntityController
from modules.mixers.base import Mixer
from utils import ranks
from utils.config import Config as RunConfig
from utils.seeding import make_generator

#: the key `optimiser` -> class; "own" is the learner's own
OPTIMISERS = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam, "radam": torch.optim.RAdam}

#: name -> detached scalar
Metrics = dict[str, Tensor]

#: Keys of the configuration that only learning from a replay has a use for.
REPLAY_KEYS = (
    *("buffer_size", "buffer_dtype", "buffer_device", "save_replay_buffer", "sequence_length", "batch_size"),
    *("training_iters", "steps_per_update"),
)
#: ... and only target networks.
TARGET_KEYS = ("double_q", "target_tau", "target_update_interval", "target_update_unit")


class Descent(NamedTuple):
    """What a step of the optimiser has to be judged by."""

    #: number of the update that it belongs to, from 1
    update: int
    #: what must be finite: the loss, then the gradient's norm
    needed: Metrics
    #: further figures of the update, which tell what the loss is made of
    figures: Metrics


@dataclass(frozen=True)
class LearnerConfig:
    """Settings that every learner has; the comments stand in config/default.yaml."""

    gamma: float = 0.99
    lr: float = 5e-4
    lr_decay: str = "none"
    optimiser: str = "own"
    optim_eps: float = 1e-5
    optim_alpha: float = 0.99
    grad_norm_clip: float = 10.0
    amp: bool = False


class Learner(ABC):
    """Turns episodes into gradients of a controller's networks and of its own."""

    #: frozen dataclass of the learner's settings; its fields are keys of config/default.yaml
    Config: ClassVar[type[LearnerConfig]] = LearnerConfig
    #: names of the controllers that it goes with; empty: every one that learns
    CONTROLLERS: ClassVar[tuple[str, ...]] = ()
    #: whether mixer=none is refused
    NEEDS_MIXER: ClassVar[bool] = False
    #: whether it has values of agents to mix; False: any mixer is refused
    MIXES: ClassVar[bool] = True
    #: True: `train` gets each round's fresh episodes, once, as they were played; False: samples of the replay
    ON_POLICY: ClassVar[bool] = False
    #: whether, on-policy, what it gets may be pieces of episodes (`EpisodeBatch.start_memory`)
    PIECES: ClassVar[bool] = False
    #: keys that others have a use for: what a task's YAML says of them is left alone, a user who sets one is told
    UNUSED: ClassVar[tuple[str, ...]] = ()
    #: settings that it cannot learn otherwise with
    NEEDS: ClassVar[Mapping[str, object]] = {}
    #: whether it learns from `EpisodeBatch.labels`, which `label` writes into fresh episodes
    LABELS: ClassVar[bool] = False
    OPTIMISER: ClassVar[type[torch.optim.Optimizer]]

    def __init__(self, controller: EntityController, mixer: Mixer | None, config: LearnerConfig, seed: int) -> None:
        self.controller, self.mixer, self.config = controller, mixer, config
        self.generator = make_generator(seed, controller.device)
        self.updates = 0
        #: the steps that `fault` has not looked at yet
        self.descents: list[Descent] = []
        self.parameters = [p for module in self.modules().values() for p in module.parameters()]
        self.optimiser = self.optimiser_class(self.parameters, **self._optimiser_settings())

    @property
    def optimiser_class(self) -> type[torch.optim.Optimizer]:
        """The configuration's, or this learner's own."""
        return OPTIMISERS.get(self.config.optimiser, self.OPTIMISER)

    def _optimiser_settings(self) -> dict[str, Any]:
        alpha = {"alpha": self.config.optim_alpha} if self.optimiser_class is torch.optim.RMSprop else {}
        return {"lr": self.config.lr, "eps": self.config.optim_eps, **alpha}

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """Hook: refuse, before anything is written, settings that this learner cannot train with.

        Raises:
            UserError: names the setting and what would do.
        """

    @classmethod
    def fixes_slots(cls, config: RunConfig) -> bool:
        """Hook: whether what it learns from knows slots by their numbers, so that training and tests share slots."""
        return False

    def get_ready(self, config: RunConfig) -> None:
        """Hook: fetch what training takes and tests do not, such as a teacher.

        Raises:
            UserError: something is missing, or does not fit.
        """

    def label(self, batch: EpisodeBatch) -> EpisodeBatch:
        """Hook: fresh episodes as the replay is to keep them."""
        return batch

    def modules(self) -> dict[str, nn.Module]:
        """The networks that are trained, by name."""
        trained: dict[str, nn.Module] = {"controller": self.controller}
        if self.mixer is not None:
            trained["mixer"] = self.mixer
        return trained

    def parameter_counts(self) -> dict[str, int]:
        """Trained parameters of each network, and their total."""
        counts = {name: sum(p.numel() for p in module.parameters()) for name, module in self.modules().items()}
        return {**counts, "total": sum(counts.values())}

    def set_progress(self, share: float) -> None:
        """Set the learning rate for the updates that follow, `share` of the training, in [0, 1], lying behind."""
        left = 1.0 - share if self.config.lr_decay == "linear" else 1.0
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.lr * left

    @property
    def lr(self) -> float:
        """The learning rate as it stands."""
        return float(self.optimiser.param_groups[0]["lr"])

    @abstractmethod
    def compile(self) -> None:
        """Compile the networks' non-recurrent parts (torch.compile)."""

    @abstractmethod
    def train(self, batch: EpisodeBatch, episodes: int) -> Metrics:
        """Learn from `batch` and return figures to log.

        Args:
            batch: on the learner's device; where it comes from, `ON_POLICY` says.
            episodes: collected so far.
        """

    def backward(
        self, loss: Tensor, figures: Metrics, parameters: Iterable[nn.Parameter] | None = None
    ) -> tuple[Tensor, Metrics]:
        """Take the gradients of `loss` for the parameters that it depends on, or for those of them that are given.

        With several ranks `loss` and `figures` are this rank's shares (`utils.means`), and all of it is added up in one
        message: afterwards gradients are those of the whole batch in every rank.

        Returns:
            loss and figures of the whole batch, detached
        """
        self.optimiser.zero_grad()
        loss.backward(inputs=None if parameters is None else list(parameters))
        learning = [parameter for parameter in self.parameters if parameter.grad is not None]
        gradients = [parameter.grad for parameter in learning if parameter.grad is not None]
        summed = ranks.add_up([loss.detach(), *figures.values(), *gradients])
        ahead = 1 + len(figures)
        for parameter, gradient in zip(learning, summed[ahead:], strict=True):
            parameter.grad = gradient
        return summed[0], dict(zip(figures, summed[1:ahead], strict=True))

    def step(self, needed: Metrics, figures: Metrics) -> None:
        """A step of the optimiser along the gradients, which are nothing where a term in `needed` is not finite: what
        was learnt before stays. The device decides that by itself; `fault` tells of it later, with `figures`.
        """
        self.descents.append(Descent(self.updates + 1, needed, figures))
        spoilt = ~torch.stack([value.float() for value in needed.values()]).isfinite().all()
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(spoilt, 0.0)
        self.optimiser.step()

    def fault(self) -> str | None:
        """What has gone wrong since the last call: the first term that was not finite, and in which update, or the
        network that took a step too far; None where all is well.

        Nothing may act, be saved or be logged before it was asked. It waits for the device, so it is asked once a
        round and not in every update.
        """
        descents, self.descents = self.descents, []
        terms = [(descent, name, value) for descent in descents for name, value in descent.needed.items()]
        largest = [module_size(module) for module in self.modules().values()]
        finite = torch.stack([*(value.detach().float() for _, _, value in terms), *largest]).isfinite().tolist()
        for (descent, name, value), fine in zip(terms, finite, strict=False):
            if not fine:
                others = (f"{n} {float(v)}" for n, v in descent.figures.items() if not bool(v.isfinite()))
                made_of = ", ".join(others)
                return f"{name} is {float(value)} in update {descent.update}" + f" ({made_of})" * bool(made_of)
        for name, fine in zip(self.modules(), finite[len(terms) :], strict=True):
            if not fine:
                return f"parameters of the {name} are not finite after update {self.updates}"
        return None

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on."""
        state: dict[str, Any] = {name: module.state_dict() for name, module in self.modules().items()}
        state["optimiser"] = self.optimiser.state_dict()
        state["generator"] = self.generator.get_state()
        state["counters"] = {"updates": self.updates}
        return state

    def start_from(self, state: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
        """Start with the networks of another run, whose `state_dict` is `state`: whatever has the same name and shape.

        Returns:
            for each network how many tensors were taken, and of how many
        """
        taken = {}
        for name, module in self.modules().items():
            own, other = module.state_dict(), state.get(name, {})
            fitting = {key: value for key, value in other.items() if key in own and value.shape == own[key].shape}
            module.load_state_dict(fitting, strict=False)
            taken[name] = len(fitting), len(own)
        return taken

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up training where `state_dict` left it."""
        for name, module in self.modules().items():
            module.load_state_dict(state[name])
        self.optimiser.load_state_dict(state["optimiser"])
        for parameter, averages in self.optimiser.state.items():  # torch takes whatever there is
            if ("square_avg" in averages) != (self.optimiser_class is torch.optim.RMSprop):
                raise ValueError(f"optimiser: the averages are not those of {self.optimiser_class.__name__}")
            for name, value in averages.items():
                if value.dim() and value.shape != parameter.shape:
                    raise ValueError(f"optimiser: {name} {tuple(value.shape)} of parameters {tuple(parameter.shape)}")
        # running averages come from the checkpoint, settings from the configuration: a resumed run may have another lr
        for group in self.optimiser.param_groups:
            group.update(self._optimiser_settings())
        self.generator.set_state(state["generator"].cpu())
        self.updates = whole(state["counters"], "updates")


def mean_metrics(passes: Sequence[Metrics]) -> Metrics:
    """The mean of each figure over several updates."""
    return {name: torch.stack([metrics[name] for metrics in passes]).mean() for name in passes[0]}


def module_size(module: nn.Module) -> Tensor:
    """The largest magnitude of any parameter, a scalar on their device; not finite where one of them is not."""
    return nn.utils.get_total_norm([p.detach() for p in module.parameters()], norm_type=float("inf"))


def whole(counters: Mapping[str, Any], name: str) -> int:
    """The number `name` of a saved state, which a file may hold as something else.

    Raises:
        TypeError: it is no whole number, or negative.
    """
    value = counters[name]
    if type(value) is not int or value < 0:
        raise TypeError(f"{name} is {value!r}, no whole number")
    return value
