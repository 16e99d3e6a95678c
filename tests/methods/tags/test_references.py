"""Which images stand for a class."""

import numpy as np
import pytest

from wsss_zoo.methods.tags.references import References


def test_references_are_few_reproducible_and_never_the_image_itself():
    rng = np.random.default_rng(0)
    labels = {f"i{i}": (rng.random(3) < 0.6).astype(np.uint8) for i in range(40)}
    references = References(labels, 4, seed=3)
    assert references.ids == References(labels, 4, seed=3).ids
    assert references.ids != References(labels, 4, seed=4).ids
    for label in range(3):
        assert len(set(references.ids[label])) == 5
        for image_id in labels:
            chosen = references.of(label, image_id)
            assert len(chosen) == 4
            assert image_id not in chosen
            assert all(labels[other][label] for other in chosen)
    assert len(references.needed()) <= 15


@pytest.mark.parametrize("labels", [{}, {"a": np.zeros(2, np.uint8)}])
def test_no_images_to_refer_to_are_refused(labels):
    with pytest.raises(ValueError, match="train_split has none"):
        References(labels, 3, 0)


def test_a_class_without_images_has_no_references():
    references = References({"a": np.array([1, 0], np.uint8)}, 3, 0)
    assert references.ids == [["a"], []]
    assert references.of(0, "b") == ["a"]
    assert references.of(0, "a") == references.of(1, "b") == []
