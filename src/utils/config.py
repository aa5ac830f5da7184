"""The configuration of a run: read in layers, checked once, never written again.

default.yaml <- config/envs/<env-config>.yaml <- config/algs/<config>.yaml <- config/recipes/<recipe>/<config>.yaml <-
the command line. An algorithm's file that says `extends: NAME` comes after that algorithm's, and names what differs. Of
a recipe's file, what stands under `tasks: {<env-config>: ...}` comes after the rest and holds for that task alone.
"""

import dataclasses
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from utils.command_line import (
    CONFIG_DIR,
    PAPER,
    QUOTES,
    CommandLine,
    config_names,
    parse_command_line,
    parse_value,
    recipe_names,
)
from utils.config_checks import COMMAND_LINE, INFINITE, check_values, convert, convert_teams, registry, shown
from utils.errors import UserError
from utils.paths import find_path, read_path
from utils.secrets import without_passwords
from utils.suggest import nearest
from utils.version import ROOT

#: Keys that hold settings of their own, which a dot tells: `env_args.train_team`.
_PARTS = ("env_args", "expert_args")

#: Settings that decide where and how fast a run goes and what it leaves, but not what is learned.
INCIDENTAL = {
    "recipe", "local_results_path", "checkpoint_path", "load_step", "evaluate", "t_max", "device", "threads",
    "log_interval", "save_model", "save_model_interval", "worker_start_timeout", "worker_step_timeout",
    "mongo_url", "mongo_db", "mongo_checkpoints", "use_tensorboard", "use_wandb",
}  # fmt: skip
#: Settings of tests, which learning does not see.
TESTING = {"test_interval", "test_nepisode", "test_batch_size", "test_teams", "test_episodes", "beta"}


