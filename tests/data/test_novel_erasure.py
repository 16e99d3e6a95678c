"""No mask of a novel class leaves the data module in training, whatever the supervision."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.coco_tree import make_coco
from tests.data.conftest import save_image
from tests.data.supervision.test_novel_masks import pasted_pixel
from wsss_zoo import data as data_sets
from wsss_zoo.data import ADE20K, Augmentation, BaseDataModule, Folder, Shapes
from wsss_zoo.data.reading.splits import write_split
from wsss_zoo.data.reading.tag_files import tags_from_masks
from wsss_zoo.data.sets.shapes import ShapesSource
from wsss_zoo.files.manifests import Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import write_label

IMAGES, SIDE = 6, 64
SETTINGS = {"crop_size": 32, "batch_size": 2, "num_workers": 0, "val_split": None}
FOLDER_CLASSES = ["background", "cup", "fork", "plate", "spoon"]
NOVEL = {
    "Shapes": ["daisy", "tulip", "fox", "panda"],
    "Folder": ["fork", "spoon"],
    "ADE20K": ["wall", "tree"],
}
WHOLE = {"crop_size": SIDE, "augmentation": Augmentation(scale_range=(1.0, 1.0), flip_prob=0.0)}
REGIMES = ["mask", "semi", "weak_shot", "pseudo"]


def displaced(mask: np.ndarray, novel: list[int]) -> np.ndarray:
    """The mask with the pixels of novel classes and ignored ones in each other's places."""
    mask = mask.copy()
    unknown = np.isin(mask, [*novel, 255])
    mask[unknown] = np.random.default_rng(0).permutation(mask[unknown])
    return mask


