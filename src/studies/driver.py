"""The process that has the cells of a study carried out on a cluster: it hands them out, tells where each one stands,
and hands out again what died.

What is done is on disk, in the same folders and under the same locks as without a cluster. So a driver may be killed,
and the next one finds what is finished, waits for what others are still at, and has the rest continued.
"""

import time
from collections.abc import Sequence
from contextlib import suppress

from studies.clusters import REGISTRY, Cluster, End, Job, Share, Site
from studies.declaration import Entry, assignments
from studies.engine import Engine, Results
from studies.live import View
from studies.stored import checkpoints
from studies.workers import BUSY, FAILED
from utils.config import load_config
from utils.interrupt import Interrupted, StopSignal
from utils.locks import Busy, locked

#: Seconds between two looks at the cluster, and between two at the locks of cells that others are at.
TICK, PAUSE = 0.2, 1.0
#: So often in a row a job may die without a new checkpoint in between.
DEATHS = 3


class Driver:
    """Has jobs carried out, until each one is done or has failed."""

    def __init__(self, cluster: Cluster, jobs: Sequence[Job], site: Site, stop: StopSignal, view: View) -> None:
        self._cluster, self._site, self._stop, self._view = cluster, site, stop, view
        self._waiting = list(jobs)
        #: place -> how often in a row it died, and its steps then
        self._deaths: dict[str, tuple[int, int]] = {}
        self._looked = float("-inf")

    def run(self) -> None:
        """Return when all jobs are done or have failed; what is not complete then, the results tell.

        Raises:
            Interrupted: a signal came: one, and the jobs have saved, or two.
        """
        self._cluster.adopt(self._waiting)
        self._waiting = [job for job in self._waiting if job.place not in self._cluster.active]
        asked = False
        while self._cluster.active or (self._waiting and not asked):
            if self._stop.requested and not asked:
                asked = True
                self._cluster.stop()
            for end in self._cluster.ended():
                if not asked:
                    self._note_end(end)
            if not self._stop.requested:
                self._start()
            self._view.show()
            time.sleep(TICK)
        if asked:
            raise Interrupted

    def _start(self) -> None:
        """Start what nobody is at, as far as there is room."""
        room = self._cluster.room
        if not room or time.monotonic() < self._looked + PAUSE:
            return
        self._looked = time.monotonic()
        free: list[Job] = []
        for job in self._waiting:
            if len(free) < room and self._is_free(job):
                free.append(job)
        self._waiting = [job for job in self._waiting if job not in free]
        if free:
            self._cluster.start(free)

    def _is_free(self, job: Job) -> bool:
        folder = self._site.results / job.place
        with suppress(Busy), locked(folder), locked(folder / "tests"):
            return True
        return False

    def _note_end(self, end: End) -> None:
        if end.code == BUSY:
            self._waiting.append(end.job)
        elif end.code == FAILED:
            self._view.note(f"failed: {end.job.place}")
        elif end.code != 0:
            self._note_death(end)

    def _note_death(self, end: End) -> None:
        place = end.job.place
        newest = next(iter(checkpoints(self._site.results / place)), None)
        steps = int(newest.name) if newest else 0
        count, before = self._deaths.get(place, (0, -1))
        count = 1 if steps > before else count + 1
        self._deaths[place] = count, steps
        why = end.why or f"exit code {end.code}"
        if count < DEATHS:
            self._view.note(f"{place}: its worker died, and it goes on from step {steps:,} ({why})")
            self._waiting.append(end.job)
        else:
            self._view.note(f"failed: {place}: its worker died {count} times at step {steps:,} ({why})")


def carry_out(engine: Engine, on: str, share: Share) -> Results:
    """As `Engine.run`, and what `engine` lacks is done on the cluster `on`; `engine.lacking` is what failed there.

    Args:
        engine: one that does not work itself.
        on: a key of `clusters.REGISTRY`.

    Raises:
        UserError: as `Engine.run`; or there is no such cluster, or it has less than `share` asks for.
        Busy: another driver is at this study in these results.
        Interrupted: a signal came.
    """
    results = engine.run()
    if not engine.lacking:
        return results
    site = Site(engine.results, engine.results / engine.study.name / "workers")
    jobs = [Job(place, entry, _threads(entry)) for place, entry in engine.lacking.items()]
    with locked(site.folder), REGISTRY[on](site, share) as cluster, View(jobs, site.results) as view:
        Driver(cluster, jobs, site, engine.stop, view).run()
    return engine.run()


def _threads(entry: Entry) -> int:
    (cell,) = entry.study.cells
    told = [word for word in entry.overrides if word.startswith("threads=")]
    return load_config([*cell.words(), *assignments(entry.study.training), *told]).threads
