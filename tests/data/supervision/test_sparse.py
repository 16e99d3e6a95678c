"""Batches of ``sparse``: mixtures of all labels, what they may see, and what is refused."""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.conftest import save_image, save_mask
from tests.each import each
from wsss_zoo.data import Augmentation, Folder, Shapes
from wsss_zoo.files.manifests import Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import write_label

STILL = Augmentation(scale_range=(1.0, 1.0), flip_prob=0.0)
SIZE = (40, 60)


def shapes(**kwargs):
    sizes = {"num_train": 8, "num_val": 2, "image_size": 64, "crop_size": 48, "batch_size": 2}
    data = Shapes(supervision="sparse", **(sizes | {"num_workers": 0} | kwargs))
    data.setup("fit")
    return data


def folder(root, **kwargs):
    """Ten images, of which the first four have masks; `shapes.json` is written by the tests."""
    if not (root / "classes.txt").exists():
        (root / "splits").mkdir(parents=True)
        (root / "classes.txt").write_text("background\ncat\ndog\ncow\n")
        for number in range(10):
            save_image(root / "images" / f"i{number}.png", seed=number)
        for number in range(4):
            save_mask(root / "masks" / f"i{number}.png", [1 + number % 3])
        (root / "splits" / "train.txt").write_text("".join(f"i{n}\n" for n in range(10)))
    sizes = {"crop_size": 64, "batch_size": 2, "augmentation": STILL, "num_workers": 0}
    options = {"supervision": "sparse", "val_split": None} | sizes | kwargs
    return Folder(str(root), **options)


def write_shapes(root, **shapes_by_id):
    root.mkdir(parents=True, exist_ok=True)
    (root / "shapes.json").write_text(json.dumps(shapes_by_id))


def samples(data):
    """Samples of all images, by id."""
    data.setup("fit")
    train = data._train
    return {image_id: train[index, 0] for index, image_id in enumerate(train.ids)}


def stroke(name, *joints):
    return {"class": name, "stroke": [list(joint) for joint in joints], "width": 3}


BACKGROUND = stroke("background", (2, 2), (50, 2))


def test_batch_of_shapes():
    (batch,) = [next(iter(shapes().train_dataloader()))]
    assert {"image", "mask", "valid", "possible", "image_id", "strong", "strong_valid"} == set(
        batch
    )
    assert batch["image"].shape == (2, 3, 48, 48)
    assert batch["strong"].shape == (2, 1, 3, 48, 48)
    assert batch["strong_valid"].shape == (2, 1, 48, 48)
    assert batch["mask"].shape == batch["valid"].shape == (2, 48, 48)
    assert batch["mask"].dtype == torch.int64
    assert batch["possible"].shape == (2, 7, 1, 1)
    assert batch["possible"].all()
    assert 0 < (batch["mask"] != 255).float().mean() < 0.3


@pytest.mark.parametrize("kind", ["points", "boxes", "blocks"])
def test_every_kind_on_shapes(kind):
    data = shapes(sparse=kind, audit=True, strong_views=0)
    batch = next(iter(data.train_dataloader()))
    assert "strong" not in batch
    mask, truth, possible = batch["mask"], batch["audit_mask"], batch["possible"]
    known = (mask != 255) & (truth != 255)
    assert known.any()
    if kind != "boxes":
        assert (mask == truth)[known].all()
        return
    assert possible.shape == (2, 7, 48, 48)
    assert (mask == truth)[known & (mask == 0)].all()
    seen = batch["valid"] & (truth != 255)
    true_is_possible = possible.gather(1, truth.masked_fill(~seen, 0)[:, None])[:, 0]
    assert true_is_possible[seen & (mask == 255)].all()
    single = possible.sum(1) == 1
    assert (single >= (mask != 255)).all()


