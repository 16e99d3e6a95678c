"""``wsss_zoo.load``: a trained segmenter as a function from photographs to masks."""

import io
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from wsss_zoo.deploy.image_folder import read_any_size
from wsss_zoo.deploy.tiles import FolderLabeler
from wsss_zoo.drawing.overlay import draw_overlay
from wsss_zoo.drawing.pictures import draw_legend, font
from wsss_zoo.files.atomic import replacing
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array, is_several_frames
from wsss_zoo.files.images.pixels import AS_STORED, PixelOptions
from wsss_zoo.files.pseudo_labels import voc_palette
from wsss_zoo.modules.evaluation import Evaluation
from wsss_zoo.runs.checkpoints.segmenter import load_segmenter

log = logging.getLogger(__name__)

#: What a segmenter takes: a file, a picture, an array (H, W, 3) or (H, W), a tensor (3, H, W).
Photo = str | Path | Image.Image | NDArray[Any] | Tensor

# Longest side of the photograph that a notebook shows, pixels.
_SHOWN = 640


def load(
    path: str | Path,
    *,
    device: str | None = None,
    classes: str | None = None,
    model: str | None = None,
    evaluation: Evaluation | None = None,
    conf_thresh: float | None = None,
    max_pixels: int = 2**21,
    tile: int = 1024,
) -> "LoadedSegmenter":
    """Load a segmenter from its checkpoint.

    >>> segmenter = load("last.ckpt")  # doctest: +SKIP
    >>> segmenter("photo.jpg").save("mask.png")  # doctest: +SKIP

    Args:
        path: Checkpoint of a run.
        device: For example "cpu" or "cuda:1"; a GPU by default if there is one.
        classes: Class list that replaces the names in the checkpoint.
        model: Name or import path of the method, if the checkpoint does not name it or it is yours.
        evaluation: How whole images are run: scales, mirror, windows, CRF. By default at scale 1.
        conf_thresh: Pixels of lower probability, in [0, 1], get 255 in place of a class.
        max_pixels: An image with more pixels than this is run in overlapping tiles.
        tile: Side of a tile in pixels.

    Raises:
        ValueError: If the file is no checkpoint of a segmenter, or an option is out of range.
        OSError: If the class list cannot be read.
    """
    if conf_thresh is not None and not 0 <= conf_thresh <= 1:
        raise ValueError(f"conf_thresh is {conf_thresh}; give a number in [0, 1]")
    if min(max_pixels, tile) < 1:
        raise ValueError(f"max_pixels is {max_pixels} and tile {tile}; give numbers >= 1")
    trained = load_segmenter(str(path), classes, model)
    trained.method.evaluation = evaluation or Evaluation()
    pixels = trained.pixels
    labeler = FolderLabeler(trained.method, tile, max_pixels, conf_thresh, pixels).eval()
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return LoadedSegmenter(labeler.to(chosen), trained.class_names, trained.background)


class LoadedSegmenter:
    """A segmenter to call on photographs; made by `load`.

    Args:
        labeler: Runs the network on images of any size.
        class_names: Names by class index, (C,).
        background: Whether class 0 is background.
    """

    def __init__(
        self, labeler: FolderLabeler, class_names: Sequence[str], background: bool
    ) -> None:
        self.labeler, self.class_names, self.background = labeler, list(class_names), background

    @overload
    def __call__(self, image: Photo) -> "Segmentation": ...
    @overload
    def __call__(self, image: list[Photo] | tuple[Photo, ...]) -> "list[Segmentation]": ...
    def __call__(
        self, image: Photo | list[Photo] | tuple[Photo, ...]
    ) -> "Segmentation | list[Segmentation]":
        """Label a photograph, or each of a list or of a batch (N, 3, H, W).

        Args:
            image: File, PIL picture, array (H, W, 3) or (H, W), or tensor (3, H, W). Pixels are
                uint8, or floating point in [0, 1].

        Raises:
            OSError: If a file is missing or no image.
            TypeError: If it is nothing of these.
            ValueError: If an array or tensor has another shape, type or range.
        """
        if isinstance(image, Tensor) and image.ndim == 4:
            image = list(image)
        if isinstance(image, list | tuple):
            return [self(one) for one in image]
        pixels = to_rgb(image, self.labeler.pixels)
        with torch.inference_mode():
            return Segmentation(pixels, self.labeler.label(pixels, "image"), self)

    def __repr__(self) -> str:
        """Name the method, the classes and the device."""
        kind, device = type(self.labeler.method).__name__, self.labeler.device
        return f"LoadedSegmenter({kind}, {', '.join(self.class_names)}; on {device})"


