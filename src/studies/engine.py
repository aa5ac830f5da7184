"""Carrying out a study: train what is missing, test what was trained, hand back the figures.

Every training and every test is a run of `main.py` with a record of its own:

    <results>/<task>/<cell>/seed<k>/settings.json    what the models were trained with
                                    sacred/<run>/    records: one, and one more for every time it was continued
                                    models/<run>/    checkpoints
                                    tests/<settings>/test.json, sacred/<run>/

A scripted team has no seeds: its tests lie in `<results>/<task>/<cell>/tests`.

Several processes may carry out the same study, or studies that share cells: each locks the folder of the cell and seed
that it is at, and goes on to another one where it finds somebody else.
"""

import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import main
from studies.curves import Curve, read_curves
from studies.declaration import Cell, Entry, Row, Study, assignments
from studies.stored import (
    SETTINGS,
    checkpoints,
    died,
    fingerprint,
    newest_sound,
    read_settings,
    read_test,
    test_fault,
    updates,
)
from utils.config import INCIDENTAL, TESTING, load_config
from utils.config_checks import registry
from utils.errors import UserError
from utils.interrupt import Interrupted, StopSignal
from utils.locks import Busy, locked
from utils.records import make_writable, parameters, read_json, revision, write_json


@dataclass(frozen=True)
class Outcome:
    """What one model, or one scripted team, did in one row's test."""

    #: None: a scripted team
    seed: int | None
    #: environment steps that the model was trained for
    step: int
    #: updates that were made of them; None: its checkpoint does not say
    updates: int | None
    #: what each update learnt from, in words
    batch: str
    #: trained parameters
    parameters: int
    #: git revisions that trained and tested it, with `+` where files differed from it
    revisions: tuple[str, ...]
    #: team -> figure -> mean, std, n
    evaluation: Mapping[str, Mapping[str, Mapping[str, float]]]
    #: its training was killed, and nobody has continued it
    died: bool = False
    #: recorded metric -> its curve, of those that the study draws or counts by
    curves: Mapping[str, Curve] = field(default_factory=dict)


#: label of a row -> one outcome per seed; none where a run failed or is missing
Results = dict[str, list[Outcome]]


