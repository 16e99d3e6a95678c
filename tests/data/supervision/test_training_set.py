"""The batch contract of every kind of supervision, on generated images."""

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.data import Augmentation, Shapes

SIZE = 48


def shapes(supervision: str, **kwargs) -> Shapes:
    settings = {
        "num_train": 12,
        "num_val": 3,
        "image_size": 64,
        "crop_size": SIZE,
        "batch_size": 3,
        "num_workers": 0,
    }
    data = Shapes(supervision=supervision, **(settings | kwargs))
    data.setup("fit")
    return data


def first_batch(data: Shapes) -> dict:
    batch = next(iter(data.train_dataloader()))
    return batch[0] if isinstance(batch, tuple) else batch


def assert_image(image: torch.Tensor, *shape: int) -> None:
    assert image.shape == shape
    assert image.dtype == torch.float32
    assert 0 <= image.min() <= image.max() <= 1


def equal(first: object, second: object) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return first == second


def test_mask():
    batch = first_batch(shapes("mask"))
    assert set(batch) == {"image", "mask", "image_labels", "image_id"}
    assert_image(batch["image"], 3, 3, SIZE, SIZE)
    assert batch["mask"].dtype == torch.int64
    assert batch["mask"].shape == (3, SIZE, SIZE)
    assert batch["image_labels"].shape == (3, 6)
    assert len(batch["image_id"]) == 3


def test_image_labels_has_no_mask():
    data = shapes("image_labels")
    batch = first_batch(data)
    assert set(batch) == {"image", "image_labels", "image_id"}
    for image_id, labels in zip(batch["image_id"], batch["image_labels"], strict=True):
        visible = np.unique(data.read_mask(image_id))
        assert labels.nonzero()[:, 0].tolist() == [c - 1 for c in visible if c > 0]


def test_images_have_neither_mask_nor_tags():
    batch = first_batch(shapes("images"))
    assert set(batch) == {"image", "image_id"}
    assert_image(batch["image"], 3, 3, SIZE, SIZE)
    tagged = first_batch(shapes("image_labels"))
    assert batch["image_id"] == tagged["image_id"]
    assert torch.equal(batch["image"], tagged["image"])
    changed = first_batch(shapes("images", photometric="all"))
    assert changed["image_id"] == batch["image_id"]
    assert not torch.equal(changed["image"], batch["image"])


def test_images_never_reads_a_mask_for_training(monkeypatch):
    monkeypatch.setattr(Shapes, "read_tags", lambda *_: pytest.fail("tags are read"))
    data = shapes("images", val_split=None)
    monkeypatch.setattr(type(data.source), "read_mask", lambda *_: pytest.fail("a mask is read"))
    assert len(list(data.train_dataloader())) == 4


def test_images_of_an_empty_split(monkeypatch):
    monkeypatch.setattr(Shapes, "split_ids", lambda *_: [])
    with pytest.raises(ValueError, match="train_split 'train' has no images"):
        shapes("images", val_split=None)


def test_pairs_share_a_class():
    for batch in shapes("pairs", num_train=30).train_dataloader():
        assert set(batch) == {"image", "image_labels", "image_id", "other"}
        assert set(batch["other"]) == {"image", "image_labels", "image_id"}
        shared = (batch["image_labels"] * batch["other"]["image_labels"]).sum(1)
        assert (shared > 0).all()
        assert all(
            a != b for a, b in zip(batch["image_id"], batch["other"]["image_id"], strict=True)
        )


def test_semi():
    data = shapes("semi", labeled_split=0.5, strong_views=2, unlabeled_batch_size=4, audit=True)
    loader = data.train_dataloader()
    batch = first_batch(data)
    assert set(batch["labeled"]) == {"image", "mask", "image_labels", "image_id"}
    unlabeled = batch["unlabeled"]
    assert_image(unlabeled["weak"], 4, 3, SIZE, SIZE)
    assert_image(unlabeled["strong"], 4, 2, 3, SIZE, SIZE)
    assert unlabeled["valid"].shape == (4, SIZE, SIZE)
    assert unlabeled["strong_valid"].shape == (4, 2, SIZE, SIZE)
    assert unlabeled["valid"].dtype == unlabeled["strong_valid"].dtype == torch.bool
    assert unlabeled["geometry"].shape == (4, 5)
    assert unlabeled["audit_mask"].shape == (4, SIZE, SIZE)
    assert unlabeled["image_labels"].shape == (4, 6)
    assert unlabeled["has_image_labels"].tolist() == [True] * 4
    assert set(batch["labeled"]["image_id"]).isdisjoint(unlabeled["image_id"])
    assert len(list(loader)) == 6 // 4  # one pass over the unlabelled images


