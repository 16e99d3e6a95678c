import json
import sys

import numpy as np
import pytest
from PIL import Image

from tests.data.coco_tree import OBJECTS, TRAIN, VAL, make_coco, region_of, write_annotations
from tests.data.running import run_once
from wsss_zoo.data.sets import coco as coco_module
from wsss_zoo.data.sets.coco import COCO

pytest.importorskip("pycocotools")

CAT, CUP, DOG = 16, 42, 17


@pytest.fixture
def root(tmp_path):
    return make_coco(tmp_path / "coco")


@pytest.fixture
def builds(monkeypatch):
    """Names of the folders that are drawn, in order."""
    drawn = []
    original = coco_module.build_masks

    def spy(directory, *args, **kwargs):
        drawn.append(directory.name)
        original(directory, *args, **kwargs)

    monkeypatch.setattr(coco_module, "build_masks", spy)
    return drawn


def coco(root, **options):
    return COCO(str(root), **({"crop_size": 32, "batch_size": 2, "num_workers": 0} | options))


def test_classes_and_splits(root):
    data = coco(root)
    assert (data.num_classes, data.num_fg_classes) == (81, 80)
    assert [data.class_names[index] for index in (0, 1, 12, 80)] == [
        "background", "person", "stop sign", "toothbrush",
    ]  # fmt: skip
    assert data.split_ids("train") == [TRAIN[0], TRAIN[1], TRAIN[3]]
    assert data.split_ids("val") == VAL
    assert coco(root, empty_images=True).split_ids("train") == TRAIN


def test_batches(root):
    data = coco(root)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["mask"].shape == (2, 32, 32)
    assert set(batch["mask"].unique().tolist()) <= {0, CAT, CUP, DOG, 80, 255}
    assert batch["image_labels"].shape == (2, 80)
    val = list(data.val_dataloader())
    assert [b["image_id"] for b in val] == [[VAL[0]], [VAL[1]]]
    np.testing.assert_array_equal(val[0]["mask"][0], CAT * region_of(0, 0, 20, 40))
    assert val[0]["image_labels"][0].nonzero().flatten().tolist() == [CAT - 1]


def test_masks(root):
    data = coco(root)
    data.setup("fit")
    expected = CAT * region_of(5, 5, 35, 35)
    expected[10:20, 10:20] = CUP
    np.testing.assert_array_equal(data.read_mask(TRAIN[0]), expected)
    crowd = 255 * region_of(20, 0, 60, 10)
    crowd[region_of(0, 0, 30, 20)] = DOG
    np.testing.assert_array_equal(data.read_mask(TRAIN[1]), crowd)
    assert data.read_mask(TRAIN[2]).max() == 0
    other = coco(root, crowd_as_class=True, cache_dir=str(root / "other"))
    other.setup("fit")
    assert set(np.unique(other.read_mask(TRAIN[1])).tolist()) == {0, 1, DOG}


def test_a_subset_of_classes(root):
    data = coco(root, classes=["cup", "dog"])
    data.setup("fit")
    expected = np.where(region_of(5, 5, 35, 35), 255, 0)
    expected[10:20, 10:20] = 1
    np.testing.assert_array_equal(data.read_mask(TRAIN[0]), expected)
    assert data.image_labels_of(VAL[1]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("supervision", "output", "drawn"),
    [
        ("mask", "preds", ["masks_train2014", "masks_val2014"]),
        ("image_labels", "cam", ["masks_val2014", "masks_train2014"]),
    ],
)
def test_a_method_runs(root, tmp_path, builds, supervision, output, drawn):
    data = coco(root, supervision=supervision, classes=["cat", "dog", "cup"])
    assert run_once(data, tmp_path)[0][output].shape[-2:] == (40, 60)
    assert builds == drawn


