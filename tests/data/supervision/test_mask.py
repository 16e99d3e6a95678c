"""Pseudo-labels beside true masks, on generated images."""

import numpy as np
import pytest
import torch

from tests.data.large_folder import SETTINGS, settings, write_large_folder
from wsss_zoo.data import Augmentation, Folder, Shapes
from wsss_zoo.data.reading.splits import write_split
from wsss_zoo.files.manifests import Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import write_label

IDS = [f"train_{number:06d}" for number in range(12)]


def write_labels(folder, ids, value):
    for image_id in ids:
        write_label(folder, image_id, np.full((64, 64), value, dtype=np.uint8))
    names = list(Shapes().class_names)
    write_manifest(folder, Manifest("Supervised", names, len(ids), "", "", {}, "train"))
    return str(folder)


def training_set(tmp_path, **options):
    settings = {"image_size": 64, "crop_size": 48, "num_workers": 0}
    options.setdefault("num_train", 12)
    if "labeled_split" not in options:
        write_split(tmp_path / "labeled.txt", IDS[:3])
        options["labeled_split"] = str(tmp_path / "labeled.txt")
    data = Shapes(**settings, **options)
    data.setup("fit")
    return data._train


@pytest.mark.parametrize(("count", "times"), [(9, 3), (7, 3), (6, 2), (2, 1)])
def test_labelled_images_are_repeated_to_as_many(tmp_path, count, times):
    labels = write_labels(tmp_path / "p", IDS[3 : 3 + count], 2)
    write_split(tmp_path / "unlabeled.txt", IDS[3 : 3 + count])
    options = {"train_split": str(tmp_path / "unlabeled.txt"), "pseudo_label_dir": labels}
    images = training_set(tmp_path, repeat_labeled=True, **options)
    assert list(images.ids) == IDS[:3] * times + IDS[3 : 3 + count]
    assert list(training_set(tmp_path, **options).ids) == IDS[: 3 + count]
    np.testing.assert_array_equal(images.read_mask(IDS[0]), images.source.read_mask(IDS[0]))
    assert (images.read_mask(IDS[3]) == 2).all()


def test_repeating_needs_both_kinds(tmp_path):
    assert list(training_set(tmp_path, repeat_labeled=True).ids) == IDS[:3]
    labels = write_labels(tmp_path / "p", IDS, 2)
    options = {"pseudo_label_dir": labels, "repeat_labeled": True, "labeled_split": None}
    assert list(training_set(tmp_path, **options).ids) == IDS


def test_first_folder_that_has_the_image_counts(tmp_path):
    folders = [
        write_labels(tmp_path / "a", IDS[3:6], 1),
        write_labels(tmp_path / "b", IDS[5:], 2),
    ]
    images = training_set(tmp_path, pseudo_label_dir=folders)
    values = [np.unique(images.read_mask(image_id)).tolist() for image_id in IDS[3:]]
    assert values == [[1]] * 3 + [[2]] * 6
    images = training_set(tmp_path, pseudo_label_dir=folders[::-1])
    values = [np.unique(images.read_mask(image_id)).tolist() for image_id in IDS[3:]]
    assert values == [[1]] * 2 + [[2]] * 7


