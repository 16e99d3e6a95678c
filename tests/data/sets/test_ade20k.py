import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import save_image, save_mask
from tests.data.running import run_once
from wsss_zoo.data.sets.ade20k import ADE20K

VALUES = {"train": [[1, 2], [150]], "val": [[2, 150], [1]]}


@pytest.fixture
def root(tmp_path):
    """The tree of ADEChallengeData2016.zip: value 0 is "other", classes from 1."""
    root = tmp_path / "ADEChallengeData2016"
    for part, split in (("training", "train"), ("validation", "val")):
        for number, values in enumerate(VALUES[split], 1):
            name = f"ADE_{split}_{number:08d}"
            save_image(root / "images" / part / f"{name}.jpg", seed=number)
            save_mask(root / "annotations" / part / f"{name}.png", values)
    return root


def test_classes(root):
    data = ADE20K(str(root))
    assert (data.num_classes, data.num_fg_classes, data.background) == (150, 150, False)
    assert [data.class_names[index] for index in (0, 12, 149)] == ["wall", "person", "flag"]


def test_values_are_shifted_and_other_objects_ignored(root):
    raw = np.array(Image.open(root / "annotations" / "training" / "ADE_train_00000001.png"))
    expected = np.where((raw == 0) | (raw == 255), 255, raw - 1)
    np.testing.assert_array_equal(ADE20K(str(root)).read_mask("ADE_train_00000001"), expected)


def test_a_subset_of_classes(root):
    data = ADE20K(str(root), classes=["flag", "building"])
    mask = data.read_mask("ADE_train_00000001")  # wall and building
    assert set(np.unique(mask).tolist()) == {1, 255}
    assert set(np.unique(data.read_mask("ADE_train_00000002")).tolist()) == {0, 255}


def test_batches(root):
    data = ADE20K(str(root), crop_size=32, batch_size=2, num_workers=0)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["mask"].shape == (2, 32, 32)
    assert set(batch["mask"].unique().tolist()) <= {0, 1, 149, 255}
    val = list(data.val_dataloader())
    assert [b["image_id"] for b in val] == [["ADE_val_00000001"], ["ADE_val_00000002"]]
    assert val[0]["mask"].shape == (1, 40, 60)
    assert val[0]["image_labels"][0].nonzero().flatten().tolist() == [1, 149]


def test_tags_come_from_the_masks(root):
    data = ADE20K(
        str(root), supervision="image_labels", val_split=None, crop_size=16, batch_size=2,
        num_workers=0,
    )  # fmt: skip
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    found = dict(zip(batch["image_id"], batch["image_labels"], strict=True))
    assert found["ADE_train_00000001"].nonzero().flatten().tolist() == [0, 1]
    assert found["ADE_train_00000002"].nonzero().flatten().tolist() == [149]


def test_a_method_runs(root, tmp_path):
    data = ADE20K(str(root), crop_size=32, batch_size=2, num_workers=0, classes=["wall", "flag"])
    assert run_once(data, tmp_path)[0]["preds"].shape == (1, 40, 60)


def test_value_beyond_150(root):
    save_mask(root / "annotations" / "training" / "ADE_train_00000001.png", [151])
    with pytest.raises(ValueError, match=r"ADE_train_00000001\.png holds class index 151"):
        ADE20K(str(root)).setup("fit")


def test_missing_mask(root):
    (root / "annotations" / "validation" / "ADE_val_00000002.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 .* no mask, first: ADE_val_00000002"):
        ADE20K(str(root)).setup("fit")


def test_no_images(root):
    for folder in ("training", "validation"):
        for path in (root / "images" / folder).iterdir():
            path.unlink()
    with pytest.raises(FileNotFoundError, match=r"images has no images; expected"):
        ADE20K(str(root)).open_source()


def test_test_images_are_predicted_without_masks(root):
    save_image(root / "images" / "testing" / "ADE_test_00000001.jpg")
    data = ADE20K(str(root), predict_split="test", num_workers=0)
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    assert batch["image_id"] == ["ADE_test_00000001"]
    assert "mask" not in batch
