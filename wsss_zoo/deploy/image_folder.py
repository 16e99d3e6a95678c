"""A bare folder of images, or a split of a data set, as a data module: images one at a time."""

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from wsss_zoo.contract import FindDone, done_ids
from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.loading.loaders import LateLoader, begin_worker
from wsss_zoo.data.loading.sampler import EpochSampler
from wsss_zoo.data.reading.image_files import ImageFiles, ImageReader
from wsss_zoo.data.transforms.crops import Position, index_and_visit
from wsss_zoo.files.decoding import UInt8Array, image_size_of, read_rgb, readable_suffixes
from wsss_zoo.files.images.pixels import AS_STORED, PixelOptions
from wsss_zoo.files.listing import list_files
from wsss_zoo.files.text import id_problem, normalise


class GivenImages(LightningDataModule):
    """Images by id, each on exactly one rank."""

    def __init__(self, num_workers: int = 0) -> None:
        super().__init__()
        # More ranks than images, or nothing left to do, is legal.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.num_workers = num_workers
        #: Path of each image by id, in order; an empty one for an image without a file.
        self.files: dict[str, str] = {}
        #: Files that cannot be used, and why.
        self.problems: list[str] = []
        #: Files that are no images.
        self.others: list[str] = []
        #: Writers that say which images are done, see `DataModule`.
        self.resumed_by: list[FindDone] = []
        #: Path by id of the remaining images; known once the loader is made.
        self.left: dict[str, str] = {}

    @abstractmethod
    def relative_paths(self) -> dict[str, str]:
        """Name the file of each image, by id, without the machine's own folders."""

    @abstractmethod
    def _dataset(self) -> Dataset[dict[str, Any]]:
        """Read the images that are left; samples are those of `ImagesToLabel`."""

    def predict_ids(self) -> list[str]:
        """List all images, those that are done included."""
        return list(self.files)

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Load the remaining images, one at a time."""
        assert self.trainer is not None
        done = done_ids(self.resumed_by)
        self.left = {i: path for i, path in self.files.items() if i not in done}
        ranks, rank = self.trainer.world_size, self.trainer.global_rank
        return LateLoader(
            self._dataset(),
            batch_size=None,
            sampler=EpochSampler(len(self.left), shuffle=False, num_replicas=ranks, rank=rank),
            num_workers=self.num_workers,
            worker_init_fn=begin_worker,
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, index: int) -> Any:
        """Leave the image on the CPU: tiles are moved one by one."""
        return batch


class ImageFolder(GivenImages):
    """The images below a folder; hidden files are left out.

    An image's id is its path below the folder without the suffix. Files that differ only in the
    suffix all keep it, so that ids do not depend on what else is in the folder.

    Args:
        root: The folder.
        leave_out: Folder whose files are not listed: that of the results, which may be inside.
        max_pixels: Pixels of the largest image that a loader process reads.
        num_workers: Loader processes.
        pixels: Values and bands of the images that are shown.

    Raises:
        ValueError: If there is no such folder.
    """

    def __init__(
        self,
        root: Path,
        leave_out: Path,
        max_pixels: int = 2**21,
        num_workers: int = 0,
        pixels: PixelOptions = AS_STORED,
    ) -> None:
        super().__init__(num_workers)
        self.root, self.max_pixels, self.pixels = root, max_pixels, pixels
        if not root.is_dir():
            what = "is a file; give the folder that it is in" if root.is_file() else "is missing"
            raise ValueError(f"folder {root} {what}")
        out = leave_out.absolute()
        # Without suffixes every file is among the others.
        listed = map(Path, list_files(root, (), report=self.problems.append).others)
        paths = [path for path in listed if not path.absolute().is_relative_to(out)]
        suffixes = readable_suffixes()
        self._add_files([path for path in paths if path.suffix.lower() in suffixes])
        self.others = [str(path) for path in paths if path.suffix.lower() not in suffixes]

    def _add_files(self, paths: Sequence[Path]) -> None:
        names = [path.relative_to(self.root) for path in paths]
        stems = [normalise(name.with_suffix("").as_posix()) for name in names]
        counts = Counter(stems)
        files: dict[str, str] = {}
        for path, name, stem in zip(paths, names, stems, strict=True):
            image_id = stem if counts[stem] == 1 else normalise(name.as_posix())
            problem = id_problem(image_id)
            if problem is None and image_id in files:
                problem = f"gives its mask the name of that of {files[image_id]!r}"
            if problem is None:
                files[image_id] = str(path)
            else:
                self.problems.append(f"{str(path)!r} has a name that {problem}; rename the file")
        self.files = dict(sorted(files.items()))

    def relative_paths(self) -> dict[str, str]:
        """List the path of each image below the folder, by id."""
        return {i: str(Path(path).relative_to(self.root)) for i, path in self.files.items()}

    def _dataset(self) -> Dataset[dict[str, Any]]:
        return ImagesToLabel(self.left, self.max_pixels, self.pixels)


class SplitImages(GivenImages):
    """The images that a data module predicts; see `GivenImages`.

    Args:
        data: The data module; its files are found and checked.
        num_workers: Loader processes.

    Raises:
        ValueError: If the split has no images or a file cannot be used.
        FileNotFoundError: If files are missing.
    """

    def __init__(self, data: BaseDataModule, num_workers: int = 0) -> None:
        super().__init__(num_workers)
        data.prepare_data()
        data.setup("predict")
        self.data = data
        #: Whether the images lie in files, which the clock tells from newer ones.
        self.has_files = isinstance(data.source, ImageFiles)
        paths = data.files.images if self.has_files else {}
        self.files = {i: paths.get(i, "") for i in data.predict_ids()}

    def first_image(self) -> str:
        """Hash the pixels of the first image, in hexadecimal."""
        pixels = self.data.read_image(next(iter(self.files)))
        return hashlib.sha256(pixels.tobytes()).hexdigest()

    def relative_paths(self) -> dict[str, str]:
        """List the name of each image's file, by id."""
        return {i: Path(path).name for i, path in self.files.items()}

    def _dataset(self) -> Dataset[dict[str, Any]]:
        return SplitToLabel(self.left, self.data.source)


