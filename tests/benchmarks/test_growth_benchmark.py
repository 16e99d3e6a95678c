"""How times grow: with the size of images, the number of images, classes, regions and so on.

Of each subject the times at four sizes, each twice the one before, give the p of
``time ~ size ** p`` by least squares over their logarithms. Processor time of one thread, the least
of several rounds that go over all sizes: other load then hardly counts.
"""

from collections.abc import Callable
from functools import partial
from time import process_time

import numpy as np
import pytest
import torch
from skimage import data, transform

from tests.benchmarks.test_compare_benchmark import write_runs
from tests.data.graph_folders import grid_graph
from wsss_zoo.cli import main
from wsss_zoo.data.supervision.graphs import collate_graphs, graph_data
from wsss_zoo.functional import (
    confusion_matrix,
    dense_crf,
    match_proposal_batch,
    multi_scale_cam,
    pool_regions,
    region_adjacency,
    semantic_inference,
    superpixels,
)
from wsss_zoo.methods import CAM, GATCorrector
from wsss_zoo.modules import SimNet

ROUNDS = 5
HEIGHT, WIDTH = 188, 250

Work = Callable[[], object]


def photo(height: int, width: int) -> np.ndarray:
    resized = transform.resize(data.astronaut(), (height, width), anti_aliasing=True)
    return np.ascontiguousarray((255 * resized).round().astype(np.uint8))


def area(times: int) -> tuple[int, int]:
    """Height and width of so many times the smallest image."""
    return round(HEIGHT * times**0.5), round(WIDTH * times**0.5)


def cam(times: int) -> Work:
    method = CAM(21, "tf_efficientnet_lite0", scales=(1.0,)).eval()
    tags = torch.zeros(1, 20)
    tags[0, :2] = 1
    image = torch.rand(1, 3, *area(times))
    batch = {"image": image, "image_labels": tags, "image_id": ["a"]}

    def work() -> None:
        with torch.inference_mode():
            method.predict_step(batch, 0)

    return work


def crf(times: int, classes: int = 3, pixels: int = 1) -> Work:
    image = photo(*area(pixels * times))
    probs = np.random.default_rng(0).dirichlet(np.ones(classes), image.shape[:2])
    return partial(dense_crf, probs.transpose(2, 0, 1).astype(np.float32).copy(), image)


def cam_maps(classes: int) -> Work:
    """What CAM does after the network, of an image that has every class."""
    features = [torch.rand(2, 256, side, side + 4) for side in (12, 20, 24, 30)]
    return partial(
        multi_scale_cam, features, torch.randn(classes, 256), torch.ones(classes), area(4)
    )


def confusion(times: int, classes: int = 21) -> Work:
    maps = torch.randint(classes, (2, *area(4 * times)))
    return partial(confusion_matrix, *maps, classes)


def regions(count: int, times: int) -> Work:
    image = photo(*area(times))
    features = torch.randn(256, 24, 32)

    def work() -> None:
        segments = torch.from_numpy(superpixels(image, count))
        pool_regions(features, segments), region_adjacency(segments)

    return work


def gat_step(rows: int) -> Work:
    graph = grid_graph((4 * rows, 64), (rows, 16), channels=512, classes=21)
    samples = [{"graph": graph_data(graph, torch.ones(20)), "image_id": "a"}]
    method = GATCorrector(21, in_channels=512).train()
    method.log_dict = method.log = lambda *_, **__: None
    batch = collate_graphs(samples)
    return lambda: method.training_step(batch, 0).backward()


def matching(queries: int = 100, targets: int = 8, images: int = 2) -> Work:
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(images, queries, 151, generator=generator)
    logits = torch.randn(images, queries, 64, 64, generator=generator)
    labels = [torch.randperm(150, generator=generator)[:targets] for _ in range(images)]
    masks = [torch.rand(targets, 64, 64, generator=generator) > 0.8 for _ in range(images)]
    known = [torch.ones(targets, dtype=torch.bool)] * images
    return partial(match_proposal_batch, classes, logits, labels, masks, known)


def inference(classes: int) -> Work:
    return partial(semantic_inference, torch.randn(100, classes + 1), torch.randn(100, 128, 128))


def pairs(points: int) -> Work:
    net = SimNet(256).train()
    embeddings = torch.randn(2, 1, points, 256)
    return lambda: net.all_pairs(*embeddings).mean().backward()


# Sizes, what is done, and the most that p may be: a little more than 1, or 2 for pairs, unless
# there is a reason.
GROWTH: dict[str, tuple[list[int], Callable[[int], Work], float]] = {
    "CAM prediction, pixels": ([1, 2, 4, 8], cam, 1.15),
    "CRF, pixels": ([1, 2, 4, 8], crf, 1.15),
    "CRF, classes": ([2, 4, 8, 16], lambda n: crf(1, classes=n), 1.15),
    # From 15 to 120 MB: the larger ones no longer fit the cache.
    "CAM maps, classes": ([20, 40, 80, 160], cam_maps, 1.5),
    "confusion matrix, pixels": ([1, 2, 4, 8], confusion, 1.15),
    "confusion matrix, classes": ([20, 40, 80, 160], lambda n: confusion(1, n), 1.15),
    "superpixels and their graph, pixels": ([2, 4, 8, 16], lambda n: regions(500, n), 1.15),
    "superpixels and their graph, regions": ([125, 250, 500, 1000], lambda n: regions(n, 4), 1.0),
    "GATCorrector step, regions": ([32, 64, 128, 256], gat_step, 1.15),
    "matching, queries": ([50, 100, 200, 400], lambda n: matching(queries=n), 1.15),
    "matching, classes in the image": ([4, 8, 16, 32], lambda n: matching(targets=n), 1.15),
    "matching, images": ([1, 2, 4, 8], lambda n: matching(images=n), 1.15),
    "mask transformer's scores, classes": ([20, 40, 80, 160], inference, 1.15),
    "similarity network, points of an image": ([20, 40, 80, 160], pairs, 2.3),
}


def exponent(sizes: list[int], works: list[Work], rounds: int = ROUNDS) -> float:
    """The p of ``time ~ size ** p``."""
    seconds = np.full(len(works), np.inf)
    for _ in range(rounds):
        for index, work in enumerate(works):
            start = process_time()
            work()
            seconds[index] = min(seconds[index], process_time() - start)
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


@pytest.mark.benchmark
@pytest.mark.parametrize("subject", GROWTH)
def test_time_grows_no_faster_than(subject, measured):
    torch.manual_seed(0)
    sizes, make, at_most = GROWTH[subject]
    works = [make(size) for size in sizes]
    works[0]()
    measured("p of time ~ size^p", exponent(sizes, works), at_most=at_most)


@pytest.mark.benchmark
def test_comparing_grows_no_faster_than_the_number_of_runs(tmp_path, measured, capsys):
    sizes = [8, 16, 32, 64]
    works = []
    for groups in sizes:
        write_runs(tmp_path / str(groups), groups)
        page = str(tmp_path / f"{groups}.html")
        works.append(partial(main, ["compare", str(tmp_path / str(groups)), "--html", page]))
    works[0]()
    p = exponent(sizes, works)
    capsys.readouterr()
    measured("p of time ~ size^p, runs", p, at_most=1.15)
