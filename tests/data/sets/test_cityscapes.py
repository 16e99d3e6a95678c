import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import save_image
from tests.data.running import run_once
from wsss_zoo.data.sets.cityscapes import Cityscapes

FRAMES = {
    "train": [("aachen", "aachen_000000_000019"), ("bochum", "bochum_000000_000313")],
    "val": [("frankfurt", "frankfurt_000000_000294")],
    "test": [("berlin", "berlin_000000_000019")],
}
# Label ids of a mask from left to right, and the train ids that the benchmark gives them.
LABEL_IDS = [0, 1, 4, 7, 8, 11, 16, 26, 33, 255]
TRAIN_IDS = [255, 255, 255, 0, 1, 2, 255, 13, 18, 255]


def save_labels(path, values=LABEL_IDS):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.repeat(np.uint8(values), 4)[None].repeat(32, 0)).save(path)


@pytest.fixture
def root(tmp_path):
    for split, frames in FRAMES.items():
        for seed, (city, stem) in enumerate(frames):
            image = tmp_path / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png"
            save_image(image, 32, 40, seed)
            labels = tmp_path / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png"
            save_labels(labels)
            for other in ("color.png", "instanceIds.png", "polygons.json"):
                (labels.parent / f"{stem}_gtFine_{other}").touch()
    return tmp_path


def test_classes(root):
    data = Cityscapes(str(root))
    assert (data.num_classes, data.background) == (19, False)
    assert [data.class_names[index] for index in (0, 13, 18)] == ["road", "car", "bicycle"]


def test_label_ids_become_train_ids(root):
    mask = Cityscapes(str(root)).read_mask("aachen/aachen_000000_000019")
    assert mask[5, ::4].tolist() == TRAIN_IDS


def test_a_subset_of_classes(root):
    data = Cityscapes(str(root), classes=["car", "road"])
    mask = data.read_mask("aachen/aachen_000000_000019")
    assert mask[5, ::4].tolist() == [{0: 1, 13: 0}.get(value, 255) for value in TRAIN_IDS]


def test_batches(root):
    data = Cityscapes(str(root), crop_size=16, batch_size=2, num_workers=0)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert set(batch["mask"].unique().tolist()) <= set(TRAIN_IDS)
    assert sorted(batch["image_id"]) == ["/".join(frame) for frame in FRAMES["train"]]
    (val,) = data.val_dataloader()
    assert val["image_id"] == ["frankfurt/frankfurt_000000_000294"]
    assert val["mask"].shape == (1, 32, 40)
    assert val["image_labels"][0].nonzero().flatten().tolist() == [0, 1, 2, 13, 18]


def test_a_method_runs(root, tmp_path):
    data = Cityscapes(str(root), crop_size=32, batch_size=2, num_workers=0)
    assert run_once(data, tmp_path)[0]["preds"].shape == (1, 32, 40)


def test_the_placeholder_masks_of_test_are_not_read(root):
    data = Cityscapes(str(root), predict_split="test", test_split="test", num_workers=0)
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    assert "mask" not in batch
    with pytest.raises(FileNotFoundError, match="no mask, first: berlin/berlin_000000_000019"):
        data.setup("test")


def test_extra_images_without_masks_are_unlabeled(root):
    extra = root / "leftImg8bit" / "train_extra" / "augsburg"
    for frame in (1, 2):
        save_image(extra / f"augsburg_000000_{frame:06d}_leftImg8bit.png", 32, 40)
    data = Cityscapes(
        str(root), supervision="semi", labeled_split="train", unlabeled_split="train_extra",
        crop_size=16, batch_size=1, num_workers=0,
    )  # fmt: skip
    data.setup("fit")
    batch, *_ = next(iter(data.train_dataloader()))
    assert batch["unlabeled"]["image_id"][0].startswith("augsburg/augsburg_000000_00000")


def test_unknown_label_id(root):
    stem = "frankfurt_000000_000294"
    path = root / "gtFine" / "val" / "frankfurt" / f"{stem}_gtFine_labelIds.png"
    save_labels(path, [34] * 10)
    with pytest.raises(ValueError, match=rf"{stem}_gtFine_labelIds\.png holds class index 34"):
        Cityscapes(str(root)).setup("fit")


def test_missing_masks(root):
    (root / "gtFine").rename(root / "gtCoarse")
    with pytest.raises(FileNotFoundError, match=r"gtFine is missing; expected(.|\n)*account"):
        Cityscapes(str(root)).setup("fit")


def test_label_files_of_another_kind_are_no_masks(root):
    for path in (root / "gtFine").rglob("*_labelIds.png"):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    text = (
        r"2 of 2 listed ids have no mask.*000019_gtFine_labelTrainIds\.png, which is there, cannot"
    )
    text += r".*gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds\.png is missing; expected"
    with pytest.raises(FileNotFoundError, match=rf"{text} .*gtFine_trainvaltest\.zip"):
        Cityscapes(str(root)).setup("fit")


def test_no_images(tmp_path):
    (tmp_path / "leftImg8bit" / "train" / "aachen").mkdir(parents=True)
    (tmp_path / "gtFine").mkdir()
    with pytest.raises(FileNotFoundError, match=r"leftImg8bit has no images; expected"):
        Cityscapes(str(tmp_path)).open_source()