def test_tags_need_no_masks(root, builds, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    data = coco(root, supervision="image_labels", val_split=None, batch_size=3)
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    found = {i: t.nonzero().flatten().tolist() for i, t in zip(
        batch["image_id"], batch["image_labels"], strict=True
    )}  # fmt: skip
    # The crowd's class counts as a tag.
    assert found == {TRAIN[0]: [CAT - 1, CUP - 1], TRAIN[1]: [0, DOG - 1], TRAIN[3]: [79]}
    assert builds == []


@pytest.mark.parametrize(
    ("options", "stage", "drawn"),
    [
        ({}, "fit", ["masks_train2014", "masks_val2014"]),
        ({"val_split": None}, "fit", ["masks_train2014"]),
        ({"supervision": "image_labels"}, "fit", ["masks_val2014"]),
        ({"supervision": "images"}, "fit", []),
        (
            {"supervision": "image_labels", "image_labels": "masks", "val_split": None},
            "fit",
            ["masks_train2014"],
        ),
        ({}, "validate", ["masks_val2014"]),
        ({"test_split": "train"}, "test", ["masks_train2014"]),
        ({}, "predict", ["masks_train2014"]),
        ({"labeled_split": "val", "val_split": None}, "fit", ["masks_val2014"]),
        ({"labeled_split": 1.0}, "fit", ["masks_train2014", "masks_val2014"]),
    ],
)
def test_a_stage_draws_the_masks_it_reads(root, builds, options, stage, drawn):
    coco(root, **options).setup(stage)
    assert builds == drawn


def test_audit_draws_the_masks_of_unlabeled_images(root, builds, tmp_path):
    (tmp_path / "labeled.txt").write_text(VAL[0])
    options = {"labeled_split": str(tmp_path / "labeled.txt"), "supervision": "semi"}
    coco(root, val_split=None, **options).setup("fit")
    assert builds == ["masks_val2014"]
    coco(root, val_split=None, audit=True, **options).setup("fit")
    assert builds == ["masks_val2014", "masks_train2014"]


def test_prepared_once_for_all_later_runs(root, builds, monkeypatch):
    coco(root).prepare_data()
    assert sorted(builds) == ["masks_train2014", "masks_val2014"]
    monkeypatch.setattr(coco_module, "read_annotations", lambda path: 1 / 0)
    data = coco(root)
    data.prepare_data()
    data.setup("fit")
    assert len(builds) == 2
    assert data.read_mask(VAL[0]) is not None


def test_a_later_stage_sees_its_masks(root):
    data = coco(root)
    data.setup("validate")
    assert data.read_mask(TRAIN[0]) is None
    data.setup("predict")
    (batch, *_) = data.predict_dataloader()
    assert batch["mask"].shape == (1, 40, 60)


def test_new_annotations_draw_new_masks(root, builds):
    coco(root).setup("validate")
    objects = {**OBJECTS, VAL[0]: OBJECTS[VAL[1]]}
    write_annotations(root / "annotations" / "instances_val2014.json", VAL, objects)
    data = coco(root)
    data.setup("validate")
    assert builds == ["masks_val2014"] * 2
    np.testing.assert_array_equal(data.read_mask(VAL[0]), DOG * region_of(30, 10, 50, 30))
    assert data.image_labels_of(VAL[0]).nonzero()[0].tolist() == [DOG - 1]


def test_half_written_masks_are_drawn_again(root, builds):
    coco(root).setup("validate")
    folder = root / "wsss_zoo_cache" / "masks_val2014"
    # As a kill leaves it: no manifest, one mask missing, one from another run.
    (folder / "manifest.json").unlink()
    (folder / f"{VAL[0]}.png").unlink()
    Image.fromarray(np.full((40, 60), 3, dtype=np.uint8)).save(folder / f"{VAL[1]}.png")
    data = coco(root)
    data.setup("validate")
    assert builds == ["masks_val2014"] * 2
    np.testing.assert_array_equal(data.read_mask(VAL[1]), DOG * region_of(30, 10, 50, 30))


def test_damaged_tags_are_read_anew(root, builds):
    coco(root).setup("validate")
    (root / "wsss_zoo_cache" / "tags_val2014.json").write_bytes(b"PK\x03\x04")
    assert coco(root).split_ids("val") == VAL
    (root / "wsss_zoo_cache" / "tags_val2014.json").unlink()
    coco(root).setup("validate")
    assert builds == ["masks_val2014"]


def test_a_lost_mask_is_drawn_again_and_a_strange_one_does_not_matter(root, builds):
    coco(root).setup("validate")
    folder = root / "wsss_zoo_cache" / "masks_val2014"
    (folder / "COCO_val2014_999999999999.png").touch()
    coco(root).setup("validate")
    assert builds == ["masks_val2014"]
    (folder / f"{VAL[1]}.png").unlink()
    coco(root).setup("validate")
    assert builds == ["masks_val2014"] * 2


def test_image_of_another_size_than_annotated(root):
    Image.new("RGB", (30, 20)).save(root / "val2014" / f"{VAL[1]}.jpg")
    with pytest.raises(ValueError, match=rf"{VAL[1]}\.png is 60x40 .* is 30x20"):
        coco(root).setup("validate")


def test_missing_image(root):
    (root / "val2014" / f"{VAL[1]}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=f"1 of 2 .* no image, first: {VAL[1]}"):
        coco(root).setup("validate")


def test_missing_images_or_annotations(root):
    (root / "annotations" / "instances_val2014.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"instances_val2014\.json is missing(.|\n)*cocodataset\.org"
    ):
        coco(root).setup("validate")
    coco(root, val_split=None).setup("fit")
    for part in ("train2014", "val2014"):
        (root / part).rename(root / f"{part}_")
    with pytest.raises(FileNotFoundError, match="has no images in train2014 or val2014"):
        coco(root, val_split=None).setup("fit")


def test_ids_of_another_data_set(root, tmp_path):
    (tmp_path / "list.txt").write_text("2007_000032\n")
    with pytest.raises(ValueError, match="'2007_000032' is no image of COCO 2014"):
        coco(root, val_split=str(tmp_path / "list.txt")).setup("validate")
    (tmp_path / "list.txt").write_text("COCO_val2014_000000000001\n")
    with pytest.raises(FileNotFoundError, match="no image, first: COCO_val2014_000000000001"):
        coco(root, val_split=str(tmp_path / "list.txt")).setup("validate")
    with pytest.raises(ValueError, match=r"000000000001' is no image of .*val2014\.json"):
        coco(root).read_tags(["COCO_val2014_000000000001"])


def test_a_cache_that_cannot_be_written(root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/cache cannot be written .* --data\.cache_dir"):
        coco(root, cache_dir=str(tmp_path / "file" / "cache")).setup("validate")


def test_tags_may_come_from_a_file(root, tmp_path):
    (tmp_path / "tags.json").write_text(json.dumps({TRAIN[0]: ["zebra"]}))
    data = coco(root, image_labels=str(tmp_path / "tags.json"))
    assert data.read_tags([TRAIN[0], TRAIN[1]]) == {TRAIN[0]: ["zebra"]}
