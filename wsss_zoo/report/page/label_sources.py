"""Where the label maps of a run are: panels of a sheet, or a folder of files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_zoo.drawing.pictures import PANELS
from wsss_zoo.files.atomic import read_json
from wsss_zoo.files.decoding import IGNORE_INDEX
from wsss_zoo.report.runs import Run

_HEIGHT = 160
_PACK = np.array([65536, 256, 1], dtype=np.int32)  # red, green and blue to one number
#: What reading a picture, or what a sheet says of its panels, may raise.
DAMAGED = (
    OSError, ValueError, TypeError, KeyError, OverflowError, SyntaxError,
    Image.DecompressionBombError,
)  # fmt: skip


@dataclass
class Source:
    """A run with pictures.

    Args:
        run: The run.
        class_names: Its classes.
        palette: Red, green and blue of each index of a label map.
        panels: By image, what there is of it ("preds", "truth", "image"): a box of the sheet, or
            the file of a label map.
        sheet: Its sheet of pictures; None for a folder of label maps.
    """

    run: Run
    class_names: list[str]
    palette: list[int]
    panels: dict[str, dict[str, Any]]
    sheet: Image.Image | None = None

    def indices(self, image_id: str, name: str) -> NDArray[np.uint8]:
        """Read the class index per pixel of a label map as large as on the page, 255 = unknown."""
        image = self.open(image_id, name)
        if image.mode in ("P", "L"):
            return np.asarray(image)
        flat = np.asarray(image.convert("RGB"), dtype=np.int32) @ _PACK
        found = np.full(flat.shape, IGNORE_INDEX, dtype=np.uint8)
        colors = np.asarray(self.palette[: 3 * len(self.class_names)], np.int32).reshape(-1, 3)
        for index, color in enumerate((colors @ _PACK).tolist()):
            found[flat == color] = index
        return found

    def open(self, image_id: str, name: str) -> Image.Image:
        """Read a panel of the sheet or a label map, as large as on the page."""
        place = self.panels[image_id][name]
        if self.sheet is not None:
            return self.sheet.crop(place)
        with Image.open(place) as file:
            return small(file)


def from_sheet(run: Run, path: Path) -> Source | None:
    """Read the panels of a sheet of pictures; None without a prediction."""
    with Image.open(path) as file:
        sheet, text = file.convert("RGB"), file.info.get(PANELS)
    if text is None:
        raise ValueError(f"{path.name} does not tell its panels; validate draws it again")
    content = json.loads(text)
    panels: dict[str, dict[str, Any]] = {}
    for panel in content["panels"]:
        left, top, right, bottom = box = tuple(map(int, panel["box"]))
        if not (0 <= left < right <= sheet.width and 0 <= top < bottom <= sheet.height):
            raise ValueError(f"{path.name} names a panel {box} outside of its picture")
        panels.setdefault(str(panel["image_id"]), {})[str(panel["field"])] = box
    panels = {image_id: fields for image_id, fields in panels.items() if "preds" in fields}
    names = [str(name) for name in content["class_names"]]
    palette = [int(part) for color in content["colors"] for part in color[:3]]
    return Source(run, names, palette, panels, sheet) if panels else None


def from_labels(run: Run) -> Source | None:
    """List the label maps that a run wrote; None if it wrote none."""
    folder = run.folder / "pseudo_labels"
    names = read_json(folder / "manifest.json").get("class_names")
    paths = sorted(folder.rglob("*.png"))
    if not paths or not isinstance(names, list):
        return None
    with Image.open(paths[0]) as first:
        palette = first.getpalette() or []
    ids = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    panels = {name: {"preds": path} for name, path in zip(ids, paths, strict=True)}
    return Source(run, [str(name) for name in names], palette, panels)


def small(image: Image.Image) -> Image.Image:
    """Resize a photograph or label map to the height of the page."""
    size = (max(1, round(image.width * _HEIGHT / image.height)), _HEIGHT)
    method = Image.Resampling.BILINEAR if image.mode == "RGB" else Image.Resampling.NEAREST
    return image.resize(size, method)
