"""The measure of peaks itself: alone, after other work, and with ``MALLOC_*`` variables."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# 100 MB in small pieces, which come of the C library's pools, and 400 MB in large ones.
RUN = """
import sys
import torch
from tests.benchmarks.memory import PeakMemory, settle_malloc

def work():
    small = [torch.ones(5_000) for _ in range(5_000)]
    return [torch.ones(5_000_000) for _ in range(20)], small

settle_malloc()
for _ in range(int(sys.argv[1])):
    # Freed but for a few pieces, so that pools stay.
    kept = [torch.ones(4_000) for _ in range(40_000)][::1000]
    work()
peak = PeakMemory()
work()
print(peak.megabytes())
"""
NEVER_GIVE_BACK = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "20000000000",
    "MALLOC_TOP_PAD_": "67108864",
}


@pytest.mark.benchmark
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("variables", [{}, NEVER_GIVE_BACK], ids=["default", "MALLOC_*"])
@pytest.mark.parametrize("before", [0, 3], ids=["alone", "after-other-work"])
def test_a_peak_of_500_mb_is_one(before, variables, measured):
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(before)]
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, check=True, capture_output=True, text=True
    )
    peak = float(result.stdout.split()[-1])
    measured("measured MB / MB that were allocated", peak / 500, at_least=0.85, at_most=1.15)
