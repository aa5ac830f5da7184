"""Ray, where it is asked for: at RAY_ADDRESS, or one of our own that nobody but this machine can reach."""

import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from utils.errors import UserError, one_line
from utils.interrupt import StopSignal

#: The program's folder, which goes to all nodes.
SRC = Path(__file__).resolve().parents[1]

_START = "start one there with `ray start --head`, or unset RAY_ADDRESS for one on this machine"
#: Seconds that a cluster has to take a connection.
_PATIENCE = 10.0


def connect(setting: str) -> Any:
    """Return the module ray, connected.

    Ray's own handlers of signals do not replace ours. Workers find this program's folder where they work, and on their
    path. A Ray of our own ends with this process, however that comes, and has no dashboard.

    Args:
        setting: what asks for it, as the user wrote it.

    Raises:
        UserError: Ray is not installed, or no cluster answers at RAY_ADDRESS.
    """
    if find_spec("ray") is None:
        raise UserError(
            f"{setting} needs ray, which is not installed: ./run.sh python -m pip install -r requirements-cluster.txt"
        )
    address = os.environ.get("RAY_ADDRESS", "")
    if address not in ("", "local", "auto"):
        _knock(address)
    if address in ("", "local") or _is_loopback(address.rpartition(":")[0]):
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on Linux, too, what keeps Ray to the loopback device
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    ours: dict[str, Any] = {"include_dashboard": False} if address in ("", "local") else {}
    files = {"working_dir": str(SRC), "excludes": ["**/__pycache__"]}
    try:
        with _handlers_kept():
            ray.init(
                address=address or "local",
                runtime_env=files,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **ours,
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = f"RAY_ADDRESS={address}: this machine cannot join it" if address else "Ray cannot be started here"
        raise UserError(f"{where} ({one_line(error)})") from None
    return ray


def _knock(address: str) -> None:
    """
    Raises:
        UserError: nobody is there.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise UserError(f"RAY_ADDRESS={address}: must be HOST:PORT, such as 10.0.0.1:6379, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"RAY_ADDRESS={address}: no Ray answers there ({error}): {_START}") from None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Leave the handlers of signals as they are."""
    before = {signum: signal.getsignal(signum) for signum in StopSignal.SIGNALS}
    yield
    if threading.current_thread() is threading.main_thread():
        for signum, handler in before.items():
            signal.signal(signum, handler)