class BandedSource(ShapesSource):
    """Scenes with a band of ignored pixels."""

    def read_mask(self, image_id):
        mask = super().read_mask(image_id)
        mask[: SIDE // 3] = 255
        return mask


class DisplacedSource(BandedSource):
    def read_mask(self, image_id):
        return displaced(super().read_mask(image_id), [1, 2, 3, 4])


class ShapesBanded(Shapes):
    kind = BandedSource

    def open_source(self):
        return self.kind(self.scene_seed, self.image_size, tuple(self.index_map))


class ShapesDisplaced(ShapesBanded):
    kind = DisplacedSource


def file_mask(seed: int, values: list[int], move: list[int] | None) -> Image.Image:
    """Blocks of 8 pixels; with ``move`` those values and the ignored change places."""
    blocks = np.random.default_rng(seed).choice(values, (SIDE // 8, SIDE // 8)).astype(np.uint8)
    mask = blocks.repeat(8, 0).repeat(8, 1)
    return Image.fromarray(mask if move is None else displaced(mask, move))


def make(kind: str, root: Path, *, move: bool = False, **options) -> BaseDataModule:
    """A small data set, or its twin in which only novel pixels lie elsewhere."""
    options = SETTINGS | {"novel_classes": NOVEL[kind]} | options
    if kind == "Shapes":
        shapes = ShapesDisplaced if move else ShapesBanded
        return shapes(num_train=IMAGES, num_val=1, image_size=SIDE, **options)
    root = root / f"{kind}_{move}"
    folder = {"Folder": "images", "ADE20K": "images/training"}[kind]
    masks = {"Folder": "masks", "ADE20K": "annotations/training"}[kind]
    # In ADE20K's files 0 is ignored, class c is c + 1: wall is 1, tree 5.
    values = {"Folder": [0, 1, 2, 3, 4, 255], "ADE20K": [0, 1, 2, 3, 5]}[kind]
    moved = {"Folder": [2, 4], "ADE20K": [0, 1, 5]}[kind]
    tags = {"Folder": ["cup;fork", "fork;plate;spoon"], "ADE20K": ["wall;sky", "building;tree"]}
    lines = ["id,classes"]
    (root / masks).mkdir(parents=True, exist_ok=True)
    for number in range(IMAGES):
        save_image(root / folder / f"im{number}.jpg", SIDE, SIDE, seed=number)
        mask = file_mask(number, values, moved if move else None)
        mask.save(root / masks / f"im{number}.png")
        lines.append(f"im{number},{tags[kind][number % 2]}")
    (root / "image_labels.csv").write_text("\n".join(lines) + "\n")
    if kind == "Folder":
        (root / "classes.txt").write_text("\n".join(FOLDER_CLASSES) + "\n")
        return Folder(str(root), val_fraction=0, **options)
    return ADE20K(str(root), image_labels=str(root / "image_labels.csv"), **options)


def write_pseudo_labels(data: BaseDataModule, folder: Path) -> str:
    """Random labels of all classes for all training images."""
    ids = data.split_ids("train")
    for seed, image_id in enumerate(ids):
        values = [*range(min(data.num_classes, 7)), 255]
        write_label(folder, image_id, np.array(file_mask(100 + seed, values, None)))
    names = list(data.class_names)
    write_manifest(folder, Manifest("Supervised", names, len(ids), "", "", {}, "train"))
    return str(folder)


def batches(data: BaseDataModule) -> list[dict]:
    data.setup("fit")
    found = [b[0] if isinstance(b, tuple) else b for b in data.train_dataloader()]
    assert found
    return found


def parts(batch: dict, path: str = "") -> dict[str, object]:
    """All leaves of a nested batch by their path."""
    leaves: dict[str, object] = {}
    for key, value in batch.items():
        if isinstance(value, dict):
            leaves |= parts(value, f"{path}{key}/")
        else:
            leaves[f"{path}{key}"] = value
    return leaves


def differing(first: list[dict], second: list[dict]) -> set[str]:
    """Paths whose values differ in any of two lists of batches."""
    found = set()
    for one, other in zip(first, second, strict=True):
        a, b = parts(one), parts(other)
        assert a.keys() == b.keys()
        for key, value in a.items():
            if isinstance(value, torch.Tensor):
                same = value.dtype == b[key].dtype and torch.equal(value, b[key])
            else:
                same = value == b[key]
            if not same:
                found.add(key.rpartition("/")[2])
    return found


def options_of(regime: str, kind: str, root: Path) -> dict:
    if regime == "semi":
        return {"supervision": "semi", "labeled_split": 0.5}
    if regime == "pseudo":
        labels = write_pseudo_labels(make(kind, root), root / "pseudo")
        return {"supervision": "mask", "pseudo_label_dir": labels}
    return {"supervision": regime}


@pytest.mark.parametrize("kind", NOVEL)
@pytest.mark.parametrize("regime", ["mask", "semi", "weak_shot"])
def test_no_novel_index_in_any_mask(kind, regime, tmp_path):
    data = make(kind, tmp_path, audit=True, **options_of(regime, kind, tmp_path))
    novel = torch.tensor([data.class_names.index(name) for name in NOVEL[kind]])
    whole = torch.cat([torch.from_numpy(data.read_mask(i)) for i in data.split_ids("train")])
    assert torch.isin(whole, novel).any()
    masks = []
    for batch in batches(data):
        leaves = parts(batch)
        masks += [value for key, value in leaves.items() if key.split("/")[-1] == "mask"]
        for key, value in leaves.items():
            if isinstance(value, torch.Tensor) and not value.is_floating_point():
                allowed = key in ("unlabeled/audit_mask", "unlabeled/image_size")
                assert allowed or value.dtype == torch.bool or not torch.isin(value, novel).any()
    assert all(((mask != 255) & ~torch.isin(mask, novel)).any() for mask in masks)


def in_scenes(kind: str, root: Path, **options) -> BaseDataModule:
    """A data set with generated scenes in the place of its files; it takes six of its classes."""

    class InScenes(getattr(data_sets, kind)):
        def open_source(self):
            first = int(self.background)
            return BandedSource(0, SIDE, (0 if first else 255, *range(first, first + 6)))

        def split_ids(self, split):
            return [f"train_{number:06d}" for number in range(2 * IMAGES)]

        def read_tags(self, image_ids):
            return tags_from_masks(self.source, image_ids, self.fg_names, int(self.background))

    if kind == "Folder":
        names = ["background", *"abcdef"]
        (root / "classes.txt").write_text("\n".join(names) + "\n")
    if kind == "COCO":
        make_coco(root)  # its files name the classes
    place = [] if kind == "Shapes" else [str(root)]
    known = InScenes(*place)
    names = known.known_classes[int(known.background) :][:6]
    return InScenes(
        *place, **SETTINGS, classes=names, novel_classes=[names[1], names[4]], **options
    )


@pytest.mark.parametrize("kind", sorted({*data_sets.__all__} - {"Augmentation", "BaseDataModule"}))
@pytest.mark.parametrize("regime", ["mask", "semi", "weak_shot"])
def test_every_data_set_erases(kind, regime, tmp_path):
    data = in_scenes(kind, tmp_path, **options_of(regime, kind, tmp_path))
    novel = torch.tensor([data.class_names.index(name) for name in data.novel_classes])
    whole = torch.cat([torch.from_numpy(data.read_mask(i)) for i in data.split_ids("train")])
    assert all((whole == index).any() for index in novel)
    masks = [
        value
        for batch in batches(data)
        for key, value in parts(batch).items()
        if key.split("/")[-1] == "mask"
    ]
    assert masks
    assert not any(torch.isin(mask, novel).any() for mask in masks)
    assert any((mask != 255).any() for mask in masks)


@pytest.mark.parametrize("kind", NOVEL)
@pytest.mark.parametrize("regime", REGIMES)
def test_batches_do_not_depend_on_where_novel_classes_are(kind, regime, tmp_path):
    options = options_of(regime, kind, tmp_path)
    data, twin = (make(kind, tmp_path, move=move, **options) for move in (False, True))
    ids = data.split_ids("train")
    assert any((data.read_mask(i) != twin.read_mask(i)).any() for i in ids)
    assert differing(batches(data), batches(twin)) == set()


@pytest.mark.parametrize("kind", NOVEL)
def test_tags_of_crops_are_all_that_depends_on_it(kind, tmp_path):
    options = {
        "supervision": "weak_shot",
        "crop_tags": True,
        "crop_size": 12,
        "augmentation": Augmentation(scale_range=(2.0, 3.0)),
    }
    data, twin = (batches(make(kind, tmp_path, move=move, **options)) for move in (False, True))
    assert differing(data, twin) == {"image_labels"}


@pytest.mark.parametrize("kind", NOVEL)
def test_without_novel_classes_masks_are_whole(kind, tmp_path):
    data = make(kind, tmp_path, novel_classes=None, **WHOLE)
    for batch in batches(data):
        for image_id, mask in zip(batch["image_id"], batch["mask"], strict=True):
            np.testing.assert_array_equal(mask, data.read_mask(image_id))


@pytest.mark.parametrize("regime", ["mask", "semi", "weak_shot"])
def test_validation_masks_are_whole(regime, tmp_path):
    data = make("Shapes", tmp_path, **options_of(regime, "Shapes", tmp_path) | {"val_split": "val"})
    data.setup("fit")
    (batch,) = data.val_dataloader()
    np.testing.assert_array_equal(batch["mask"][0], data.read_mask(batch["image_id"][0]))


@pytest.mark.parametrize("kind", NOVEL)
def test_pseudo_labels_stand_for_novel_classes_only(kind, tmp_path):
    folder = tmp_path / "pseudo"
    labels = write_pseudo_labels(make(kind, tmp_path), folder)
    data = make(kind, tmp_path, pseudo_label_dir=labels, **WHOLE)
    ids = data.split_ids("train")
    write_split(tmp_path / "labeled.txt", ids[:2])
    data.labeled_split = str(tmp_path / "labeled.txt")
    novel = {data.class_names.index(name) for name in NOVEL[kind]}
    first, pasted = int(data.background), set()
    for batch in batches(data):
        for place, image_id in enumerate(batch["image_id"]):
            mask, labels = batch["mask"][place], batch["image_labels"][place]
            tagged = {int(index) + first for index in labels.nonzero().flatten()}
            pseudo = np.array(Image.open(folder / f"{image_id}.png"))
            if image_id in ids[:2]:
                pseudo = np.full_like(pseudo, 255)
            expected = [
                pasted_pixel(int(true), int(label), novel, tagged)
                for true, label in zip(data.read_mask(image_id).flat, pseudo.flat, strict=True)
            ]
            assert mask.flatten().tolist() == expected
            assert torch.equal(labels, torch.from_numpy(tags_of(data, image_id)).float())
            pasted |= novel & set(expected)
    assert pasted  # else nothing was shown


def tags_of(data: BaseDataModule, image_id: str) -> np.ndarray:
    return data.labels_of([image_id], from_masks=True)[image_id]


def test_without_a_tag_file_tags_are_those_of_the_true_mask(tmp_path):
    labels = write_pseudo_labels(make("Folder", tmp_path), tmp_path / "pseudo")
    data = make("Folder", tmp_path, pseudo_label_dir=labels, **WHOLE)
    (tmp_path / "Folder_False" / "image_labels.csv").unlink()
    for batch in batches(data):
        for image_id, found in zip(batch["image_id"], batch["image_labels"], strict=True):
            present = set(np.unique(data.read_mask(image_id)).tolist()) - {0, 255}
            assert {int(index) + 1 for index in found.nonzero().flatten()} == present


def test_cutout_hides_pasted_pixels_too(tmp_path):
    labels = write_pseudo_labels(make("Shapes", tmp_path), tmp_path / "pseudo")
    augmentation = Augmentation(scale_range=(1.0, 1.0), cutout_prob=1.0, cutout_area=(0.2, 0.4))
    options = {"pseudo_label_dir": labels, "augmentation": augmentation}
    plain = batches(make("Shapes", tmp_path, **options))
    strong = batches(make("Shapes", tmp_path, photometric="pseudo", **options))
    hidden = 0
    for one, other in zip(plain, strong, strict=True):
        changed = one["mask"] != other["mask"]
        assert (other["mask"][changed] == 255).all()
        hidden += int(torch.isin(one["mask"][changed], torch.arange(1, 5)).sum())
    assert hidden


def test_missing_files_of_the_retraining_stage(tmp_path):
    labels = write_pseudo_labels(make("Folder", tmp_path), tmp_path / "pseudo")
    root = tmp_path / "Folder_False"
    write_split(tmp_path / "train.txt", [f"im{number}" for number in range(IMAGES)])
    options = {"pseudo_label_dir": labels, "train_split": str(tmp_path / "train.txt")}
    (root / "masks/im3.png").rename(tmp_path / "im3.png")
    data = Folder(str(root), novel_classes=NOVEL["Folder"], val_fraction=0, **SETTINGS, **options)
    with pytest.raises(FileNotFoundError, match="1 of 6 listed ids have no mask, first: im3"):
        data.setup("fit")
    # Without novel classes pseudo-labels stand for the whole mask, so none is needed.
    Folder(str(root), **SETTINGS, **options).setup("fit")
    (tmp_path / "im3.png").rename(root / "masks/im3.png")
    write_split(tmp_path / "train.txt", [f"im{number}" for number in range(1, IMAGES)])
    (tmp_path / "pseudo" / "im4.png").rename(tmp_path / "pseudo" / "other.png")
    data = Folder(str(root), novel_classes=NOVEL["Folder"], val_fraction=0, **SETTINGS, **options)
    with pytest.raises(FileNotFoundError, match="1 of 5 listed ids have no mask, first: im4"):
        data.setup("fit")


@pytest.mark.parametrize("photometric", ["none", "all"])
def test_valid_is_false_where_a_weak_shot_crop_shows_nothing(photometric, tmp_path):
    augmentation = Augmentation(scale_range=(0.2, 0.4), cutout_prob=1.0)
    options = {"augmentation": augmentation, "photometric": photometric}
    data = make("Shapes", tmp_path, supervision="weak_shot", **options)
    found = batches(data)
    for part in [*found, *(batch["reference"] for batch in found)]:
        valid = part["valid"]
        assert valid.dtype == torch.bool
        assert valid.shape == part["mask"].shape
        assert (part["mask"][~valid] == 255).all()
        for shown, image, image_id in zip(valid, part["image"], part["image_id"], strict=True):
            assert shown.any()
            assert not shown.all()
            if photometric == "none":
                # A rectangle of the image's proportions in an upper corner, the rest grey.
                rows, columns = shown.any(1).sum(), shown.any(0).sum()
                assert shown.sum() == rows * columns == columns**2
                assert shown[0].any()
                assert shown[:, [0, -1]].any()
                assert image[:, ~shown].unique().numel() == 1
            assert image_id in data.split_ids("train")
