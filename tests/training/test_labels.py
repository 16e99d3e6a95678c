"""Counts of labels, against what the folder was written with."""

import numpy as np
from PIL import Image

from wsss_zoo.training.choice import choose_recipe
from wsss_zoo.training.labels import count_labels
from wsss_zoo.training.plan import count_folds, inspect_folder, trial_images
from wsss_zoo.training.request import Request, files_digest


def counted(folder):
    return count_labels(inspect_folder(Request(folder)))


def test_each_image_counts_once(shapes_folder):
    folder = shapes_folder(images=12, masks=5, tags=4)
    found = counted(folder)
    # One of five masks is held out.
    assert (found.masked, found.tagged, found.unlabelled, found.held_out) == (4, 4, 3, 1)
    assert found.images == 11
    assert found.tag_rows == 4
    assert found.side == 64
    names = (folder / "classes.txt").read_text().split()
    held_out = {*inspect_folder(Request(folder)).splits["val"]}
    expected = dict.fromkeys(names[1:], 0)
    for path in (folder / "masks").glob("*.png"):
        if path.stem not in held_out:
            for index in np.unique(np.array(Image.open(path))):
                if 0 < index < 255:
                    expected[names[index]] += 1
    assert dict(found.mask_classes) == {name: n for name, n in expected.items() if n}


def test_masks_of_the_test_split_measure_nothing(shapes_folder):
    folder = shapes_folder(images=8, masks=8)
    (folder / "splits").mkdir()
    ids = sorted(path.stem for path in (folder / "masks").glob("*.png"))
    (folder / "splits/test.txt").write_text("\n".join(ids[:3]))
    (folder / "splits/val.txt").write_text("\n".join(ids[3:5]))
    found = counted(folder)
    assert (found.masked, found.held_out) == (3, 2)


def test_sparse_labels_come_before_masks(shapes_folder):
    folder = shapes_folder(images=6, masks=2)
    (folder / "sparse").mkdir()
    mask = np.full((64, 64), 255, dtype=np.uint8)
    mask[:4] = 1
    for name in ("train_000000", "train_000001", "train_000004"):
        Image.fromarray(mask).save(folder / "sparse" / f"{name}.png")
    found = counted(folder)
    assert found.sparse + found.masked + found.unlabelled == 5
    assert found.masked == 0
    assert found.sparse == 2


def test_folds_are_for_few_masks_and_several_candidates(shapes_folder):
    folder = shapes_folder(images=9, masks=6)
    found = counted(folder)
    choice = choose_recipe(found)
    assert count_folds(Request(folder), choice, found) == 3
    assert count_folds(Request(folder, "best"), choice, found) == 5
    assert count_folds(Request(folder, "draft"), choice, found) == 0
    assert count_folds(Request(folder, data={"val_split": "val"}), choice, found) == 0
    whole = shapes_folder("whole", images=6, masks=6)
    assert count_folds(Request(whole), choose_recipe(counted(whole)), counted(whole)) == 0


def test_a_digest_is_of_the_files(shapes_folder):
    folder = shapes_folder(images=2, masks=1)
    before = files_digest(folder)
    (folder / ".hidden").touch()
    assert files_digest(folder) == before
    (folder / "splits").mkdir()
    (folder / "splits" / "val.txt").write_text("train_000000\n")
    assert files_digest(folder) != before


def test_black_and_white_masks(shapes_folder):
    """255 means ignored there, unless the user says that it is the object."""
    folder = shapes_folder(images=6, masks=6)
    for path in (folder / "masks").glob("*.png"):
        mask = np.zeros((64, 64), np.uint8)
        mask[:9] = 255
        Image.fromarray(mask).save(path)
    (folder / "classes.txt").write_text("background\ncat\n")
    found = counted(folder)
    assert (found.masked, found.ignored, found.mask_classes) == (5, 5, {})
    request = Request(folder, data={"binary_masks": True})
    found = count_labels(inspect_folder(request))
    assert (found.ignored, dict(found.mask_classes)) == (0, {"cat": 5})


def test_the_trial_takes_images_that_the_recipe_trains_on(shapes_folder):
    found = inspect_folder(Request(shapes_folder(images=12, masks=4, tags=3)))
    masked = {i for i in found.splits["train"] if found.is_masked(i)}
    assert len(masked) == 3
    assert {*trial_images(found, 20, {"train_split": "masked"})} == masked
    assert {*trial_images(found, 20, {"train_split": "tagged"})} == masked | {*found.tags}
    assert {*trial_images(found, 20, {})} == {*found.splits["train"]}
