import numpy as np
import pytest
import torch

from tests.checkpoints import with_opinions
from wsss_zoo import Supervised
from wsss_zoo.deploy.tiles import FolderLabeler, tiles_of
from wsss_zoo.modules import Evaluation


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    kind = {"backbone": "test_resnet", "architecture": "largefov", "output_stride": 8}
    return with_opinions(Supervised(5, **kind)).eval()


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (150, 90, 3), dtype=np.uint8)


def probs_of(method, image, **evaluation):
    with torch.no_grad():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        return Evaluation(**evaluation)(method, pixels)[0]


def label_of(method, image, **options):
    with torch.no_grad():
        return FolderLabeler(method, **options).label(image, "a")


@pytest.mark.parametrize(
    ("height", "width"), [(3000, 900), (900, 3000), (1500, 1500), (1025, 1024), (10, 70_000)]
)
def test_tiles(height, width):
    tiles = tiles_of(height, width, tile=512, max_pixels=300_000)
    seen = np.zeros((height, width), dtype=np.uint8)
    for y0, x0, y1, x1 in tiles:
        assert 0 <= y0 < y1 <= height
        assert 0 <= x0 < x1 <= width
        assert y1 - y0 == min(height, 512)
        assert x1 - x0 == min(width, 512)
        seen[y0:y1, x0:x1] += 1
    assert seen.min() >= 1
    # Bands along the short side, each a third deeper than the one before or less far.
    along = [tile[1] if width > height else tile[0] for tile in tiles]
    assert along == sorted(along)
    assert max(np.diff(sorted(set(along))), default=0) <= 512 * 2 // 3


def test_one_tile():
    assert tiles_of(30, 40, tile=8, max_pixels=1200) == [(0, 0, 30, 40)]
    assert tiles_of(30, 40, tile=50, max_pixels=1) == [(0, 0, 30, 40)]
    assert len(tiles_of(2, 2, tile=1, max_pixels=1)) == 4


def test_small_image_as_in_prediction(method, image):
    expected = probs_of(method, image)
    assert len(expected.argmax(0).unique()) > 2
    label = label_of(method, image, tile=32, max_pixels=150 * 90)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, expected.argmax(0))


@pytest.mark.parametrize("turned", [False, True])
def test_large_image_is_a_sliding_window(method, image, turned):
    image = image.transpose(1, 0, 2).copy() if turned else image
    label = label_of(method, image, tile=60, max_pixels=1000)
    # 150 = 60 + 3 * 30
    expected = probs_of(method, image, window=60, window_stride=0.5)
    sure = expected.topk(2, dim=0).values.diff(dim=0).abs()[0] > 1e-5
    assert sure.float().mean() > 0.99
    np.testing.assert_array_equal(label[sure], expected.argmax(0)[sure])


def test_evaluation_options_hold_for_each_tile(method, image):
    method.evaluation = Evaluation(scales=(0.5, 1.0), flip=True)
    try:
        label = label_of(method, image[:60, :60], tile=60, max_pixels=1)
        tiled = label_of(method, image, tile=60, max_pixels=1000)
    finally:
        method.evaluation = Evaluation()
    expected = probs_of(method, image[:60, :60], scales=(0.5, 1.0), flip=True)
    np.testing.assert_array_equal(label, expected.argmax(0))
    # The corner is seen by one tile only.
    np.testing.assert_array_equal(tiled[:30, :30], label[:30, :30])


def test_unsure_pixels(method, image):
    expected = probs_of(method, image)
    threshold = expected.max(0).values.median().item()
    label = label_of(method, image, tile=32, max_pixels=10**6, conf_thresh=threshold)
    unsure = expected.max(0).values < threshold
    assert 0.3 < unsure.float().mean() < 0.7
    np.testing.assert_array_equal(label, expected.argmax(0).masked_fill(unsure, 255))


def test_tiles_are_reported(method, image):
    labeler = FolderLabeler(method, tile=60, max_pixels=1000)
    told = []
    labeler.report = lambda *news: told.append(news)
    with torch.no_grad():
        labeler.label(image, "a")
        assert told == [("a", number, 8) for number in range(1, 9)]
        labeler.label(image[:20, :20], "b")
    assert len(told) == 8


def test_what_cannot_be_read(method, tmp_path):
    labeler = FolderLabeler(method, tile=60, max_pixels=1000)
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    outputs = labeler.predict_step({"image": None, "path": str(path), "image_id": "a"}, 0)
    assert outputs == {"problem": f"{path} cannot be decoded (the file is empty, 0 bytes)"}
