"""A trained segmenter as a function: what it takes, and what it gives."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import wsss_zoo
from tests.checkpoints import NAMES, save_checkpoint, with_opinions
from wsss_zoo import Evaluation, Supervised


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    method = with_opinions(Supervised(3, backbone="test_resnet"))
    return save_checkpoint(tmp_path_factory.mktemp("run") / "last.ckpt", method, NAMES)


@pytest.fixture(scope="module")
def segmenter(checkpoint):
    return wsss_zoo.load(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (60, 44, 3), dtype=np.uint8)


def test_mask_and_probabilities_are_those_of_the_method(segmenter, image):
    result = segmenter(image)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = segmenter.labeler.method(pixels).softmax(1)[0].numpy()
    np.testing.assert_allclose(result.probs, expected, atol=1e-5)
    np.testing.assert_array_equal(result.mask, expected.argmax(0))
    assert result.mask.dtype == np.uint8
    assert len(np.unique(result.mask)) > 1
    assert result.class_names == NAMES
    assert sum(result.shares.values()) == pytest.approx(1)
    assert {type(share) for share in result.shares.values()} == {float}
    assert all(result.shares[NAMES[i]] == (result.mask == i).mean() for i in np.unique(result.mask))


def test_everything_that_holds_a_photograph(segmenter, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "photo.png")
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    turned = Image.fromarray(np.rot90(image).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees to the right
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)
    given = [
        str(tmp_path / "photo.png"),
        tmp_path / "photo.png",
        Image.open(tmp_path / "photo.png"),
        Image.open(buffer),
        image,
        image / 255.0,
        tensor,
        tensor / 255,
    ]
    masks = [result.mask for result in segmenter(given)]
    assert len(masks) == len(given)
    batch = segmenter(torch.stack([tensor, tensor.flip(2)]))
    masks += [batch[0].mask]
    for mask in masks:
        np.testing.assert_array_equal(mask, masks[0])
    assert (batch[1].mask != masks[0]).any()
    grey = segmenter(image[..., 0])
    np.testing.assert_array_equal(grey.mask, segmenter(Image.fromarray(image[..., 0])).mask)
    clear = np.dstack([image, np.zeros((60, 44), np.uint8)])
    np.testing.assert_array_equal(
        segmenter(Image.fromarray(clear)).mask, segmenter(np.full_like(image, 255)).mask
    )


def test_large_images_are_tiled(checkpoint, segmenter, image):
    tiled = wsss_zoo.load(checkpoint, device="cpu", max_pixels=1000, tile=32)(image)
    assert (tiled.mask == tiled.probs.argmax(0)).all()
    assert (tiled.mask == segmenter(image).mask).mean() > 0.5


def test_options(checkpoint, image, tmp_path):
    (tmp_path / "names.txt").write_text("background\nred\nblue\n")
    flip, names = Evaluation(flip=True), str(tmp_path / "names.txt")
    segmenter = wsss_zoo.load(
        checkpoint, device="cpu", classes=names, evaluation=flip, conf_thresh=0.9
    )
    result, mirrored = segmenter(image), segmenter(image[:, ::-1])
    np.testing.assert_array_equal(result.mask, mirrored.mask[:, ::-1])
    np.testing.assert_array_equal(result.mask == 255, result.probs.max(0) < np.float32(0.9))
    assert "not sure" in result.shares
    assert "red" in repr(segmenter)
    assert f"Segmentation(44 x 60: {next(iter(result.shares))}" in repr(result)


def test_pictures(segmenter, image, tmp_path):
    result = segmenter(image)
    assert result.overlay().size == (44, 60)
    np.testing.assert_array_equal(np.array(result.overlay(0)), image)
    assert (np.array(result.overlay()) != image).any()
    result.save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.array(mask), result.mask)
    with Image.open(io.BytesIO(result._repr_png_())) as shown:
        assert shown.width > 44
    with pytest.raises(ValueError, match=r"mask\.jpg; a mask is a PNG"):
        result.save(tmp_path / "mask.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]


def test_what_is_no_photograph(segmenter, image, tmp_path):
    refused = [
        (image[..., :2], r"shape \(60, 44, 2\); give \(H, W, 3\)"),
        (torch.zeros(5, 5), r"shape \(5, 5\); give \(3, H, W\)"),
        (torch.zeros(5, 5, 3), r"shape \(5, 5, 3\); give \(3, H, W\)"),
        (image[:0], r"shape \(0, 44, 3\)"),
        (image.astype(np.int64), "int64 values from 0 to 255; give uint8"),
        (image.astype(np.float32), "float32 values from 0.0 to 255.0"),
        (np.full((4, 4, 3), np.nan), "float64 values from nan to nan"),
        (Image.new("F", (3, 3)), "mode F"),
        (Image.new("I;16", (3, 3)), "mode I;16"),
    ]
    for given, message in refused:
        with pytest.raises(ValueError, match=message):
            segmenter(given)
    with pytest.raises(OSError, match=r"none\.jpg"):
        segmenter(tmp_path / "none.jpg")
    for thing in (None, 5, b"jpg"):
        with pytest.raises(TypeError, match=r"the image is of type .*; give a file, a PIL picture"):
            segmenter(thing)


def test_what_is_no_option(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="conf_thresh is 2; give a number in"):
        wsss_zoo.load(checkpoint, conf_thresh=2)
    with pytest.raises(ValueError, match="tile 0; give numbers >= 1"):
        wsss_zoo.load(checkpoint, tile=0)
    with pytest.raises(ValueError, match=r"none\.ckpt: there is no such file"):
        wsss_zoo.load(tmp_path / "none.ckpt")
