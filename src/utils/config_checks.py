"""What the values of the configuration may be: one table, and the few rules that look at two keys at once."""

import importlib
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from utils.errors import UserError
from utils.secrets import without_passwords
from utils.suggest import nearest

#: Returns what the value must be ("at least 1"), or None where it is fine.
Check = Callable[[Any], str | None]


def at_least(low: float) -> Check:
    return lambda value: None if value >= low else f"at least {low}"


def above(low: float, high: float = math.inf) -> Check:
    limit = "" if math.isinf(high) else f" and at most {high:g}"
    return lambda value: None if low < value <= high else f"above {low}{limit}"


def within(low: float, high: float) -> Check:
    return lambda value: None if low <= value <= high else f"from {low} to {high}"


def one_of(*choices: str) -> Check:
    def check(value: Any) -> str | None:
        if value in choices:
            return None
        return f"one of {', '.join(choices)}; the nearest is {nearest(str(value), choices)!r}"

    return check


def registered(package: str) -> Check:
    """The names in `<package>.REGISTRY`, which is imported only when the check runs."""
    return lambda value: one_of(*sorted(registry(package)))(value)


def matching(pattern: str, meaning: str) -> Check:
    return lambda value: None if re.fullmatch(pattern, value) else meaning


def _fraction_or_uniform(value: Any) -> str | None:
    return None if value == "uniform" or (not isinstance(value, str) and 0 <= value <= 1) else "uniform, or from 0 to 1"


#: Whole numbers beyond this fit into no tensor and into no size.
LARGEST_INT = 2**63 - 1

#: The source of values that the user gave.
COMMAND_LINE = "command line"

#: Key -> what its value may be, once it has the right type. Keys that are not here take any value of their type.
CHECKS: Mapping[str, Check] = {
    "name": matching(r"\S+", "a word"),
    "seed": within(0, 2**32 - 1),
    "device": matching(r"auto|cpu|cuda(:(0|[1-9][0-9]?))?", "auto, cpu, cuda or cuda:N"),
    "threads": within(0, 4096),
    "t_max": at_least(1),
    "env": registered("envs"),
    "runner": registered("runners"),
    "batch_size_run": at_least(1),
    "rollout_steps": at_least(0),
    "round_episodes": at_least(0),
    "max_staleness": at_least(1),
    "worker_start_timeout": above(0),
    "worker_step_timeout": above(0),
    "training_iters": at_least(1),
    "steps_per_update": at_least(0),
    "view": one_of("local", "full", "periodic", "joint"),
    "view_interval": at_least(1),
    "policy": matching(r"\S+", "the name of a scripted team"),
    "action_selector": registered("components.action_selectors"),
    "epsilon_start": within(0, 1),
    "epsilon_finish": within(0, 1),
    "epsilon_decay": one_of("linear", "exponential"),
    "epsilon_anneal_time": at_least(0),
    "buffer_size": at_least(1),
    "buffer_dtype": one_of("float32", "float16"),
    "buffer_device": one_of("cpu", "device"),
    "sequence_length": at_least(0),
    "batch_size": at_least(1),
    "controller": registered("controllers"),
    "mixer": registered("modules.mixers"),
    "attn_embed_dim": at_least(1),
    "attn_heads": at_least(1),
    "rnn_hidden_dim": at_least(1),
    "hypernet_embed": at_least(1),
    "mixing_embed_dim": at_least(1),
    "head_layers": within(1, 2),
    "target_values": one_of("slots", "pairs"),
    "learner": registered("learners"),
    "gamma": within(0, 1),
    "td_lambda": within(0, 1),
    "lr": above(0, 1e38),  # float32 holds little more
    "lr_decay": one_of("none", "linear"),
    "optimiser": one_of("own", "rmsprop", "adam", "radam"),
    "optim_alpha": within(0, 1),
    "optim_eps": above(0),
    "grad_norm_clip": above(0),
    "target_tau": within(0, 1),
    "target_update_interval": at_least(1),
    "target_update_unit": one_of("episodes", "updates"),
    "gae_lambda": within(0, 1),
    "clip_range": above(0),
    "ppo_epochs": at_least(1),
    "num_mini_batch": at_least(1),
    "norm": one_of("none", "layer"),
    "entropy_coef": at_least(0),
    "imagine_lambda": within(0, 1),
    "imagine_split": _fraction_or_uniform,
    "broadcast_interval": at_least(1),
    "strategy_dim": at_least(1),
    "coach_embed_dim": at_least(1),
    "beta": at_least(0),
    "lambda_variational": at_least(0),
    "lambda_entropy": at_least(0),
    "alone_view": one_of("no_teammates", "self"),
    "expert": matching(r"\S*", "the name of a scripted team or of an algorithm"),
    "expert_steps": at_least(0),
    "data_sets": one_of("shared", "own"),
    "messages": one_of("receivers", "expert"),
    "weight_decay": at_least(0),
    "mara_weight": at_least(0),
    "critic": one_of("central", "local"),
    "alpha": at_least(0),
    "regulariser": one_of("mutual_information", "entropy"),
    "ba_iterations": at_least(1),
    "idle_weight": above(0),
    "test_interval": at_least(1),
    "test_nepisode": at_least(1),
    "record": at_least(0),
    "test_batch_size": within(1, 10**7),
    "test_episodes": one_of("test", "validation"),
    "log_interval": at_least(1),
    "local_results_path": matching(r".+", "a folder"),
    "save_model_interval": at_least(1),
    "load_step": at_least(0),
    "mongo_db": matching(r"[^\s/\\.\"$*<>:|?]{1,63}", "the name of a database"),
}

