"""Importing annotations: 20,000 small files, and polygons against scikit-image."""

import json
import time

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon as skimage_polygon

from wsss_zoo.cli import main
from wsss_zoo.files.shapes.outlines import polygon_mask

FILES, MOST_SECONDS = 20_000, 60


@pytest.mark.benchmark
def test_many_small_files(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (60, 40)).save(photos / "first.jpg")
    photo = (photos / "first.jpg").read_bytes()
    (photos / "first.jpg").unlink()
    for number in range(FILES):
        points = [[10, 10], [30, 10], [30, 30 + number % 7], [10, 30]]
        shape = {"label": f"c{number % 5}", "points": points, "shape_type": "polygon"}
        content = {"shapes": [shape] * 3, "imagePath": f"{number}.jpg", "imageData": None}
        text = json.dumps({**content, "imageHeight": 40, "imageWidth": 60})
        (photos / f"{number}.json").write_text(text)
        (photos / f"{number}.jpg").write_bytes(photo)
    start = time.process_time()
    assert main(["import", str(photos), str(tmp_path / "root")]) == 0
    # Time of the processor: a machine that does other things too counts for nothing.
    seconds = time.process_time() - start
    print(f"{FILES} labelme files: {seconds:.0f} s")
    assert seconds < MOST_SECONDS
    assert sum(1 for _ in (tmp_path / "root" / "masks").iterdir()) == FILES


@pytest.mark.benchmark
def test_polygons_of_many_points():
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    radius = 300 + 100 * np.sin(40 * angle)
    ring = np.stack([500 + radius * np.cos(angle), 500 + radius * np.sin(angle)], 1)
    start = time.process_time()
    for _ in range(10):
        mask = polygon_mask([ring], 1000, 1000)
    own = (time.process_time() - start) / 10
    start = time.process_time()
    rows, columns = skimage_polygon(ring[:, 1] - 0.5, ring[:, 0] - 0.5, (1000, 1000))
    other = time.process_time() - start
    print(f"2,000 points on 1000x1000: {1000 * own:.0f} ms, scikit-image {1000 * other:.0f} ms")
    assert mask.sum() == len(rows) == mask[rows, columns].sum()
    assert own < other / 20
