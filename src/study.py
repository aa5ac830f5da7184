"""Studies: train what is missing, test, write a table and a figure. `python src/study.py --help` explains the words.

Exit codes: 0 the study is complete, 1 a training or a test failed, or another process is at it, 2 the user can correct
something, 130 or 143 it was stopped; the same command continues it.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec

from studies import REGISTRY
from studies.declaration import Study
from utils.command_line import Parser, parse_command_line
from utils.config_checks import CHECKS, LARGEST_INT
from utils.errors import UserError
from utils.interrupt import StopSignal
from utils.locks import Busy
from utils.paths import read_path
from utils.records import DISK_FAULTS
from utils.secrets import without_passwords
from utils.suggest import nearest
from utils.version import ROOT

#: Settings that a study makes itself, and what a user does instead.
_OWN_KEYS = {
    "seed": "use --seeds",
    "t_max": "use --t-max",
    "local_results_path": "use --results",
    "checkpoint_path": "use --evaluate-only",
    "load_step": "the newest checkpoint is tested",
    "evaluate": "use --evaluate-only",
    "save_model": "a study keeps its models",
}


def main(argv: Sequence[str], registry: Mapping[str, Study] = REGISTRY, final: bool = False) -> int:
    """Carry out the study that `argv` (without the program's name) asks for and return the exit code."""
    with StopSignal(final) as stop:
        try:
            own, overrides = _split(argv)
            if not own or {"-h", "--help"} & set(own):
                _parser(registry).print_help()
                return 0
            options = _parser(registry).parse_args(own)
            study = _find(options.study, registry)
            _check(options, overrides, study)
            study = study.on(options.tasks or study.tasks)
            return _run(study, options, overrides, _command(argv), stop)
        except UserError as error:
            print("error:", " ".join(str(error).split()), file=sys.stderr)
            return 2
        except Busy as other:
            print(f"error: {options.study} is at work in {options.results} already, {other}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("the study was stopped; the same command continues it", file=sys.stderr)
            return stop.exit_code
        except OSError as error:
            if error.errno not in DISK_FAULTS:
                raise
            print(
                f"error: a file of the study cannot be written ({error.strerror}): make room, and give the same "
                "command; what is done is not done again",
                file=sys.stderr,
            )
            return 1


def _command(argv: Sequence[str]) -> str:
    """The command line as the table shows it."""
    return f"python src/study.py {shlex.join(map(without_passwords, argv))}"


def _run(study: Study, options: argparse.Namespace, overrides: list[str], command: str, stop: StopSignal) -> int:
    from studies.curves import write_curves
    from studies.engine import Engine  # late: neither --help nor a misspelt name should wait for the networks' code
    from studies.figures import draw
    from studies.tables import curves, write_csv, write_markdown

    seeds = study.seeds if options.seeds is None else options.seeds
    engine = Engine(study, seeds, options.results, stop, overrides, options.t_max, options.evaluate_only)
    if options.on is None:
        results = engine.run()
    else:
        from studies.clusters import Share
        from studies.driver import carry_out

        engine.works = False
        results = carry_out(engine, options.on, Share(options.jobs, options.gpus_per_job))
    folder = options.results / study.name
    folder.mkdir(parents=True, exist_ok=True)
    write_markdown(folder / "table.md", study, results, command)
    write_csv(folder / "table.csv", study, results)
    draw(folder / "figure.png", study, results)
    wrote = "table.csv, figure.png"
    if lines := curves(study, results):
        write_curves(folder / "curves.csv", lines)
        wrote += ", curves.csv"
    print(f"wrote {folder / 'table.md'}, {wrote}")
    for what in engine.failed:
        print(f"failed: {what}", file=sys.stderr)
    for place, other in engine.busy.items():
        print(f"missing: {place} is being worked on by {other}", file=sys.stderr)
    for place in engine.lacking:
        print(f"failed: {place}; what its worker said: {options.results / place / 'worker.log'}", file=sys.stderr)
    return 1 if engine.failed or engine.busy or engine.lacking else 0


def _parser(registry: Mapping[str, Study]) -> Parser:
    width = max(map(len, registry))
    parser = Parser(
        prog="python src/study.py",
        usage="python src/study.py STUDY [options] [with KEY=VALUE ...]",
        description="Train what is missing, test, and write <results>/<study>/table.md, table.csv and figure.png.\n"
        "The settings after `with` hold for every training and every test.",
        epilog="studies:\n" + "\n".join(f"  {name:<{width}}  {study.title}" for name, study in registry.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("study", metavar="STUDY", help="one of the studies below")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="K", help="default: as many as the paper, from 0")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="these of its tasks alone; default: all of them")
    parser.add_argument("--t-max", type=int, metavar="N", help="environment steps to train for; default: the task's")
    parser.add_argument(
        "--evaluate-only",
        type=partial(read_path, "--evaluate-only"),
        metavar="DIR",
        help="train nothing: test the models below DIR, a folder of results",
    )
    parser.add_argument(
        "--results",
        type=partial(read_path, "--results"),
        metavar="DIR",
        default=ROOT / "results" / "studies",
        help="default: results/studies",
    )
    parser.add_argument(
        "--on",
        choices=("local", "ray", "slurm"),
        metavar="WHERE",
        help="in several processes (docs/scaling.md): local, on this machine; ray, at RAY_ADDRESS or a Ray of its own; "
        "slurm. Default: in this process",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="with --on: trainings at a time")
    parser.add_argument("--gpus-per-job", type=float, metavar="F", help="with --on: GPUs of each, such as 1 or 0.25")
    return parser


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before and after `with`."""
    words = list(argv)
    place = words.index("with") if "with" in words else len(words)
    return words[:place], words[place + 1 :]


def _find(name: str, registry: Mapping[str, Study]) -> Study:
    if name not in registry:
        raise UserError(f"there is no study {name!r}; the nearest is {nearest(name, registry)!r}; --help lists all")
    return registry[name]


def _check(options: argparse.Namespace, overrides: list[str], study: Study) -> None:
    seeds = options.seeds or []
    if len(set(seeds)) < len(seeds) or any(CHECKS["seed"](seed) for seed in seeds):
        raise UserError(f"--seeds {' '.join(map(str, seeds))}: each seed once, {CHECKS['seed'](-1)}")
    for task in options.tasks or ():
        if task not in study.tasks:
            raise UserError(f"--tasks {task}: {study.name} has {', '.join(study.tasks)}")
    if options.t_max is not None and not 1 <= options.t_max <= LARGEST_INT:
        raise UserError(f"--t-max {options.t_max}: must be at least 1, and below 2**63")
    if options.t_max is not None and options.evaluate_only is not None:
        raise UserError("--t-max is for training, and --evaluate-only trains nothing: give one of them")
    if options.evaluate_only is not None and not options.evaluate_only.is_dir():
        raise UserError(f"--evaluate-only {options.evaluate_only}: there is no such folder")
    _check_cluster(options)
    command = parse_command_line(["with", *overrides])
    if command.algorithm or command.environment or command.help or command.print_config:
        raise UserError("after `with` stand settings alone, KEY=VALUE")
    for key, _ in command.settings:
        if key in _OWN_KEYS:
            raise UserError(f"{key} cannot be set after `with`: {_OWN_KEYS[key]}")
        if key in study.varied:
            raise UserError(f"{key} cannot be set after `with`: it is what the rows of {study.name} differ by")
    if find_spec("matplotlib") is None:
        raise UserError("a study draws its figure with matplotlib, which is missing: install requirements.txt")


def _check_cluster(options: argparse.Namespace) -> None:
    on, jobs, gpus = options.on, options.jobs, options.gpus_per_job
    for word, value in (("--jobs", jobs), ("--gpus-per-job", gpus)):
        if on is None and value is not None:
            raise UserError(f"{word} {value}: say with --on where the jobs are: local, ray or slurm")
    if on is None:
        return
    if jobs is None:
        raise UserError(f"--on {on}: say with --jobs N how many trainings run at a time")
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: must be at least 1")
    if gpus is not None and not (0 < gpus <= 1 or (gpus > 1 and gpus.is_integer())):
        raise UserError(f"--gpus-per-job {gpus:g}: must be a part of one GPU, such as 0.25, or a whole number")
    if options.evaluate_only is not None:
        raise UserError("--evaluate-only trains nothing, and its tests are made in this process: leave out --on")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], final=True))
