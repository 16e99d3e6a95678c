"""Training sets need a catalog only, and each list is read once."""

from collections import Counter

import numpy as np
import pytest
from pytorch_lightning import Trainer

from wsss_zoo.data import Augmentation, Folder
from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.supervision.training_set import make_training_set
from wsss_zoo.methods import FixMatch


class TwoColours:
    """Images whose left half is class 1 and whose right half is class 0 or 2."""

    def read_image(self, image_id):
        return np.repeat(self.read_mask(image_id)[..., None] * np.uint8(100), 3, axis=2)

    def read_mask(self, image_id):
        mask = np.ones((8, 8), dtype=np.uint8)
        mask[:, 4:] = 2 * (int(image_id) % 2)
        return mask

    def image_size(self, image_id):
        return 8, 8

    def check(self, image_ids, checks):
        self.checked = list(image_ids)


class Memory(Catalog):
    """A catalog without files, Lightning and loaders."""

    known_classes = ("background", "cat", "dog")
    classes = labeled_split = None
    train_split, seed, check_masks, check_files = "train", 0, True, True

    def __init__(self, labeled_split=None, novel=None):
        self.labeled_split, self._chosen_base, self._chosen_novel = labeled_split, None, novel

    def split_ids(self, split):
        return [str(number) for number in range(8)]

    def open_source(self):
        return TwoColours()

    def read_tags(self, image_ids):
        return {}


@pytest.mark.parametrize(
    ("supervision", "keys"),
    [
        ("mask", {"image", "mask", "image_labels", "image_id"}),
        ("image_labels", {"image", "image_labels", "image_id"}),
        ("images", {"image", "image_id"}),
        ("pairs", {"image", "image_labels", "image_id", "other"}),
        ("weak_shot", {"image", "mask", "image_labels", "image_id", "valid", "reference"}),
    ],
)
def test_training_sets_need_a_catalog_only(supervision, keys):
    images = Memory(novel=["dog"] if supervision == "weak_shot" else None)
    options = TrainingOptions(
        supervision=supervision, crop_size=8, augmentation=Augmentation(), seed=0
    )
    dataset = make_training_set(images, options)
    assert len(dataset) == 8
    assert set(dataset[3, 0]) == keys
    assert images.source.checked == images.ids_of("train")


def test_semi_of_a_catalog():
    options = TrainingOptions(supervision="semi", crop_size=8, augmentation=Augmentation(), seed=0)
    halves = make_training_set(Memory(labeled_split=0.25), options)
    assert {half: len(dataset) for half, dataset in halves.items()} == {
        "labeled": 2,
        "unlabeled": 6,
    }


def test_unknown_supervision():
    options = TrainingOptions(supervision="tags", crop_size=8, augmentation=Augmentation(), seed=0)
    with pytest.raises(ValueError, match=r"supervision is 'tags'; give one of mask, image_labels"):
        make_training_set(Memory(), options)


@pytest.mark.parametrize("labeled", [0.5, "few.txt", "masked"])
def test_each_list_is_read_once_a_run(folder_root, tmp_path, monkeypatch, labeled):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.txt").write_text("img 0\nimg 2\n")
    asked = Counter()
    real = Folder.split_ids

    def count(self, split):
        asked[split] += 1
        return real(self, split)

    monkeypatch.setattr(Folder, "split_ids", count)
    data = Folder(
        str(folder_root),
        supervision="semi",
        labeled_split=labeled,
        unlabeled_split="all",
        val_fraction=0.3,
        crop_size=32,
        batch_size=1,
        num_workers=0,
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        max_steps=1,
        num_sanity_val_steps=0,
    )
    method = FixMatch(3, backbone="test_efficientnet")
    trainer.fit(method, datamodule=data)
    trainer.validate(method, datamodule=data, verbose=False)
    trainer.predict(method, datamodule=data)
    assert data.predict_ids() == data.ids_of("train")
    assert asked >= Counter(["train", "val", "all"])
    assert set(asked.values()) == {1}