class Config(Mapping[str, Any]):
    """The settings of one run, as `config.lr` or `config["lr"]`. Immutable.

    `env_args` is the environment's own frozen dataclass, `test_teams` a tuple of names (empty: the training team),
    `local_results_path` and `checkpoint_path` (where not empty) are absolute.
    """

    __slots__ = ("_values", "command")
    _values: dict[str, Any]
    #: what it was made from
    command: CommandLine

    def __init__(self, values: Mapping[str, Any], command: CommandLine | None = None) -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "command", command or CommandLine())

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):  # copy and pickle look for methods before there are values
            raise AttributeError(key)
        try:
            return self._values[key]
        except KeyError:
            raise AttributeError(f"there is no setting {key!r}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError(f"the configuration is not written to after it was checked ({key})")

    def __delattr__(self, key: str) -> None:
        self.__setattr__(key, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return without_passwords(f"Config({self._values!r})")

    def __reduce__(self) -> tuple[Any, ...]:
        return Config, (self._values, self.command)

    def as_dict(self) -> dict[str, Any]:
        """A new dict of plain values (lists, dicts, numbers, text), fit for YAML and JSON, and without passwords."""
        return {key: _plain(value) for key, value in self._values.items()}


def load_config(argv: Sequence[str]) -> Config:
    """Return the checked configuration that the command line `argv` (without the program's name) asks for.

    Raises:
        UserError: a file, key or value that cannot be; the message names it, its place and what would do.
    """
    return build_config(parse_command_line(argv))


def build_config(command: CommandLine) -> Config:
    """As `load_config`, from a command line that is already taken apart."""
    return _build(command, {})


def related_config(config: Config, algorithm: str, shared: Collection[str], settings: Mapping[str, Any]) -> Config:
    """The configuration of another training on the task of `config`.

    Args:
        algorithm: the name of its YAML file.
        shared: keys that have, where the command line set them, the same value here as there; the task's are shared.
        settings: what comes last; its keys may be anything that a command line may have.
    """
    command = config.command
    kept = tuple((key, text) for key, text in command.settings if key in shared or key.startswith("env_args."))
    return _build(CommandLine(algorithm, command.environment, kept), settings)


def saved_config(settings: Mapping[str, Any]) -> Config:
    """The configuration that a checkpoint's `settings` describe; keys that came after it mean what there was then,
    which is what default.yaml says of them.
    """
    return Config({**_read_yaml(CONFIG_DIR / "default.yaml"), **settings})


def _build(command: CommandLine, last: Mapping[str, Any]) -> Config:
    """`last`: settings that come after the command line's."""
    defaults = _read_yaml(CONFIG_DIR / "default.yaml")
    values: dict[str, Any] = {**defaults, **{part: dict(defaults[part]) for part in _PARTS}}
    values["recipe"] = command.recipe
    sources = dict.fromkeys(values, "default.yaml")
    layers = []
    if command.environment is not None:
        path = _config_file("envs", f"--env-config={command.environment}", command.environment)
        layers.append((f"envs/{path.name}", _read_yaml(path)))
    if command.algorithm is not None:
        layers += _algorithm_layers(command.algorithm)
    if command.recipe != PAPER:
        layers += _recipe_layers(command.recipe, command.algorithm, command.environment)
    for source, layer in layers:
        for key, value in layer.items():
            _assign(values, sources, defaults, key, value, source)
    for key, text in command.settings:
        # text stays text where the default is text: a name such as 1e3 is not a number
        keep = isinstance(defaults.get(key.removeprefix("expert_args.")), str) and not key.endswith("imagine_split")
        try:
            value = parse_value(text) if not keep or text[:1] in QUOTES else text
        except ValueError as error:
            raise UserError(f"{key}={shown(text)} ({COMMAND_LINE}): must be {error}") from None
        _assign(values, sources, defaults, key, value, COMMAND_LINE)
    for key, value in last.items():
        _assign(values, sources, defaults, key, value, "expert_args")
    return _finish(values, sources, command)


def _algorithm_layers(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The YAML files (name, content) that make the algorithm `name`, those that it extends first."""
    layers: dict[str, dict[str, Any]] = {}
    asked = f"--config={name}"
    while True:
        path = _config_file("algs", asked, name)
        source = f"algs/{path.name}"
        if source in layers:
            raise UserError(f"{asked}: {' -> '.join([*layers, source])} extends itself; leave one `extends` out")
        layer = layers[source] = _read_yaml(path)
        _refuse_length(layer, source)
        if "extends" not in layer:
            return list(reversed(layers.items()))
        name = str(layer.pop("extends"))
        asked = f"extends={shown(name)} ({source})"


def _recipe_layers(recipe: str, algorithm: str | None, task: str | None) -> list[tuple[str, dict[str, Any]]]:
    """What `recipe` has for the algorithm on any task, and then for the task."""
    asked = f"--recipe={recipe}"
    if recipe not in recipe_names():
        known = recipe_names()
        raise UserError(f"{asked}: there are {', '.join(known)}; the nearest is {nearest(recipe, known)!r}")
    having = config_names(f"recipes/{recipe}")
    if algorithm not in having:
        lacking = "--config names no algorithm" if algorithm is None else f"--config={algorithm} has none"
        raise UserError(f"{asked}: {lacking}; there is one for {', '.join(having) or 'no algorithm yet'}")
    source = f"recipes/{recipe}/{algorithm}.yaml"
    layer = _read_yaml(CONFIG_DIR / source)
    _refuse_length(layer, source)
    tasks = layer.pop("tasks", {})
    if not isinstance(tasks, dict) or not all(_is_layer(settings) for settings in tasks.values()):
        raise UserError(f"tasks={shown(tasks)} ({source}): must hold TASK: {{KEY: VALUE}} lines")
    for name in tasks:
        _config_file("envs", f"tasks={shown(name)} ({source})", str(name))
    if not layer and task not in tasks:  # what changes nothing must not be recorded as a recipe
        where = "--env-config names no task" if task is None else f"--env-config={task} has none"
        there = ", ".join(tasks) or "no task yet"
        raise UserError(f"{asked} of --config={algorithm}: {where}; there is one for {there}")
    return [(source, layer), (f"{source}, {task}", tasks.get(task, {}))]


def _refuse_length(layer: Mapping[str, Any], source: str) -> None:
    if "t_max" in layer:
        raise UserError(
            f"t_max={shown(layer['t_max'])} ({source}): the length of training belongs to default.yaml, "
            "the environment's YAML or the command line, not to an algorithm"
        )


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping; YAML's own rule, where PyYAML silently takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [
            key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"
        ]  # what << brings in may be replaced
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        seen = set()
        for key in own:
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} stands twice", key.start_mark)
            seen.add(name)
        return mapping


def _read_yaml(path: Path) -> dict[str, Any]:
    place = path.relative_to(CONFIG_DIR)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise UserError(f"cannot read {place}: {error.strerror}") from None
    except RecursionError:
        raise UserError(f"{place} is no valid YAML: it is nested too deeply") from None
    # PyYAML leaves what a malformed number, date or tag does to the rest of Python: !!int, 2026-13-01, 5,000 digits
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(f"{place} is no valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not _is_layer(content):
        raise UserError(f"{place} must hold KEY: VALUE lines")
    assert isinstance(content, dict)
    return content


def _is_layer(content: Any) -> bool:
    return isinstance(content, dict) and all(isinstance(key, str) for key in content)


def _config_file(kind: str, asked: str, name: str) -> Path:
    """The YAML file of `name`; `asked` says who asked for it."""
    known = config_names(kind)
    if name not in known:
        hint = f"the nearest is {nearest(name, known)!r}" if known else "there are none yet"
        raise UserError(f"{asked}: there is no config/{kind}/{name}.yaml; {hint}; --help lists them all")
    return CONFIG_DIR / kind / f"{name}.yaml"


def _assign(
    values: dict[str, Any], sources: dict[str, str], defaults: Mapping[str, Any], key: str, value: Any, source: str
) -> None:
    """Set `key`, which may be `env_args.<key>`, to `value` of the right type."""
    if key == "recipe":
        raise UserError(f"recipe={shown(value)} ({source}): a recipe is chosen by --recipe={shown(value)}")
    head, _, rest = key.partition(".")
    if head in _PARTS and rest:
        values[head][rest] = value
        sources[head] = source
        return
    if key not in defaults:
        # a setting of the environment is easily given without its prefix
        known = {**{name: f"env_args.{name}" for name in values["env_args"]}, **{name: name for name in defaults}}
        meant = known[nearest(key, known)]
        raise UserError(f"unknown key {key}={shown(value)} ({source}); the nearest known key is {meant!r}")
    try:
        if key == "test_teams":
            value = convert_teams(value)
        elif key == "imagine_split" and not isinstance(value, str):
            value = convert(value, float)
        else:
            value = convert(value, type(defaults[key]), infinite=key in INFINITE)
    except ValueError as error:
        raise UserError(f"{key}={shown(value)} ({source}): must be {error}") from None
    if key in _PARTS:
        value = {**values[key], **value}
    values[key] = value
    sources[key] = source


def _finish(values: dict[str, Any], sources: Mapping[str, str], command: CommandLine) -> Config:
    check_values(values, sources)
    values["test_teams"] = tuple(values["test_teams"])
    values["local_results_path"] = str(read_path("local_results_path", values["local_results_path"], ROOT))
    if values["checkpoint_path"]:
        from utils.checkpoints import find_checkpoint  # late: it imports torch, which takes seconds

        path = find_path("checkpoint_path", values["checkpoint_path"])
        find_checkpoint(path, values["load_step"])
        values["checkpoint_path"] = str(path)
    elif values["load_step"]:
        raise UserError(f"load_step={values['load_step']} needs checkpoint_path, the folder that holds the steps")
    for key in ("expert_path", "init_from"):
        if values[key]:
            from utils.checkpoints import find_checkpoint

            values[key] = str(find_checkpoint(find_path(key, values[key]), key=key))
    env = registry("envs")[values["env"]]
    env_args = _convert_env_args(env, values["env"], values["env_args"], sources["env_args"])
    values["env_args"] = env.resolve_args(env_args, values["test_teams"])
    if env.external(values["env_args"]) and sources["runner"] == "default.yaml":
        values["runner"] = "parallel"
    return Config(values, command)


def _convert_env_args(env: Any, name: str, env_args: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Check the keys of `env_args` and give plain values the type of the environment's field; it checks the rest."""
    kinds = typing.get_type_hints(env.Args)
    known = [field.name for field in dataclasses.fields(env.Args)]
    converted = {}
    for key, value in env_args.items():
        key = str(key)
        if key not in known:
            raise UserError(
                f"unknown key env_args.{key}={shown(value)} ({source}) for env={name}; the nearest known key is "
                f"'env_args.{nearest(key, known)}'"
            )
        kind = kinds[key]
        try:
            converted[key] = convert(value, kind) if kind in (bool, int, float, str) else value
        except ValueError as error:
            raise UserError(f"env_args.{key}={shown(value)} ({source}): must be {error}") from None
    return converted


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, bool | int | float | None) else without_passwords(str(value))
