"""Jobs on this machine: so many worker processes at a time, each with its share of the cores and GPUs."""

import os
from collections.abc import Sequence

from studies.clusters.base import Cluster, End, Job, Share, Site
from studies.workers import Worker, dismiss
from utils.errors import UserError


class Local(Cluster):
    """Worker processes, which end with this one."""

    def __init__(self, site: Site, share: Share) -> None:
        """
        Raises:
            UserError: more GPUs are asked for than there are.
        """
        self._site = site
        self.active: dict[str, Job] = {}
        self._workers: dict[str, Worker] = {}
        self._threads = max(1, _cores() // share.jobs)
        #: what each of the jobs that run at a time sees of the GPUs
        self._seats: list[str | None] = [None] * share.jobs
        if share.gpus is not None:
            devices = visible_gpus()
            seats = seats_on(devices, share.gpus)
            if len(seats) < share.jobs:
                raise UserError(
                    f"--jobs {share.jobs} with --gpus-per-job {share.gpus:g}: this machine has {len(devices)} GPUs, "
                    f"enough for {len(seats)} jobs at a time"
                )
            self._seats = list(seats[: share.jobs])
        self._taken: dict[str, int] = {}

    @property
    def room(self) -> int:
        """As the base class says."""
        return len(self._seats) - len(self._taken)

    def start(self, jobs: Sequence[Job]) -> None:
        """As the base class says."""
        for job in jobs:
            seat = next(number for number in range(len(self._seats)) if number not in self._taken.values())
            orders, log = self._site.orders(job), self._site.log(job)
            self._workers[job.place] = Worker(orders, log, job.threads or self._threads, self._seats[seat])
            self._taken[job.place], self.active[job.place] = seat, job

    def ended(self) -> list[End]:
        """As the base class says."""
        codes = {place: worker.poll() for place, worker in self._workers.items()}
        found = []
        for place, code in codes.items():
            if code is not None:
                dismiss([self._workers.pop(place)])
                del self._taken[place]
                found.append(End(self.active.pop(place), code))
        return found

    def stop(self) -> None:
        """As the base class says."""
        for worker in self._workers.values():
            worker.stop()

    def close(self) -> None:
        """As the base class says."""
        dismiss(self._workers.values())


def seats_on(devices: Sequence[str], each: float) -> list[str]:
    """What jobs that take `each` GPUs, a part of one or several, see of `devices`, as in CUDA_VISIBLE_DEVICES."""
    if each < 1:
        return [device for device in devices for _ in range(int(1 / each + 1e-9))]
    width = int(each)
    return [",".join(devices[start : start + width]) for start in range(0, len(devices) - width + 1, width)]


def visible_gpus() -> list[str]:
    """The GPUs that a process started here sees, by their names in CUDA_VISIBLE_DEVICES."""
    import torch  # late: only who asks for GPUs needs to count them

    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
