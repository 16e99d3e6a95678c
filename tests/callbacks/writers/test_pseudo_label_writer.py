import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger

from tests.callbacks.fakes import (
    IDS,
    NAMES,
    ToyCAM,
    ToyData,
    ToyMethod,
    ToySegmenter,
    changed,
    trainer_in,
)
from tests.each import each
from wsss_zoo.callbacks import PseudoLabelWriter
from wsss_zoo.callbacks.writers.cam_labels import CamLabelOptions, cam_pseudo_label
from wsss_zoo.files.atomic import TEMPORARY
from wsss_zoo.files.manifests import sha256_file
from wsss_zoo.files.pseudo_labels import read_cam, read_label, read_manifest
from wsss_zoo.functional import confusion_matrix, mean_iou, pixel_adaptive_refinement


def predict(
    folder: Path,
    method: ToyMethod,
    data: ToyData | None = None,
    trainer_options: dict | None = None,
    **options,
) -> Trainer:
    trainer = trainer_in(folder, PseudoLabelWriter(**options), **(trainer_options or {}))
    trainer.predict(method, datamodule=data or ToyData(), return_predictions=False)
    return trainer


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def cam_of(data: ToyData, image_id: str) -> tuple[torch.Tensor, torch.Tensor]:
    sample = data.sample(image_id)
    tags = sample["image_labels"]
    return sample["image"] * tags[:, None, None], tags


def test_labels_from_activation_maps(tmp_path):
    data = ToyData()
    predict(tmp_path, ToyCAM(), data, bg_threshold=0.5)
    for image_id in IDS:
        cam, tags = cam_of(data, image_id)
        expected = cam_pseudo_label(cam, tags, CamLabelOptions(bg_threshold=0.5))
        np.testing.assert_array_equal(read_label(tmp_path / "pseudo_labels", image_id), expected)
    manifest = read_manifest(tmp_path / "pseudo_labels", NAMES)
    assert manifest.method == "ToyCAM"
    assert manifest.count == len(IDS)
    assert manifest.split == "train"
    assert manifest.options == {"bg_threshold": 0.5, "crf": False, "save_cams": False}
    assert not (tmp_path / "pseudo_labels" / "cams").exists()


def test_labels_with_crf_use_the_image_of_the_data_module(tmp_path):
    data = ToyData(IDS[:2])
    predict(tmp_path, ToyCAM(), data, fg_conf=0.6, bg_conf=0.3, crf=True)
    options = CamLabelOptions(fg_conf=0.6, bg_conf=0.3, crf=True)
    for image_id in data.ids:
        expected = cam_pseudo_label(*cam_of(data, image_id), options, data.read_image(image_id))
        np.testing.assert_array_equal(read_label(tmp_path / "pseudo_labels", image_id), expected)


def test_labels_with_par_are_those_of_refined_maps(tmp_path):
    data = ToyData()
    predict(tmp_path, ToyCAM(), data, fg_conf=0.5, bg_conf=0.4, par=True, save_cams=True)
    options = CamLabelOptions(fg_conf=0.5, bg_conf=0.4, par=True)
    changed = 0
    for image_id in data.ids:
        (cam, tags), image = cam_of(data, image_id), data.sample(image_id)["image"]
        refined = pixel_adaptive_refinement(image[None], cam[None])[0] / 1.01**10
        label = read_label(tmp_path / "pseudo_labels", image_id)
        np.testing.assert_array_equal(label, cam_pseudo_label(refined, tags, options))
        changed += (label != cam_pseudo_label(cam, tags, options)).sum()
        stored, classes = read_cam(tmp_path / "pseudo_labels", image_id)
        np.testing.assert_allclose(stored / 255, cam[classes].numpy(), atol=0.5 / 255 + 1e-6)
    assert changed > 0
    assert read_manifest(tmp_path / "pseudo_labels").options["par"] is True


def test_cams_of_the_tagged_classes_are_stored(tmp_path):
    data = ToyData()
    predict(tmp_path, ToyCAM(), data, out_dir=str(tmp_path / "here"), save_cams=True)
    for image_id in IDS:
        cam, tags = cam_of(data, image_id)
        values, classes = read_cam(tmp_path / "here", image_id)
        assert classes.tolist() == tags.nonzero().flatten().tolist()
        np.testing.assert_allclose(values / 255, cam[classes].numpy(), atol=0.5 / 255 + 1e-6)