class SplitToLabel(Dataset[dict[str, Any]]):
    """Images of a data set, one at a time; samples are those of `ImagesToLabel`.

    An unreadable file fails again where it is used, and where it can be reported.
    """

    def __init__(self, files: dict[str, str], source: ImageReader) -> None:
        self.files, self.source = list(files.items()), source

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: Position) -> dict[str, Any]:
        image_id, path = self.files[index_and_visit(position)[0]]
        image = None
        with suppress(OSError, ValueError):
            image = torch.from_numpy(self.source.read_image(image_id))
        return {"image_id": image_id, "path": path, "image": image}


class ImagesToLabel(Dataset[dict[str, Any]]):
    """Whole images, one at a time; an unreadable one does not stop the others.

    A sample has ``image_id``, ``path`` and ``image``, a tensor (H, W, 3) uint8, or None. An image
    of more than ``max_pixels`` is read where it is used: it does not pass between processes, and no
    second one waits in memory. An unreadable one fails there again, where it can be reported.
    """

    def __init__(
        self, files: dict[str, str], max_pixels: int, pixels: PixelOptions = AS_STORED
    ) -> None:
        self.files, self.max_pixels, self.pixels = list(files.items()), max_pixels, pixels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: Position) -> dict[str, Any]:
        image_id, path = self.files[index_and_visit(position)[0]]
        image = None
        with suppress(OSError, ValueError), _any_size():
            height, width = image_size_of(path, self.pixels)
            if height * width <= self.max_pixels:
                # A tensor goes through shared memory. An array would fill the pipe between the
                # processes, where a worker whose parent was killed would wait for ever.
                image = torch.from_numpy(read_rgb(path, self.pixels))
        return {"image_id": image_id, "path": path, "image": image}


def image_of(batch: Mapping[str, Any], pixels: PixelOptions = AS_STORED) -> UInt8Array | str:
    """Take the image (H, W, 3) of a sample, or read it; a text says why it cannot be read."""
    given: torch.Tensor | None = batch["image"]
    try:
        return read_any_size(batch["path"], pixels) if given is None else given.numpy()
    except OSError as error:
        # Without the remedy, which is about data sets.
        return str(error).partition("; ")[0]
    except ValueError as error:
        return str(error)


def read_any_size(path: str, pixels: PixelOptions = AS_STORED) -> UInt8Array:
    """Call `read_rgb` without Pillow's limit on the number of pixels: files are the user's own."""
    with _any_size():
        return read_rgb(path, pixels)


@contextmanager
def _any_size() -> Iterator[None]:
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