def test_semi_repeats_the_labelled_images():
    data = shapes("semi", labeled_split=0.34, num_train=30, batch_size=2)
    batches = [batch for batch, _, _ in data.train_dataloader()]
    seen = [image_id for batch in batches for image_id in batch["labeled"]["image_id"]]
    assert len(batches) == 10
    assert len(set(seen)) == 10  # all of them, twice


def test_strong_views_differ_from_the_weak_one_in_colour_only():
    off = Augmentation(jitter_prob=0, grey_prob=0, blur_prob=0)
    batch = first_batch(shapes("semi", labeled_split=0.5, augmentation=off, strong_views=2))
    unlabeled = batch["unlabeled"]
    assert torch.equal(unlabeled["strong"][:, 0], unlabeled["weak"])
    on = first_batch(shapes("semi", labeled_split=0.5, strong_views=2))["unlabeled"]
    assert not torch.equal(on["strong"][:, 0], on["strong"][:, 1])
    assert torch.equal(on["weak"], unlabeled["weak"])


def test_cutout_is_not_valid():
    augmentation = Augmentation(cutout_prob=1.0, scale_range=(0.5, 0.6))
    batch = first_batch(shapes("semi", labeled_split=0.5, augmentation=augmentation))["unlabeled"]
    valid, strong_valid = batch["valid"], batch["strong_valid"][:, 0]
    assert (strong_valid <= valid).all()
    assert (strong_valid.sum((1, 2)) < valid.sum((1, 2))).all()
    assert not valid.all()


def test_audit_mask_is_the_crop_of_the_true_mask():
    data = shapes("semi", labeled_split=0.5, audit=True, augmentation=Augmentation(flip_prob=1.0))
    unlabeled = first_batch(data)["unlabeled"]
    for number, image_id in enumerate(unlabeled["image_id"]):
        mask, crop = data.read_mask(image_id), unlabeled["audit_mask"][number]
        top, left, scale_y, scale_x, _ = unlabeled["geometry"][number].tolist()
        valid = unlabeled["valid"][number].flip(1)
        rows, columns = valid.nonzero(as_tuple=True)
        y = (top + (rows + 0.5) / scale_y - 0.5).round().clamp(0, 63).long()
        x = (left + (columns + 0.5) / scale_x - 0.5).round().clamp(0, 63).long()
        agreement = (torch.from_numpy(mask)[y, x] == crop.flip(1)[rows, columns]).float().mean()
        assert agreement > 0.97  # nearest neighbours may differ by one at class borders


def test_weak_shot_never_shows_novel_masks():
    names = Shapes().fg_names
    novel = names[:2]
    data = shapes("weak_shot", novel_classes=novel, num_train=30)
    seen_novel_tag = False
    for batch in data.train_dataloader():
        for part in (batch, batch["reference"]):
            present = set(part["mask"].unique().tolist())
            assert present.isdisjoint({1, 2})
            assert (part["image_labels"][:, 2:] == 0).all()
            seen_novel_tag |= bool(part["image_labels"].any())
    assert seen_novel_tag
    assert data.base_classes == names[2:]


def test_weak_shot_crop_tags_come_from_the_crop():
    names = Shapes().fg_names
    tight = Augmentation(scale_range=(3.0, 3.0))
    kwargs = {"novel_classes": names[:3], "num_train": 30, "augmentation": tight}
    whole = torch.cat([b["image_labels"] for b in shapes("weak_shot", **kwargs).train_dataloader()])
    crops = shapes("weak_shot", crop_tags=True, **kwargs).train_dataloader()
    cropped = torch.cat([batch["image_labels"] for batch in crops])
    assert (cropped <= whole).all()
    assert cropped.sum() < whole.sum()


def test_weak_shot_takes_no_pseudo_labels():
    with pytest.raises(ValueError, match=r"pseudo_label_dir is 'labels', but .*'weak_shot' learns"):
        shapes("weak_shot", novel_classes=["fox"], pseudo_label_dir="labels")


def test_weak_shot_says_which_novel_class_no_image_has(caplog):
    data = Shapes(num_train=1, val_split=None, supervision="weak_shot")
    shown = data.labels_of(data.split_ids("train"), from_masks=True)[data.split_ids("train")[0]]
    missing = data.fg_names[int(np.flatnonzero(shown == 0)[0])]
    data = Shapes(num_train=1, supervision="weak_shot", val_split=None, novel_classes=[missing])
    data.setup("fit")
    assert f"tagged with the novel class {missing!r}" in caplog.text


