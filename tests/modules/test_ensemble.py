"""The ensemble against a list of all predictions kept by image and cell."""

import pytest
import torch

from tests.each import each
from wsss_zoo.modules import ProbabilityEnsemble

CPU = torch.device("cpu")
WHOLE, SIZE = torch.tensor([[0.0, 0, 1, 1, 0]]), torch.tensor([[8, 8]])


def ensemble(cells=4, classes=3, alpha=0.6, ids=("a", "b", "c"), **options):
    result = ProbabilityEnsemble(classes, cells, alpha, **options)
    result.add(ids, CPU)
    return result


def probabilities(count, generator):
    return torch.rand(count, 3, 4, 4, generator=generator).mul(4).softmax(1)


def target(held, image_id):
    """Corrected average of each cell, and whether it is known: at 4 x 4 pixels, one a cell."""
    value, seen = held.targets(held.rows([image_id], CPU), WHOLE, torch.tensor([[4, 4]]), (4, 4))
    return value[0], seen[0]


def test_target_is_the_weighted_mean_of_what_each_cell_has_seen():
    generator = torch.Generator().manual_seed(0)
    held = ProbabilityEnsemble(3, 4, 0.6)
    held.add("abc", CPU)
    history = {(name, y, x): [] for name in "abc" for y in range(4) for x in range(4)}
    for names in ("ab", "ca", "bc", "aa", "ab"):
        probs = probabilities(2, generator)
        covered = torch.rand(2, 4, 4, generator=generator)
        held.update(held.rows(names, CPU), probs, covered)
        for y in range(4):
            for x in range(4):
                for name in set(names):
                    here = [i for i in (0, 1) if names[i] == name]
                    share = sum(float(covered[i, y, x]) for i in here)
                    mean = sum(covered[i, y, x] * probs[i, :, y, x] for i in here) / share
                    if share >= 0.5:
                        history[name, y, x].append(mean)
    for name in "abc":
        value, seen = target(held, name)
        for y in range(4):
            for x in range(4):
                past = history[name, y, x]
                assert bool(seen[y, x]) == bool(past)
                assert held.count[held.rows(name, CPU)[0], y, x] == len(past)
                if past:
                    weights = [0.6 ** (len(past) - 1 - k) for k in range(len(past))]
                    mean = sum(w * p for w, p in zip(weights, past, strict=True)) / sum(weights)
                    torch.testing.assert_close(value[:, y, x], mean, atol=2e-3, rtol=0)


def test_cell_is_unknown_before_its_first_crop_and_exact_after_it():
    held, probs = ensemble(), probabilities(1, torch.Generator().manual_seed(0))
    assert not target(held, "a")[1].any()
    covered = torch.zeros(1, 4, 4)
    covered[:, :2] = 1
    held.update(held.rows("a", CPU), probs, covered)
    value, seen = target(held, "a")
    assert seen[:2].all()
    assert not seen[2:].any()
    torch.testing.assert_close(value[:, :1], probs[0, :, :1], atol=1e-3, rtol=0)
    assert not target(held, "b")[1].any()


def test_cover_decides_whether_a_crop_counts():
    held, probs = ensemble(min_cover=0.75), probabilities(1, torch.Generator().manual_seed(0))
    held.update(held.rows("a", CPU), probs, torch.full((1, 4, 4), 0.7))
    assert not held.count.any()
    held.update(held.rows("a", CPU), probs, torch.full((1, 4, 4), 0.75))
    assert (held.count[0] == 1).all()


def test_memory_is_the_stated_bound():
    held = ensemble(cells=64, classes=21, ids=[str(number) for number in range(5)])
    stored = (value.untyped_storage().nbytes() for value in (held.z, held.count))
    assert sum(stored) == 5 * 64**2 * (2 * 21 + 2) == 5 * 176 * 1024
    assert held.z.dtype == torch.float16


def test_images_that_come_late_find_room_and_change_nothing():
    for held in (ensemble(ids=()), ensemble(ids="a")):
        generator = torch.Generator().manual_seed(0)
        first = probabilities(1, generator)
        held.add("a", CPU)
        held.update(held.rows("a", CPU), first, torch.ones(1, 4, 4))
        before = held.z[0].clone()
        for name in "bcdefgh":
            held.add(name, CPU)
        assert torch.equal(held.z[0], before)
        assert held.image_ids == list("abcdefgh")
        assert not held.count[1:].any()
        assert len(held.z) <= 12


def test_count_stops_at_the_largest_number():
    held = ensemble(cells=1, ids="a")
    held.count[0] = 32767
    held.update(held.rows("a", CPU), torch.ones(1, 3, 1, 1) / 3, torch.ones(1, 1, 1))
    assert int(held.count[0]) == 32767


def filled(held, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for names in ("ab", "bc"):
        covered = torch.rand(2, 4, 4, generator=generator)
        held.update(held.rows(names, CPU), probabilities(2, generator), covered)
    return held


def test_state_round_trip(tmp_path):
    first = filled(ensemble())
    torch.save(first.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    z, count = first.z.clone(), first.count.clone()
    filled(first, 1)
    second = ProbabilityEnsemble(3, 4, 0.6)
    second.load_state_dict(state, CPU)
    assert second.image_ids == ["a", "b", "c"]
    assert torch.equal(second.z, z)
    assert torch.equal(second.count, count)
    second.add("d", CPU)
    assert torch.equal(second.z[:3], z)


@each("packed", [False, True])
def test_state_of_another_ensemble(packed):
    state = ensemble().state_dict()
    if packed:
        state = {"image_ids": list("abc"), "cells": 4, "bytes": torch.zeros(3, 128).byte()}
        ProbabilityEnsemble(3, 4, 0.6).load_state_dict(state, CPU)
    for other in (ProbabilityEnsemble(3, 8, 0.6), ProbabilityEnsemble(4, 4, 0.6)):
        with pytest.raises(ValueError, match="the checkpoint's ensemble has 4 cells and 3 classes"):
            other.load_state_dict(state, CPU)


def test_unknown_image():
    with pytest.raises(KeyError, match="image 'z' is not among the 3"):
        ensemble().rows(["a", "z"], CPU)


@each(
    ("options", "message"),
    [
        ({"cells": 0}, "cells is 0"),
        ({"alpha": 1.0}, r"alpha is 1\.0"),
        ({"min_cover": 0}, "min_cover is 0"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(ValueError, match=message):
        ProbabilityEnsemble(**({"num_classes": 3, "cells": 4, "alpha": 0.6} | options))
