"""Recall of small objects against a flood fill."""

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import small_object_counts


def flood(target, y, x, seen):
    stack, pixels = [(y, x)], []
    seen.add((y, x))
    while stack:
        y, x = stack.pop()
        pixels.append((y, x))
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                near = y + dy, x + dx
                inside = 0 <= near[0] < len(target) and 0 <= near[1] < len(target[0])
                if inside and near not in seen and target[near[0]][near[1]] == target[y][x]:
                    seen.add(near)
                    stack.append(near)
    return pixels


def reference(preds, target, num_classes, max_area):
    counts, seen = np.zeros((num_classes, 2)), set()
    rows, guesses = target.tolist(), preds.tolist()
    for y, row in enumerate(rows):
        for x, label in enumerate(row):
            if (y, x) in seen:
                continue
            pixels = flood(rows, y, x, seen)
            if label < num_classes and len(pixels) < max_area * target.numel():
                counts[label, 0] += np.mean([guesses[i][j] == label for i, j in pixels])
                counts[label, 1] += 1
    return torch.from_numpy(counts).float()


@each("max_area", [0.02, 0.1, 1.0])
def test_equals_a_flood_fill(max_area):
    generator = torch.Generator().manual_seed(0)
    for size in ((12, 17), (1, 30), (1, 1)):
        target = (torch.rand(size, generator=generator) < 0.3).long() * 2
        target[torch.rand(size, generator=generator) < 0.2] = 1
        target[torch.rand(size, generator=generator) < 0.1] = 255
        noise = torch.rand(size, generator=generator) < 0.4
        preds = torch.where(noise, torch.randint(0, 3, size, generator=generator), target % 3)
        counts = small_object_counts(preds, target, 3, max_area)
        torch.testing.assert_close(counts, reference(preds, target, 3, max_area))


def test_nothing_small_counts_nothing():
    target = torch.zeros(4, 4, dtype=torch.int64)
    assert not small_object_counts(target, target, 2, 0.5).any()
    assert not small_object_counts(target, torch.full_like(target, 255), 2, 1.0).any()


def test_other_shapes_and_shares_are_refused():
    target = torch.zeros(4, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match="do not fit"):
        small_object_counts(target[:2], target, 2)
    with pytest.raises(ValueError, match="max_area is 0"):
        small_object_counts(target, target, 2, 0.0)
