"""Folders of one file per predicted image, measured before they are declared finished."""

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info

from wsss_zoo.callbacks.metrics.publishing import publish_measures
from wsss_zoo.callbacks.writers.resumable_writer import ResumableWriter
from wsss_zoo.callbacks.writers.run_identity import manifest_of
from wsss_zoo.contract import DataModule
from wsss_zoo.files.atomic import write_json
from wsss_zoo.files.manifests import MANIFEST, Contents, Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import QUALITY


class MeasuredWriter(ResumableWriter):
    """Writes a folder of one file per image, then ``quality.json`` and the manifest.

    A folder that ``limit_predict_batches`` left incomplete stays unfinished.
    """

    contents: ClassVar[Contents]
    #: Title of the table, and the measures that it shows by class.
    title: str
    columns: ClassVar[tuple[str, ...]]
    #: First part of the names of the metrics.
    group: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path()
        self._manifest: Manifest | None = None

    @abstractmethod
    def _options(self, module: LightningModule, data: DataModule) -> dict[str, Any]:
        """Collect the writer's options for the manifest."""

    @abstractmethod
    def _claim(self, manifest: Manifest, image_ids: list[str]) -> set[str]:
        """Claim the folder; see `begin_folder_of`."""

    @abstractmethod
    def _has_file(self, image_id: str) -> bool:
        """Tell whether an image's file is there."""

    @abstractmethod
    def _measure(self, trainer: Trainer, data: DataModule) -> dict[str, Any] | None:
        """Measure the files, on all ranks: JSON with ``metrics``, or None if there are none."""

    def _begin_folder(
        self, trainer: Trainer, module: LightningModule, data: DataModule
    ) -> set[str]:
        self._manifest = manifest_of(trainer, module, data, self._options(module, data))
        done, total = self._claim(self._manifest, data.predict_ids()), len(data.predict_ids())
        if done:
            counted = f"{len(done)} of {total} {self.contents.files} are there"
            rank_zero_info(f"{self._directory}: {counted}, {total - len(done)} left")
        return done

    def _finish_folder(self, trainer: Trainer, data: DataModule) -> None:
        trainer.strategy.barrier("files written")
        missing: list[str] = []
        report = None
        if trainer.is_global_zero:
            missing = [i for i in data.predict_ids() if not self._has_file(i)]
            report = self._read_report()
        missing, report = trainer.strategy.broadcast((missing, report))
        if missing:
            self._leave_unfinished(trainer, missing, len(data.predict_ids()))
            return
        is_new = report is None
        if is_new:
            report = self._measure(trainer, data)
        if trainer.is_global_zero:
            if report is not None:
                if is_new:
                    write_json(self._directory / QUALITY, report)
                self._publish(trainer, report["metrics"], data.class_names)
            if not (self._directory / MANIFEST).exists():
                assert self._manifest is not None
                write_manifest(self._directory, self._manifest)
        trainer.strategy.barrier("folder finished")

    def _publish(
        self, trainer: Trainer, metrics: dict[str, float], class_names: Sequence[str]
    ) -> None:
        """Send the measures to the loggers and print them, on rank zero."""
        title = f"{self._directory}: {self.title}"
        publish_measures(trainer, title, metrics, self.group, self.columns, class_names)

    def _read_report(self) -> dict[str, Any] | None:
        """Read the report of a finished folder."""
        if not (self._directory / MANIFEST).exists() or not (self._directory / QUALITY).exists():
            return None
        report: dict[str, Any] = json.loads((self._directory / QUALITY).read_text(encoding="utf-8"))
        return report

    def _leave_unfinished(self, trainer: Trainer, missing: list[str], total: int) -> None:
        counted = f"{len(missing)} of {total} {self.contents.files} are not in {self._directory}"
        limit = trainer.limit_predict_batches
        if not isinstance(limit, int) and limit >= 1.0:
            raise RuntimeError(
                f"{counted}, first: {', '.join(missing[:3])}; the predict loader left them out"
            )
        rank_zero_info(f"{counted}: limit_predict_batches left them out; not finished")