def test_labels_of_a_segmenter_and_its_confidence(tmp_path):
    data, method = ToyData(), ToySegmenter()
    predict(tmp_path / "all", method, data)
    predict(tmp_path / "sure", method, data, conf_thresh=0.7)
    for image_id in IDS:
        confidence, channel = data.sample(image_id)["image"].max(dim=0)
        found = read_label(tmp_path / "all" / "pseudo_labels", image_id)
        np.testing.assert_array_equal(found, channel.numpy() + 1)
        sure = read_label(tmp_path / "sure" / "pseudo_labels", image_id)
        np.testing.assert_array_equal(sure, np.where(confidence < 0.7, 255, channel + 1))
    manifest = read_manifest(tmp_path / "sure" / "pseudo_labels", NAMES)
    assert manifest.options == {"conf_thresh": 0.7, "evaluation": {}}


def test_evaluation_settings_are_in_the_manifest(tmp_path):
    class Settings:
        def __init__(self):
            self.window, self.scales, self._cache = None, (0.5, 1.0), object()
            self.network = torch.nn.Identity()

    method = ToySegmenter()
    method.evaluation = Settings()
    predict(tmp_path, method)
    options = read_manifest(tmp_path / "pseudo_labels", NAMES).options
    assert options["evaluation"] == {"window": None, "scales": [0.5, 1.0]}


@pytest.mark.parametrize("save_cams", [False, True])
def test_killed_run_is_finished_by_the_same_command(tmp_path, save_cams):
    predict(tmp_path / "whole", ToyCAM(), save_cams=save_cams)
    killed = ToyCAM()
    killed.fail_at = IDS[3]
    data = ToyData()
    with pytest.raises(RuntimeError, match="killed"):
        predict(tmp_path / "killed", killed, data, save_cams=save_cams)
    folder = tmp_path / "killed" / "pseudo_labels"
    with pytest.raises(FileNotFoundError, match="a run began it"):
        read_manifest(folder, NAMES)
    (folder / f".{IDS[3]}.png.1{TEMPORARY}").write_bytes(b"half")

    resumed = ToyCAM()
    predict(tmp_path / "killed", resumed, data, save_cams=save_cams)
    assert resumed.seen == IDS[3:]
    assert files_in(folder) == files_in(tmp_path / "whole" / "pseudo_labels")


def test_run_killed_after_its_last_image_only_measures(tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("wsss_zoo.callbacks.writers.pseudo_label_writer.measure_labels", fails)
        with pytest.raises(RuntimeError, match="killed"):
            predict(tmp_path, ToyCAM())
    assert not (tmp_path / "pseudo_labels" / "manifest.json").exists()
    method = ToyCAM()
    predict(tmp_path, method)
    assert method.seen == []
    assert read_manifest(tmp_path / "pseudo_labels", NAMES).count == len(IDS)


def test_finished_run_has_nothing_left_to_do(tmp_path, monkeypatch):
    trainer = predict(tmp_path, ToyCAM())
    before = files_in(tmp_path / "pseudo_labels")
    monkeypatch.setattr("wsss_zoo.files.pseudo_labels.replacing", None)  # a write would raise
    monkeypatch.setattr("wsss_zoo.callbacks.writers.pseudo_label_writer.measure_labels", None)
    data, method = ToyData(), ToyCAM()
    trainer.predict(method, datamodule=data, return_predictions=False)
    assert method.seen == []
    assert files_in(tmp_path / "pseudo_labels") == before
    assert data.resumed_by == []
    trainer.callbacks = []
    trainer.predict(method, datamodule=data, return_predictions=False)
    assert method.seen == IDS


def test_failure_gives_the_data_module_back(tmp_path):
    killed, data = ToyCAM(), ToyData()
    killed.fail_at = IDS[2]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="killed"):
            predict(tmp_path, killed, data)
        assert data.resumed_by == []


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("change", ["weight", "hparam", "option", "ids", "tags", "pixels"])
def test_another_run_does_not_mix_into_a_folder(tmp_path, finished, change):
    class OtherTags(ToyData):
        def image_labels_of(self, image_id):
            return 1 - super().image_labels_of(image_id)

    class OtherPixels(ToyData):
        def read_image(self, image_id):
            return 255 - super().read_image(image_id)

    first = ToyCAM()
    if finished:
        predict(tmp_path, first)
    else:
        first.fail_at = IDS[3]
        with pytest.raises(RuntimeError, match="killed"):
            predict(tmp_path, first)
    before = files_in(tmp_path)
    methods = {"weight": {"weight": 0.5}, "hparam": {"name": "other"}}
    datas = {"ids": ToyData(IDS[:4]), "tags": OtherTags(), "pixels": OtherPixels()}
    method, data = ToyCAM(**methods.get(change, {})), datas.get(change, ToyData())
    options = {"bg_threshold": 0.3} if change == "option" else {}
    with pytest.raises(ValueError, match=r"pseudo_labels holds .*another run.*overwrite true"):
        predict(tmp_path, method, data, **options)
    assert files_in(tmp_path) == before

    predict(tmp_path, method, data, overwrite=True, **options)
    predict(tmp_path / "fresh", method, data, **options)
    ours, fresh = tmp_path / "pseudo_labels", tmp_path / "fresh" / "pseudo_labels"
    assert files_in(ours) == files_in(fresh)


