import numpy as np
import pytest

from tests.callbacks.fakes import IDS, NAMES, ToyData
from tests.callbacks.region_fakes import given_label, write_given
from wsss_zoo.callbacks.regions.given_labels import open_labels
from wsss_zoo.files.pseudo_labels import write_label

OPTION = "noise.pseudo_label_dir"


@pytest.fixture
def folder(tmp_path):
    write_given(tmp_path / "labels", ToyData())
    return tmp_path / "labels"


def test_labels_are_read_as_written(folder):
    labels, data = open_labels(str(folder), NAMES, IDS, OPTION), ToyData()
    for image_id in IDS:
        expected = given_label(data, image_id)
        np.testing.assert_array_equal(labels.read(image_id, expected.shape), expected)


def test_a_folder_without_manifest_is_known_by_its_files(folder):
    (folder / "manifest.json").unlink()
    first = open_labels(str(folder), NAMES, IDS, OPTION)
    assert open_labels(str(folder), NAMES, IDS, OPTION).identity == first.identity
    write_label(folder, IDS[0], np.zeros((3, 3), np.uint8))
    assert open_labels(str(folder), NAMES, IDS, OPTION).identity != first.identity


def test_another_manifest_is_another_identity(folder):
    first = open_labels(str(folder), NAMES, IDS, OPTION).identity
    write_given(folder, ToyData(), checkpoint_hash="z")
    assert open_labels(str(folder), NAMES, IDS, OPTION).identity != first


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"noise.pseudo_label_dir .* is no folder; give"):
        open_labels(str(tmp_path / "none"), NAMES, IDS, OPTION)


def test_image_without_a_label(folder):
    with pytest.raises(FileNotFoundError, match=r"1 of 7 images have no label map .*first: other"):
        open_labels(str(folder), NAMES, [*IDS, "other"], OPTION)


def test_labels_of_other_classes(folder):
    with pytest.raises(ValueError, match="predict them again with these classes"):
        open_labels(str(folder), [*NAMES[:3], "horse"], IDS, OPTION)


def test_unfinished_folder(folder):
    (folder / "manifest.json").rename(folder / "manifest.partial.json")
    with pytest.raises(FileNotFoundError, match="was not finished"):
        open_labels(str(folder), NAMES, IDS, OPTION)


def test_sizes_and_classes_are_checked_when_read(folder):
    labels = open_labels(str(folder), NAMES, IDS, OPTION)
    with pytest.raises(ValueError, match=r"is 18x\d+ pixels .* but image img_0 is 6x5; make both"):
        labels.read(IDS[0], (5, 6))
    write_label(folder, IDS[0], np.array([[0, 4, 255]], np.uint8))
    with pytest.raises(ValueError, match=r"holds class index 4, but .* 0\.\.3 and 255"):
        labels.read(IDS[0], (1, 3))
    write_label(folder, IDS[0], np.full((1, 3), 255, np.uint8))
    assert (labels.read(IDS[0], (1, 3)) == 255).all()
