"""Pseudo-labels in the labelled half of supervision ``semi``, on generated images."""

import logging

import numpy as np
import pytest

from tests.data.supervision.test_mask import IDS, write_labels
from wsss_zoo.data import Shapes
from wsss_zoo.data.reading.splits import write_split
from wsss_zoo.files.pseudo_labels import read_label


def halves(**options):
    settings = {"num_train": 12, "image_size": 64, "crop_size": 48, "num_workers": 0}
    data = Shapes(supervision="semi", **settings, **options)
    data.setup("fit")
    return data, data._train["labeled"], data._train["unlabeled"]


def test_pseudo_labels_alone(tmp_path, caplog):
    labels = write_labels(tmp_path / "p", IDS[2:7], 3)
    caplog.set_level(logging.INFO)
    data, labeled, unlabeled = halves(pseudo_label_dir=labels, batch_size=2)
    assert list(labeled.ids) == IDS[2:7]
    assert list(unlabeled.ids) == IDS
    assert "5 of 12 images have a pseudo-label" in caplog.text
    np.testing.assert_array_equal(labeled.read_mask(IDS[2]), read_label(tmp_path / "p", IDS[2]))
    batch = next(iter(data.train_dataloader()))[0]
    assert set(batch["labeled"]["mask"].unique().tolist()) <= {3, 255}
    # Tags are those of the data set: the unlabelled half can be gated by them.
    tags = data.labels_of(IDS, from_masks=True)
    for half in batch.values():
        for image_id, shown in zip(half["image_id"], half["image_labels"], strict=True):
            np.testing.assert_array_equal(shown.numpy(), tags[image_id])


def test_true_masks_beside_pseudo_labels(tmp_path):
    # The label of the image with a true mask is not used.
    labels = write_labels(tmp_path / "p", IDS[:7], 3)
    write_split(tmp_path / "labeled.txt", IDS[:2])
    write_split(tmp_path / "more.txt", IDS[6:])
    options = {"pseudo_label_dir": labels, "labeled_split": str(tmp_path / "labeled.txt")}
    _, labeled, unlabeled = halves(**options)
    assert list(labeled.ids) == IDS[:7]
    assert list(unlabeled.ids) == IDS
    np.testing.assert_array_equal(labeled.read_mask(IDS[0]), labeled.source.read_mask(IDS[0]))
    assert (labeled.read_mask(IDS[3]) == 3).all()
    options |= {"unlabeled_split": str(tmp_path / "more.txt"), "repeat_labeled": True}
    _, labeled, unlabeled = halves(**options)
    assert list(labeled.ids) == IDS[:2] * 3 + IDS[2:7]
    assert list(unlabeled.ids) == IDS[6:]


def test_labels_of_other_images_only(tmp_path):
    labels = write_labels(tmp_path / "p", ["other"], 3)
    with pytest.raises(ValueError, match=r"p' has a label of none of the 12 images of train_split"):
        halves(pseudo_label_dir=labels)
    with pytest.raises(FileNotFoundError, match="none does not exist, or is no folder"):
        halves(pseudo_label_dir=str(tmp_path / "none"))


def test_images_without_tags_are_counted(tmp_path, caplog, monkeypatch):
    write_split(tmp_path / "labeled.txt", IDS[:3])
    caplog.set_level(logging.INFO)
    halves(labeled_split=str(tmp_path / "labeled.txt"))
    assert "have no tags" not in caplog.text
    monkeypatch.setattr(
        Shapes, "read_tags", lambda self, ids: dict.fromkeys(ids[::2], self.fg_names[:1])
    )
    halves(labeled_split=str(tmp_path / "labeled.txt"))
    assert "4 of 9 unlabelled images have no tags: gate_by_tags rules no class out" in caplog.text
