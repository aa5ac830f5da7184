"""Independent random streams from one run seed."""

import hashlib

import torch


def derive_seed(seed: int, *path: str | int) -> int:
    """Return a 63-bit seed for the stream named by `path`, e.g. `derive_seed(1, "train", 3)`.

    Hashing keeps streams apart: neighbouring run seeds or worker numbers share no sequence, and a name (such as
    "test") can never collide with a number.
    """
    text = "/".join([str(seed), *(f"{type(part).__name__}:{part}" for part in path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator on `device`, started at `seed`; nothing can be drawn on meta, where shapes are all."""
    device = torch.device(device)
    return torch.Generator(device="cpu" if device.type == "meta" else device).manual_seed(seed)
