"""Pseudo-labels of one stage feed every method that learns from masks, through the commands."""

import json

import pytest
from PIL import Image

from tests import tiny
from wsss_zoo import GATCorrector, Shapes
from wsss_zoo.cli import main

# Methods of supervision "mask" and "semi", with what they need to be small.
SMALL = {
    "SelfRegulation": [],
    "MaskFormer": [],
    "FixMatch": ["--model.gate_by_tags", "true"],
    "UniMatch": ["--data.strong_views", "2", "--model.gate_by_tags", "true"],
    "UniMatchV2": [
        *["--data.strong_views", "2", "--model.gate_by_tags", "true"],
        *["--model.architecture", "deeplabv3plus", "--model.output_stride", "16"],
    ],
    "MeanTeacher": ["--model.gate_by_tags", "true"],
    "CPS": ["--model.gate_by_tags", "true"],
    "PseudoSeg": [],
    "PiModel": ["--model.gate_by_tags", "true"],
    "TemporalEnsembling": ["--model.gate_by_tags", "true"],
}


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Labels by an untrained CAM network."""
    folder = tmp_path_factory.mktemp("cam")
    run = ["--seed_everything", "0", "--trainer.default_root_dir", str(folder)]
    assert main(["predict", "--model", "CAM", *tiny.tiny(), *run]) == 0
    return folder / "pseudo_labels"


@pytest.mark.slow
@pytest.mark.parametrize("method", SMALL)
def test_labels_of_tags_feed_a_segmenter(method, labels, tmp_path):
    run = ["--trainer.default_root_dir", str(tmp_path), "--trainer.max_epochs", "1"]
    run += ["--data.pseudo_label_dir", str(labels), "--seed_everything", "0"]
    assert main(["fit", "--model", method, *tiny.tiny(), *run, *SMALL[method]]) == 0
    assert (tmp_path / "checkpoints/last.ckpt").exists()


def write_folder(root):
    """Eight tagged photographs without any mask."""
    data = Shapes(num_train=8, image_size=64)
    ids = data.split_ids("train")
    (root / "images").mkdir(parents=True)
    for image_id in ids:
        Image.fromarray(data.read_image(image_id)).save(root / f"images/{image_id}.png")
    tags = data.read_tags(ids)
    rows = [f"{image_id},{';'.join(tags[image_id])}" for image_id in ids[:6]]
    (root / "image_labels.csv").write_text("\n".join(["image_id,classes", *rows]))
    (root / "classes.txt").write_text("\n".join(data.class_names))


def test_a_folder_without_masks(tmp_path):
    write_folder(tmp_path / "own")
    data = ["--data", "Folder", "--data.root", str(tmp_path / "own"), "--data.crop_size", "64"]
    data += ["--data.num_workers", "0", "--data.batch_size", "2", *tiny.NETWORK, *tiny.QUIET]
    run = ["--seed_everything", "0", "--trainer.default_root_dir"]
    tagged = ["--data.predict_split", "tagged"]
    assert main(["predict", "--model", "CAM", *data, *tagged, *run, str(tmp_path / "cam")]) == 0
    fixmatch = ["fit", "--model", "FixMatch", "--model.gate_by_tags", "true", *data]
    fixmatch += ["--data.pseudo_label_dir", str(tmp_path / "cam/pseudo_labels")]
    assert main([*fixmatch, "--trainer.max_epochs", "1", *run, str(tmp_path / "fit")]) == 0
    assert (tmp_path / "fit/checkpoints/last.ckpt").exists()


@pytest.mark.slow
def test_labels_of_tags_are_corrected_on_graphs(labels, tmp_path):
    run = ["--seed_everything", "0", "--trainer.default_root_dir"]
    network = [*tiny.tiny(), "--model", "Supervised", "--data.pseudo_label_dir", str(labels)]
    fit = ["--trainer.max_epochs", "1"]
    assert main(["fit", *network, *run, str(tmp_path / "net"), *fit]) == 0
    ckpt = ["--ckpt_path", str(tmp_path / "net/checkpoints/last.ckpt")]
    graphs = ["--graphs.pseudo_label_dir", str(labels), "--graphs.threshold", "2"]
    graphs += ["--graphs.num_segments", "20"]
    assert main(["predict", *network, *run, str(tmp_path / "graphs"), *ckpt, *graphs]) == 0
    gat = ["--model", "GATCorrector", "--model.in_channels", "256", *tiny.QUIET]
    gat += ["--data", "Shapes", *tiny.images()]
    gat += ["--data.graph_dir", str(tmp_path / "graphs/graphs")]
    with pytest.raises(ValueError, match=r"learns from region graphs; leave it out, and give the"):
        main(["fit", *gat, *run, str(tmp_path), *fit, "--data.pseudo_label_dir", str(labels)])
    assert main(["fit", *gat, *run, str(tmp_path / "gat"), *fit]) == 0
    ckpt = ["--ckpt_path", str(tmp_path / "gat/checkpoints/last.ckpt")]
    assert main(["predict", *gat, *run, str(tmp_path / "corrected"), *ckpt]) == 0
    manifest = json.loads((tmp_path / "corrected/pseudo_labels/manifest.json").read_text())
    assert manifest["method"] == GATCorrector.__name__