@dataclass
class Engine:
    """Carries out one study.

    Args:
        study: what to do.
        seeds: a training each.
        results: folder of all results.
        overrides: words KEY=VALUE for every training and test.
        t_max: environment steps to train for; None: the task's.
        models: folder with trained models to test, laid out as `results`; None: train them.
        stop: asks for an end.
    """

    study: Study
    seeds: Sequence[int]
    results: Path
    stop: StopSignal
    overrides: Sequence[str] = ()
    t_max: int | None = None
    models: Path | None = None
    #: False: nothing is trained and tested, what is done already is collected
    works: bool = True
    #: trainings and tests that did not work
    failed: list[str] = field(default_factory=list)
    #: cells and seeds that are left to another process, with its name
    busy: dict[str, str] = field(default_factory=dict)
    #: places of cells and seeds that are not complete, with what carries out each of them alone; only where it does
    #: not work itself
    lacking: dict[str, Entry] = field(default_factory=dict)

    def run(self) -> Results:
        """Do what is not done yet and return every row's outcomes.

        What another process is at is left to the end, and given up where that is still at it then.

        Raises:
            UserError: a setting cannot be, a folder holds models that were trained with other settings, or the results
                cannot be written.
            Interrupted: a signal came; `stop.exit_code` says which.
        """
        self._check()
        make_writable([self.results], f"--results {self.results}")
        found: Results = {row.label: [] for row in self.study.rows}
        self.lacking = {}
        jobs = self.study.jobs(self.seeds)
        waiting = list(enumerate(jobs, start=1))
        for _ in range(2):  # what another process is at is tried once more after all the rest
            now, waiting, self.busy = waiting, [], {}
            for number, (cell, seed) in now:
                place = cell.place(seed)
                if self.works:
                    print(f"[{number}/{len(jobs)}] {place}", flush=True)
                try:
                    outcomes = self._carry_out(cell, seed)
                except Busy as other:
                    print(f"{place} is being worked on by {other}", flush=True)
                    self.busy[place] = str(other)
                    waiting.append((number, (cell, seed)))
                    continue
                for label, outcome in outcomes:
                    found[label].append(outcome)
                if not self.works and len(outcomes) < len(self.study.rows_of(cell)):
                    self.lacking[place] = self._entry(cell, seed)
        return found

    def _entry(self, cell: Cell, seed: int | None) -> Entry:
        """What carries out a cell with a seed, and nothing else."""
        alone = replace(self.study, rows=self.study.rows_of(cell))
        if seed is None:
            return Entry(alone, (), 0, self.overrides)
        return Entry(alone, (seed,), load_config(self._training_words(cell)).t_max, self.overrides)

    def _carry_out(self, cell: Cell, seed: int | None) -> list[tuple[str, Outcome]]:
        """Train and test a cell with a seed, and return the outcomes with the labels of their rows.

        Raises:
            Busy: another process does.
        """
        folder = self.results / cell.place(seed)
        hold = locked if self.works else nullcontext
        if seed is not None and self.models is None:
            with hold(folder):
                self._check_settings(cell, seed)  # once more: another process may have been here since
                if not self._train(cell, seed):
                    return []
        with hold(folder / "tests"):  # apart from training, so that unfinished models can be tested meanwhile
            checkpoint = None
            if cell.learns:
                models = (self.models or self.results) / cell.place(seed)
                checkpoint = newest_sound(models)
                if checkpoint is None:
                    print(f"no trained model in {models}", flush=True)
                    return []
            tested = [(row.label, self._test(row, seed, checkpoint)) for row in self.study.rows_of(cell)]
        return [(label, outcome) for label, outcome in tested if outcome is not None]

    # --- before anything starts -----------------------------------------------------------------------------------

    def _check(self) -> None:
        import run  # late, as in main: it imports the networks' code

        for cell in self.study.cells:
            for row in self.study.rows_of(cell):
                words = self._testing_words(row)
                config = load_config([*words, *([] if cell.learns else ["evaluate=True"])])
                if config.test_episodes != "test":
                    raise UserError(
                        f"test_episodes={config.test_episodes}: what a study shows are tests; leave it out, and choose "
                        "settings by runs of their own"
                    )
                run.check(config)
            if cell.learns:
                run.check(load_config(self._training_words(cell)))
                for seed in self.seeds:
                    self._check_settings(cell, seed)
        learned = [cell.place(seed) for cell in self.study.cells if cell.learns for seed in self.seeds]
        if self.models is not None and not any(checkpoints(self.models / place) for place in learned):
            raise UserError(
                f"--evaluate-only {self.models}: no trained model of {self.study.name} with the seeds "
                f"{', '.join(map(str, self.seeds))}, such as {learned[0]}/models/1/1000"
            )

    def _check_settings(self, cell: Cell, seed: int) -> None:
        """Refuse a folder whose models were trained with other settings."""
        folder = (self.models or self.results) / cell.place(seed)
        if not checkpoints(folder):
            return
        recorded = read_settings(folder)
        wanted = self._settings(cell, seed)
        # a setting that the program did not have yet when the model was trained has its default
        known = {**_flat(load_config([f"--env-config={cell.task}"]).as_dict()), **_flat(recorded)}
        for key, value in _flat(wanted).items():
            if key not in INCIDENTAL | TESTING and known[key] != value:
                raise UserError(
                    f"{folder} was trained with {key}={known[key]}, not {key}={value}: "
                    "give the same settings, or another folder with --results"
                )
        if self.models is None and wanted["t_max"] < recorded["t_max"]:
            raise UserError(
                f"{folder} is trained for t_max={recorded['t_max']} steps, and training cannot be shortened to "
                f"{wanted['t_max']}: give another folder with --results"
            )

    # --- training -------------------------------------------------------------------------------------------------

    def _train(self, cell: Cell, seed: int) -> bool:
        """Train to the end, from the newest sound checkpoint where there is one; False where it did not work."""
        folder = self.results / cell.place(seed)
        settings = self._settings(cell, seed)
        checkpoint = newest_sound(folder)
        if checkpoint is not None and int(checkpoint.name) >= settings["t_max"]:
            return True
        if not self.works:
            return False
        if died(folder):
            start = f"goes on from step {int(checkpoint.name):,}" if checkpoint else "starts anew"
            print(f"{cell.place(seed)}: its latest run died, training {start}", flush=True)
        if (folder / SETTINGS).exists() and not read_json(folder / SETTINGS):
            print(f"{folder / SETTINGS} cannot be read: written anew, for there is no model yet", flush=True)
        write_json(folder / SETTINGS, settings)
        words = [*self._training_words(cell), f"seed={seed}", f"local_results_path={folder}"]
        if checkpoint is not None:
            words.append(f"checkpoint_path={checkpoint}")
        return self._run(words, cell.place(seed))

    def _training_words(self, cell: Cell) -> list[str]:
        length = [] if self.t_max is None else [f"t_max={self.t_max}"]
        return [*cell.words(), *assignments(self.study.training), *length, *self._overrides(cell)]

    def _settings(self, cell: Cell, seed: int) -> dict[str, Any]:
        """What decides how the models of `cell` and `seed` learn."""
        config = load_config([*self._training_words(cell), f"seed={seed}"]).as_dict()
        return {key: value for key, value in config.items() if key not in ("local_results_path", "checkpoint_path")}

    # --- testing --------------------------------------------------------------------------------------------------

    def _test(self, row: Row, seed: int | None, checkpoint: Path | None) -> Outcome | None:
        """Test a row's model, unless that is done already; None where it did not work.

        Args:
            checkpoint: the model; None for a scripted team.
        """
        place = row.cell.place(seed)
        words = self._testing_words(row)
        if row.cell.learns:
            words.append(f"seed={seed}")
        config = load_config([*words, "evaluate=True", *_source(checkpoint)]).as_dict()
        teams = config["test_teams"] or ["train"]
        identity = {
            "settings": {key: value for key, value in config.items() if key not in INCIDENTAL},
            "checkpoint": checkpoint and fingerprint(checkpoint),
        }
        folder = self.results / place / "tests" / row.tests
        record = read_test(folder, identity, teams)
        if record is None and not self.works:
            return None
        if record is None:
            words += ["evaluate=True", *_source(checkpoint), f"local_results_path={folder}"]
            if not self._run(words, f"{place}, {row.label}"):
                return None
            run = max((folder / "sacred").glob("[0-9]*"), key=lambda path: int(path.name))
            record = {**identity, "run": run.name, "evaluation": read_json(run / "evaluation.json")}
            fault = test_fault(folder, record, teams)
            if fault is not None:
                self._note_failure(f"{place}, {row.label}: the test {run} {fault}")
                return None
            write_json(folder / "test.json", record)
        facts = read_json(folder / "sacred" / record["run"] / "info.json")
        trained = [] if checkpoint is None else sorted(checkpoint.parents[2].glob("sacred/*/info.json"))
        return Outcome(
            seed=seed,
            step=int(checkpoint.name) if checkpoint else 0,
            updates=None if checkpoint is None else updates(checkpoint),
            batch="" if seed is None else batch_of(self._settings(row.cell, seed)),
            parameters=parameters(facts),
            revisions=tuple(revision(info) for info in [facts, *map(read_json, trained)]),
            evaluation=record["evaluation"],
            died=checkpoint is not None and died(checkpoint.parents[2]),
            curves={} if checkpoint is None else read_curves(checkpoint.parents[2], self.study.metrics(row)),
        )

    def _testing_words(self, row: Row) -> list[str]:
        shared = assignments(self.study.testing)
        return [*row.cell.words(), *assignments(row.settings), *shared, *self._overrides(row.cell)]

    def _overrides(self, cell: Cell) -> list[str]:
        """The overrides that mean something to `cell`: learners from fresh episodes have no use for the replay's
        settings, nor have students for those of an expert's training where there is none.
        """
        from learners.experts import trains_expert  # late, as above

        config, words = load_config(cell.words()), list(self.overrides)
        unused = registry("learners")[config.learner].UNUSED
        words = [word for word in words if word.split("=")[0] not in unused]
        if not trains_expert(config):
            words = [word for word in words if not word.startswith(("expert_args.", "expert_steps="))]
        return words

    # --- both -----------------------------------------------------------------------------------------------------

    def _run(self, words: list[str], what: str) -> bool:
        """Carry out the command line `words` as `main.py` does, in this process; False where it did not work."""
        if self.stop.requested:
            raise Interrupted
        try:
            code = main.main(words)
        except Exception:  # one failed run is a gap in the table, not the end of the study
            traceback.print_exc()
            code = 1
        if code > 128:  # the run listened to signals in the meantime
            self.stop.signum = code - 128
            raise Interrupted
        if code:
            self._note_failure(what)
        return code == 0

    def _note_failure(self, what: str) -> None:
        print(f"failed: {what}", flush=True)
        self.failed.append(what)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, those of the environment named as on the command line."""
    env_args = {f"env_args.{key}": value for key, value in settings["env_args"].items()}
    return {**{key: value for key, value in settings.items() if key != "env_args"}, **env_args}


def batch_of(settings: Mapping[str, Any]) -> str:
    """What an update learns from: pieces of so many steps, or whole episodes, which are as long as they are."""
    limit = settings["env_args"].get("episode_limit")
    whole = "episodes" + f" of at most {limit} steps" * (limit is not None)
    if registry("learners")[settings["learner"]].ON_POLICY:
        parts = settings["num_mini_batch"]
        steps = settings.get("rollout_steps")  # earlier versions had none
        fresh = f"x {steps} fresh steps" if steps else f"fresh {whole}"
        return f"{settings['batch_size_run']} {fresh}" + f", in {parts} mini-batches" * (parts > 1)
    if settings["sequence_length"]:
        return f"{settings['batch_size']} pieces of {settings['sequence_length']} steps"
    return f"{settings['batch_size']} {whole}"


def _source(checkpoint: Path | None) -> list[str]:
    return [] if checkpoint is None else [f"checkpoint_path={checkpoint}"]
