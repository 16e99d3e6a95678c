"""Peak memory of validation, prediction and labelling does not grow with the number of images."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.whole_runs import CASES

# Not fewer: the first images still fill the allocator's pools.
FEW, MANY = 40, 160


@pytest.mark.benchmark
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("case", CASES)
def test_four_times_the_images_need_no_more_memory(case, tmp_path, measured):
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.whole_runs"]
    command += [case, str(tmp_path), str(FEW), str(MANY)]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    lines = [line for line in result.stdout.splitlines() if line.replace(".", "").isdigit()]
    few, many = map(float, lines)
    measured(f"MB for {FEW} images", few)
    # 120 more images of 160 x 160 are 37 MB as floats, 220 MB with their maps.
    measured(f"MB more for {MANY} images", many - few, at_most=15)
