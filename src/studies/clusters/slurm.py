"""Jobs of Slurm, through submitit: an array, whose tasks are put back into the queue when they are preempted."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.clusters.base import GONE, Cluster, End, Job, Share, Site, need
from studies.workers import SRC, Orders, Worker, dismiss
from utils.errors import UserError, one_line
from utils.records import read_json, write_json

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

#: As submitit names it; tests name its `local`.
CLUSTER = "slurm"
#: Seconds between Slurm's warning and the end, and those of them that a worker has to save.
WARNING, GRACE = 120, 90
#: Minutes that a task may run before it goes back into the queue, unless SBATCH_TIMELIMIT says otherwise.
TIME_LIMIT = 24 * 60
#: So often may that be.
REQUEUES = 1000
_TICK = 0.2


class Task:
    """What Slurm carries out: a worker, which saves when it is warned, and goes on when the task is started again."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def __call__(self, orders: Orders, log: Path, threads: int) -> int:
        """The worker's exit code."""
        self._worker = Worker(orders, log, threads)
        try:
            while (code := self._worker.poll()) is None:
                time.sleep(_TICK)
            return code
        finally:
            dismiss([self._worker])

    def checkpoint(self, orders: Orders, log: Path, threads: int) -> "DelayedSubmission":
        """Let the worker save; called in the handler of the warning's signal, after which the process ends."""
        from submitit.helpers import DelayedSubmission

        worker, deadline = self._worker, time.monotonic() + GRACE
        if worker is not None:
            worker.stop()
            while not worker.has_ended() and time.monotonic() < deadline:
                time.sleep(_TICK)
            worker.kill()  # one that did not hear; its last checkpoint counts
        return DelayedSubmission(Task(), orders, log, threads)


class Slurm(Cluster):
    """Slurm's queue. Its jobs outlive a driver that is killed, and the next one takes them over."""

    def __init__(self, site: Site, share: Share) -> None:
        """
        Raises:
            UserError: submitit is not installed, there is no Slurm, or parts of a GPU are asked for.
        """
        need("submitit")
        if share.gpus is not None and share.gpus < 1:
            raise UserError(f"--gpus-per-job {share.gpus:g}: Slurm's jobs have whole GPUs; give 1, or use --on ray")
        if CLUSTER == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            raise UserError("--on slurm: there is no sbatch here; start the study on a login node of the cluster")
        import submitit

        self._site = site
        self._folder = site.folder / "slurm"
        self._executor = submitit.AutoExecutor(self._folder, cluster=CLUSTER, slurm_max_num_timeout=REQUEUES)
        self._executor.update_parameters(
            name=f"muster-{site.folder.parent.name}",
            timeout_min=TIME_LIMIT,
            slurm_signal_delay_s=WARNING,
            slurm_array_parallelism=share.jobs,
            **({} if share.gpus is None else {"gpus_per_node": int(share.gpus)}),
        )
        self.active: dict[str, Job] = {}
        #: place -> submitit's job
        self._jobs: dict[str, Any] = {}
        #: which is known to the next driver
        self._handed_out = site.folder / "slurm.json"
        self._job_class: Any = submitit.LocalJob if CLUSTER == "local" else submitit.SlurmJob

    @property
    def room(self) -> int:
        """As the base class says: Slurm has a queue of its own."""
        return 1 << 30

    def adopt(self, jobs: Sequence[Job]) -> None:
        """As the base class says."""
        numbers = read_json(self._handed_out)
        for job in jobs:
            if job.place in numbers:
                found = self._job_class(self._folder, numbers[job.place])
                # Slurm knows nothing of jobs that were over long ago
                if not found.done(force_check=True) and found.state != "UNKNOWN":
                    self._jobs[job.place], self.active[job.place] = found, job

    def start(self, jobs: Sequence[Job]) -> None:
        """As the base class says."""
        by_threads: dict[int, list[Job]] = {}
        for job in jobs:
            by_threads.setdefault(max(job.threads, 1), []).append(job)
        for threads, alike in by_threads.items():
            self._executor.update_parameters(cpus_per_task=threads)
            orders, logs = [self._site.orders(job) for job in alike], [self._site.log(job) for job in alike]
            with _path_set():
                submitted = self._executor.map_array(Task(), orders, logs, [threads] * len(alike))
            for job, found in zip(alike, submitted, strict=True):
                self._jobs[job.place], self.active[job.place] = found, job
        write_json(self._handed_out, {place: found.job_id for place, found in self._jobs.items()})

    def ended(self) -> list[End]:
        """As the base class says."""
        places = [place for place, found in self._jobs.items() if found.done()]
        return [End(self.active.pop(place), *_end_of(self._jobs.pop(place))) for place in places]

    def stop(self) -> None:
        """As the base class says."""
        for found in self._jobs.values():
            found.cancel(check=False)

    def close(self) -> None:
        """As the base class says."""
        self.stop()


def _end_of(found: Any) -> tuple[int, str]:
    from submitit.core.utils import UncompletedJobError

    try:
        return int(found.result()), ""
    except UncompletedJobError as error:
        return GONE, f"Slurm's job {found.job_id}: {one_line(error)}"


@contextmanager
def _path_set() -> Iterator[None]:
    """Jobs inherit the environment, and find the program by it."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SRC), before]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
