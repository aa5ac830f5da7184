"""Jobs on the nodes of a Ray cluster, each an actor that is placed by its needs."""

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from studies.clusters.base import GONE, Cluster, End, Job, Share, Site
from studies.clusters.host import Host, Origin
from studies.clusters.parcels import needed, unpack
from utils.errors import UserError, one_line
from utils.ray_connection import SRC, connect
from utils.version import git_revision

#: Seconds that an actor waits for its worker's end before it answers.
LOOK = 1.0


class OnRay(Cluster):
    """Ray's nodes. Where the results are on a disk that a node has, too, a job works there; elsewhere its files come
    back as they become more.
    """

    def __init__(self, site: Site, share: Share) -> None:
        """
        Raises:
            UserError: Ray is not installed, there is no cluster, or it has fewer GPUs than asked for.
        """
        self._site, self._share = site, share
        self._ray = connect("--on ray")
        self.active: dict[str, Job] = {}
        self._hosts: dict[str, Any] = {}
        #: the answer that is waited for, and whether it is the first
        self._answers: dict[str, Any] = {}
        self._beginning: set[str] = set()
        try:
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            check_gpus(nodes, share)
        except BaseException:
            self._ray.shutdown()
            raise
        cores = [int(node.get("CPU", 0)) for node in nodes]
        self._cpus, self._most = cpus_each(cores, share.jobs), max(1, *cores)
        git = git_revision()
        revision = f"{git['commit']}{' dirty' * bool(git['dirty'])}" if git["commit"] else ""
        self._origin = Origin(site.folder / "disk", uuid.uuid4().hex, SRC, revision)
        self._origin.mark.write_text(self._origin.text, encoding="ascii")

    @property
    def room(self) -> int:
        """As the base class says."""
        return self._share.jobs - len(self.active)

    def start(self, jobs: Sequence[Job]) -> None:
        """As the base class says."""
        actor = self._ray.remote(Host)
        for job in jobs:
            cpus = min(job.threads or self._cpus, self._most)
            placed = actor.options(num_cpus=cpus, num_gpus=self._share.gpus or 0, max_restarts=0)
            host = placed.remote(self._site.orders(job), job.place, self._origin, cpus)
            self.active[job.place], self._hosts[job.place] = job, host
            self._answers[job.place] = host.begin.remote()
            self._beginning.add(job.place)

    def ended(self) -> list[End]:
        """As the base class says."""
        if not self._answers:
            return []
        answers = list(self._answers.values())
        ready, _ = self._ray.wait(answers, num_returns=len(answers), timeout=0)
        places = [place for place, answer in self._answers.items() if answer in ready]
        return [End(self._forget(place), *end) for place in places if (end := self._hear(place)) is not None]

    def _hear(self, place: str) -> tuple[int, str] | None:
        """Take an actor's answer, and ask for the next one; where its worker has ended, its exit code and why."""
        host = self._hosts[place]
        try:
            answer = self._ray.get(self._answers[place])
        except self._ray.exceptions.ActorUnavailableError:  # not reached, which is not yet dead
            answer = None, {}
        except self._ray.exceptions.RayError as error:
            return GONE, one_line(error)
        folder = self._site.results / place
        if place in self._beginning:
            self._beginning.discard(place)
            if answer is False:
                host.take.remote(needed(folder))
            code = None
        else:
            code, parcel = answer
            unpack(parcel, folder)
        if code is not None:
            return code, ""
        self._answers[place] = host.look.remote(LOOK)
        return None

    def _forget(self, place: str) -> Job:
        del self._answers[place]
        self._beginning.discard(place)
        self._ray.kill(self._hosts.pop(place))
        return self.active.pop(place)

    def stop(self) -> None:
        """As the base class says."""
        for place in list(self._hosts):
            if place in self._beginning:  # perhaps it waits for a node
                self._forget(place)
            else:
                self._hosts[place].stop.remote()

    def close(self) -> None:
        """As the base class says."""
        for place in list(self._hosts):
            self._forget(place)
        self._ray.shutdown()


def check_gpus(nodes: Sequence[Mapping[str, float]], share: Share) -> None:
    """
    Raises:
        UserError: `share` asks for more than the GPUs of `nodes`, each of whose jobs is on one node.
    """
    if share.gpus is None:
        return
    each = share.gpus
    counts = [node.get("GPU", 0) for node in nodes]
    # of a GPU that is shared nobody gets parts of two
    fit = sum(math.floor(count) * math.floor(1 / each + 1e-9) if each < 1 else count // each for count in counts)
    if fit < share.jobs:
        raise UserError(
            f"--jobs {share.jobs} with --gpus-per-job {each:g}: the cluster has {sum(counts):g} GPUs on {len(nodes)} "
            f"nodes, enough for {fit:g} jobs at a time"
        )


def cpus_each(cores: Sequence[int], jobs: int) -> int:
    """The most CPUs that each of `jobs` can have at a time on nodes of so many `cores`; at least 1."""
    fitting = (each for each in range(max(cores), 1, -1) if sum(count // each for count in cores) >= jobs)
    return next(fitting, 1)
