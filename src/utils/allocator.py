"""What becomes of memory that a computation has done with."""

import ctypes

#: glibc's names in malloc.h, and its largest values.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST_TRIM, LARGEST_MMAP = 2**31 - 1, 2**25


def keep_freed_memory() -> None:
    """Let the process keep what it frees, in pieces of up to 32 MiB, for the next piece of that size.

    Tensors of that size come and go by the hundred in an update. Else the C library gives them back to the system,
    which fills every page with zeros before it is written again: up to a quarter of an update's time in bfloat16. Does
    nothing where the C library has no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_MMAP)
        mallopt(TRIM_THRESHOLD, LARGEST_TRIM)