def test_labels_are_the_same_in_all_epochs_and_for_any_number_of_workers():
    kinds = {workers: shapes(num_workers=workers, audit=True) for workers in (0, 1)}
    first = [b for data in kinds.values() for b in data.train_dataloader()]
    for a, b in zip(first[:4], first[4:], strict=True):
        assert a["image_id"] == b["image_id"]
        assert torch.equal(a["mask"], b["mask"])
        assert torch.equal(a["strong"], b["strong"])
    train = kinds[0]._train
    for index in range(4):
        visits = [train[index, visit] for visit in range(20)]
        total = train.labels.read(train.ids[index], (64, 64)).mask
        assert {c for v in visits for c in v["mask"].unique().tolist()} <= set(np.unique(total))
    still = shapes(augmentation=STILL, crop_size=64)._train
    masks = [still[2, visit]["mask"] for visit in range(3)]
    assert all(torch.equal(mask, masks[0]) for mask in masks)
    np.testing.assert_array_equal(masks[0], still.labels.read(still.ids[2], (64, 64)).mask)


def test_crops_without_a_label_are_drawn_anew():
    augmentation = Augmentation(scale_range=(1.0, 1.0))
    data = shapes(sparse="points", image_size=128, crop_size=32, augmentation=augmentation)
    train = data._train
    empty = [bool((train[i % 8, i]["mask"] == 255).all()) for i in range(200)]
    assert np.mean(empty) < 0.05
    again = train[3, 17]
    assert all(
        torch.equal(value, again[key])
        for key, value in train[3, 17].items()
        if isinstance(value, torch.Tensor)
    )


def test_a_mixture_of_all_labels(tmp_path, caplog):
    write_shapes(
        tmp_path,
        i4=[BACKGROUND, stroke("cat", (10, 20), (30, 20))],
        i5=[{"class": "dog", "point": [20.5, 20.5]}],
        i0=[stroke("cat", (10, 20), (30, 20))],
    )
    save_mask(tmp_path / "sparse" / "i6.png", [3])
    (tmp_path / "image_labels.csv").write_text("id,classes\ni7,cat;cow\ni4,cat\n")
    with caplog.at_level(logging.INFO, "wsss_zoo"):
        found = samples(folder(tmp_path))
    assert list(found) == ["i1", "i2", "i3", "i0", "i4", "i5", "i6", "i7", "i8", "i9"]
    assert "3 images with masks, 4 with sparse labels, 0 with pseudo" in caplog.text
    assert (found["i1"]["mask"] == 2).any()
    assert set(found["i0"]["mask"].unique().tolist()) == {1, 255}
    assert set(found["i4"]["mask"].unique().tolist()) == {0, 1, 255}
    assert (found["i5"]["mask"] == 2).sum() == 13
    assert set(found["i6"]["mask"].unique().tolist()) == {0, 3, 255}
    for empty in ("i7", "i8", "i9"):
        assert (found[empty]["mask"] == 255).all()
    assert found["i7"]["possible"].flatten().tolist() == [True, True, False, True]
    assert found["i4"]["possible"].flatten().tolist() == [True, True, False, False]
    assert found["i8"]["possible"].all()
    assert found["i7"]["has_image_labels"]
    assert not found["i8"]["has_image_labels"]
    assert found["i7"]["image_labels"].tolist() == [1, 0, 1]
    batch = next(iter(folder_loader(tmp_path, unlabeled_batch_size=3)))
    assert len(batch["image_id"]) == 5
    assert set(batch["image_id"][2:]) == {"i7", "i8", "i9"}


def folder_loader(root, **kwargs):
    data = folder(root, **kwargs)
    data.setup("fit")
    return data.train_dataloader()


def test_the_longer_group_makes_an_epoch_and_the_rest_may_be_left_out(tmp_path):
    write_shapes(tmp_path, i4=[BACKGROUND], i5=[BACKGROUND])
    alone = folder_loader(tmp_path, labeled_split=None, unlabeled_batch_size=0)
    assert len(alone) == 3  # four masks and two drawings, two at a time
    both = list(folder_loader(tmp_path, unlabeled_batch_size=1))
    assert len(both) == 4
    assert {batch["image_id"][2] for batch in both} == {"i6", "i7", "i8", "i9"}