def test_checkpoint_decides_whose_folder_it_is(tmp_path):
    checkpoints = []
    for weight in (1.0, 0.5):
        trainer = trainer_in(tmp_path, max_epochs=1, num_sanity_val_steps=0)
        trainer.fit(ToyCAM(weight), ToyData())
        checkpoints.append(tmp_path / f"{weight}.ckpt")
        trainer.save_checkpoint(checkpoints[-1])

    def predict_from(checkpoint: Path) -> ToyCAM:
        method = ToyCAM(weight=0.25)
        trainer = trainer_in(tmp_path, PseudoLabelWriter())
        trainer.predict(
            method, datamodule=ToyData(), ckpt_path=checkpoint, return_predictions=False
        )
        return method

    assert predict_from(checkpoints[0]).seen == IDS
    manifest = read_manifest(tmp_path / "pseudo_labels", NAMES)
    assert manifest.checkpoint_hash == sha256_file(checkpoints[0])
    assert predict_from(checkpoints[0]).seen == []
    with pytest.raises(ValueError, match=r"another run \(checkpoint_hash differ\)"):
        predict_from(checkpoints[1])


def test_data_module_that_skips_nothing(tmp_path):
    class Data(ToyData):
        def predict_dataloader(self):
            return self.loader(self.ids)

    for _ in range(2):
        method = ToyCAM()
        predict(tmp_path, method, Data())
        assert method.seen == IDS
    assert read_manifest(tmp_path / "pseudo_labels", NAMES).count == len(IDS)


def test_quality_is_measured_from_the_files(tmp_path, capsys):
    data = ToyData()
    logger = CSVLogger(tmp_path, name="", version="")
    predict(tmp_path, ToyCAM(), data, {"logger": logger}, fg_conf=0.6, bg_conf=0.4, save_cams=True)
    folder = tmp_path / "pseudo_labels"
    report = json.loads((folder / "quality.json").read_text())
    confusion, labelled, known = torch.zeros(4, 4, dtype=torch.int64), 0, 0
    for image_id in IDS:
        truth, label = data.read_mask(image_id), read_label(folder, image_id)
        known += (truth != 255).sum()
        labelled += ((truth != 255) & (label != 255)).sum()
        truth[label == 255] = 255
        confusion += confusion_matrix(torch.from_numpy(label), torch.from_numpy(truth), 4)
    assert report["metrics"]["pseudo/miou"] == pytest.approx(mean_iou(confusion))
    assert report["metrics"]["pseudo/coverage"] == pytest.approx(labelled / known)
    assert report["images"] == len(IDS)
    assert 0.5 <= report["metrics"]["pseudo/best_threshold"] <= 0.6  # the masks are cut at 140/255
    assert report["metrics"]["pseudo/best_miou"] > 0.8
    rows = (tmp_path / "metrics.csv").read_text()
    assert "pseudo/miou" in rows
    assert "pseudo/iou/cat" in rows
    printed = capsys.readouterr().out
    assert "pseudo/best_threshold" in printed


def test_masks_only_measure(tmp_path):
    predict(tmp_path / "with", ToyCAM(), save_cams=True)
    predict(tmp_path / "without", ToyCAM(), ToyData(masks=False), save_cams=True)
    measured = files_in(tmp_path / "with" / "pseudo_labels")
    estimated = files_in(tmp_path / "without" / "pseudo_labels")
    with_masks = json.loads(measured.pop("quality.json"))["metrics"]
    without = json.loads(estimated.pop("quality.json"))["metrics"]
    assert measured == estimated
    assert without == {k: v for k, v in with_masks.items() if k.startswith("estimate/")}
    assert {"pseudo/miou", "pseudo/best_miou"} <= with_masks.keys() - without.keys()