def test_every_folder_must_be_finished_and_all_images_in_one(tmp_path):
    first, second = (write_labels(tmp_path / name, IDS[3:7], 1) for name in ("a", "b"))
    with pytest.raises(FileNotFoundError, match=r"5 of 9 listed ids have no mask, first: train_0"):
        training_set(tmp_path, pseudo_label_dir=[first, second])
    (tmp_path / "b/manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"b has no manifest\.json"):
        training_set(tmp_path, pseudo_label_dir=[first, second])
    with pytest.raises(FileNotFoundError, match="9 of 9 listed ids have no mask"):
        training_set(tmp_path, pseudo_label_dir=[])


def test_strong_changes_on_pseudo_labelled_images_only(tmp_path):
    labels = write_labels(tmp_path / "p", IDS[3:], 2)
    augmentation = Augmentation(
        cutout_prob=1.0, cutout_fill="noise", scale_range=(1.0, 1.0), jitter_prob=1.0
    )
    options = {"pseudo_label_dir": labels, "augmentation": augmentation}
    plain = training_set(tmp_path, **options)
    strong = training_set(tmp_path, photometric="pseudo", **options)
    for index in range(len(IDS)):
        first, second = plain[index], strong[index]
        if index < 3:
            assert torch.equal(first["image"], second["image"])
            assert torch.equal(first["mask"], second["mask"])
            continue
        hidden = second["mask"] == 255
        assert 0.01 < hidden.float().mean() < 0.45
        # The box, and nothing else, is noise: neighbours in it do not resemble each other.
        rows, columns = hidden.nonzero(as_tuple=True)
        box = second["image"][:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert hidden.sum() == box[0].numel()
        assert (box.diff(dim=2).abs().mean() > 0.25) & (box.std() > 0.25)
        assert not torch.equal(first["image"][:, ~hidden], second["image"][:, ~hidden])


@pytest.mark.parametrize("regime", SETTINGS)
def test_large_data_are_set_up_without_opening_an_image(tmp_path, regime):
    """The images are empty files: the first look into one would raise."""
    write_large_folder(tmp_path, folders=3, each=20)
    options = settings(regime, tmp_path)
    for stage in ("fit", "validate", "predict"):
        Folder(**options).setup(stage)
    with pytest.raises(OSError, match="is empty, 0 bytes"):
        Folder(**options | {"check_files": True}).setup("fit")


def test_a_tagged_class_without_any_pixel_is_named(tmp_path, caplog):
    data = Shapes(num_train=12, image_size=64)
    tags = data.labels_of(IDS, from_masks=True)
    tagged = np.sum([tags[image_id] for image_id in IDS], axis=0)
    labels = write_labels(tmp_path / "p", IDS, 1)
    options = {"pseudo_label_dir": labels, "labeled_split": None}
    training_set(tmp_path, **options)
    named = zip(data.fg_names[1:], tagged[1:], strict=True)
    expected = [f"{name!r} ({count} tagged images)" for name, count in named if count]
    assert len(expected) > 1
    assert f"no pseudo-label has a pixel of {', '.join(expected)}, so" in caplog.text
    caplog.clear()
    training_set(tmp_path, check_masks=False, **options)
    assert "pixel of" not in caplog.text
    # A label of base classes says nothing about novel ones.
    training_set(tmp_path, novel_classes=data.fg_names[:1], **options)
    assert "pixel of" not in caplog.text
    novel = [name for name, count in zip(data.fg_names[1:], tagged[1:], strict=True) if count][:2]
    with pytest.raises(ValueError, match=rf"pixel of a novel class: '{novel[0]}' .*for longer"):
        training_set(tmp_path, novel_classes=novel, **options)


def test_a_tag_of_nearly_all_images_has_a_remedy_of_its_own(tmp_path, caplog, monkeypatch):
    ids = [f"train_{number:06d}" for number in range(20)]
    names = Shapes().fg_names
    monkeypatch.setattr(Shapes, "read_tags", lambda self, images: dict.fromkeys(images, names[:2]))
    labels = write_labels(tmp_path / "p", ids, 1)
    training_set(tmp_path, num_train=20, pseudo_label_dir=labels, labeled_split=None)
    assert f"pixel of {names[1]!r} (20 tagged images), so the network cannot" in caplog.text
    assert "a tag that nearly every image has says little" in caplog.text
    assert "lower the thresholds" not in caplog.text


def test_without_tags_any_class_without_a_pixel_is_named(tmp_path, caplog, monkeypatch):
    names = Shapes(num_train=12, image_size=64).fg_names
    monkeypatch.setattr(Shapes, "read_tags", lambda self, image_ids: {})
    labels = write_labels(tmp_path / "p", IDS, 1)
    training_set(tmp_path, pseudo_label_dir=labels, labeled_split=None)
    expected = ", ".join(map(repr, names[1:]))
    assert f"no pseudo-label has a pixel of {expected}, so" in caplog.text
    caplog.clear()
    # Masks may show them.
    training_set(tmp_path, pseudo_label_dir=labels)
    assert "pixel of" not in caplog.text


def test_labels_of_background_alone_are_refused(tmp_path):
    labels = write_labels(tmp_path / "p", IDS, 0)
    message = r"the 12 pseudo-labels show background alone, first: .*train_000000\.png; .* longer"
    with pytest.raises(ValueError, match=message):
        training_set(tmp_path, pseudo_label_dir=labels, labeled_split=None)
    # Beside true masks they are a regulariser.
    training_set(tmp_path, pseudo_label_dir=labels)
