"""The folder that ``wsss-zoo label`` writes: masks, pictures, and by which network.

``masks/<id>.png`` (palette PNG of the image's size), ``overlays/<id>.jpg``, ``legend.png``,
``classes.txt`` and ``manifest.json``, see `ResultFolder`. ``confidence/<id>.png`` where the masks
are to become pre-annotations of a tool; ``areas.csv`` where it is asked for.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss_zoo.files.atomic import replacing, write_atomic
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array, read_index_mask
from wsss_zoo.files.manifests import MANIFEST
from wsss_zoo.files.pseudo_labels import label_path, read_label, write_label
from wsss_zoo.files.result_folder import ResultFolder

MASKS, OVERLAYS, LEGEND, CLASSES = "masks", "overlays", "legend.png", "classes.txt"
CONFIDENCE, AREAS = "confidence", "areas.csv"

_JPEG_SIDE = 65_500  # pixels, the most that JPEG has room for
_JPEG_QUALITY = 90


class LabelFolder(ResultFolder):
    """Masks of a folder of images.

    ``identity`` decides the masks: method, checkpoint, options (JSON values only).
    """

    def __init__(self, directory: Path, identity: Mapping[str, Any]) -> None:
        contents = "masks of another checkpoint"
        super().__init__(directory, identity, command="label", contents=contents)

    def path_of(self, image_id: str) -> Path:
        """Name the mask of an image."""
        return label_path(self.directory / MASKS, image_id)

    def write(self, image_id: str, mask: UInt8Array, overlay: UInt8Array | None) -> None:
        """Write what belongs to an image; the mask last, as it says that the image is done.

        ``mask`` holds class indices, 255 = ignored, (H, W); ``overlay`` is RGB, (H, W, 3).
        """
        if overlay is not None:
            fits = max(overlay.shape) <= _JPEG_SIDE
            path = label_path(self.directory / OVERLAYS, image_id)
            with replacing(path.with_suffix(".jpg") if fits else path) as unfinished:
                picture = Image.fromarray(overlay)
                picture.save(unfinished, "JPEG" if fits else "PNG", quality=_JPEG_QUALITY)
        write_label(self.directory / MASKS, image_id, mask)

    def write_confidence(self, image_id: str, confidence: UInt8Array) -> None:
        """Write the probability of the class of each pixel, times 255, (H, W)."""
        with replacing(label_path(self.directory / CONFIDENCE, image_id)) as unfinished:
            Image.fromarray(confidence).save(unfinished, "PNG")

    def read_confidence(self, image_id: str) -> UInt8Array | None:
        """Read what `write_confidence` wrote; None if there is nothing."""
        path = label_path(self.directory / CONFIDENCE, image_id)
        return read_index_mask(str(path)) if path.exists() else None

    def write_legend(self, legend: Image.Image, class_lines: str) -> None:
        """Write what the colours mean, as a picture and as text."""
        with replacing(self.directory / LEGEND) as unfinished:
            legend.save(unfinished, "PNG")
        write_atomic(self.directory / CLASSES, class_lines)

    def write_areas(self, class_names: Sequence[str]) -> Path:
        """Write ``areas.csv``: pixels of each class in each mask of the finished folder.

        One row an image: its file, all its pixels, those of each class, and the ignored ones (255).
        """
        images = (self._read(MANIFEST) or {}).get("images", {})
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", "pixels", *class_names, "ignored"])
        for image_id, path in images.items():
            mask = read_label(self.directory / MASKS, image_id)
            counts = np.bincount(mask.ravel(), minlength=256)
            areas = counts[: len(class_names)].tolist()
            writer.writerow([path, mask.size, *areas, int(counts[IGNORE_INDEX])])
        write_atomic(self.directory / AREAS, text.getvalue())
        return self.directory / AREAS

    def _delete_files(self) -> None:
        for folder in (MASKS, OVERLAYS, CONFIDENCE):
            for path in (self.directory / folder).rglob("*"):
                if path.suffix in (".png", ".jpg"):
                    path.unlink()
