"""Tags from masks against numpy's sets."""

import numpy as np
import torch

from wsss_zoo.functional import mask_to_image_labels


def test_is_the_set_of_foreground_classes():
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 6, (20, 2, 2), generator=generator)
    mask[mask == 5] = 255
    result = mask_to_image_labels(mask, 5)
    for row, one in zip(result, mask, strict=True):
        shown = set(np.unique(one.numpy())) - {0, 255}
        assert row.tolist() == [float(c in shown) for c in range(1, 5)]


def test_a_class_of_index_255_is_never_shown():
    assert mask_to_image_labels(torch.full((1, 2, 2), 255), 3).sum() == 0
