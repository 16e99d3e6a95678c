import numpy as np
import pytest
import scipy.io

from tests.data.conftest import save_image
from tests.data.running import run_once
from wsss_zoo.data.sets.pascal_context import PascalContext
from wsss_zoo.data.sets.voc import VOC_CLASSES

IDS = {"train": ["2008_000008", "2008_000015"], "val": ["2008_000002"]}
# From left to right: no label, accordion (none of the 59), aeroplane, table, wood, unknown.
LABELS = [0, 1, 2, 397, 458, 431]
CLASSES = [0, 0, 1, 11, 59, 0]  # of the 60


def save_labels(path, values=LABELS):
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.repeat(np.uint16(values), 8)[None].repeat(40, 0)
    scipy.io.savemat(path, {"LabelMap": labels})


@pytest.fixture
def root(tmp_path):
    """VOC2010 with the authors' folder ``trainval`` beside its own."""
    root = tmp_path / "VOC2010"
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for split, ids in IDS.items():
        (lists / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for seed, image_id in enumerate(ids):
            save_image(root / "JPEGImages" / f"{image_id}.jpg", 40, 48, seed)
            save_labels(root / "trainval" / f"{image_id}.mat")
    return root


def test_sixty_classes(root):
    data = PascalContext(str(root))
    assert (data.num_classes, data.num_fg_classes, data.background) == (60, 59, True)
    assert data.class_names[:21] == VOC_CLASSES
    assert data.read_mask("2008_000008")[3, ::8].tolist() == CLASSES


def test_fifty_nine_classes(root):
    data = PascalContext(str(root), background=False)
    assert (data.num_classes, data.num_fg_classes, data.background) == (59, 59, False)
    expected = [value - 1 if value else 255 for value in CLASSES]
    assert data.read_mask("2008_000008")[3, ::8].tolist() == expected


@pytest.mark.parametrize("background", [True, False])
def test_a_subset_of_classes(root, background):
    data = PascalContext(str(root), background=background, classes=["wood", "aeroplane"])
    first = int(background)
    other = 0 if background else 255
    expected = [other, other, 1 + first, 255, first, other]
    assert data.read_mask("2008_000008")[3, ::8].tolist() == expected


def test_batches_and_tags(root):
    data = PascalContext(str(root), crop_size=32, batch_size=2, num_workers=0)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert set(batch["mask"].unique().tolist()) <= {*CLASSES, 255}
    (val,) = data.val_dataloader()
    assert val["mask"].shape == (1, 40, 48)
    assert val["image_labels"][0].nonzero().flatten().tolist() == [0, 10, 58]


def test_a_method_runs(root, tmp_path):
    data = PascalContext(str(root), crop_size=32, batch_size=2, num_workers=0)
    assert run_once(data, tmp_path)[0]["preds"].shape == (1, 40, 48)


def test_label_maps_elsewhere(root, tmp_path):
    (root / "trainval").rename(tmp_path / "trainval")
    with pytest.raises(FileNotFoundError, match=r"trainval has no \.mat files(.|\n)*context_root"):
        PascalContext(str(root)).setup("fit")
    PascalContext(str(root), context_root=str(tmp_path)).setup("fit")
    (root / "trainval_merged.json").touch()
    with pytest.raises(
        FileNotFoundError, match=r"\(trainval_merged\.json of .* is not read\); exp"
    ):
        PascalContext(str(root)).setup("fit")


def test_label_map_of_another_size(root):
    path = root / "trainval" / "2008_000015.mat"
    scipy.io.savemat(path, {"LabelMap": np.zeros((40, 40), dtype=np.uint16)})
    for check_masks in (True, False):
        with pytest.raises(ValueError, match=r"2008_000015\.mat is 40x40 .* is 48x40"):
            PascalContext(str(root), check_masks=check_masks).setup("fit")


def test_unknown_label(root):
    save_labels(root / "trainval" / "2008_000015.mat", [0, 1, 2, 3, 4, 460])
    with pytest.raises(ValueError, match=r"2008_000015\.mat holds the number 460"):
        PascalContext(str(root)).setup("fit")


def test_missing_files(root):
    (root / "trainval" / "2008_000002.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 1 .* no mask, first: 2008_000002"):
        PascalContext(str(root)).setup("validate")
    assert PascalContext(str(root)).read_mask("2008_000002") is None
    for path in (root / "JPEGImages").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="JPEGImages has no images"):
        PascalContext(str(root)).setup("validate")
    (root / "ImageSets" / "Main" / "val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"'val': .* has train, and"):
        PascalContext(str(root)).setup("validate")