#: Keys whose number may be infinite.
INFINITE = frozenset({"alpha"})


def check_values(values: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Check every value by the table and by the rules across keys.

    Args:
        values: key -> value of the right type.
        sources: key -> where the value comes from, for the message.

    Raises:
        UserError: the first value that is impossible.
    """
    if not re.match(r"mongodb(\+srv)?://.|$", values["mongo_url"]):
        # not shown: nobody knows where in it a password is
        raise UserError(f"mongo_url ({sources['mongo_url']}): must be an address that begins with mongodb://")
    for key, check in CHECKS.items():
        wanted = check(values[key])
        if wanted is not None:
            raise UserError(f"{key}={shown(values[key])} ({sources[key]}): must be {wanted}")
    for width in ("attn_embed_dim", "hypernet_embed", "coach_embed_dim"):
        if values[width] % values["attn_heads"]:
            raise UserError(f"{width}={values[width]} must be a multiple of attn_heads={values['attn_heads']}")
    if registry("learners")[values["learner"]].ON_POLICY:
        _check_on_policy(values)
    _check_uses(values, sources)
    if values["batch_size"] > values["buffer_size"]:
        raise UserError(
            f"batch_size={values['batch_size']} is more than buffer_size={values['buffer_size']}: "
            "nothing would be learned"
        )
    if values["alpha"] == math.inf and values["regulariser"] != "mutual_information":
        raise UserError(
            f"alpha=inf is a policy that sees only its own agent, the end of regulariser=mutual_information; with "
            f"regulariser={values['regulariser']} give a number"
        )
    for end in ("epsilon_start", "epsilon_finish"):
        if values["epsilon_decay"] == "exponential" and values[end] == 0:
            raise UserError(f"{end}=0: no exponential epsilon_decay starts or ends there; use a small number")


def _check_on_policy(values: Mapping[str, Any]) -> None:
    episodes = 1 if values["runner"] == "episode" else values["batch_size_run"]
    if values["num_mini_batch"] > episodes:
        raise UserError(
            f"num_mini_batch={values['num_mini_batch']} is more than a round has episodes: {episodes} (batch_size_run; "
            "1 with runner=episode); lower it"
        )


def _check_uses(values: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """A task's YAML may well set what other learners need; a user who sets it here expects something of it."""
    name = values["learner"]
    learner = registry("learners")[name]
    for key in learner.UNUSED:
        if sources[key] == COMMAND_LINE:
            raise UserError(
                f"{key}={values[key]!r} ({COMMAND_LINE}): learner={name} has no use for it, it learns from each "
                "round's episodes alone; batch_size_run, ppo_epochs and num_mini_batch are its keys"
            )
    for key, value in learner.NEEDS.items():
        if values[key] != value:
            raise UserError(
                f"{key}={values[key]!r} ({sources[key]}): learner={name} learns from whole episodes of its "
                f"own policy: {key} must be {value!r}"
            )


def convert(value: Any, kind: type, infinite: bool = False) -> Any:
    """Return `value` as `kind`, where nothing is lost by it.

    Whole numbers may be written as floats (1e6), floats as whole numbers or as text that YAML 1.1 does not take for a
    number (1e-4); bool is never a number. With `infinite` a float may be inf.

    Raises:
        ValueError: with a message that says what was expected.
    """
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise ValueError("true or false")
    if kind is int or kind is float:
        number = _number(value) if isinstance(value, str) else value
        if infinite and number == math.inf:
            return math.inf
        if isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < math.inf:
            if kind is int and number == int(number):
                if abs(number) > LARGEST_INT:
                    raise ValueError("a whole number below 2**63")
                return int(number)
            if kind is float and abs(number) <= sys.float_info.max:
                return float(number)
        raise ValueError("a whole number" if kind is int else "a number or inf" if infinite else "a finite number")
    if kind is str and not isinstance(value, str):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise ValueError("text")
    if not isinstance(value, kind):
        raise ValueError("a mapping" if kind is dict else kind.__name__)
    return value


def _number(text: str) -> int | float | None:
    """The number that `text` is, or None."""
    for kind in (int, float):  # in this order: a float would round a large whole number
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def convert_teams(value: Any) -> tuple[str, ...]:
    """Return the names of the teams in `test_teams`: a list, one team, or text such as "3-5,8" or "[5,6,varying]".

    Raises:
        ValueError: with a message that says what was expected.
    """
    if isinstance(value, str):
        listed = re.fullmatch(r"\[(.*)\]|([^\[\]]*)", value.strip(), re.DOTALL)
        parts = (listed[1] or listed[2] or "").split(",") if listed else [""]
        value = [] if listed and parts == [""] else [_unquoted(part.strip()) for part in parts]
    elif isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, list | tuple) and all(type(team) in (int, str) and str(team).strip() for team in value):
        return tuple(str(team).strip() for team in value)
    raise ValueError("a list of teams, such as 3-5,8")


def _unquoted(text: str) -> str:
    """`text` without a pair of quotes around it; empty where a quote stands alone."""
    found = re.fullmatch(r"""(['"]?)([^'"]*)\1""", text)
    return found[2] if found else ""


def shown(value: Any) -> str:
    """`value` for a message, without passwords and short enough to be read."""
    try:
        text = without_passwords(repr(value))
    except (ValueError, RecursionError):  # thousands of digits or of brackets
        return f"a very long {type(value).__name__}"
    return text if len(text) <= 400 else f"{text[:200]}...{text[-20:]}"


def registry(package: str) -> Mapping[str, Any]:
    """The `REGISTRY` of `package`."""
    return importlib.import_module(package).REGISTRY
