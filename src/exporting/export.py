"""One export: read a checkpoint, write its programs and their card."""

from pathlib import Path

from exporting.card import card
from exporting.policy import programs
from exporting.programs import check_out, write_bytes, write_program
from exporting.source import read_source


def export(checkpoint: Path, out: Path) -> list[Path]:
    """Write the policy of `checkpoint` to `out`, a coach's program and the card beside it; return the files.

    Raises:
        UserError: what is asked for cannot be.
    """
    check_out(out)
    source = read_source(checkpoint)
    made = programs(source.controller)
    files = {name: out if name == "policy" else out.with_stem(f"{out.stem}_{name}") for name in made}
    for name, module in made.items():
        write_program(module, files[name])
    text = card(source, {name: file.name for name, file in files.items()}, made)
    write_bytes(out.with_suffix(".md"), text.encode())
    return [*files.values(), out.with_suffix(".md")]
