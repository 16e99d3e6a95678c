"""Pseudo-labels as files, written image by image during ``predict``."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from wsss_zoo.callbacks.map_files import size_reader
from wsss_zoo.callbacks.metrics.label_estimate import estimate_labels
from wsss_zoo.callbacks.metrics.label_quality import measure_labels
from wsss_zoo.callbacks.metrics.publishing import publish_measures
from wsss_zoo.callbacks.metrics.view_agreement import view_agreement
from wsss_zoo.callbacks.outputs import from_batch, from_outputs
from wsss_zoo.callbacks.views import masks_in_predictions
from wsss_zoo.callbacks.writers.auto_threshold import choose_threshold, read_threshold
from wsss_zoo.callbacks.writers.cam_labels import (
    CamLabelOptions,
    cam_confidence,
    cam_pseudo_label,
    mean_over,
    refine_cams,
    without,
)
from wsss_zoo.callbacks.writers.constant_tags import find_constant_tags
from wsss_zoo.callbacks.writers.label_inputs import (
    check_is_no_input,
    check_tags,
    label_folders_read,
)
from wsss_zoo.callbacks.writers.measured_writer import MeasuredWriter
from wsss_zoo.callbacks.writers.run_identity import evaluation_settings
from wsss_zoo.callbacks.writers.saliency import check_saliency, read_saliency
from wsss_zoo.callbacks.writers.segments import SegmentVotes
from wsss_zoo.contract import DataModule, EvaluationBatch, data_of
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.manifests import Manifest
from wsss_zoo.files.pseudo_labels import LABELS, begin_folder, label_path, write_cam, write_label

_TITLE = "measured against masks that no label depends on"
_GATED_TITLE = "measured against masks; the labels keep to what is labelled in the image"


class PseudoLabelWriter(MeasuredWriter):
    """Writes one label map per predicted image, then the manifest.

    Maps come from ``cam`` (N, K, H, W) of the predict step and ``image_labels`` (N, K) of the
    batch, or from ``preds`` (N, H, W) and ``confidence``, as the method's attribute ``output``
    says. Files appear complete or not at all, one per image id, so ranks never collide. Memory does
    not grow with their number (call ``trainer.predict(..., return_predictions=False)``).

    A run that was killed and is started again keeps the maps that are there and makes the rest. The
    folder of a run with another method, checkpoint, configuration (see `config_hash`) or other
    options is refused. With ``limit_predict_batches`` the folder stays unfinished; ``fast_dev_run``
    writes nothing.

    At the end ``quality.json``, the loggers and a table get the quality that images and tags alone
    tell (see `EstimateCounts`). Where the data module reads masks, the files are measured against
    them too. Images whose mask the labels keep to (``evaluation.gate_by_labels``) are left out, so
    no label depends on the mask that it is measured against. These measures are
    ``pseudo/miou``, ``pseudo/coverage``, ``pseudo/iou/<class>``, and with ``save_cams`` the best
    background threshold of 0.00, 0.01 .. 0.60 (``pseudo/best_miou``, ``pseudo/best_threshold``).

    Args:
        out_dir: Folder to write; None for ``pseudo_labels`` in the trainer's ``default_root_dir``.
        bg_threshold: Score in [0, 1) that a class activation must exceed. "auto" chooses it from
            the maps of 64 images before labels are cut (`choose_threshold`), with ``crf`` of 32;
            the curve is ``threshold.png``.
        bg_power: Background ``(1 - max_k cam_k) ** bg_power`` in place of the threshold.
        fg_conf: Confident labels: what exceeds this is foreground.
        bg_conf: Confident labels: what does not exceed this is background; between, 255.
        conf_thresh: Segmenters: a pixel of lower confidence, in [0, 1], gets 255.
        crf: Refine labels from activation maps with a dense CRF (a segmenter: ``evaluation.crf``).
        par: Refine activation maps by pixel-adaptive refinement, on the device, in place of the CRF
            (a segmenter: ``evaluation.par``).
        segments_dir: Folder of ``<image_id>.png`` or ``<image_id>.npz``, integer ids of segments of
            any origin (0 = none): each takes the class of most of its pixels. See `segment_vote`.
        segments_quorum: Least share of a segment's pixels that this class needs, in [0, 1]; else
            they keep their own labels.
        save_cams: Store the activation maps too, not refined, one byte per value.
        overwrite: Delete the pseudo-labels in the folder first.
        saliency_dir: Folder of grey ``<image_id>.png``: background is what they do not show.
        drop_constant_tags: Make labels from activation maps without the classes that nearly every
            training image is tagged with (`constant_tags`); false where the network learnt from
            other images, which lack them.

    Raises:
        ValueError: If options exclude each other or do not fit the method, there is no data module,
            the folder is another run's, or a label map has another size than its image.
        FileNotFoundError: If an image has no saliency map or no region map.
        KeyError: If the predict step returns none of the above.
        RuntimeError: If a map is missing though the whole split was predicted.
    """

    contents, group, columns = LABELS, "pseudo", ("iou",)
    title = _TITLE

    def __init__(
        self,
        out_dir: str | None = None,
        bg_threshold: float | Literal["auto"] = 0.15,
        bg_power: float | None = None,
        fg_conf: float | None = None,
        bg_conf: float | None = None,
        conf_thresh: float | None = None,
        crf: bool = False,
        save_cams: bool = False,
        overwrite: bool = False,
        saliency_dir: str | None = None,
        par: bool = False,
        segments_dir: str | None = None,
        segments_quorum: float = 0.5,
        drop_constant_tags: bool = True,
    ) -> None:
        super().__init__()
        if conf_thresh is not None and not 0 <= conf_thresh <= 1:
            raise ValueError(f"conf_thresh must be in [0, 1], got {conf_thresh}")
        self.out_dir = out_dir
        self.cam_options = CamLabelOptions(
            bg_threshold, bg_power, fg_conf, bg_conf, crf, saliency_dir, par
        )
        self.segments = SegmentVotes(segments_dir, segments_quorum)
        self.conf_thresh, self.save_cams, self.overwrite = conf_thresh, save_cams, overwrite
        self.drop_constant_tags = drop_constant_tags
        self._label_options: dict[str, Any] = {}
        #: The background threshold that was chosen.
        self._threshold: float | None = None
        #: Foreground classes, from 0, whose maps do not count.
        self._dropped: tuple[int, ...] = ()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the options, and have the data module leave out the images that are done."""
        if stage != "predict":
            return
        data = data_of(trainer, "PseudoLabelWriter")
        self._label_options, self._threshold = self._checked_options(pl_module), None
        check_tags(pl_module, data)
        self._drop_constant_tags(pl_module, data)
        is_gated = getattr(getattr(pl_module, "evaluation", None), "gate_by_labels", False)
        self.title = _GATED_TITLE if is_gated else _TITLE
        self._directory = Path(self.out_dir or Path(trainer.default_root_dir) / "pseudo_labels")
        read = label_folders_read(trainer, data)
        read["labels.saliency_dir"] = self.cam_options.saliency_dir
        read["labels.segments_dir"] = self.segments.directory
        check_is_no_input(self._directory, read, self.contents.choose)
        check_saliency(self.cam_options.saliency_dir, data.predict_ids(), size_reader(data))
        self.segments.check(data.predict_ids(), size_reader(data))
        if not getattr(trainer, "fast_dev_run", False):
            self._leave_out_done(trainer, pl_module, data)

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the background threshold, if asked to, once method and weights are ready."""
        if self.cam_options.bg_threshold == "auto":
            self._threshold = self._choose_threshold(trainer, pl_module)

    def _drop_constant_tags(self, module: LightningModule, data: DataModule) -> None:
        is_asked = self.drop_constant_tags and getattr(module, "output", None) == "classification"
        names = find_constant_tags(data) if is_asked else []
        self._dropped = tuple(data.fg_names.index(name) for name in names)
        if names:
            self._label_options["dropped_classes"] = names

    def _process_batch(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: EvaluationBatch
    ) -> None:
        size = batch["image"].shape[-2:]
        has_cams = getattr(module, "output", None) == "classification"
        if has_cams:
            tags = from_batch(batch, "image_labels", "predict")
            cams = from_outputs(outputs, "cam", module, "predict")
            refined = without(cams, self._dropped, dim=1)
            if self.cam_options.par:
                kept = without(tags, self._dropped, dim=1)
                refined = refine_cams(refined, kept, batch["image"])
        for index, image_id in enumerate(batch["image_id"]):
            if has_cams:
                label = self._label_of_cam(trainer, image_id, refined[index], tags[index])
                confidence = cam_confidence(refined[index], label)
                if self.save_cams and self._open:
                    # Before the label map: where that exists the image is done.
                    self._write_cam(image_id, cams[index], tags[index])
            else:
                label, confidence = self._label_of_preds(module, outputs, index)
            if label.shape != size:
                raise ValueError(
                    f"{type(module).__name__}.predict_step made a map of {label.shape} for "
                    f"{image_id} of {tuple(size)} (height, width); return it at the image's size"
                )
            label = self.segments.apply(image_id, label)
            if self._open:
                write_label(self._directory, image_id, label, confidence)

    def _checked_options(self, module: LightningModule) -> dict[str, Any]:
        kind, cam = getattr(module, "output", None), self.cam_options
        if kind == "classification":
            if self.conf_thresh is not None:
                raise ValueError(
                    f"conf_thresh is for segmenters, {type(module).__name__} makes activation "
                    "maps; use bg_threshold, or fg_conf and bg_conf"
                )
            return cam.in_use() | {"save_cams": self.save_cams}
        if kind == "pretext":
            raise ValueError(
                f"{type(module).__name__} trains an encoder and makes no label maps: there is "
                "nothing to predict; give its checkpoint to a segmenter as model.weights"
            )
        if kind != "segmentation":
            raise ValueError(
                f"{type(module).__name__} has output {kind!r}; set the class attribute 'output' to "
                "'segmentation' or 'classification'"
            )
        given = cam.bg_threshold
        changed = self.save_cams or not self.drop_constant_tags or cam != CamLabelOptions(given)
        if given == "auto" or changed:
            raise ValueError(
                "bg_threshold auto, crf, par, save_cams, bg_power, fg_conf, bg_conf, saliency_dir "
                f"and drop_constant_tags are for activation maps, {type(module).__name__} makes "
                "label maps: use conf_thresh, evaluation.crf or evaluation.par"
            )
        return {"conf_thresh": self.conf_thresh, "evaluation": evaluation_settings(module)}

    def _options(self, module: LightningModule, data: DataModule) -> dict[str, Any]:
        settings: dict[str, Any] = getattr(module, "label_settings", dict)()
        return self._label_options | self.segments.settings() | settings

    def _claim(self, manifest: Manifest, image_ids: list[str]) -> set[str]:
        return begin_folder(self._directory, manifest, image_ids, overwrite=self.overwrite)

    def _has_file(self, image_id: str) -> bool:
        return label_path(self._directory, image_id).exists()

    def _measure(self, trainer: Trainer, data: DataModule) -> dict[str, Any] | None:
        report: dict[str, Any] = {"images": len(data.predict_ids()), "metrics": {}}
        dropped, cams = self._dropped, self.save_cams
        known = masks_in_predictions(data)
        measured = measure_labels(
            trainer, data, self._directory, cams=cams, dropped=dropped, known=known
        )
        report |= measured or {}
        report["metrics"] |= estimate_labels(trainer, data, self._directory, dropped)
        report["metrics"] |= self._view_agreement(trainer, data)
        chosen = read_threshold(self._directory)
        if chosen is not None:
            report["metrics"]["estimate/bg_threshold"] = chosen
        return report

    def _publish(
        self, trainer: Trainer, metrics: dict[str, float], class_names: Sequence[str]
    ) -> None:
        estimated = {name: value for name, value in metrics.items() if _is_estimate(name)}
        if estimated:  # a folder of an earlier version has none
            title = f"{self._directory}: estimated from images and tags, without a mask"
            columns = ("share", "missing")
            publish_measures(trainer, title, estimated, "estimate", columns, class_names)
        measured = {name: value for name, value in metrics.items() if not _is_estimate(name)}
        if measured:
            super()._publish(trainer, measured, class_names)

    def _choose_threshold(self, trainer: Trainer, module: LightningModule) -> float:
        """Read the threshold of an earlier, killed run, or choose one and write it down."""
        found = read_threshold(self._directory) if self._open and trainer.is_global_zero else None
        found = trainer.strategy.broadcast(found)
        if found is not None:
            return found
        data, count = data_of(trainer, "PseudoLabelWriter"), None if self._open else 1
        choice = choose_threshold(trainer, module, data, self._cut_options(), count)
        if self._open and trainer.is_global_zero:
            choice.write(self._directory, Path(trainer.default_root_dir))
        return choice.threshold

    def _view_agreement(self, trainer: Trainer, data: DataModule) -> dict[str, float]:
        """Compare with a smaller view, where labels depend on nothing else than image and tags."""
        module, cam = trainer.lightning_module, self.cam_options
        has_cams = getattr(module, "output", None) == "classification"
        needs_graphs = getattr(module, "supervision", None) == "graphs"
        if cam.saliency_dir or self.segments.directory or needs_graphs:
            return {}
        if not has_cams and not hasattr(module, "evaluation"):
            return {}

        def label_of(outputs: Any, image: UInt8Array, tags: Tensor | None) -> UInt8Array:
            if tags is None or not has_cams:
                return self._label_of_preds(module, outputs, 0)[0]
            cams = from_outputs(outputs, "cam", module, "predict")
            tags = tags.to(cams.device)
            if cam.par:
                pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
                cams = refine_cams(cams, tags[None], pixels.to(cams.device))
            return cam_pseudo_label(cams[0], tags, self._cut_options(), image)

        return view_agreement(trainer, data, self._directory, label_of, needs_tags=has_cams)

    def _cut_options(self) -> CamLabelOptions:
        given = self.cam_options.bg_threshold if self._threshold is None else self._threshold
        return dataclasses.replace(self.cam_options, bg_threshold=given, dropped=self._dropped)

    def _label_of_cam(
        self, trainer: Trainer, image_id: str, cam: Tensor, image_labels: Tensor
    ) -> UInt8Array:
        data = data_of(trainer, "PseudoLabelWriter")
        image = data.read_image(image_id) if self.cam_options.crf else None
        saliency = read_saliency(self.cam_options.saliency_dir, image_id, cam.shape[-2:])
        return cam_pseudo_label(cam, image_labels, self._cut_options(), image, saliency)

    def _write_cam(self, image_id: str, cam: Tensor, image_labels: Tensor) -> None:
        present = image_labels.nonzero().flatten()
        maps, classes = cam[present].float().cpu().numpy(), present.cpu().numpy()
        write_cam(self._directory, image_id, maps, classes)

    def _label_of_preds(
        self, module: LightningModule, outputs: Any, index: int
    ) -> tuple[UInt8Array, float | None]:
        preds = from_outputs(outputs, "preds", module, "predict")[index]
        confidence = outputs["confidence"][index] if "confidence" in outputs else None
        if self.conf_thresh is not None:
            confidence = from_outputs(outputs, "confidence", module, "predict")[index]
            preds = preds.masked_fill(confidence < self.conf_thresh, IGNORE_INDEX)
        known = preds != IGNORE_INDEX
        mean = None if confidence is None else mean_over(confidence, known)
        return preds.cpu().numpy().astype(np.uint8), mean


def _is_estimate(name: str) -> bool:
    return name.startswith("estimate/")
