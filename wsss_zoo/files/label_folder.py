"""The folder that ``wsss-zoo label`` writes: masks, pictures, and by which network.

``masks/<id>.png`` (palette PNG of the image's size), ``overlays/<id>.jpg``, ``legend.png``,
``classes.txt`` and ``manifest.json``, which is written last (``manifest.partial.json`` until then);
``areas.csv`` where it is asked for.
"""

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss_zoo.files.atomic import TEMPORARY, replacing, write_atomic, write_json
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.manifests import HEADER, MANIFEST
from wsss_zoo.files.pseudo_labels import label_path, read_label, write_label

MASKS, OVERLAYS, LEGEND, CLASSES = "masks", "overlays", "legend.png", "classes.txt"
AREAS = "areas.csv"

_WRITER = {"written_by": "wsss-zoo label"}
_SHOWN = 40  # characters of a value in a message
_JPEG_SIDE = 65_500  # pixels, the most that JPEG has room for
_JPEG_QUALITY = 90


class LabelFolder:
    """Masks of a folder of images.

    ``identity`` decides the masks: method, checkpoint, options (JSON values only). Masks of another
    identity are never mixed with these.
    """

    def __init__(self, directory: Path, identity: Mapping[str, Any]) -> None:
        self.directory = directory
        self.identity = _WRITER | dict(identity)

    def begin(self, images: Mapping[str, str], *, overwrite: bool) -> set[str]:
        """Begin or resume the folder; returns ids whose mask is there and not older than the image.

        Args:
            images: Image file by id.
            overwrite: Delete the masks and overlays that are there.

        Raises:
            ValueError: If the folder holds something else or masks of another identity.
        """
        if self.directory.is_file():
            raise ValueError(f"{self.directory} is a file; choose another folder with --out")
        found = self._read(MANIFEST) or self._read(HEADER)
        if found is None and any(not p.name.startswith(".") for p in self.directory.glob("*")):
            raise ValueError(
                f"{self.directory} is not empty and was not written by 'wsss-zoo label'; choose "
                "another folder with --out"
            )
        if found is not None and overwrite:
            self._delete()
        elif found is not None:
            self._refuse_mixture(found)
        for leftover in self.directory.rglob(f".*{TEMPORARY}"):
            leftover.unlink()
        write_json(self.directory / HEADER, self.identity)
        (self.directory / MANIFEST).unlink(missing_ok=True)
        return {image_id for image_id, path in images.items() if self._is_done(image_id, path)}

    def has_mask(self, image_id: str) -> bool:
        """Say whether the mask of an image is there."""
        return label_path(self.directory / MASKS, image_id).exists()

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

    def write_legend(self, legend: Image.Image, class_lines: str) -> None:
        """Write what the colours mean, as a picture and as text."""
        with replacing(self.directory / LEGEND) as unfinished:
            legend.save(unfinished, "PNG")
        write_atomic(self.directory / CLASSES, class_lines)

    def finish(self, images: Mapping[str, str], problems: Sequence[str]) -> int:
        """Declare the folder finished: write the manifest; returns the number of masks.

        ``images`` are files by id, of the images that have a mask if all went well; ``problems``
        say what could not be labelled, and why.
        """
        done = {image_id: path for image_id, path in images.items() if self.has_mask(image_id)}
        result = {"count": len(done), "images": done, "problems": list(problems)}
        write_json(self.directory / MANIFEST, self.identity | result)
        (self.directory / HEADER).unlink(missing_ok=True)
        return len(done)

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

    def _is_done(self, image_id: str, path: str) -> bool:
        try:
            mask = label_path(self.directory / MASKS, image_id).stat().st_mtime
            image = Path(path).stat().st_mtime
        except FileNotFoundError:
            return False
        # The clock of a camera may be ahead.
        return not mask < image < time.time()

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.directory / name
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete the folder") from error
        own = isinstance(found, dict) and found.items() >= _WRITER.items()
        return found if own else None

    def _refuse_mixture(self, found: Mapping[str, Any]) -> None:
        own = _flat(self.identity)
        there = _flat({name: found[name] for name in self.identity if name in found})
        different = [
            f"{name} {own.get(name, 'none')[:_SHOWN]}, there {there.get(name, 'none')[:_SHOWN]}"
            for name in own | there
            if own.get(name) != there.get(name)
        ]
        if different:
            raise ValueError(
                f"{self.directory} holds masks of another checkpoint or of other options "
                f"({'; '.join(different)}); choose another folder with --out, or replace them with "
                "--overwrite true"
            )

    def _delete(self) -> None:
        # From finished to begun to gone: a kill in between leaves a folder that says what it is.
        if (self.directory / MANIFEST).exists():
            (self.directory / MANIFEST).replace(self.directory / HEADER)
        for folder in (MASKS, OVERLAYS):
            for path in (self.directory / folder).rglob("*"):
                if path.suffix in (".png", ".jpg"):
                    path.unlink()


def _flat(identity: Mapping[str, Any]) -> dict[str, str]:
    """Values as JSON by name, those of a mapping inside by their own names."""
    flat: dict[str, str] = {}
    for name, value in identity.items():
        is_mapping = isinstance(value, Mapping)
        flat |= _flat(value) if is_mapping else {name: json.dumps(value, ensure_ascii=False)}
    return flat
