"""The model card: what a program was trained for, what goes into it, and how it is called."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from controllers.coach import CoachController
from envs.base import NAME, EnvSpec
from exporting.policy import MIN_ROWS, Program
from exporting.source import Source
from modules.layers.inputs import SlotReader
from utils.version import __version__, git_revision

_TYPES = {torch.float32: "float32", torch.int64: "int64", torch.bool: "bool"}


def card(source: Source, files: Mapping[str, str], made: Mapping[str, Program]) -> str:
    """The card, Markdown.

    Args:
        files: name of a program -> name of its file.
        made: name of a program -> what it was made of.
    """
    spec, config = source.controller.spec, source.config
    parts = [
        f"# {config.name} on {spec.name}: the policy of one agent",
        "Written by Muster. It needs nothing but this file beside the program, and what runs the program.",
        _table(("", ""), _facts(source)),
    ]
    for name, program in made.items():
        parts += [f"## `{files[name]}`", *_ports(program)]
    parts += ["## How to call it", *_manner(source), _snippet(files, made)]
    parts += ["## Features", _features(spec), "## Actions", *_actions(spec)]
    parts += ["## Last test of its run", _tests(source)]
    return "\n\n".join(parts) + "\n"


def _facts(source: Source) -> list[tuple[str, str]]:
    config, record = source.config, source.record
    env_args = record.config.get("env_args")
    trained = env_args.get("train_team") if isinstance(env_args, Mapping) else None
    git = record.facts.get("git")
    git = git if isinstance(git, Mapping) else {}
    commit = git.get("commit")
    here = git_revision()["commit"]
    return [
        ("task", f"{source.controller.spec.name} (`env={config.env}`)"),
        ("algorithm", f"{config.name} (controller {config.controller}, learner {config.learner})"),
        ("trained", f"{source.steps:,} environment steps, {source.updates:,} updates, seed {config.seed}"),
        ("teams trained on", str(trained) if trained else "not recorded beside the checkpoint"),
        ("teams tested on", ", ".join(map(str, config.test_teams)) or "those trained on"),
        ("revision of the training", f"{commit}{' with changes' if git.get('dirty') else ''}" if commit else "unknown"),
        ("exported by", f"Muster {__version__}, revision {here or 'unknown'}, torch {torch.__version__}"),
    ]


def _ports(program: Program) -> list[str]:
    rows = [(f"`{name}`", _shape(p.shape), _TYPES[p.dtype], p.says) for name, p in program.inputs.items()]
    back = [(f"`{name}`", _shape(p.shape), _TYPES[p.dtype], p.says) for name, p in program.outputs.items()]
    heading = ("shape", "type", "what it is")
    return [_table(("input", *heading), rows), _table(("output", *heading), back)]


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def _manner(source: Source) -> list[str]:
    """How the team is played with it, a paragraph each."""
    controller, spec = source.controller, source.controller.spec
    said = ["B agents are asked at once, 1 for one agent alone."]
    if controller.FIXED_SLOTS:
        said.append(
            f"The networks have weights for each slot: there are always {spec.entities} rows, in the order of "
            f"training, the first {spec.agents} of them agents, and no larger team can be played. Empty slots are "
            "zeros, and their mask is False."
        )
    else:
        said.append(
            f"E is any number of rows from {MIN_ROWS} on, also more than in training; with fewer, add rows of zeros "
            "whose mask is False. Row 0 is the agent itself, the others come in any order. Rows that the agent does "
            "not see may be left out."
        )
    if spec.points:
        acts, each = f"{spec.basic} + E", spec.symbols
        said.append(
            f"U = {f'{each} * ({acts})' if each else acts}. {'Acts' if each else 'Actions'} from {spec.basic} on point "
            f"at entities: {spec.basic} + e at row e of the same call. At whom somebody pointed a step ago is told by "
            "the row of now."
        )
    if isinstance(controller.reader, SlotReader):
        said.append(
            f"Targets are told by their `{NAME}` (column 0), of which the networks know {spec.names} a side, and no "
            "larger team. Whoever was pointed at has to have a row, seen or not."
        )
    if isinstance(controller, CoachController):
        steps = f"the steps 0, {controller.interval}, {2 * controller.interval}, ... of an episode"
        said.append(
            f"The coach is asked in {steps}, for each agent, and whenever one joins, for that one. Row 0 is whom it is "
            "asked for. It sees everything: its mask is what is present."
        )
        if controller.beta:
            said.append(
                f"In {steps} an agent keeps its old strategy where the new one is no further away than "
                f"{controller.beta} (Euclidean)."
            )
    return said


def _snippet(files: Mapping[str, str], made: Mapping[str, Program]) -> str:
    file, inputs = files["policy"], made["policy"].inputs
    given = ", ".join(f"{name}={name}" for name in inputs)
    lines = ["```python"]
    if file.endswith(".pt2"):
        lines += ["import torch", "", f'policy = torch.export.load("{file}").module()', f"answer = policy({given})"]
    else:
        fed = ", ".join(f'"{name}": {name}' for name in inputs)
        lines += [
            "import onnxruntime",
            "",
            f'policy = onnxruntime.InferenceSession("{file}")',
            f"answer = dict(zip([o.name for o in policy.get_outputs()], policy.run(None, {{{fed}}})))",
        ]
    action = 'action = answer["action"]'
    if "memory" in inputs:
        action += '  # and answer["next_memory"] is memory in the next call'
    return "\n".join([*lines, action, "```"])


def _features(spec: EnvSpec) -> str:
    rows = []
    for name, columns in spec.feature_slices.items():
        last = columns.stop - 1
        rows.append((str(columns.start) if last == columns.start else f"{columns.start}-{last}", name))
    return _table(("columns of `entities`", "feature"), rows) if rows else f"{spec.features} columns without names."


def _actions(spec: EnvSpec) -> list[str]:
    names = spec.action_names or tuple(map(str, range(spec.basic)))
    what = "act" if spec.symbols else "action"
    said = [_table((what, "what it does"), [(str(number), name) for number, name in enumerate(names)])]
    if spec.points:
        said.append(f"From {spec.basic} on: entities, those in the rows ({spec.points}).")
    if spec.symbols:
        said.append(f"With each act goes one of {spec.symbols} symbols: action = act * {spec.symbols} + symbol.")
    return said


def _tests(source: Source) -> str:
    tests = {team: figures for team, figures in source.record.tests.items() if isinstance(figures, Mapping)}
    names = list(dict.fromkeys(name for figures in tests.values() for name in figures))
    if not names:
        return "Not recorded beside the checkpoint."
    rows = [(team, *(_mean(figures.get(name)) for name in names)) for team, figures in tests.items()]
    return _table(("team", *names), rows) + "\n\nMeans over greedy episodes, at the end of the run."


def _mean(summary: Any) -> str:
    value = summary.get("mean") if isinstance(summary, Mapping) else None
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def _table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