def test_fast_dev_run_writes_nothing(tmp_path):
    method = ToyCAM()
    predict(tmp_path, method, trainer_options={"fast_dev_run": True}, save_cams=True)
    assert method.seen == IDS[:1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [1, 2, 0.5])
def test_limited_run_is_not_finished(tmp_path, limit):
    method = ToyCAM()
    predict(tmp_path, method, trainer_options={"limit_predict_batches": limit})
    done = len(method.seen)
    assert 0 < done < len(IDS)
    with pytest.raises(FileNotFoundError, match="a run began it"):
        read_manifest(tmp_path / "pseudo_labels", NAMES)
    predict(tmp_path, method)
    assert method.seen == IDS
    assert read_manifest(tmp_path / "pseudo_labels", NAMES).count == len(IDS)


def test_maps_are_not_kept(tmp_path):
    kept = []

    class Method(ToyCAM):
        def outputs(self, batch):
            assert sum(reference() is not None for reference in kept) <= 1
            outputs = super().outputs(batch)
            kept.append(weakref.ref(outputs["cam"]))
            return outputs

    predict(tmp_path, Method(), save_cams=True)
    assert len(kept) == 2 * len(IDS)  # and the smaller views


def test_loader_that_leaves_images_out_is_an_error(tmp_path):
    class Data(ToyData):
        def predict_dataloader(self):
            return self.loader(self.ids[:-2])

    with pytest.raises(RuntimeError, match=f"2 of 6 label maps .*first: {IDS[4]}, {IDS[5]}"):
        predict(tmp_path, ToyCAM(), Data())
    assert not (tmp_path / "pseudo_labels" / "manifest.json").exists()


def test_map_of_another_size_is_an_error(tmp_path):
    def small(batch):
        return {"preds": torch.zeros(1, 3, 4, dtype=torch.long)}

    with pytest.raises(ValueError, match=rf"made a map of \(3, 4\) for {IDS[0]}"):
        predict(tmp_path, changed(ToySegmenter(), small))


@pytest.mark.parametrize(
    ("method", "key", "options"),
    [
        (ToyCAM, "cam", {}),
        (ToySegmenter, "preds", {}),
        (ToySegmenter, "confidence", {"conf_thresh": 0.5}),
    ],
)
def test_missing_output_names_method_and_key(tmp_path, method, key, options):
    whole = method()
    part = changed(
        method(), lambda batch: {k: v for k, v in whole.outputs(batch).items() if k != key}
    )
    with pytest.raises(KeyError, match=rf"{method.__name__}\.predict_step .*'{key}'"):
        predict(tmp_path, part, **options)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (ToyCAM, {"conf_thresh": 0.5}, "conf_thresh is for segmenters"),
        (ToySegmenter, {"crf": True}, "for activation maps"),
        (ToySegmenter, {"par": True}, r"evaluation\.crf or evaluation\.par"),
        (ToySegmenter, {"save_cams": True}, "for activation maps"),
        (ToySegmenter, {"bg_power": 4.0}, "for activation maps"),
        (ToySegmenter, {"saliency_dir": "maps"}, "for activation maps"),
        (ToySegmenter, {"fg_conf": 0.3, "bg_conf": 0.1}, "for activation maps"),
    ],
)
def test_options_must_fit_the_method(tmp_path, method, options, message):
    with pytest.raises(ValueError, match=message):
        predict(tmp_path, method(), **options)
    assert list(tmp_path.iterdir()) == []


def test_output_must_be_declared(tmp_path):
    method = ToyCAM()
    method.output = "boxes"
    with pytest.raises(ValueError, match="ToyCAM has output 'boxes'"):
        predict(tmp_path, method)


def test_data_module_is_needed(tmp_path):
    trainer = trainer_in(tmp_path, PseudoLabelWriter())
    with pytest.raises(ValueError, match="needs a data module"):
        trainer.predict(ToyCAM(), ToyData().predict_dataloader())


@each(
    ("options", "message"),
    [({"conf_thresh": 1.5}, "conf_thresh"), ({"fg_conf": 0.3}, "give both")],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PseudoLabelWriter(**options)


def test_other_stages_are_left_alone(tmp_path):
    trainer = trainer_in(tmp_path, PseudoLabelWriter())
    trainer.validate(ToySegmenter(), ToyData(), verbose=False)
    assert list(tmp_path.iterdir()) == []
