import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import save_image, save_mask
from wsss_zoo.data.reading.image_files import Checks, ImageFiles, check_masks, size_problem


@pytest.fixture
def files(tmp_path):
    """Three images, two of them with masks of the values 0, 1, 2 and 255."""
    for number in range(3):
        save_image(tmp_path / f"{number}.jpg", seed=number)
    for number in range(2):
        save_mask(tmp_path / f"{number}.png", [1, 2])
    images = {str(n): str(tmp_path / f"{n}.jpg") for n in range(3)}
    masks = {str(n): str(tmp_path / f"{n}.png") for n in range(2)}
    return ImageFiles(images, masks, [0, 255, 1])


def test_index_map(files):
    raw = np.asarray(Image.open(files.masks["0"]))
    expected = np.select([raw == 0, raw == 2], [0, 1], 255)
    np.testing.assert_array_equal(files.read_mask("0"), expected)
    assert files.read_mask("2") is None


def test_unknown_values_are_counted(files, tmp_path):
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[0, :5], mask[1, :7], mask[2] = 9, 4, 254
    Image.fromarray(mask).save(tmp_path / "1.png")
    message = r"1\.png holds class index 4 \(7 pixels\) and 2 more unknown indices, but .* 0\.\.2 "
    with pytest.raises(ValueError, match=message):
        files.read_mask("1")
    with pytest.raises(ValueError, match=message):
        files.check(["0", "1"], Checks(masks=True))
    files.check(["0", "1"], Checks(masks=True, mask_values=False))


def test_sizes(files):
    assert files.image_size("2") == files.mask_size("0") == (40, 60)


@pytest.mark.parametrize("mask_values", [True, False])
def test_size_of_a_mask(files, tmp_path, mask_values):
    save_mask(tmp_path / "1.png", [1], height=40, width=61)
    with pytest.raises(
        ValueError, match=r"mask .*1\.png is 61x40 pixels .* image 1 is 60x40; both must be equal$"
    ):
        files.check(["0", "1"], Checks(masks=True, mask_values=mask_values))


def test_a_turned_mask_gets_a_hint(files, tmp_path):
    save_mask(tmp_path / "1.png", [1], height=60, width=40)
    with pytest.raises(ValueError, match="; a photo is turned as its EXIF orientation says"):
        files.check(["1"], Checks(masks=True))
    assert size_problem("a", (2, 3), "b", (2, 4)).endswith("b is 4x2; both must be equal")


@pytest.mark.parametrize("masks", [True, False])
def test_empty_images_are_found_without_decoding(files, tmp_path, masks):
    (tmp_path / "1.jpg").write_bytes(b"")
    with pytest.raises(OSError, match=r"1\.jpg cannot be decoded \(the file is empty, 0 bytes\)"):
        files.check(["0", "1"], Checks(masks=masks))


def test_truncated_images_are_found_when_they_are_read(files, tmp_path):
    content = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(content[: len(content) // 2])
    files.check(["1"], Checks(masks=True))
    with pytest.raises(OSError, match=r"1\.jpg cannot be decoded \(image file is truncated"):
        files.read_image("1")


def test_missing_images_and_masks(files):
    with pytest.raises(FileNotFoundError, match="2 of 3 listed ids have no image, first: 7, 8"):
        files.check(["0", "7", "8"], Checks(masks=True))
    with pytest.raises(FileNotFoundError, match="1 of 2 listed ids have no mask, first: 2"):
        check_masks(files, ["1", "2"], files.image_size, Checks(masks=True))


def test_too_many_classes():
    with pytest.raises(ValueError, match="255 classes are more than a mask of 8 bits can name"):
        ImageFiles({}, {}, range(255))
