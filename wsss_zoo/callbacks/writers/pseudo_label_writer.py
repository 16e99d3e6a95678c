"""Pseudo-labels as files, written image by image during ``predict``."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from wsss_zoo.callbacks.metrics.label_quality import measure_labels, publish_quality
from wsss_zoo.callbacks.outputs import from_batch, from_outputs
from wsss_zoo.callbacks.writers.cam_labels import CamLabelOptions, cam_pseudo_label
from wsss_zoo.callbacks.writers.resumable_writer import ResumableWriter
from wsss_zoo.callbacks.writers.run_identity import evaluation_settings, manifest_of
from wsss_zoo.callbacks.writers.saliency import check_saliency, read_saliency
from wsss_zoo.contract import DataModule, EvaluationBatch, data_of
from wsss_zoo.files.atomic import write_json
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.manifests import MANIFEST, Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import QUALITY, begin_folder, label_path, write_cam, write_label


class PseudoLabelWriter(ResumableWriter):
    """Writes one label map per predicted image, then the manifest: the folder is finished.

    Maps come from ``cam`` (N, K, H, W) of the predict step and ``image_labels`` (N, K) of the
    batch, or from ``preds`` (N, H, W) and ``confidence``, as the method's attribute ``output``
    says. Files appear complete or not at all, one per image id, so ranks never collide, and memory
    does not grow with their number (call ``trainer.predict(..., return_predictions=False)``).

    A run that was killed and is started again keeps the maps that are there and makes the rest; a
    finished one has nothing left to do. The folder of a run with another method, checkpoint,
    configuration (`config_hash` says what counts) or other options here is refused. With
    ``limit_predict_batches`` the folder stays unfinished; ``fast_dev_run`` writes nothing.

    Where the data module reads masks, the files are measured against them at the end:
    ``pseudo/miou``, ``pseudo/coverage``, ``pseudo/iou/<class>``, and with ``save_cams`` the best
    background threshold of 0.00, 0.01 .. 0.60 (``pseudo/best_miou``, ``pseudo/best_threshold``), in
    ``quality.json``, the loggers and a table. The masks serve to measure only.

    Args:
        out_dir: Folder to write; None for ``pseudo_labels`` in the trainer's ``default_root_dir``.
        bg_threshold: Score in [0, 1] that a class activation must exceed.
        bg_power: Background ``(1 - max_k cam_k) ** bg_power`` in place of the threshold.
        fg_conf: Confident labels: what exceeds this is foreground.
        bg_conf: Confident labels: what does not exceed this is background; between, 255.
        conf_thresh: Segmenters: a pixel of lower confidence, in [0, 1], gets 255.
        crf: Refine labels from activation maps with a dense CRF (a segmenter: ``evaluation.crf``).
        save_cams: Store the activation maps too, one byte per value.
        overwrite: Delete the pseudo-labels in the folder first.
        saliency_dir: Folder of grey ``<image_id>.png``: background is what they do not show.

    Raises:
        ValueError: If options exclude each other or do not fit the method, there is no data module,
            or the folder is another run's.
        FileNotFoundError: If an image has no saliency map.
        KeyError: If the predict step returns none of the above.
        RuntimeError: If a map is missing after all images were gone over.
    """

    def __init__(
        self,
        out_dir: str | None = None,
        bg_threshold: float = 0.15,
        bg_power: float | None = None,
        fg_conf: float | None = None,
        bg_conf: float | None = None,
        conf_thresh: float | None = None,
        crf: bool = False,
        save_cams: bool = False,
        overwrite: bool = False,
        saliency_dir: str | None = None,
    ) -> None:
        super().__init__()
        if conf_thresh is not None and not 0 <= conf_thresh <= 1:
            raise ValueError(f"conf_thresh must be in [0, 1], got {conf_thresh}")
        self.out_dir = out_dir
        self.cam_options = CamLabelOptions(
            bg_threshold, bg_power, fg_conf, bg_conf, crf, saliency_dir
        )
        self.conf_thresh = conf_thresh
        self.save_cams = save_cams
        self.overwrite = overwrite
        self._directory: Path | None = None
        self._manifest: Manifest | None = None
        self._label_options: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the options, and have the data module leave out the images that are done.

        Raises:
            ValueError: If the options do not fit the method or there is no data module.
        """
        if stage != "predict":
            return
        data = data_of(trainer, "PseudoLabelWriter")
        self._label_options = self._options(pl_module)
        check_saliency(self.cam_options.saliency_dir, data.predict_ids())
        self._directory = None
        if getattr(trainer, "fast_dev_run", False):
            return
        self._directory = Path(self.out_dir or Path(trainer.default_root_dir) / "pseudo_labels")
        self._leave_out_done(trainer, pl_module, data)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: EvaluationBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the label map of each image of a batch."""
        size = batch["image"].shape[-2:]
        for index, image_id in enumerate(batch["image_id"]):
            if getattr(pl_module, "output", None) == "classification":
                cam = from_outputs(outputs, "cam", pl_module, "predict")[index]
                tags = from_batch(batch, "image_labels", "predict")[index]
                label = self._label_of_cam(trainer, image_id, cam, tags)
            else:
                label = self._label_of_preds(pl_module, outputs, index)
            if label.shape != size:
                raise ValueError(
                    f"{type(pl_module).__name__}.predict_step made a map of {label.shape} for "
                    f"{image_id} of {tuple(size)} (height, width); return it at the image's size"
                )
            if self._directory is not None:
                write_label(self._directory, image_id, label)

    def _options(self, module: LightningModule) -> dict[str, Any]:
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
        if self.save_cams or cam != CamLabelOptions(cam.bg_threshold):
            raise ValueError(
                "crf, save_cams, bg_power, fg_conf, bg_conf and saliency_dir are for activation "
                f"maps, {type(module).__name__} makes label maps: use conf_thresh, evaluation.crf"
            )
        return {"conf_thresh": self.conf_thresh, "evaluation": evaluation_settings(module)}

    def _begin_folder(
        self, trainer: Trainer, module: LightningModule, data: DataModule
    ) -> set[str]:
        assert self._directory is not None
        image_ids = data.predict_ids()
        settings: dict[str, Any] = getattr(module, "label_settings", dict)()
        self._manifest = manifest_of(trainer, module, data, self._label_options | settings)
        done = begin_folder(self._directory, self._manifest, image_ids, overwrite=self.overwrite)
        if done:
            counted = f"{len(done)} of {len(image_ids)} label maps are there"
            rank_zero_info(f"{self._directory}: {counted}, {len(image_ids) - len(done)} left")
        return done

    def _label_of_cam(
        self, trainer: Trainer, image_id: str, cam: Tensor, image_labels: Tensor
    ) -> UInt8Array:
        data = data_of(trainer, "PseudoLabelWriter")
        image = data.read_image(image_id) if self.cam_options.crf else None
        saliency = read_saliency(self.cam_options.saliency_dir, image_id, cam.shape[-2:])
        label = cam_pseudo_label(cam, image_labels, self.cam_options, image, saliency)
        if self.save_cams and self._directory is not None:
            # Before the label map: where that exists the image is done.
            present = image_labels.nonzero().flatten()
            maps, classes = cam[present].float().cpu().numpy(), present.cpu().numpy()
            write_cam(self._directory, image_id, maps, classes)
        return label

    def _label_of_preds(self, module: LightningModule, outputs: Any, index: int) -> UInt8Array:
        label = from_outputs(outputs, "preds", module, "predict")[index]
        if self.conf_thresh is not None:
            confidence = from_outputs(outputs, "confidence", module, "predict")[index]
            label = label.masked_fill(confidence < self.conf_thresh, IGNORE_INDEX)
        return label.cpu().numpy().astype(np.uint8)

    def _finish_folder(self, trainer: Trainer, data: DataModule) -> None:
        directory = self._directory
        assert directory is not None
        trainer.strategy.barrier("pseudo-labels written")
        image_ids = data.predict_ids()
        missing, report = [], None
        if trainer.is_global_zero:
            missing = [i for i in image_ids if not label_path(directory, i).exists()]
            if (directory / MANIFEST).exists() and (directory / QUALITY).exists():
                report = json.loads((directory / QUALITY).read_text(encoding="utf-8"))
        missing, report = trainer.strategy.broadcast((missing, report))
        if missing:
            counted = f"{len(missing)} of {len(image_ids)} label maps are not in {directory}"
            limit = trainer.limit_predict_batches
            if isinstance(limit, int) or limit < 1.0:
                rank_zero_info(f"{counted}: limit_predict_batches left them out; not finished")
                return
            raise RuntimeError(
                f"{counted}, first: {', '.join(missing[:3])}; the predict loader left them out"
            )
        measured = report is not None
        if not measured:
            report = measure_labels(trainer, data, directory, cams=self.save_cams)
        if trainer.is_global_zero:
            if report is not None:
                if not measured:
                    write_json(directory / QUALITY, report)
                publish_quality(trainer, directory, report, data.class_names)
            if not (directory / MANIFEST).exists():
                assert self._manifest is not None
                write_manifest(directory, self._manifest)
        trainer.strategy.barrier("pseudo-labels finished")
