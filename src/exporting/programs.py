"""From modules to files: torch.export (`.pt2`) and ONNX (`.onnx`)."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import torch

from exporting.policy import MIN_ROWS, Program
from utils.errors import UserError
from utils.records import named

#: Sizes that a program is traced with: no two are the same, and none is special.
_BATCH, _ROWS = 3, 7


def check_out(out: Path) -> None:
    """Refuse a file that cannot be written.

    Raises:
        UserError: names it and what would do.
    """
    if out.suffix not in WRITERS:
        raise UserError(
            f"--out {out.name}: a program is a file that ends in .pt2 (torch.export) or .onnx (ONNX): name such a one"
        )
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}; make it, or name another file")
    if out.is_dir():
        raise UserError(f"--out {out}: that is a folder; name a file")
    missing = [package for package in ("onnx", "onnxscript") if out.suffix == ".onnx" and find_spec(package) is None]
    if missing:
        raise UserError(
            f"--out {out.name}: ONNX needs {' and '.join(missing)}, not installed here: "
            "./run.sh export ... installs requirements-export.txt, or write a .pt2"
        )


def write_program(module: Program, out: Path) -> None:
    """Write `module` as a program, whole or not at all, after it was compared with `module` (.pt2).

    Raises:
        UserError: the file cannot be written.
    """
    write_bytes(out, WRITERS[out.suffix](module))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with named(path):
            partial.write_bytes(content)
            os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise UserError(f"--out {path}: it cannot be written ({error.strerror}): name another file") from None


def to_pt2(module: Program) -> bytes:
    """A file for `torch.export.load`."""
    example = module.example(_BATCH, _ROWS)
    with quiet():
        program = torch.export.export(module, (), example, dynamic_shapes=module.dynamic_shapes())
        file = io.BytesIO()
        torch.export.save(program, file)
    _compare(module, program)
    return file.getvalue()


def to_onnx(module: Program) -> bytes:
    """A file for whatever runs ONNX."""
    with quiet():
        program = torch.onnx.export(
            module,
            (),
            kwargs=module.example(_BATCH, _ROWS),
            dynamic_shapes=module.dynamic_shapes(),
            output_names=list(module.outputs),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


#: how the file ends -> what makes it
WRITERS: dict[str, Callable[[Program], bytes]] = {".pt2": to_pt2, ".onnx": to_onnx}


@torch.no_grad()
def _compare(module: Program, program: torch.export.ExportedProgram) -> None:
    """
    Raises:
        RuntimeError: the program computes something else than the module, for sizes that it was not traced with.
    """
    run = program.module()
    for batch, rows in ((1, MIN_ROWS), (2, 32)):
        given = module.example(batch, rows, seed=1)
        wanted, found = module(**given), run(**given)
        for name, value in wanted.items():
            if not torch.allclose(found[name].float(), value.float(), rtol=1e-4, atol=1e-4):
                raise RuntimeError(f"the exported program's {name} is not the policy's, for {batch} and {rows} rows")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what torch tells of its own inside, such as packages that no program here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", "# The axis name", UserWarning)
            yield
    finally:
        logger.setLevel(level)
