"""Where the cells of a study are carried out: worker processes on this machine, on Ray's nodes, in Slurm's jobs."""

from collections.abc import Callable, Mapping
from importlib import import_module

from studies.clusters.base import Cluster, End, Job, Share, Site

__all__ = ["REGISTRY", "Cluster", "End", "Job", "Share", "Site"]


def _late(module: str, name: str) -> Callable[[Site, Share], Cluster]:
    """Whose packages are imported by whoever chooses it."""

    def build(site: Site, share: Share) -> Cluster:
        built: Cluster = getattr(import_module(f"studies.clusters.{module}"), name)(site, share)
        return built

    return build


#: Name on the command line, `--on NAME` -> how it is built.
REGISTRY: Mapping[str, Callable[[Site, Share], Cluster]] = {
    "local": _late("local", "Local"),
    "ray": _late("on_ray", "OnRay"),
    "slurm": _late("slurm", "Slurm"),
}
