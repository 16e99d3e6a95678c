import re

import numpy as np
import pytest

from tests.each import each
from wsss_zoo.data.supervision.labeled_split import sample_labeled_split


def test_fraction_covers_every_class_whatever_the_order_of_ids():
    rng = np.random.default_rng(0)
    ids = [f"{number:03d}" for number in range(100)]
    labels = (rng.random((100, 6)) < 0.15).astype(np.uint8)
    drawn = sample_labeled_split(ids, labels, 0.12, seed=1)
    assert len(drawn) == len(set(drawn)) == 12
    assert labels[[ids.index(image_id) for image_id in drawn]].any(0).all()
    order = rng.permutation(100)
    shuffled = [ids[index] for index in order]
    assert sample_labeled_split(shuffled, labels[order], 0.12, seed=1) == drawn
    assert sample_labeled_split(ids, labels, 0.12, seed=2) != drawn


def test_impossible_fraction():
    with pytest.raises(ValueError, match=r"no draw of 1 of 4 images .* has all 4 classes"):
        sample_labeled_split(list("abcd"), np.eye(4, dtype=np.uint8), 0.25, seed=0)


def test_the_fraction_that_the_message_proposes_works():
    labels = np.zeros((30, 3), dtype=np.uint8)
    labels[[0, 1, 2], [0, 1, 2]] = 1
    ids = [f"{number:02d}" for number in range(30)]
    with pytest.raises(ValueError, match=r"no draw of 2 of 30") as raised:
        sample_labeled_split(ids, labels, 0.06, seed=0)
    larger, count = re.search(
        r"labeled_split ([\d.]+) has them in (\d+)", str(raised.value)
    ).groups()
    assert len(sample_labeled_split(ids, labels, float(larger), seed=0)) == int(count)


@each("fraction", [0.0, 1.5])
def test_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match=r"must be in \(0, 1\], but got"):
        sample_labeled_split("ab", np.ones((2, 1), dtype=np.uint8), fraction, seed=0)
