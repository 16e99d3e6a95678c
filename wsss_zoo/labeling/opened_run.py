"""Open a finished run: its network, and the data set that it was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wsss_zoo.data import BaseDataModule
from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.data.reading.splits import read_split
from wsss_zoo.deploy.load import LoadedSegmenter, load
from wsss_zoo.files.atomic import read_json
from wsss_zoo.runs.data import make_data
from wsss_zoo.runs.folder import CHECKPOINT, CONFIG, RESULT


@dataclass(frozen=True)
class OpenedRun:
    """A run of a segmenter."""

    folder: Path
    checkpoint: Path
    #: Settings of its ``config.yaml``, those of the data as they are used.
    config: Mapping[str, Any]
    segmenter: LoadedSegmenter
    data: BaseDataModule

    def is_older_than_masks(self) -> int:
        """Count the masks that were written after the run's checkpoint."""
        source = self.data.source
        if not isinstance(source, ImageFiles):
            return 0
        trained = self.checkpoint.stat().st_mtime
        return sum(Path(path).stat().st_mtime > trained for path in source.masks.values())


def open_run(run: Path, *, root: str | None = None, device: str | None = None) -> OpenedRun:
    """Load the network of a run and make its data module.

    Args:
        run: Folder of the run, its checkpoint, or the folder of ``wsss-zoo train``.
        root: Folder of the data set, where it is not where it was in training.
        device: For the network; a GPU by default if there is one.

    Raises:
        ValueError: If it is no run of a segmenter, or the data set has other classes or images.
        OSError: If files of the data set are missing.
    """
    folder = find_run(run)
    checkpoint = run if run.is_file() else folder / CHECKPOINT
    if not checkpoint.is_file():
        raise ValueError(
            f"run {folder} has no {CHECKPOINT}; let the training come to its first checkpoint, or "
            "give another run"
        )
    config = read_run(folder, root)
    segmenter = load(checkpoint, device=device)
    data = make_data(config["data"])
    data.prepare_data()
    data.check_classes()
    _check_same(folder, segmenter, data)
    data.adopt_pixels(segmenter.labeler.pixels)
    return OpenedRun(folder, checkpoint, config, segmenter, data)


def find_run(run: Path) -> Path:
    """Find the folder of a run; ValueError if it is none.

    It is given by itself, by its checkpoint, or by the folder of ``wsss-zoo train``, whose chosen
    run it is then.
    """
    folder = run.parent.parent if run.is_file() else run
    if (folder / CONFIG).is_file():
        return folder
    chosen = read_json(folder / RESULT).get("chosen")
    if isinstance(chosen, str) and (folder / chosen / CONFIG).is_file():
        return folder / chosen
    if not run.exists():
        raise ValueError(f"run {run} does not exist; give the folder of a training")
    if (folder / "images").is_dir():
        raise ValueError(
            f"{run} is a data set, not a run; train on it first, then give the run's folder"
        )
    inside = sorted(str(path.parent) for path in folder.glob(f"*/{CONFIG}"))
    named = f"; there are runs in it: {', '.join(inside[:5])}" if inside else ""
    raise ValueError(f"{run} is no run: it has no {CONFIG}{named or '; give a run'}")


def read_run(folder: Path, root: str | None = None) -> dict[str, Any]:
    """Read the settings of a run; ``root`` replaces the folder of its data set."""
    path = folder / CONFIG
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("data"), dict):
        raise ValueError(f"{path} names no data set; give a run of 'wsss-zoo fit'")
    if root is not None:
        options = dict(config["data"].get("init_args") or {})
        if "root" not in options:
            raise ValueError(
                f"root is {root}, but {config['data'].get('class_path')} has no folder"
            )
        config["data"] = {**config["data"], "init_args": options | {"root": root}}
    options = config["data"].get("init_args") or {}
    labeled = folder / "labeled_split.txt"
    if options.get("labeled_split") is not None and labeled.is_file():
        # A share of the images was drawn by the run's own seed.
        options = {**options, "labeled_split": str(labeled.absolute())}
        config["data"] = {**config["data"], "init_args": options}
    return config


def _check_same(folder: Path, segmenter: LoadedSegmenter, data: BaseDataModule) -> None:
    """Refuse a data set that the run was not trained on, as far as can be told."""
    if segmenter.class_names != data.class_names or segmenter.background != data.background:
        raise ValueError(
            f"run {folder} knows the classes {', '.join(segmenter.class_names)}, the data set "
            f"{', '.join(data.class_names)}: it is a run of another data set, or classes were "
            "changed since; give the run's own data set, or train again"
        )
    trained = folder / "labeled_split.txt"
    if trained.is_file() and isinstance(data.source, ImageFiles):
        ids = read_split(trained)
        unknown = [image_id for image_id in ids if image_id not in data.source.images]
        if unknown:
            raise ValueError(
                f"run {folder} was trained on {len(unknown)} of {len(ids)} images that the data "
                f"set has not, first: {unknown[0]}; it is a run of another data set"
            )