def test_masks_of_the_data_set_are_used_only_where_named(tmp_path):
    data = folder(tmp_path)  # writes the folder
    write_shapes(tmp_path, i0=[BACKGROUND], i1=[stroke("dog", (20, 20))])
    (tmp_path / "splits" / "full.txt").write_text("i0\n")
    found = samples(folder(tmp_path, labeled_split="full", unlabeled_batch_size=0))
    assert list(found) == ["i0", "i1"]
    assert (found["i0"]["mask"] == 1).any()
    other = tmp_path / "labels"
    write_shapes(other, i5=[BACKGROUND])
    assert next(iter(samples(folder(tmp_path, sparse_dir=str(other))))) == "i5"
    assert data.split_ids("sparse") == ["i0", "i1", "i2", "i3"]


def test_a_mask_that_cannot_be_opened_is_never_opened(tmp_path):
    folder(tmp_path)
    for number in range(4):
        (tmp_path / "masks" / f"i{number}.png").write_bytes(b"not an image")
    write_shapes(tmp_path, **{f"i{n}": [BACKGROUND, stroke("cat", (20, 20))] for n in range(4)})
    found = samples(folder(tmp_path))
    assert len(found) == 10
    other = tmp_path / "labels"
    write_shapes(other, i0=[BACKGROUND])
    (tmp_path / "shapes.json").unlink()
    assert len(samples(folder(tmp_path, sparse_dir=str(other)))) == 10


def test_complete_sparse_labels_say_what_is_absent(tmp_path):
    folder(tmp_path)
    labels = tmp_path / "labels"
    write_shapes(labels, i4=[BACKGROUND, stroke("cat", (9, 20))], i5=[stroke("dog", (9, 20))])
    found = samples(folder(tmp_path, sparse_dir=str(labels), complete_sparse=True))
    # Nothing is known of cows, so that they are never absent.
    assert found["i4"]["possible"].flatten().tolist() == [True, True, False, True]
    assert found["i5"]["possible"].flatten().tolist() == [False, False, True, True]
    assert found["i4"]["image_labels"].tolist() == [1, 0, 0]
    assert found["i6"]["possible"].all()


def test_images_without_a_labelled_pixel_are_unlabelled_and_not_complete(tmp_path, caplog):
    folder(tmp_path)
    labels, pseudo = tmp_path / "labels", tmp_path / "pseudo"
    write_shapes(labels, i4=[BACKGROUND, stroke("cat", (9, 20))])
    (labels / "sparse").mkdir()
    Image.fromarray(np.full(SIZE, 255, np.uint8)).save(labels / "sparse" / "i5.png")
    write_label(pseudo, "i6", np.full(SIZE, 2, np.uint8))
    names = ["background", "cat", "dog", "cow"]
    write_manifest(pseudo, Manifest("CAM", names, 1, "", "", {}, "train"))
    options = {"sparse_dir": str(labels), "pseudo_label_dir": str(pseudo), "complete_sparse": True}
    data = folder(tmp_path, **options)
    found = samples(data)
    assert data._train.num_labeled == 2
    assert list(found)[:2] == ["i4", "i6"]
    assert found["i5"]["possible"].all()
    assert found["i6"]["possible"].all()
    assert (found["i6"]["mask"][:40, :60] == 2).all()
    assert not found["i6"]["has_image_labels"]
    assert "no label of the background" not in caplog.text
    (labels / "shapes.json").unlink()
    with pytest.raises(ValueError, match="none of the 10 training images has a label"):
        samples(folder(tmp_path, sparse_dir=str(labels)))


def test_classes_without_a_box_are_told(tmp_path, caplog):
    box = {"class": "cat", "box": [10, 10, 30, 30]}
    write_shapes(tmp_path, i4=[box, {"class": "cow", "point": [50, 30]}], i5=[box], i6=[box])
    (tmp_path / "image_labels.csv").write_text("id,classes\ni5,cat;dog\ni6,cat\n")
    samples(folder(tmp_path))
    assert "2 of 3 images with boxes show a class without a box, such as 'cow' in 'i4'" in (
        caplog.text
    )
    caplog.clear()
    samples(folder(tmp_path, complete_boxes=False))
    assert "without a box" not in caplog.text


