"""What the commands that write one map per image share: images in, a folder of maps out."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pytorch_lightning import LightningModule
from rich.console import Console

from wsss_zoo.callbacks.writers.folder_masks import FolderMapWriter, LabelProgress
from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.deploy.image_folder import GivenImages, ImageFolder, SplitImages, image_of
from wsss_zoo.deploy.prediction import TrainerOptions, predict_images
from wsss_zoo.files.decoding import UInt8Array
from wsss_zoo.files.map_folder import MapFolder
from wsss_zoo.files.outputs import check_output_folder


class MapModule(LightningModule):
    """Computes a map of each image; a ValueError of ``compute`` is a problem of that image.

    Args:
        compute: Maps an RGB image, (H, W, 3) uint8, to its map, (H, W).
        use_gpu: Called with the index of the CUDA device, if the trainer has one.
    """

    def __init__(
        self,
        compute: Callable[[UInt8Array], NDArray[Any]],
        use_gpu: Callable[[int], object] | None = None,
    ) -> None:
        super().__init__()
        self.compute, self.use_gpu = compute, use_gpu

    def on_predict_start(self) -> None:
        """Move to the device that Lightning chose."""
        if self.device.type == "cuda" and self.use_gpu is not None:
            self.use_gpu(self.device.index or 0)

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Give {"map" (H, W)}, or {"problem"} if there is none."""
        image = image_of(batch)
        if isinstance(image, str):
            return {"problem": image}
        try:
            return {"map": self.compute(image)}
        except ValueError as error:
            return {"problem": f"{batch['path'] or batch['image_id']}: {error}"}


def open_images(
    folder: Path | None,
    data: BaseDataModule | None,
    out: Path | None,
    num_workers: int,
    suffix: str,
) -> tuple[GivenImages, Path]:
    """Find the images of a folder or of a data module's ``predict_split``, and the folder to write.

    Args:
        folder: Folder of images.
        data: Data module, in place of the folder.
        out: Folder to write; None for ``folder`` with ``suffix`` after its name.
        num_workers: Processes that read images.
        suffix: See ``out``.

    Raises:
        ValueError: If there are no images, not exactly one source of them, or nowhere to write.
        FileNotFoundError: If files of the data module are missing.
        OSError: If the folder cannot be written.
    """
    if (folder is None) == (data is None):
        given = "both are" if data is not None else "neither is"
        raise ValueError(f"give a FOLDER of images or --data NAME; {given} given")
    if folder is None:
        assert data is not None
        if out is None:
            raise ValueError("--out is missing: with --data, name the folder to write")
        check_output_folder(out)
        split = SplitImages(data, num_workers)
        _check_apart(out, {Path(path).parent for path in split.files.values() if path})
        return split, out
    out = out or folder.absolute().with_name(f"{folder.absolute().name}_{suffix}")
    _check_apart(out, {folder})
    check_output_folder(out)
    images = ImageFolder(folder, out, num_workers=num_workers)
    if not images.files and not images.problems:
        raise ValueError(f"there are no images that can be read in {folder}")
    return images, out


def _check_apart(out: Path, folders: Iterable[Path]) -> None:
    """Refuse to write into a folder of images, one above it or one inside."""
    own = out.resolve()
    for folder in map(Path.resolve, folders):
        if folder.is_relative_to(own):
            raise ValueError(f"out {out} is the folder of the images; choose another")
        if own.is_relative_to(folder):
            raise ValueError(
                f"out {out} lies in the folder of the images, and a data set of this folder would "
                "take the maps for images; choose another"
            )


def write_maps(
    module: MapModule,
    images: GivenImages,
    folder: MapFolder,
    trainer: TrainerOptions,
    contents: str,
    *,
    overwrite: bool,
) -> int:
    """Write a map of each image; returns the exit code, see `predict_images`."""
    if isinstance(images, SplitImages) and not images.has_files:
        # Nothing else tells the images of one generated data set from those of another.
        folder.identity["first_image"] = images.first_image()
    writer = FolderMapWriter(folder, overwrite=overwrite)
    progress = LabelProgress(Console())
    return predict_images(module, images, writer, trainer, progress, contents)
