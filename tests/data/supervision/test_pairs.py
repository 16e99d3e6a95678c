import numpy as np
import pytest
import torch

from tests.data.conftest import save_image
from tests.each import each
from wsss_zoo.data import Augmentation
from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.data.supervision.image_labels import TaggedImages
from wsss_zoo.data.supervision.pairs import ImagePairs, PairPartners
from wsss_zoo.data.supervision.weak_shot import WeakShotPartners
from wsss_zoo.data.transforms.crops import Crops


def labels(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.uint8)


def test_partner_shares_a_class_and_is_another_image():
    tags = labels([1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1])
    partners = PairPartners(tags, "abcd")
    rng = np.random.default_rng(0)
    for index in range(4):
        for _ in range(50):
            partner = partners.choose(index, rng)
            assert partner != index
            assert (tags[index] & tags[partner]).any()


def test_class_is_drawn_before_the_image():
    # Image 0 has class 0 with one other image and class 1 with four: both classes equally often.
    tags = labels([1, 1], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1])
    rng = np.random.default_rng(0)
    partners = PairPartners(tags, "abcdef")
    share = np.mean([partners.choose(0, rng) == 1 for _ in range(2000)])
    assert share == pytest.approx(0.5, abs=0.04)


def test_only_image_of_its_class_is_its_own_partner():
    partners = PairPartners(labels([1, 0], [0, 1], [0, 1]), "abc")
    assert partners.choose(0, np.random.default_rng(0)) == 0


def test_image_whose_tags_are_all_absent_elsewhere_is_its_own_partner():
    partners = PairPartners(labels([1, 1, 0], [0, 0, 1], [0, 0, 1]), "abc")
    rng = np.random.default_rng(0)
    assert {partners.choose(0, rng) for _ in range(20)} == {0}
    assert {partners.choose(1, rng) for _ in range(20)} == {2}


def test_class_with_a_single_image_does_not_make_a_pair_with_itself():
    # Class 0 is in image 0 alone, which has class 1 too: class 0 is never drawn.
    tags = labels([1, 1, 0], [0, 1, 1], [0, 0, 1])
    partners = PairPartners(tags, "abc")
    rng = np.random.default_rng(0)
    drawn = [{partners.choose(index, rng) for _ in range(50)} for index in range(3)]
    assert drawn == [{1}, {0, 2}, {1}]


def test_own_partner_is_another_augmentation(tmp_path):
    save_image(tmp_path / "a.png")
    source = ImageFiles({"a": str(tmp_path / "a.png")}, {}, ())
    crops = Crops(32, Augmentation(), (0, 0, 0), seed=0)
    tags = labels([1, 1])
    pairs = ImagePairs(
        TaggedImages(["a"], source, crops, False, {"a": tags[0]}), PairPartners(tags, ["a"])
    )
    sample = pairs[(0, 1)]
    assert sample["image_id"] == sample["other"]["image_id"] == "a"
    assert not torch.equal(sample["image"], sample["other"]["image"])


def test_lonely_class_is_left_out_if_another_is_shared():
    partners = PairPartners(labels([1, 1], [0, 1]), "ab")
    rng = np.random.default_rng(0)
    assert {partners.choose(0, rng) for _ in range(20)} == {1}


def test_untagged_image_is_named():
    with pytest.raises(ValueError, match="image b has none of the classes"):
        PairPartners(labels([1], [0]), ["a", "b"])


def reference(tags: np.ndarray, novel: np.ndarray, index: int) -> list[int]:
    """The documented rule, written as loops."""
    others = [other for other in range(len(tags)) if other != index]

    def shares(other: int, kind: bool) -> bool:
        return any(
            tags[index, k] and tags[other, k] for k in range(tags.shape[1]) if novel[k] == kind
        )

    for rule in (
        lambda o: shares(o, True) and shares(o, False),
        lambda o: shares(o, True),
        lambda o: shares(o, False),
        lambda o: True,
    ):
        found = [other for other in others if rule(other)]
        if found:
            return found
    return [index]


@each("seed", range(10))
def test_weak_shot_candidates_follow_the_rule(seed):
    rng = np.random.default_rng(seed)
    tags = (rng.random((8, 5)) < 0.3).astype(np.uint8)
    novel = np.array([True, True, False, False, False])
    partners = WeakShotPartners(tags, novel)
    for index in range(8):
        expected = reference(tags, novel, index)
        assert partners.candidates(index).tolist() == expected
        assert partners.choose(index, rng) in expected


def test_single_image_is_its_own_reference():
    assert WeakShotPartners(labels([1]), np.array([True])).candidates(0).tolist() == [0]
