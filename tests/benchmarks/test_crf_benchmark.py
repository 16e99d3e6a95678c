"""The CRF against pydensecrf2, on photographs of VOC's size."""

from time import perf_counter

import numpy as np
import pytest
from skimage import data, filters, transform

from tests.functional.crf.pydensecrf_reference import reference_crf
from wsss_zoo.functional.crf.dense_crf import dense_crf

C, H, W = 4, 375, 500
ROUNDS = 9
SETTINGS = {
    "psa": {},
    "irn": {"bilateral_sxy": 50.0, "bilateral_srgb": 5.0},
}


def photo(name):
    """A photograph that ships with scikit-image, (H, W, 3) uint8."""
    resized = transform.resize(getattr(data, name)(), (H, W), anti_aliasing=True)
    return np.ascontiguousarray((255 * resized).round().astype(np.uint8))


def soft_segmentation(image):
    """Four soft, blurred classes by brightness, as coarse as the map of a network of stride 16."""
    grey = filters.gaussian(image.mean(axis=2) / 255, 6)
    coarse = transform.resize(grey, (24, 32), anti_aliasing=True)
    centres = np.quantile(coarse, (np.arange(C) + 0.5) / C)
    scores = np.exp(-(((coarse - centres[:, None, None]) / 0.12) ** 2))
    scores = transform.resize(scores, (C, H, W), order=1) + 1e-3
    return (scores / scores.sum(axis=0)).astype(np.float32)


@pytest.mark.benchmark
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_builtin_takes_at_most_three_times_as_long(benchmark, name, settings, measured):
    image = photo(name)
    probs = soft_segmentation(image)
    options = {"iterations": 10, **SETTINGS[settings]}
    seconds = {dense_crf: [], reference_crf: []}

    def run(crf):
        start = perf_counter()
        refined = crf(probs, image, **options)
        seconds[crf].append(perf_counter() - start)
        return refined

    def run_reference():
        run(reference_crf)

    theirs = run(reference_crf)
    # As the set-up of every round: the two take turns, so that other load slows both.
    ours = benchmark.pedantic(
        run, (dense_crf,), setup=run_reference, rounds=ROUNDS, warmup_rounds=1
    )
    ratio = np.median(seconds[dense_crf]) / np.median(seconds[reference_crf])
    agreement = (ours.argmax(axis=0) == theirs.argmax(axis=0)).mean()
    moved = (ours.argmax(axis=0) != probs.argmax(axis=0)).mean()
    measured("share of pixels that it changes", moved, at_least=0.01)
    measured("share of pixels that agree", agreement, at_least=0.999)
    measured("built-in / pydensecrf2", ratio, at_most=3)
