"""Event files that TensorBoard reads, written by the package tensorboard-logger."""

import ast
import importlib
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from observers.observer import Observer, Run
from utils.errors import UserError, one_line

_PACKAGE = "tensorboard_logger"


class TensorBoard(Observer):
    """Every figure is at once in an event file in the run's folder, which moves and goes with it; the x axis is
    environment steps. TensorBoard keeps values in float32.

    Raises:
        UserError: the package is missing, or cannot be used.
    """

    name = "TensorBoard"
    remedy = "What its event file lacks is in metrics.jsonl."

    def __init__(self) -> None:
        self._package = _import_package()
        self._log: Any = None

    def begin(self, run: Run) -> None:
        self._log = self._package.Logger(str(run.folder))

    def scalar(self, name: str, value: float, step: int) -> None:
        self._log.log_value(name, value, step)

    def end(self, status: str) -> None:
        self._log = None  # which closes the file


def _import_package() -> ModuleType:
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UserError(
            "use_tensorboard=True needs the package tensorboard-logger, which is missing: install requirements.txt"
        )
    try:
        if _PACKAGE not in sys.modules:
            for module in _message_modules(Path(found.submodule_search_locations[0]) / "tf_protobuf"):
                sys.modules[module.__name__] = module
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # it imports scipy.misc, which warns of its end; requirements.txt sees to it
            return importlib.import_module(_PACKAGE)
    except Exception as error:  # whatever another version of it, of protobuf or of SciPy does
        raise UserError(
            "use_tensorboard=True: tensorboard-logger is installed but does not work "
            f"({type(error).__name__}: {one_line(error)}): install requirements.txt"
        ) from None


def _message_modules(folder: Path) -> Iterator[ModuleType]:
    """The package's modules of messages, made anew from the descriptions that they hold.

    They were generated for protobuf 2, and build classes in a way that protobuf 4 and later refuse; the serialised
    descriptions inside are still what they were, and make the same classes in today's way. A pool of their own keeps
    them apart from TensorFlow's messages, which have the same names.
    """
    from google.protobuf import descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    for name in ("summary_pb2", "event_pb2"):  # in this order: events hold summaries
        tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
        (call,) = (n.value for n in ast.walk(tree) if isinstance(n, ast.keyword) and n.arg == "serialized_pb")
        assert isinstance(call, ast.Call)  # of what makes bytes of text, in Python 2 and 3
        text = ast.literal_eval(call.args[0])
        described = pool.AddSerializedFile(text.encode("latin1"))
        module = ModuleType(f"{_PACKAGE}.tf_protobuf.{name}")
        for message, descriptor in described.message_types_by_name.items():
            setattr(module, message, message_factory.GetMessageClass(descriptor))
        yield module
