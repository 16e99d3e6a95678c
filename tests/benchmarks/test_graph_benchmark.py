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
import torch

from tests.benchmarks.test_regions_benchmark import C, D, H, W, photo
from wsss_zoo.callbacks.graph_writer import build_graph
from wsss_zoo.callbacks.region_inputs import SeenImage
from wsss_zoo.data.graph_images import collate_graphs, graph_data
from wsss_zoo.data.region_graphs import read_graph, write_graph
from wsss_zoo.functional import dense_crf, superpixels
from wsss_zoo.methods import GATCorrector

REGIONS, ROUNDS, PRESENT = 1000, 5, 3
# In a process of its own: what it holds after the imports, and its peak with them. Most of the
# first are pages of libraries, which workers share.
PEAK = """
import torch
torch.set_num_threads(1)
from pathlib import Path
from tempfile import TemporaryDirectory
from tests.benchmarks.test_graph_benchmark import corrected, photo_to_graph, seen_image

def megabytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024

print(megabytes("VmRSS"))
with TemporaryDirectory() as folder:
    photo_to_graph(seen_image(), Path(folder))
    corrected(Path(folder))
print(megabytes("VmHWM"))
"""


def seen_image():
    """What a network of stride 16 gave of a photograph with two tagged classes."""
    torch.manual_seed(0)
    logits = torch.full((1, C, H, W), -torch.inf)
    logits[:, :PRESENT] = torch.randn(1, PRESENT, H, W)
    label = torch.randint(PRESENT, (1, H, W))
    return SeenImage("a", photo(), logits, torch.randn(D, 24, 32), 16, label, None)


def photo_to_graph(seen, folder):
    segments = torch.from_numpy(superpixels(seen.image, REGIONS))
    write_graph(folder, "a", build_graph(seen, segments, torch.ones(C)))


def corrected(folder):
    graph = read_graph(folder, "a")
    tags = torch.zeros(C - 1)
    tags[: PRESENT - 1] = 1
    sample = {
        "graph": graph_data(graph, tags),
        "image_id": "a",
        "image": torch.from_numpy(photo()).permute(2, 0, 1).float() / 255,
        "image_labels": tags,
        "segments": torch.from_numpy(graph.segments).long(),
        "label": torch.from_numpy(graph.label).long(),
        "clean": torch.from_numpy(graph.clean),
        "prediction": torch.from_numpy(graph.prediction).long(),
    }
    method = GATCorrector(C, in_channels=D, crf=True).eval()
    with torch.inference_mode():
        return method.predict_step(collate_graphs([sample]), 0)


def fastest(work):
    times = []
    for _ in range(ROUNDS):
        begin = process_time()
        work()
        times.append(process_time() - begin)
    return min(times)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.benchmark
@pytest.mark.usefixtures("one_thread")
def test_photo_to_graph_and_corrected_image(benchmark, tmp_path, measured):
    seen = seen_image()
    probs = np.random.default_rng(0).dirichlet(np.ones(PRESENT), (H, W)).astype(np.float32)
    alone = np.ascontiguousarray(probs.transpose(2, 0, 1))
    crf = fastest(lambda: dense_crf(alone, seen.image))
    graph = fastest(lambda: photo_to_graph(seen, tmp_path))
    image = fastest(lambda: corrected(tmp_path))
    benchmark.pedantic(corrected, args=(tmp_path,), rounds=1)
    measured("corrected image / its CRF alone", image / crf)
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
    imported, peak = map(float, done.stdout.split()[-2:])
    measured("process after its imports, MB", imported)
    measured("peak above that, MB", peak - imported, at_most=300)