def test_weak_shot_without_novel_classes():
    with pytest.raises(ValueError, match="needs novel_classes"):
        shapes("weak_shot")


def test_semi_with_fewer_labelled_images_than_a_batch_repeats_them(tmp_path):
    names = shapes("mask").split_ids("train")
    (tmp_path / "labeled.txt").write_text("\n".join(names[:2]))
    batch = first_batch(shapes("semi", labeled_split=str(tmp_path / "labeled.txt"), batch_size=5))
    assert sorted(set(batch["labeled"]["image_id"])) == sorted(names[:2])
    assert len(batch["labeled"]["image"]) == len(batch["unlabeled"]["weak"]) == 5
    # Each time another crop of the same image.
    first = [i for i, name in enumerate(batch["labeled"]["image_id"]) if name == names[0]]
    crops = batch["labeled"]["image"][first]
    assert len(first) > 1
    assert not torch.equal(crops[0], crops[1])


def test_semi_without_unlabelled_images():
    with pytest.raises(ValueError, match="no unlabelled images: all of train_split 'train' is lab"):
        shapes("semi")


def test_semi_with_labelled_images_among_the_unlabelled_says_so(caplog):
    shapes("semi", labeled_split=0.5, unlabeled_split="train")
    assert "6 unlabelled images are labelled too" in caplog.text


REGIMES = ["mask", "image_labels", "images", "pairs", "semi", "sparse", "weak_shot"]


@pytest.mark.parametrize("supervision", REGIMES)
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_do_not_change_a_batch(supervision):
    kwargs = {"labeled_split": 0.5} if supervision == "semi" else {}
    if supervision == "weak_shot":
        kwargs = {"novel_classes": Shapes().fg_names[:2]}
    alone = list(shapes(supervision, **kwargs).train_dataloader())
    torch.manual_seed(1)  # the global generator has no say
    workers = list(shapes(supervision, num_workers=2, **kwargs).train_dataloader())
    assert (
        equal(alone[-1], workers[-1])
        if not isinstance(alone[-1], tuple)
        else equal(alone[-1][0], workers[-1][0])
    )


def test_seed_changes_order_and_augmentation():
    first, second = first_batch(shapes("mask", seed=0)), first_batch(shapes("mask", seed=1))
    assert first["image_id"] != second["image_id"]


def test_epochs_differ():
    data = shapes("mask")
    loader = data.train_dataloader()
    first = next(iter(loader))
    loader.sampler.set_epoch(1)
    assert not equal(first, next(iter(loader)))


def test_fewer_images_than_a_batch_are_repeated():
    batches = list(shapes("mask", num_train=2, batch_size=5).train_dataloader())
    assert [len(batch["image_id"]) for batch in batches] == [5]


def test_last_incomplete_batch_is_left_out():
    batches = list(shapes("mask", num_train=10, batch_size=3).train_dataloader())
    assert [len(batch["image_id"]) for batch in batches] == [3, 3, 3]


def test_strong_changes_on_masked_images_ignore_the_cutout():
    augmentation = Augmentation(cutout_prob=1.0, cutout_fill="noise", scale_range=(1.0, 1.0))
    plain = first_batch(shapes("mask", augmentation=augmentation))
    strong = first_batch(shapes("mask", augmentation=augmentation, photometric="all"))
    hidden = (strong["mask"] == 255) & (plain["mask"] != 255)
    assert 0.01 < hidden.float().mean() < 0.4
    assert torch.equal(strong["mask"][~hidden], plain["mask"][~hidden])


def test_bare_indices_of_lightnings_own_samplers():
    data = shapes("mask")
    assert equal(data._train[3], data._train[(3, 0)])


def test_predict_leaves_out_what_is_done():
    data = Shapes(num_train=5, image_size=32, num_workers=0, predict_limit=4)
    data.setup("predict")
    data.resumed_by = [
        lambda: {"train_000001", "train_000002"},
        lambda: {"train_000003", "train_000001"},
    ]
    ids = [batch["image_id"][0] for batch in data.predict_dataloader()]
    assert ids == ["train_000000", "train_000002", "train_000003"]
    assert data.predict_ids() == [f"train_{number:06d}" for number in range(4)]


@each("supervision", ["image_labels", "pairs", "images", "graphs"])
def test_pseudo_labels_where_no_mask_is_learnt(supervision):
    message = (
        rf"pseudo_label_dir is 'labels', but supervision '{supervision}' learns from .*; leave"
    )
    with pytest.raises(ValueError, match=message):
        shapes(supervision, pseudo_label_dir="labels")
