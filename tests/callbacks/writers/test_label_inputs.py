import numpy as np
import pytest

from tests import tiny
from tests.callbacks.fakes import IDS, ToyCAM, ToyData, ToyMethod, ToySegmenter, trainer_in
from wsss_zoo.callbacks import PseudoLabelWriter
from wsss_zoo.cli import main
from wsss_zoo.modules import Evaluation


class SomeTags(ToyData):
    """The third image has no tags."""

    def image_labels_of(self, image_id):
        return None if image_id == IDS[2] else super().image_labels_of(image_id)

    def sample(self, image_id):
        sample = ToyData.sample(ToyData(masks=self.masks), image_id)
        if image_id == IDS[2] and not self.masks:
            del sample["image_labels"]
        return sample

    def read_mask(self, image_id):
        return np.zeros((2, 2), np.uint8) if self.masks else None


def predict(folder, method: ToyMethod, data, **options):
    trainer = trainer_in(folder, PseudoLabelWriter(**options))
    trainer.predict(method, datamodule=data, return_predictions=False)


def gated():
    method = ToySegmenter()
    method.evaluation = Evaluation(gate_by_tags=True)
    return method


def test_images_without_tags_are_named_before_the_first_image(tmp_path):
    message = rf"{{}} needs the tags of every image, but 1 of 6 images .* first: {IDS[2]}; add"
    for method, asker in ((ToyCAM(), "ToyCAM"), (gated(), r"evaluation\.gate_by_tags")):
        with pytest.raises(ValueError, match=message.format(asker)):
            predict(tmp_path, method, SomeTags(masks=False))
        assert method.seen == []
    assert list(tmp_path.iterdir()) == []
    # Nothing asks for tags.
    method = ToySegmenter()
    predict(tmp_path, method, SomeTags(masks=False))
    assert method.seen == IDS


def test_tags_rule_out_classes_in_favour_of_a_background(tmp_path):
    data = ToyData()
    data.background = False
    method = gated()
    with pytest.raises(ValueError, match=r"evaluation\.gate_by_tags needs a background class, but"):
        predict(tmp_path, method, data)
    assert method.seen == []


def test_a_mask_gives_tags_too():
    writer, data = PseudoLabelWriter(), SomeTags()
    assert data.image_labels_of(IDS[2]) is None
    trainer = trainer_in("unused", writer, fast_dev_run=True)
    method = ToyCAM()
    trainer.predict(method, datamodule=data, return_predictions=False)
    assert method.seen == IDS[:1]


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cam")
    run = ["--seed_everything", "0", "--trainer.default_root_dir", str(folder)]
    assert main(["predict", "--model", "CAM", *tiny.tiny(), *run]) == 0
    return folder / "pseudo_labels"


def test_a_folder_of_labels_that_is_read_is_not_written(labels, tmp_path):
    before = {path: path.read_bytes() for path in labels.iterdir()}
    same = ["--labels.overwrite", "true", "--seed_everything", "0"]
    same += ["--trainer.default_root_dir", str(labels.parent)]
    predict = ["predict", "--model", "Supervised", *tiny.tiny(), *same]
    other = str(labels.parent / ".." / labels.parent.name / "pseudo_labels")
    message = r"is to be written, but it is also read \({}\), and would be lost; choose another"
    for given in (other, f"[{tmp_path}, {other}]"):
        with pytest.raises(ValueError, match=message.format(r"data\.pseudo_label_dir")):
            main([*predict, "--data.pseudo_label_dir", given])
    with pytest.raises(ValueError, match=message.format(r"graphs\.pseudo_label_dir")):
        main([*predict, "--graphs.pseudo_label_dir", other, "--graphs.threshold", "1"])
    cam = ["predict", "--model", "CAM", *tiny.tiny(), *same]
    with pytest.raises(ValueError, match=message.format(r"labels\.saliency_dir")):
        main([*cam, "--labels.saliency_dir", other])
    # Nor a folder that has it inside: --labels.overwrite would delete all PNG files in it.
    above = [*cam, "--labels.out_dir", str(labels.parent)]
    with pytest.raises(ValueError, match=r"but it is also read in .*pseudo_labels \(labels\.seg"):
        main([*above, "--labels.segments_dir", other])
    assert {path: path.read_bytes() for path in labels.iterdir()} == before
    # A network that learns from tags reads no labels, whatever the options of its data say.
    assert main([*cam, "--data.pseudo_label_dir", other]) == 0
