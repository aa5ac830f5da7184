"""Answers for programs, in a process of its own that knows nothing of this project. Words: NAME=FILE ...; on its
standard input and output stand frames, a length and an .npz: what to ask, and the answer.
"""

import importlib.util
import io
import struct
import sys
from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]


def load(file: str) -> Callable[[Arrays], Arrays]:
    if file.endswith(".onnx"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda given: dict(zip(names, session.run(None, given), strict=True))
    import torch

    torch.set_num_threads(1)
    program = torch.export.load(file).module()

    def call(given: Arrays) -> Arrays:
        with torch.no_grad():
            answer = program(**{name: torch.from_numpy(array) for name, array in given.items()})
        return {name: tensor.numpy() for name, tensor in answer.items()}

    return call


def main() -> None:
    for name in ("controllers", "envs", "modules", "exporting"):
        assert importlib.util.find_spec(name) is None, name
    programs = {name: load(file) for name, file in (word.split("=", 1) for word in sys.argv[1:])}
    while head := sys.stdin.buffer.read(4):
        with np.load(io.BytesIO(sys.stdin.buffer.read(struct.unpack("<I", head)[0]))) as asked:
            given = dict(asked)
        answer = programs[str(given.pop("program"))](given)
        frame = io.BytesIO()
        np.savez(frame, **answer)
        sys.stdout.buffer.write(struct.pack("<I", frame.tell()) + frame.getvalue())
        sys.stdout.buffer.flush()


main()
