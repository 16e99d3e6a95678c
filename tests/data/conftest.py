from pathlib import Path

import numpy as np
import pytest
from PIL import Image

VOC_IDS = {"train": ["2007_01", "2007_02", "2007_03", "2007_04"], "val": ["2008_01", "2008_02"]}
# Two VOC classes by image: cat (8) and dog (12), and for one image a class the tests leave out.
VOC_MASK_VALUES = {
    "2007_01": [8],
    "2007_02": [12],
    "2007_03": [8, 12],
    "2007_04": [8, 15],
    "2008_01": [8],
    "2008_02": [12],
}


def save_image(path: Path, height: int = 40, width: int = 60, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def save_mask(path: Path, values: list[int], height: int = 40, width: int = 60) -> None:
    """Vertical stripes: background, then each value, then one column of 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((height, width), dtype=np.uint8)
    stripe = width // (len(values) + 2)
    for place, value in enumerate(values, 1):
        mask[:, place * stripe : (place + 1) * stripe] = value
    mask[:, -1] = 255
    Image.fromarray(mask).save(path)


@pytest.fixture
def voc_root(tmp_path: Path) -> Path:
    """A tiny tree in VOC's official layout."""
    root = tmp_path / "VOC2012"
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, ids in VOC_IDS.items():
        (lists / f"{split}.txt").write_text("\n".join(ids) + "\n")
    for seed, (image_id, values) in enumerate(VOC_MASK_VALUES.items()):
        save_image(root / "JPEGImages" / f"{image_id}.jpg", seed=seed)
        save_mask(root / "SegmentationClass" / f"{image_id}.png", values)
    return root


@pytest.fixture
def folder_root(tmp_path: Path) -> Path:
    """A user's folder: six images, four with masks, one more with tags only, one with nothing."""
    root = tmp_path / "my photos"
    for number in range(6):
        save_image(root / "images" / f"img {number}.JPG", seed=number)
    for number in range(4):
        save_mask(root / "masks" / f"img {number}.png", [1 + number % 2])
    (root / "classes.txt").write_text("background\ncup\nplate\n")
    (root / "image_labels.csv").write_text("id,classes\nimg 4,cup;plate\n")
    return root
