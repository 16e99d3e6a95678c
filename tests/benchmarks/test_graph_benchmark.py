"""From a photograph to its graph on the disk and back to a corrected label, and the memory of it.

VOC's size, 1000 regions, 512 channels. Processor time on one thread, so that other load hardly
counts; the times are against the same image's dense CRF alone, which nothing here can avoid.
"""

import subprocess
import sys
from pathlib import Path
from time import process_time

import numpy as np
import pytest

from tests.benchmarks.graph_work import PRESENT, H, W, corrected, photo_to_graph, seen_image
from wsss_zoo.functional import dense_crf

ROUNDS = 5
# In a process of its own: what it holds after the imports, and its peak with them. Most of the
# first are pages of libraries, which workers share.
PEAK = """
import torch
torch.set_num_threads(1)
from pathlib import Path
from tempfile import TemporaryDirectory
import wsss_zoo.cli.main
from tests.benchmarks.graph_work import corrected, photo_to_graph, seen_image
from tests.benchmarks.memory import megabytes

print(megabytes("VmRSS"))
with TemporaryDirectory() as folder:
    photo_to_graph(seen_image(), Path(folder))
    corrected(Path(folder))
peak = megabytes("VmHWM")
print(peak, peak - megabytes("RssFile", "RssShmem"))
"""
LIBRARIES = (
    "after its imports the process holds 920 MB: PyTorch alone 550, Lightning with what it imports "
    "280; what an image takes beyond that is a row of its own"
)


def fastest(work):
    times = []
    for _ in range(ROUNDS):
        begin = process_time()
        work()
        times.append(process_time() - begin)
    return min(times)


@pytest.mark.benchmark
def test_photo_to_graph_and_corrected_image(benchmark, tmp_path, measured):
    seen = seen_image()
    probs = np.random.default_rng(0).dirichlet(np.ones(PRESENT), (H, W)).astype(np.float32)
    alone = np.ascontiguousarray(probs.transpose(2, 0, 1))
    crf = fastest(lambda: dense_crf(alone, seen.image))
    graph = fastest(lambda: photo_to_graph(seen, tmp_path))
    image = fastest(lambda: corrected(tmp_path))
    benchmark.pedantic(corrected, args=(tmp_path,), rounds=1)
    measured("corrected image / its CRF alone", image / crf, at_most=2)
    measured("photo to graph file, ms", 1000 * graph, at_most=150)
    measured("corrected image, ms", 1000 * image, at_most=600)


@pytest.mark.benchmark
def test_memory_of_a_worker(benchmark, measured):
    command = [sys.executable, "-W", "ignore", "-c", PEAK]
    root = Path(__file__).parent.parent.parent
    done = benchmark.pedantic(
        lambda: subprocess.run(command, cwd=root, check=True, capture_output=True, text=True),
        rounds=1,
    )
    imported, peak, own = map(float, done.stdout.split()[-3:])
    measured("MB of the process after its imports", imported)
    measured("MB beyond that", peak - imported, at_most=300)
    measured("MB of the process", peak, at_most=1300, promised=1000, cause=LIBRARIES)
    measured("MB of the process, without pages of files", own, at_most=1000)
