import numpy as np
import pytest
import scipy.io
from PIL import Image

from tests.data.conftest import save_image
from tests.data.running import run_once
from wsss_zoo.data.sets.coco_stuff import COCOStuff10K

IDS = {"train": ["COCO_train2014_000000000077", "COCO_train2014_000000000081"],
       "test": ["COCO_train2014_000000000349"]}  # fmt: skip
# Numbers of release 1.1: unlabelled, person, stop sign, toothbrush, banner, wood; and the classes.
NUMBERS = [0, 1, 13, 90, 92, 182]
CLASSES = [255, 0, 11, 79, 80, 170]


def label_map(values):
    return np.repeat(np.uint8(values), 8)[None].repeat(40, 0)


def save_labels(path, values=NUMBERS, names=182):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "S": label_map(values),
        "names": np.array([[f"name {n}"] for n in range(names)], dtype=object),
        "captions": np.array([["a caption"]], dtype=object),
        "regionMapStuff": np.ones((40, 48), dtype=np.uint16),
        "regionLabelsStuff": np.array([[92]], dtype=np.uint8),
    }
    scipy.io.savemat(path, content, do_compression=True)


@pytest.fixture
def root(tmp_path):
    """The tree of cocostuff-10k-v1.1.zip."""
    root = tmp_path / "cocostuff-10k-v1.1"
    (root / "imageLists").mkdir(parents=True)
    for split, ids in IDS.items():
        (root / "imageLists" / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for seed, image_id in enumerate(ids):
            save_image(root / "images" / f"{image_id}.jpg", 40, 48, seed)
            save_labels(root / "annotations" / f"{image_id}.mat")
    return root


def png_masks(root, values):
    for path in list((root / "annotations").iterdir()):
        path.unlink()
        Image.fromarray(label_map(values)).save(path.with_suffix(".png"))


def test_classes(root):
    data = COCOStuff10K(str(root))
    assert (data.num_classes, data.background) == (171, False)
    names = [data.class_names[index] for index in (0, 11, 79, 80, 170)]
    assert names == ["person", "stop sign", "toothbrush", "banner", "wood"]
    assert len(set(data.class_names)) == 171


def test_numbers_become_classes(root):
    assert COCOStuff10K(str(root)).read_mask(IDS["train"][0])[3, ::8].tolist() == CLASSES


@pytest.mark.parametrize("kind", ["stuffthingmaps", "contiguous"])
def test_png_masks(root, kind):
    values = CLASSES if kind == "contiguous" else [n - 1 if n else 255 for n in NUMBERS]
    png_masks(root, values)
    data = COCOStuff10K(str(root), png_values=kind, num_workers=0)
    data.setup("fit")
    assert data.read_mask(IDS["train"][0])[3, ::8].tolist() == CLASSES


@pytest.mark.parametrize(
    ("kind", "values", "wrong"), [("stuffthingmaps", CLASSES, 11), ("contiguous", [181] * 6, 181)]
)
def test_png_masks_of_the_other_kind_are_refused(root, kind, values, wrong):
    png_masks(root, values)
    with pytest.raises(ValueError, match=rf"\.png holds the number {wrong}, which is no label"):
        COCOStuff10K(str(root), png_values=kind).setup("fit")


def test_a_subset_of_classes(root):
    data = COCOStuff10K(str(root), classes=["wood", "person"])
    assert data.read_mask(IDS["train"][0])[3, ::8].tolist() == [255, 1, 255, 255, 255, 0]


def test_batches_and_tags(root):
    data = COCOStuff10K(str(root), crop_size=32, batch_size=2, num_workers=0)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert set(batch["mask"].unique().tolist()) <= set(CLASSES)
    assert sorted(batch["image_id"]) == IDS["train"]
    (val,) = data.val_dataloader()
    assert val["image_id"] == IDS["test"]
    assert val["mask"].shape == (1, 40, 48)
    assert val["image_labels"][0].nonzero().flatten().tolist() == CLASSES[1:]


def test_a_method_runs(root, tmp_path):
    data = COCOStuff10K(str(root), crop_size=32, batch_size=2, num_workers=0)
    assert run_once(data, tmp_path)[0]["preds"].shape == (1, 40, 48)


def test_weak_shot_tags_of_novel_classes(root):
    data = COCOStuff10K(
        str(root), supervision="weak_shot", novel_classes=["wood"], val_split=None, crop_size=48,
        batch_size=1, num_workers=0,
    )  # fmt: skip
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert 170 not in batch["mask"].unique().tolist()
    assert batch["image_labels"][0, 170] == 1


def test_the_release_that_counts_differently_is_refused(root):
    save_labels(root / "annotations" / f"{IDS['train'][0]}.mat", names=172)
    with pytest.raises(ValueError, match=r"000077\.mat is of COCO-Stuff's release 1\.0"):
        COCOStuff10K(str(root)).setup("fit")


def test_a_number_without_a_class(root):
    save_labels(root / "annotations" / f"{IDS['train'][1]}.mat", [0, 1, 12, 1, 1, 1])
    with pytest.raises(ValueError, match=r"000081\.mat holds the number 12"):
        COCOStuff10K(str(root)).setup("fit")


def test_missing_files(root):
    (root / "annotations" / f"{IDS['test'][0]}.mat").unlink()
    with pytest.raises(FileNotFoundError, match=rf"no mask, first: {IDS['test'][0]}"):
        COCOStuff10K(str(root)).setup("validate")
    for path in (root / "annotations").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="annotations is empty; expected"):
        COCOStuff10K(str(root)).setup("validate")
    (root / "imageLists" / "test.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"'val': .* has train, and no list file"):
        COCOStuff10K(str(root)).setup("validate")


def test_lists_of_coco_2017_name_the_same_images(root, tmp_path):
    path = tmp_path / "labeled.txt"
    path.write_text("images/train2017/000000000077.jpg\n000000000081\n000000000349.png\n")
    assert COCOStuff10K(str(root)).split_ids(str(path)) == [*IDS["train"], *IDS["test"]]
