from types import SimpleNamespace

import numpy as np

from wsss_zoo.drawing.pictures import SheetRow
from wsss_zoo.drawing.wandb_pictures import log_masks

NAMES = ["background", "cat", "dog"]


def logged(rows):
    """What wandb's logger is called with."""
    calls = []
    log_masks(SimpleNamespace(log_image=lambda **given: calls.append(given)), "k", rows, NAMES, 7)
    return calls


def row(height, width, image_id="a", *, truth=True, preds=True):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    label = np.zeros((height, width), dtype=np.uint8)
    label[: height // 2], label[-1] = 2, 255
    return SheetRow(
        image_id, image, truth=label if truth else None, preds=label // 2 if preds else None
    )


def test_small_images_are_logged_as_they_are():
    rows = [row(6, 8), row(5, 4, "b", truth=False)]
    (call,) = logged(rows)
    assert (call["key"], call["step"], call["caption"]) == ("k", 7, ["a", "b"])
    first, second = call["masks"]
    assert (call["images"][0] == rows[0].image).all()
    assert (first["truth"]["mask_data"] == rows[0].truth).all()
    assert (first["prediction"]["mask_data"] == rows[0].preds).all()
    labels = {0: "background", 1: "cat", 2: "dog", 255: "ignored"}
    assert first["truth"]["class_labels"] == first["prediction"]["class_labels"] == labels
    assert set(second) == {"prediction"}


def test_large_images_shrink_and_no_class_is_mixed():
    (call,) = logged([row(1024, 2048)])
    mask = call["masks"][0]["truth"]["mask_data"]
    assert call["images"][0].shape == (320, 640, 3)
    assert mask.shape == (320, 640)
    assert set(np.unique(mask)) <= {0, 2, 255}


def test_without_a_label_map_nothing_is_logged():
    assert logged([row(4, 4, preds=False)]) == []
