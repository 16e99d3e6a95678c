import numpy as np
import pytest

from wsss_zoo.data import Shapes


def test_splits_never_share_a_scene():
    data = Shapes(num_train=4, num_val=4, image_size=48)
    images = [
        data.read_image(image_id)
        for split in ("train", "val", "test")
        for image_id in data.split_ids(split)
    ]
    pairs = [(i, j) for i in range(12) for j in range(i)]
    assert not any(np.array_equal(images[i], images[j]) for i, j in pairs)


def test_images_are_a_function_of_the_scene_seed_only():
    first, same = (Shapes(image_size=48, seed=seed) for seed in (0, 1))
    other = Shapes(image_size=48, scene_seed=1)
    image_id = "train_000003"
    np.testing.assert_array_equal(first.read_image(image_id), same.read_image(image_id))
    assert not np.array_equal(first.read_image(image_id), other.read_image(image_id))


def test_chosen_classes_are_renumbered():
    full, part = Shapes(image_size=48), Shapes(image_size=48, classes=["fox", "daisy"])
    for image_id in full.split_ids("train")[:20]:
        mask = full.read_mask(image_id)
        fox, daisy = (full.class_names.index(name) for name in ("fox", "daisy"))
        expected = np.full_like(mask, 255)
        for value, index in ((0, 0), (fox, 1), (daisy, 2)):
            expected[mask == value] = index
        np.testing.assert_array_equal(part.read_mask(image_id), expected)


@pytest.mark.parametrize("image_id", ["x_000001", "train_one"])
def test_unknown_id(image_id):
    with pytest.raises(ValueError, match="is no image of Shapes; its ids are like train_000012"):
        Shapes().read_image(image_id)


def test_unknown_split():
    with pytest.raises(ValueError, match="Shapes has the splits train, val, test, but not 'trian'"):
        Shapes().split_ids("trian")


def test_list_file(tmp_path):
    (tmp_path / "few.txt").write_text("train_000003\nval_000001\n")
    assert Shapes().split_ids(str(tmp_path / "few.txt")) == ["train_000003", "val_000001"]