def test_held_out_images_may_be_unlabelled_ones_of_a_list_of_their_own(tmp_path, caplog):
    write_shapes(tmp_path, i4=[BACKGROUND])
    folder(tmp_path)
    (tmp_path / "splits" / "train.txt").write_text("i4\n")
    (tmp_path / "splits" / "val.txt").write_text("i0\n")
    samples(folder(tmp_path, val_split="val", unlabeled_split="all"))
    assert "1 of 1 images of 'val', which are held out, are training images too" in caplog.text


def test_boxes_give_possible_classes_of_pixels(tmp_path):
    folder(tmp_path)
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "boxes.csv").write_text("image_id,class,x0,y0,x1,y1\ni4,cat,10,10,30,30\n")
    found = samples(folder(tmp_path, sparse_dir=str(labels)))
    possible, mask = found["i4"]["possible"], found["i4"]["mask"]
    assert possible.shape == (4, 64, 64)
    assert (mask[:40, :60] == 0).sum() == 2400 - 400
    assert (mask == 1).sum() == 64  # the middle has a fifth of the box, in whole pixels
    assert possible[:, 11, 11].tolist() == [True, True, False, False]
    assert found["i5"]["possible"].all()
    assert found["i5"]["possible"].shape == (4, 64, 64)


def test_possible_classes_and_mask_stay_together_under_augmentation(tmp_path):
    folder(tmp_path)
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "boxes.csv").write_text("image_id,class,x0,y0,x1,y1\ni4,cat,10,10,45,30\n")
    data = folder(tmp_path, sparse_dir=str(labels), augmentation=Augmentation())
    data.setup("fit")
    for visit in range(20):
        sample = data._train[data._train.ids.index("i4"), visit]
        mask, possible, valid = sample["mask"], sample["possible"], sample["valid"]
        assert (mask[~valid] == 255).all()
        assert (possible.sum(0)[mask != 255] == 1).all()
        assert possible.gather(0, mask.masked_fill(mask == 255, 0)[None])[0][mask != 255].all()
        assert (possible[1] == (mask != 0))[valid].all()


def test_strong_views_have_the_geometry_of_the_weak_one():
    plain = Augmentation(jitter_prob=0.0, grey_prob=0.0, blur_prob=0.0)
    sample = shapes(augmentation=plain, strong_views=2)._train[1, 5]
    assert torch.equal(sample["strong"][0], sample["image"])
    assert torch.equal(sample["strong"][1], sample["image"])
    assert torch.equal(sample["strong_valid"][0], sample["valid"])


def test_pseudo_labels_fill_unknown_pixels(tmp_path):
    folder(tmp_path)
    labels, pseudo = tmp_path / "labels", tmp_path / "pseudo"
    write_shapes(labels, i4=[BACKGROUND, stroke("cat", (20, 20))])
    (tmp_path / "image_labels.csv").write_text("id,classes\ni4,cat\n")
    mask = np.full(SIZE, 1, np.uint8)
    mask[20:], mask[30:] = 2, 255
    for image_id in ("i4", "i7"):
        write_label(pseudo, image_id, mask)
    names = ["background", "cat", "dog", "cow"]
    write_manifest(pseudo, Manifest("CAM", names, 2, "", "", {}, "train"))
    found = samples(folder(tmp_path, sparse_dir=str(labels), pseudo_label_dir=str(pseudo)))
    assert list(found)[:2] == ["i4", "i7"]
    got = found["i4"]["mask"][:40, :60]
    assert (got[2, 5:45] == 0).all()
    assert (got[10:15] == 1).all()
    assert (got[25:] == 255).all()  # dogs are not possible
    assert (found["i7"]["mask"][25, :60] == 2).all()
    (tmp_path / "splits" / "other.txt").write_text("i5\ni6\n")
    with pytest.raises(FileNotFoundError, match="has no pseudo-label of a training image"):
        samples(folder(tmp_path, train_split="other", pseudo_label_dir=str(pseudo)))


