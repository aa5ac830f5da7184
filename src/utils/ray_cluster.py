"""The connection to Ray: to the cluster that RAY_ADDRESS names, or to one of this process alone, on this machine."""

import os
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from utils.errors import RunFailed, UserError, one_line
from utils.interrupt import STOP_SIGNALS
from utils.temporary import marked_folder

#: Seconds in which a cluster has to be reached.
PATIENCE = 5.0
#: What every node is given to import; a cluster's machines need no checkout.
SOURCE = Path(__file__).resolve().parents[1]
#: Messages are small: the least memory that Ray takes for large ones.
OBJECT_STORE = 80_000_000


class Connection:
    """Of this process to Ray, for as long as anybody holds one: they share it."""

    _holders = 0
    #: whether Ray was connected to here, and not by whoever started this process
    _ours = False

    def __init__(self) -> None:
        """
        Raises:
            UserError: Ray is not installed, or no cluster answers at RAY_ADDRESS.
            RunFailed: Ray does not start here.
        """
        address = os.environ.get("RAY_ADDRESS", "")
        #: whether Ray runs on this machine alone
        self.local = address in ("", "local")
        if find_spec("ray") is None:
            raise UserError(
                "runner=ray needs Ray, which is not installed: ./run.sh python -m pip install -r "
                "requirements-cluster.txt; on one machine runner=parallel does the same without it"
            )
        if self.local:  # read when Ray is imported
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # no cluster: it listens on localhost alone
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of what is to come
        import ray

        self.ray: Any = ray
        if not ray.is_initialized():
            _deaf(lambda: _start(ray) if self.local else _join(ray, address))
            Connection._ours = True
        Connection._holders += 1
        self._held = True

    def close(self) -> None:
        """Let go of it; the last one ends it, and what was started on this machine with it. Idempotent."""
        if not self._held:
            return
        self._held = False
        Connection._holders -= 1
        if not Connection._holders and Connection._ours:
            Connection._ours = False
            self.ray.shutdown()


def _deaf(start: Any) -> None:
    """Call `start` so that nothing it starts ever hears what is sent to all processes of a run: stopping is this
    one's. Ray's own handler of SIGTERM goes, too.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        start()
    finally:
        if signal.getsignal(signal.SIGTERM) is not handler:
            signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(ray: Any) -> None:
    folder = marked_folder() / "ray"
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)  # nodes import what we do
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=str(folder),
        )
    except Exception as error:
        raise RunFailed(f"Ray does not start in {folder} (TMPDIR, which has to be short): {one_line(error)}") from None
    finally:
        del os.environ["PYTHONPATH"]
        if path is not None:
            os.environ["PYTHONPATH"] = path


def _join(ray: Any, address: str) -> None:
    key = f"RAY_ADDRESS={address}"
    if "://" in address:
        raise UserError(f"{key}: give the address of the cluster's head, HOST:PORT, from a machine of the cluster")
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), PATIENCE).close()
        except (OSError, ValueError, OverflowError) as error:
            raise UserError(
                f"{key}: no Ray cluster answers there ({one_line(error)}); start one (ray start --head), or unset "
                "RAY_ADDRESS for this machine alone"
            ) from None
    try:
        ray.init(
            address=address,
            runtime_env={"working_dir": str(SOURCE), "excludes": ["__pycache__"]},
            log_to_driver=False,
            logging_level="ERROR",
        )
    except Exception as error:  # of many kinds: another version of Ray or Python, no node of the cluster here
        raise UserError(f"{key}: no connection to the Ray cluster: {one_line(error)}") from None