class Segmentation:
    """What a segmenter says of one photograph; a notebook shows it as a picture.

    Args:
        image: RGB, (H, W, 3) uint8.
        mask: Class index per pixel, (H, W) uint8; 255 where the segmenter is not sure.
        segmenter: Which one said so.
    """

    def __init__(self, image: UInt8Array, mask: UInt8Array, segmenter: LoadedSegmenter) -> None:
        self.image, self.mask, self._segmenter = image, mask, segmenter

    @property
    def class_names(self) -> list[str]:
        """Names by class index, (C,)."""
        return self._segmenter.class_names

    @cached_property
    def probs(self) -> NDArray[np.float32]:
        """Probabilities of the classes, (C, H, W); computed when they are first asked for."""
        probs = np.empty((len(self.class_names), *self.mask.shape), dtype=np.float32)
        with torch.inference_mode():
            boxes = self._segmenter.labeler.probabilities(self.image, "image")
            for (y0, x0, y1, x1), part in boxes:
                probs[:, y0:y1, x0:x1] = part.float().cpu().numpy()
        return probs

    @property
    def shares(self) -> dict[str, float]:
        """Share of the pixels of each class that is in the mask, in [0, 1], largest first."""
        counts = np.bincount(self.mask.ravel(), minlength=256)
        present = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
        return {self._name(index): float(counts[index] / self.mask.size) for index in present}

    def overlay(self, opacity: float = 0.5) -> Image.Image:
        """Draw the mask over the photograph, with an opacity in [0, 1]."""
        picture = self.image.copy()
        if opacity > 0:
            background = self._segmenter.background
            draw_overlay(picture, self.mask, opacity=opacity, background=background)
        return Image.fromarray(picture)

    def save(self, path: str | Path) -> None:
        """Write the mask as a palette PNG: the value of a pixel is its class index.

        Raises:
            ValueError: If the name does not end in .png; other formats change values.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise ValueError(
                f"path is {path}; a mask is a PNG, other formats may change its values: end it in "
                ".png, or save a picture with overlay().save(..)"
            )
        picture = Image.fromarray(self.mask)
        picture.putpalette(voc_palette().tobytes())
        with replacing(path) as unfinished:
            picture.save(unfinished, "PNG")

    def __repr__(self) -> str:
        """Name the size and the shares of the classes."""
        height, width = self.mask.shape
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.shares.items())
        return f"Segmentation({width} x {height}: {shares})"

    def _repr_png_(self) -> bytes:
        """Draw what a notebook shows: the overlay, and the names of what is on it."""
        picture = self.overlay()
        picture.thumbnail((_SHOWN, _SHOWN))
        present = sorted(np.unique(self.mask).tolist())
        entries = [(self._name(index), index) for index in present]
        width = 40 + max(round(font(12).getlength(name)) for name, _ in entries)
        legend = draw_legend(entries, width)
        sheet = Image.new(
            "RGB", (picture.width + width, max(picture.height, legend.height)), "white"
        )
        sheet.paste(picture)
        sheet.paste(legend, (picture.width, 0))
        file = io.BytesIO()
        sheet.save(file, "PNG")
        return file.getvalue()

    def _name(self, index: int) -> str:
        return "not sure" if index == IGNORE_INDEX else self.class_names[index]


def to_rgb(image: Photo, pixels_of_files: PixelOptions = AS_STORED) -> UInt8Array:
    """Convert a photograph to RGB, (H, W, 3) uint8, upright; see `LoadedSegmenter`."""
    if isinstance(image, str | Path):
        if not Path(image).is_file():
            raise FileNotFoundError(f"{image} does not exist, or is no file; give a photograph")
        if is_several_frames(str(image)):
            log.warning("%s has several frames, of which the first is read", image)
        return read_any_size(str(image), pixels_of_files)
    if isinstance(image, Image.Image):
        if image.mode[0] in "IF":
            raise ValueError(
                f"the picture has mode {image.mode}, which has no defined white; give 8 bits"
            )
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            white = Image.new("RGBA", upright.size, "white")
            upright = Image.alpha_composite(white, upright.convert("RGBA"))
        return np.array(upright.convert("RGB"))
    if not isinstance(image, Tensor | np.ndarray):
        raise TypeError(
            f"the image is of type {type(image).__name__}; give a file, a PIL picture, an array or "
            "a tensor, or a list of them"
        )
    is_tensor = isinstance(image, Tensor)
    pixels = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if is_tensor and pixels.ndim == 3:
        pixels = pixels.transpose(1, 2, 0)
    elif not is_tensor and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        asked = "(3, H, W) or (N, 3, H, W)" if is_tensor else "(H, W, 3) or (H, W)"
        raise ValueError(f"the image has shape {tuple(image.shape)}; give {asked}")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype.kind != "f" or not 0 <= pixels.min() <= pixels.max() <= 1:
        raise ValueError(
            f"the image has {pixels.dtype} values from {pixels.min()} to {pixels.max()}; give "
            "uint8 from 0 to 255, or floating point from 0 to 1"
        )
    return (pixels * 255).round().astype(np.uint8)
