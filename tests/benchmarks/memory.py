"""Peaks of a process's own memory, whatever ran in it before.

Only its own pages are counted (the kernel's ``RssAnon``), not those of files, which libraries map
when they are first called and which processes share. Before it begins, what the C library keeps of
freed memory goes back to the system: what is held afterwards was asked for afterwards. What it
keeps while something runs does count, so how much it keeps is set once, in place of ``MALLOC_*``
variables and of what it learns from earlier work.
"""

import ctypes
import gc
import os
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
KNOWN = CLEAR.exists()
# glibc's mallopt: trim threshold, top pad, mmap threshold, number of mmaps. What it arrives at by
# itself once large buffers were freed, so that a first test runs like a last one.
_MALLOPT = {-1: 64 * 2**20, -2: 128 * 2**10, -3: 32 * 2**20, -4: 65536}
_VARIABLES = ("TRIM_THRESHOLD_", "TOP_PAD_", "MMAP_THRESHOLD_", "MMAP_MAX_")


def megabytes(*fields: str) -> float:
    """Sum of lines of the process's status: VmRSS is what it holds, VmHWM the most it has held."""
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return sum(int(line[1]) for line in lines if line[0].rstrip(":") in fields) * 1024 / 1e6


def settle_malloc() -> None:
    """Fix how the C library keeps freed memory; processes started from here are not told how."""
    for name in _VARIABLES:
        os.environ.pop(f"MALLOC_{name}", None)
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for parameter, value in _MALLOPT.items():
            library.mallopt(parameter, value)


class PeakMemory:
    """The most that the process has held of its own since this was made, above what it held."""

    def __init__(self) -> None:
        gc.collect()
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
        CLEAR.write_text("5")  # the most is what is held now
        self._before = megabytes("RssAnon")

    def megabytes(self) -> float:
        """The peak so far; pages of files are as many now as they were then, or a few more."""
        return megabytes("VmHWM") - megabytes("RssFile", "RssShmem") - self._before
