"""Labels with segments from a folder: files, errors, manifest."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.callbacks.fakes import IDS, ToyCAM, ToyData, ToySegmenter, seed_of, trainer_in
from tests.each import each
from wsss_zoo.callbacks import PseudoLabelWriter
from wsss_zoo.callbacks.writers.segments import SegmentVotes
from wsss_zoo.files.pseudo_labels import read_label, read_manifest
from wsss_zoo.files.segment_maps import write_segment_map
from wsss_zoo.functional import segment_vote


def segments_of(image_id: str, data: ToyData) -> np.ndarray:
    """Squares, some of them without a segment."""
    height, width = data.read_image(image_id).shape[:2]
    ids = np.random.default_rng(seed_of(image_id)).integers(0, 5, (height // 3 + 1, width // 3 + 1))
    return ids.repeat(3, 0).repeat(3, 1)[:height, :width]


def save_segments(folder: Path, data: ToyData, ids: list[str] = IDS) -> str:
    for number, image_id in enumerate(ids):
        segments = segments_of(image_id, data)
        if number % 2:
            np.savez(folder / f"{image_id}.npz", segments=segments)
        else:
            write_segment_map(folder, image_id, segments)
    return str(folder)


def predict(folder: Path, method, data: ToyData, **options) -> Path:
    trainer = trainer_in(folder, PseudoLabelWriter(**options))
    trainer.predict(method, datamodule=data, return_predictions=False)
    return folder / "pseudo_labels"


@pytest.mark.parametrize(
    ("method", "options"),
    [(ToyCAM, {"fg_conf": 0.6, "bg_conf": 0.5}), (ToySegmenter, {"conf_thresh": 0.7})],
)
def test_segments_vote_on_finished_labels(tmp_path, method, options):
    data = ToyData()
    maps = save_segments(tmp_path, data)
    plain = predict(tmp_path / "plain", method(), data, **options)
    asked = {"segments_dir": maps, "segments_quorum": 0.4}
    voted = predict(tmp_path / "voted", method(), data, **options, **asked)
    changed = 0
    for image_id in IDS:
        before = torch.from_numpy(read_label(plain, image_id))
        expected = segment_vote(before, torch.from_numpy(segments_of(image_id, data)), 0.4)
        np.testing.assert_array_equal(read_label(voted, image_id), expected.numpy())
        changed += int((expected != before).sum())
    assert changed > 0
    stated = read_manifest(voted).options
    assert stated == read_manifest(plain).options | asked | {"segments_dir": tmp_path.name}
    assert str(tmp_path) not in (voted / "manifest.json").read_text()


def test_missing_maps_are_named_before_any_image_is_gone_over(tmp_path):
    data = ToyData()
    maps = save_segments(tmp_path, data, IDS[2:])
    message = f"2 of 6 images have no region map in segments_dir .*first: {IDS[0]}, {IDS[1]}; write"
    with pytest.raises(FileNotFoundError, match=message):
        predict(tmp_path / "run", ToyCAM(), data, segments_dir=maps)
    with pytest.raises(FileNotFoundError, match=r"segments_dir .*none is no folder"):
        predict(tmp_path / "run", ToyCAM(), data, segments_dir=str(tmp_path / "none"))
    assert not (tmp_path / "run").exists()


def test_bad_first_map_is_found_before_any_image_is_gone_over(tmp_path):
    data = ToyData()
    maps = save_segments(tmp_path, data)
    Image.new("RGB", (18, 12)).save(tmp_path / f"{IDS[0]}.png")
    with pytest.raises(ValueError, match=rf"{IDS[0]}\.png has colours"):
        predict(tmp_path / "run", ToyCAM(), data, segments_dir=maps)
    assert not (tmp_path / "run").exists()


@each("wrong", [np.ones((3, 4), int), np.ones((18, 12), int)])
def test_map_of_another_size_names_the_file(tmp_path, wrong):
    write_segment_map(tmp_path, "a", wrong)
    votes = SegmentVotes(str(tmp_path))
    size = f"{wrong.shape[1]}x{wrong.shape[0]}"
    with pytest.raises(ValueError, match=rf"a\.png is {size} .*image a is 18x12"):
        votes.apply("a", np.zeros((12, 18), np.uint8))
    with pytest.raises(FileNotFoundError, match="has no map of b"):
        votes.apply("b", np.zeros((12, 18), np.uint8))


def test_ids_of_64_bits_without_sign(tmp_path):
    ids = np.array([[2**64 - 1, 2**64 - 1, 2**63, 0]], dtype=np.uint64)
    np.savez(tmp_path / "a.npz", ids)
    label = np.array([[1, 255, 2, 3]], dtype=np.uint8)
    assert SegmentVotes(str(tmp_path)).apply("a", label).tolist() == [[1, 1, 2, 3]]


def test_without_a_folder_labels_stay():
    label = np.zeros((2, 2), np.uint8)
    assert SegmentVotes().apply("a", label) is label
    SegmentVotes().check(IDS)
    assert SegmentVotes().settings() == {}
    with pytest.raises(ValueError, match=r"segments_quorum is -0\.5"):
        SegmentVotes(quorum=-0.5)


def test_an_id_that_may_mean_no_segment_is_named(tmp_path, caplog):
    for number in range(3):
        ids = np.array([[0, 1, 255 if number else 2]], np.uint8)
        Image.fromarray(ids).save(tmp_path / f"{number}.png")
    SegmentVotes(str(tmp_path)).check(["0", "1", "2"])
    assert "2 of 3 region maps that were looked at have pixels of id 255, but none" in caplog.text
    caplog.clear()
    SegmentVotes(str(tmp_path)).check(["0"])
    assert caplog.text == ""


def test_sizes_are_compared_before_any_image_is_gone_over(tmp_path):
    write_segment_map(tmp_path, "a", np.ones((3, 4), int))
    np.savez(tmp_path / "b.npz", np.ones((3, 4), int))
    votes = SegmentVotes(str(tmp_path))
    votes.check(["a", "b"], lambda image_id: (3, 4))
    with pytest.raises(ValueError, match=r"a\.png is 4x3 .*image a is 3x4; .*equal; .*EXIF"):
        votes.check(["a", "b"], lambda image_id: (4, 3))


def test_name_of_another_kind_is_shown(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4), int))
    with pytest.raises(FileNotFoundError, match=r"first: a \(a\.npy is there, which has another"):
        SegmentVotes(str(tmp_path)).check(["a"])
