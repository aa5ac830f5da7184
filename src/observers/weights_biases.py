"""A run in Weights & Biases, through its package `wandb`, which lives in a process of its own: it replaces hooks of the
interpreter, may ask questions on the terminal, and at the end waits for a server for as long as that takes.

The process gets lines of JSON on its standard input: first what to begin with, then what happens, last the status. It
answers with a line when it has begun, and with another one where something goes wrong.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from observers.observer import Observer, Run
from utils.config import Config
from utils.errors import UserError, one_line
from utils.interrupt import end_with
from utils.secrets import without_passwords
from utils.version import ROOT

#: Seconds in which a server has to answer before the run stays on this machine.
_PATIENCE = 20.0
#: Seconds that the process has left when whoever started it is gone.
_FAREWELL = 5.0
_LONGEST_TAG = 64
_FAULT = "error: "


class WeightsAndBiases(Observer):
    """Shows a run there; where there is no key or no network it is kept in `<run>/wandb`, and `wandb sync` uploads it.

    `WANDB_MODE`, `WANDB_API_KEY`, `WANDB_PROJECT` (default: muster), `WANDB_ENTITY` and `WANDB_BASE_URL` are heeded.

    Raises:
        UserError: the package is missing.
    """

    name = "Weights & Biases"
    remedy = "Its figures are in metrics.jsonl; what was not uploaded, in its folder wandb for `wandb sync`."
    grace = 30.0

    def __init__(self) -> None:
        if find_spec("wandb") is None:
            raise UserError(
                "use_wandb=True needs the package wandb, which is missing: ./run.sh python -m pip install 'wandb>=0.31'"
            )

    def begin(self, run: Run) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT / "src",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C is for the run, which tells how it ended
        )
        self._send({**describe(run.config), "dir": str(run.folder)})
        self.say(f"{self.name}: {self._answer()}")

    def scalar(self, name: str, value: float, step: int) -> None:
        self._send({"figures": {name: value}, "step": step})

    def facts(self, facts: Mapping[str, Any]) -> None:
        self._send({"facts": facts})

    def end(self, status: str) -> None:
        self._send({"status": status})
        self._answer()
        self._process.wait()

    def _send(self, message: Mapping[str, Any]) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
        except BrokenPipeError:
            self._answer()  # says why

    def _answer(self) -> str:
        """
        Raises:
            RuntimeError: it is a fault, or there is none because the process has ended.
        """
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"its process ended with exit code {self._process.wait()}")
        if answer.startswith(_FAULT):
            raise RuntimeError(answer.removeprefix(_FAULT))
        return answer


def describe(config: Config) -> dict[str, Any]:
    """By what a run is known there; runs of one algorithm on one task, which differ by their seeds, are a group."""
    task = config.command.environment or config.env
    group = f"{config.name} {task}"
    return {
        "name": f"{group} seed {config.seed}",
        "group": group,
        "tags": [tag[:_LONGEST_TAG] for tag in dict.fromkeys((config.name, task, config.env))],
        "job_type": "evaluate" if config.evaluate else "train",
        "config": config.as_dict(),
    }


# --- in the process ---------------------------------------------------------------------------------------------------


def main(told: IO[str], answers: IO[str]) -> None:
    """Hand on what is told, until the run's status comes or whoever tells is gone."""
    run, where = _begin(json.loads(told.readline()))
    print(where, file=answers, flush=True)
    status = "DIED"
    for line in told:
        message = json.loads(line)
        if "figures" in message:
            run.log(message["figures"], step=message["step"])
        elif "facts" in message:
            run.config.update({"facts": message["facts"]}, allow_val_change=True)
        else:
            status = message["status"]
            break
    run.finish(exit_code=0 if status == "COMPLETED" else 1)
    print("done", file=answers, flush=True)


def _begin(settings: dict[str, Any]) -> tuple[Any, str]:
    """The run there, and where it can be found."""
    import wandb

    settings["project"] = os.environ.get("WANDB_PROJECT", "muster")
    settings["settings"] = wandb.Settings(
        console="off", silent=True, disable_git=True, x_disable_stats=True, init_timeout=_PATIENCE
    )
    why = ""
    try:
        run = wandb.init(**settings, mode=os.environ.get("WANDB_MODE", "online"))
    except Exception as error:
        if "WANDB_MODE" in os.environ:
            raise
        why = f" ({_in_short(error)})"
        shutil.rmtree(Path(settings["dir"], "wandb"), ignore_errors=True)  # what the attempt has left
        run = wandb.init(**settings, mode="offline")
    if run.disabled:
        return run, "disabled by WANDB_MODE"
    if run.offline:
        return run, f"offline{why}; wandb sync {Path(run.dir).parent} uploads it"
    return run, run.url


def _in_short(error: Exception) -> str:
    return one_line(without_passwords(str(error).partition("\n")[0]))


def _program() -> int:
    end_with(sys.stdin.fileno(), _FAREWELL, [lambda: None])
    try:
        main(sys.stdin, sys.stdout)
    except Exception as error:
        print(f"{_FAULT}{type(error).__name__}: {_in_short(error)}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_program())