def test_tags_that_contradict_labels(tmp_path, caplog):
    write_shapes(tmp_path, i4=[BACKGROUND, stroke("dog", (20, 20))])
    (tmp_path / "image_labels.csv").write_text("id,classes\ni4,cat\n")
    message = "image 'i4' has a sparse label of dog, but its tags are cat; correct"
    with pytest.raises(ValueError, match=message):
        samples(folder(tmp_path))
    found = samples(folder(tmp_path, tag_conflicts="report"))
    assert "sparse label of dog, but its tags are cat; the sparse label counts" in caplog.text
    assert found["i4"]["possible"].flatten().tolist() == [True, True, True, False]
    assert samples(folder(tmp_path, complete_tags=False))["i4"]["possible"].all()


def test_warnings(tmp_path, caplog):
    folder(tmp_path)
    labels = tmp_path / "labels"
    write_shapes(labels, i4=[stroke("cat", (9, 9), (40, 9)), {"class": "dog", "point": [20, 9]}])
    samples(folder(tmp_path, sparse_dir=str(labels)))
    assert "image 'i4': strokes or points of two classes claim" in caplog.text
    assert "no background is labelled: the net cannot learn it" in caplog.text
    assert "no training image has a sparse label or mask of class 'cow'" in caplog.text


@each(
    ("shapes_by_id", "options", "message"),
    [
        ({}, {"labeled_split": "none"}, "of the 10 training images has a label: give sparse"),
        ({"i4": [{"class": "cat", "point": [99, 9]}]}, {}, "image 'i4', shape 1: the point has no"),
        ({"i4": [{"class": "background", "box": [1, 1, 9, 9]}]}, {}, "a box of the background"),
        ({"i4": [BACKGROUND]}, {"novel_classes": ["cow"]}, "novel_classes .* are for supervision"),
        ({"i4": [BACKGROUND]}, {"extra_roots": {"web": "x"}}, "extra_roots .* cannot use"),
        ({"i4": [BACKGROUND]}, {"sparse_dir": "nowhere"}, "nowhere is missing"),
    ],
)
def test_what_is_refused(tmp_path, shapes_by_id, options, message):
    folder(tmp_path)
    (tmp_path / "splits" / "none.txt").write_text("")
    write_shapes(tmp_path, **shapes_by_id)
    if "labeled_split" in options:
        options = {"sparse_dir": str(tmp_path)}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        samples(folder(tmp_path, **options))


def test_other_methods_refuse_sparse_labels(tmp_path):
    data = Shapes(num_train=4, supervision="mask", sparse_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"sparse_dir .* 'mask' cannot use; leave it out"):
        data.setup("fit")


def test_semi_needs_unlabelled_images_in_a_batch():
    data = Shapes(num_train=4, supervision="semi", labeled_split=0.5, unlabeled_batch_size=0)
    with pytest.raises(ValueError, match="unlabeled_batch_size is 0, but supervision 'semi'"):
        data.setup("fit")


def test_full_masks_alone_are_those_of_supervision_mask(tmp_path):
    options = {"crop_size": 48, "augmentation": Augmentation(), "train_split": "masked"}
    full = folder(tmp_path, supervision="mask", **options)
    full.setup("fit")
    sparse = folder(tmp_path, strong_views=0, unlabeled_batch_size=0, **options)
    sparse.setup("fit")
    for index in range(4):
        a, b = full._train[index, 5], sparse._train[index, 5]
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["mask"], b["mask"])


def test_sizes_of_maps_are_checked(tmp_path):
    folder(tmp_path)
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(_made(tmp_path / "sparse") / "i4.png")
    with pytest.raises(ValueError, match=r"30x20 pixels .* but image i4 is 60x40"):
        samples(folder(tmp_path))


def _made(path):
    path.mkdir(exist_ok=True)
    return path
