"""What all benchmarks share: one thread, peaks of memory, photographs.

``pytest tests/benchmarks -m benchmark --measurements FILE`` writes all numbers; see
`tests.measurements`.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from tests.benchmarks.memory import KNOWN, PeakMemory, settle_malloc
from tests.measurements import ROWS

IMAGES, HEIGHT, WIDTH = 60, 375, 500


def pytest_configure(config: pytest.Config) -> None:
    settle_malloc()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Times are those of one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def peak_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """Note, beside each number, how much more the process held at most than at the test's start."""
    rows = request.config.stash[ROWS]
    first, peak = len(rows), PeakMemory() if KNOWN else None
    yield
    for row in rows[first:]:
        row["peak_mb"] = None if peak is None else round(peak.megabytes())


@pytest.fixture
def photos(tmp_path):
    """A VOC2012 of photograph-like JPEGs: smooth noise compresses as photographs do."""
    rng = np.random.default_rng(0)
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "SegmentationClass").mkdir()
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    ids = [f"{number:04d}" for number in range(IMAGES)]
    for split in ("train", "val"):
        (lists / f"{split}.txt").write_text("\n".join(ids))
    for image_id in ids:
        coarse = Image.fromarray(rng.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        fine = rng.integers(-12, 13, (HEIGHT, WIDTH, 3))
        pixels = np.clip(np.asarray(coarse.resize((WIDTH, HEIGHT))) + fine, 0, 255)
        image = Image.fromarray(pixels.astype(np.uint8))
        image.save(tmp_path / "JPEGImages" / f"{image_id}.jpg", quality=90)
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        mask[100:250, 100:300] = rng.integers(1, 21)
        Image.fromarray(mask).save(tmp_path / "SegmentationClass" / f"{image_id}.png")
    return tmp_path
