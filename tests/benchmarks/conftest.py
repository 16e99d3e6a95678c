import numpy as np
import pytest
from PIL import Image

IMAGES, HEIGHT, WIDTH = 60, 375, 500


@pytest.fixture
def photos(tmp_path):
    """A VOC2012 of photograph-like JPEGs: smooth noise compresses as photographs do."""
    rng = np.random.default_rng(0)
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "SegmentationClass").mkdir()
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    ids = [f"{number:04d}" for number in range(IMAGES)]
    for split in ("train", "val"):
        (lists / f"{split}.txt").write_text("\n".join(ids))
    for image_id in ids:
        coarse = Image.fromarray(rng.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        fine = rng.integers(-12, 13, (HEIGHT, WIDTH, 3))
        pixels = np.clip(np.asarray(coarse.resize((WIDTH, HEIGHT))) + fine, 0, 255)
        image = Image.fromarray(pixels.astype(np.uint8))
        image.save(tmp_path / "JPEGImages" / f"{image_id}.jpg", quality=90)
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        mask[100:250, 100:300] = rng.integers(1, 21)
        Image.fromarray(mask).save(tmp_path / "SegmentationClass" / f"{image_id}.png")
    return tmp_path
