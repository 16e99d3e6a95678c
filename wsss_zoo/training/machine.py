"""What a training runs on: GPUs, cores, memory."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

_GIB = 2**30
# Names in /proc/cpuinfo.
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class Machine:
    """What there is of a machine.

    Args:
        gpus: Number of GPUs.
        gpu_memory: Memory of the smallest GPU, bytes; 0 without any.
        cores: Cores that this process may use.
        memory: Main memory that is free, bytes.
        has_bfloat16: Whether the processor computes in bfloat16.
    """

    gpus: int
    gpu_memory: int
    cores: int
    memory: int
    has_bfloat16: bool = False

    def limited(self, trainer: Mapping[str, Any]) -> "Machine":
        """Return the part of it that options of Lightning's Trainer leave.

        >>> Machine(4, 2**34, 8, 2**34).limited({"devices": "2"}).gpus
        2
        """
        accelerator = str(trainer.get("accelerator", "auto"))
        if accelerator not in ("auto", "gpu", "cuda"):
            return replace(self, gpus=0, gpu_memory=0)
        devices = trainer.get("devices", "auto")
        if isinstance(devices, str) and "," in devices:
            devices = devices.split(",")
        if isinstance(devices, list):
            number = len(devices)
        else:
            number = int(devices) if str(devices).isdecimal() else self.gpus
        return replace(self, gpus=min(self.gpus, number))

    def line(self) -> str:
        """Say what there is."""
        cores = f"{self.cores} core{'s' * (self.cores != 1)}"
        free = f"{self.memory / _GIB:.1f} GB of memory free"
        if not self.gpus:
            return f"no GPU, {cores}, {free}"
        plural = "s" * (self.gpus != 1)
        return f"{self.gpus} GPU{plural} of {self.gpu_memory / _GIB:.0f} GB, {cores}, {free}"


def this_machine() -> Machine:
    """Look at the machine that this process runs on."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    sizes = [torch.cuda.get_device_properties(index).total_memory for index in range(gpus)]
    return Machine(gpus, min(sizes, default=0), _cores(), free_memory(), _has_bfloat16())


def free_memory() -> int:
    """Measure the main memory that is free, bytes: that of the machine, or of its container."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")]
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            found = [int(line.split()[1]) * 1024]
    limit, used = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit and used and limit[0].isdecimal():
        # Pages of files count as used, but are given back.
        files = [int(line.split()[1]) for line in _lines("/sys/fs/cgroup/memory.stat")
                 if line.startswith(("inactive_file ", "active_file "))]  # fmt: skip
        found.append(int(limit[0]) - int(used[0]) + sum(files))
    return max(0, min(found))


def _has_bfloat16() -> bool:
    """Tell whether the processor has instructions for bfloat16; known on Linux only."""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith(("flags", "Features")):
            return not _BFLOAT16.isdisjoint(line.split())
    return False


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
