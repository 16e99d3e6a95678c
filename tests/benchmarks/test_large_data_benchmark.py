"""Setting up 200,000 images: seconds, and the most memory that it takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.large_folder import SETTINGS, settings, write_large_folder

FOLDERS, EACH = 200, 1000
# In a process of its own, whose memory and caches are those of a training's start.
RUN = """
import json, sys, time
from pathlib import Path
from tests.benchmarks.memory import megabytes
from wsss_zoo.data import Folder

before, start = megabytes("VmRSS"), time.process_time()
data = Folder(**json.loads(sys.argv[1]))
data.setup("fit")
loader = data.train_dataloader()
loaders = loader.iterables.values() if hasattr(loader, "iterables") else [loader]
first = [next(iter(one.sampler)) for one in loaders]
size = max(len(one.dataset) for one in loaders)
seconds, peak = time.process_time() - start, megabytes("VmHWM")
own = peak - megabytes("RssFile", "RssShmem")
print(json.dumps((size, seconds, peak - before, peak, own)))
"""


LIBRARIES = (
    "after its imports the process holds 840 MB, before there is any data: 490 of its own and 350 "
    "pages of files, which processes share; PyTorch alone is 550"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("large")
    write_large_folder(root, FOLDERS, EACH)
    return root


@pytest.mark.benchmark
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("regime", SETTINGS)
def test_two_hundred_thousand_images(regime, root, measured):
    options = json.dumps(settings(regime, root))
    command = [sys.executable, "-W", "ignore", "-c", RUN, options]
    result = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    size, seconds, added, whole, own = json.loads(result.stdout.splitlines()[-1])
    assert size >= 0.9 * FOLDERS * EACH
    # Of the processor: others share the cores.
    measured("seconds", seconds, at_most=10)
    measured("MB beyond the imports", added, at_most=500)
    measured("MB of the process", whole, at_most=1300, promised=500, cause=LIBRARIES)
    measured("MB of the process, without pages of files", own, at_most=950)
