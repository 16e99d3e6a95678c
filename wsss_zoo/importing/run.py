"""One import: a look at everything, then the files."""

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from wsss_zoo.data.formats import known_format
from wsss_zoo.data.formats.annotated_image import AnnotatedImage
from wsss_zoo.data.formats.image_index import ImageIndex
from wsss_zoo.data.formats.labelme import embedded_bytes
from wsss_zoo.data.formats.reading import Reading
from wsss_zoo.data.reading.class_files import ClassFile, find_class_file
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array, readable_suffixes
from wsss_zoo.files.text import id_problem
from wsss_zoo.importing.label_files import (
    class_file,
    mask_png,
    palette_of,
    shapes_json,
    table,
    tag_file,
)
from wsss_zoo.importing.matching import Match, Matcher
from wsss_zoo.importing.output import ImportedFolder
from wsss_zoo.importing.rasterise import Drawing, Labels, Rest
from wsss_zoo.importing.report import overlap_lines
from wsss_zoo.importing.survey import Survey, choose_classes, read_matched

Missing = Literal["unlabeled", "background"]
Boxes = Literal["box", "mask"]

_SHOWN = 20  # problems
# Lists whose images must have masks.
_MEASURED = {"val", "test"}
_SUBSETS = {"validation": "val", "valid": "val", "default": "", "training": "train"}


@dataclass(frozen=True)
class Choices:
    """Options of an import that decide the labels; see `import_annotations`."""

    rest: Rest | None
    missing: Missing
    boxes: Boxes
    stroke_width: int
    scores: bool
    annotator: str | None
    key: str | None


class Import:
    """One import: a look at everything, then the files."""

    def __init__(
        self,
        path: Path,
        source: Path,
        root: Path,
        name: str | None,
        images: Path | None,
        choices: Choices,
        dry: bool,
    ) -> None:
        self.path, self.source, self.root, self.choices, self.dry = path, source, root, choices, dry
        self.problems: list[str] = []
        #: Places of what was left out, by the reason.
        self.left_out: dict[str, list[str]] = {}
        self.base = path if path.is_dir() else path.parent
        # A folder of results inside that of the annotations is none of these.
        own = tuple(
            folder / root.resolve().relative_to(folder.resolve())
            for folder in {self.base, images or self.base}
            if folder.resolve() in root.resolve().parents
        )
        if images is None:
            self.index = ImageIndex.below(self.base, own, self.problems.append)
        else:
            self.index = ImageIndex(images, own, self.problems.append)
        self.name = known_format(path, name, own)

    def run(self) -> dict[str, Any]:
        """Read, check and write; the result is that of the manifest."""
        survey, reading, matcher = Survey(), self._reading(), Matcher(self.index)
        subsets: dict[str, list[str]] = {}
        for image, match, complete in read_matched(self.name, self.path, reading, matcher):
            survey.add(image, match, complete=complete)
            if image.annotated and image.subset:
                subsets.setdefault(image.subset, []).append(match.image_id)
        missing = self._missing_ids(survey)
        if self.choices.missing == "background":
            for file in (self.index.files[image_id] for image_id in missing):
                with reading.entry(str(file.path)):
                    _ = file.size
        if not survey.ids and not self.problems:
            self.problems.append(f"{self.source} has no annotated image; label one in the tool")
        classes = ClassFile(["background"], {})
        try:
            classes = choose_classes(survey, reading, self.root)
        except ValueError as error:
            self.problems.append(str(error))
        survey.find_empty(classes.names[1:])
        if self.problems and not self.dry:
            raise ValueError(_problem_text(self.problems, self.source))
        if self.problems:
            self.left_out = reading.left_out
            return self._result(survey, reading, matcher, classes, Written(), 0)
        folder = ImportedFolder(self.root, dry=self.dry)
        folder.check(self._own_names(survey, missing, subsets))
        notes = reading.notes
        reading = self._reading()
        reading.notes |= notes
        written = self._write(folder, survey, reading, Matcher(self.index), classes, missing)
        self._write_lists(folder, classes, written, subsets, reading)
        if self.problems:
            raise ValueError(_problem_text(self.problems, self.source))
        result = self._result(survey, reading, matcher, classes, written, len(missing))
        self.left_out = reading.left_out
        folder.finish(result)
        return result

    def _reading(self) -> Reading:
        chosen = self.choices
        return Reading(
            self.base,
            self.index,
            self.problems.append,
            scores=chosen.scores,
            annotator=chosen.annotator,
            key=chosen.key,
        )

    def _missing_ids(self, survey: Survey) -> list[str]:
        known = {*survey.ids, *survey.listed}
        return [image_id for image_id in self.index.files if image_id not in known]

    def _own_names(
        self, survey: Survey, missing: list[str], subsets: Mapping[str, list[str]]
    ) -> list[str]:
        """Files that may be written."""
        ids = survey.ids + (missing if self.choices.missing == "background" else [])
        names = [f"masks/{image_id}.png" for image_id in ids]
        names += [f"splits/{_split_name(subset)}.txt" for subset in subsets]
        kinds = {kind for kind, count in survey.kinds.items() if count}
        names += ["boxes.csv"] if "box" in kinds else []
        names += ["points.csv"] if "point" in kinds else []
        names += ["image_labels.csv", "image_labels.json"] if kinds & {"tag", "box"} else []
        # Of polygons and masks alone nothing else is written: other labels in the folder stay.
        return names + (["shapes.json"] if kinds - {"polygon", "mask", "ignore"} else [])

    def _rest(self, survey: Survey) -> Rest:
        return self.choices.rest or ("unknown" if survey.is_sparse else "background")

    def _write(
        self,
        folder: ImportedFolder,
        survey: Survey,
        reading: Reading,
        matcher: Matcher,
        classes: ClassFile,
        missing: list[str],
    ) -> "Written":
        rest = self._rest(survey)
        fill = self.choices.boxes == "mask"
        is_region_set = survey.has_regions or (fill and survey.kinds["box"] > 0)
        # Among boxes, strokes or tags alone an image without any is no mask of background.
        empty_masks = rest == "background" and (is_region_set or not survey.kinds)
        width = self.choices.stroke_width
        drawing = Drawing(classes.names, rest, fill, width, survey.is_sparse)
        written = Written()
        palette = palette_of(classes)
        for image, match, _ in read_matched(self.name, self.path, reading, matcher):
            labels = drawing.draw(image, match.height, match.width, reading)
            if match.image_id in survey.empty and empty_masks:
                labels.mask = np.zeros((match.height, match.width), np.uint8)
            self._place(folder, match, image, written)
            if labels.mask is not None:
                written.masked.add(match.image_id)
                written.add_mask(labels.mask)
                folder.write(f"masks/{match.image_id}.png", mask_png(labels.mask, palette))
            written.add(match.image_id, labels)
        for image_id in missing:
            file = self.index.files[image_id]
            folder.place_image(image_id, file.path)
            if self.choices.missing == "background":
                mask = np.zeros(file.size, np.uint8)
                written.add_mask(mask)
                folder.write(f"masks/{image_id}.png", mask_png(mask, palette))
        return written

    def _place(
        self, folder: ImportedFolder, match: Match, image: AnnotatedImage, written: "Written"
    ) -> None:
        if match.file is not None:
            folder.place_image(match.image_id, match.file.path)
            return
        content = embedded_bytes(image)
        with Image.open(io.BytesIO(content)) as file:
            by_format = {"JPEG": ".jpg", "PNG": ".png"}.get(file.format or "")
        given = Path(image.name).suffix.lower()
        suffix = by_format or (given if given in readable_suffixes() else ".png")
        folder.write(f"images/{match.image_id}{suffix}", content)
        written.embedded += 1

    def _write_lists(
        self,
        folder: ImportedFolder,
        classes: ClassFile,
        written: "Written",
        subsets: dict[str, list[str]],
        reading: Reading,
    ) -> None:
        path = find_class_file(self.root)
        if not path.is_file() or folder.has_own(path.name):
            name, content = class_file(classes, written.has_ignored)
            own = path.name if path.is_file() else name
            folder.write(own, path.read_bytes() if path.is_file() else content)
        elif classes.colors and written.has_ignored and 255 not in classes.colors.values():
            raise ValueError(
                f"{path} has colours, but none for unknown pixels; add the line 'ignore 224 224 "
                "192'"
            )
        if written.shapes:
            folder.write("shapes.json", shapes_json(written.shapes))
        tables = {
            "boxes.csv": (["image_id", "class", "x0", "y0", "x1", "y1"], written.boxes),
            "points.csv": (["image_id", "class", "x", "y"], written.points),
        }
        for name, (header, rows) in tables.items():
            if rows:
                folder.write(name, table(header, sorted(rows, key=lambda row: row[0])))
        if written.tags:
            folder.write(*tag_file(written.tags, classes.names))
        for subset, ids in sorted(subsets.items()):
            name = _split_name(subset)
            labeled = [image_id for image_id in ids if image_id in written.labeled]
            kept = [i for i in labeled if name not in _MEASURED or i in written.masked]
            if len(kept) < len(labeled):
                reading.notes[
                    f"subset {subset!r}: {len(labeled) - len(kept)} images without a mask are on "
                    "no list, as only masks measure a model"
                ] = None
            if id_problem(name) or "/" in name:
                reading.notes[f"subset {subset!r} is left out: no name of a list"] = None
            elif name and kept:
                folder.write(f"splits/{name}.txt", "".join(f"{i}\n" for i in kept).encode())

    def _result(
        self,
        survey: Survey,
        reading: Reading,
        matcher: Matcher,
        classes: ClassFile,
        written: "Written",
        missing: int,
    ) -> dict[str, Any]:
        rest = self._rest(survey)
        reason = "as --rest says"
        if self.choices.rest is None:
            reason = "as there are lines or points" if rest == "unknown" else "the default"
        notes = list(reading.notes)
        notes += [
            f"photos with EXIF orientation, {k}: {n}" for k, n in sorted(matcher.turned.items())
        ]
        if self.index.by_name_only:
            count, first = len(self.index.by_name_only), min(self.index.by_name_only)
            notes.append(
                f"images found by their file name, in another folder: {count}, first {first}"
            )
        if self.index.renamed:
            place, found = min(self.index.renamed.items())
            notes.append(
                f"images found by the name of their annotation file: {len(self.index.renamed)}, "
                f"first {found} ({place})"
            )
        bare = len(survey.empty - written.labeled)
        if bare and not self.problems:
            notes.append(
                f"images without any shape: {bare}; nothing is written for them, as among boxes, "
                "points, lines or tags alone it does not say that they are background"
            )
        if survey.empty and not survey.kinds:
            notes.append(
                "no image has a shape, so all of an annotated image is background; if you drew "
                "some, this format lost them (YOLO of boxes has no polygons): export another"
            )
        if written.embedded:
            notes.append(f"images that the annotations hold, written out: {written.embedded}")
        if written.with_boxes:
            notes.append(
                f"images with boxes and masks: {written.with_boxes}; inside such boxes pixels are "
                "unknown (255), --boxes mask fills them"
            )
        alike = Counter(name.casefold() for name in classes.names)
        twins = [name for name in classes.names if alike[name.casefold()] > 1]
        if twins:
            notes.append(
                f"classes that differ in capitals alone: {', '.join(twins)}; rename them in the "
                "tool if they are one"
            )
        boxed = len({row[0] for row in written.boxes})
        if boxed and (rest == "unknown" or survey.kinds["ignore"]):
            notes.append(
                f"images with boxes: {boxed}; Sparse takes all that is outside of the boxes of an "
                "image, and not drawn, for background, unless --data.complete_boxes false"
            )
        pixels = {
            ("unknown" if index == IGNORE_INDEX else classes.names[index]): int(count)
            for index, count in enumerate(written.pixels)
            if count and (index == IGNORE_INDEX or index < len(classes.names))
        }
        return {
            "format": self.name,
            "images": {
                "all": len(survey.ids) + len(survey.listed) + missing,
                "annotated": len(survey.ids),
                "empty": len(survey.empty),
                "unlabeled": len(survey.listed) + missing,
            },
            "shapes": dict(sorted(survey.kinds.items())),
            "classes": classes.names,
            "written": written.words(),
            "pixels": pixels,
            "rest": f"pixels that no shape covers: {rest}, {reason} (--rest background or unknown)",
            "overlaps": overlap_lines(written.overlaps),
            "left_out": {
                reason: len(reading.left_out[reason]) for reason in sorted(reading.left_out)
            },
            "notes": notes,
        }


@dataclass
class Written:
    """What goes into the lists, and what the report counts."""

    shapes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    boxes: list[tuple[Any, ...]] = field(default_factory=list)
    points: list[tuple[Any, ...]] = field(default_factory=list)
    tags: dict[str, set[str]] = field(default_factory=dict)
    labeled: set[str] = field(default_factory=set)
    overlaps: Counter[tuple[str, str]] = field(default_factory=Counter)
    pixels: Any = field(default_factory=lambda: np.zeros(256, np.int64))
    masked: set[str] = field(default_factory=set)
    masks: int = 0
    embedded: int = 0
    with_boxes: int = 0

    def add_mask(self, mask: UInt8Array) -> None:
        """Count the pixels of a mask."""
        self.masks += 1
        self.pixels += np.bincount(mask.ravel(), minlength=256)

    def add(self, image_id: str, labels: Labels) -> None:
        """Add what is not in masks, and count it."""
        if labels.shapes:
            self.shapes[image_id] = labels.shapes
        self.boxes += [(image_id, *row) for row in labels.boxes]
        self.points += [(image_id, *row) for row in labels.points]
        if labels.tags or labels.boxes:
            # A line of the tag file stands in place of the tags of a mask: it has all classes.
            self.tags[image_id] = labels.tags | labels.drawn
        if labels.mask is not None or labels.shapes or labels.points or image_id in self.tags:
            self.labeled.add(image_id)
        self.overlaps += labels.overlaps
        self.with_boxes += labels.mask is not None and bool(labels.boxes)

    @property
    def has_ignored(self) -> bool:
        """Whether a mask has pixels that do not count."""
        return bool(self.pixels[IGNORE_INDEX])

    def words(self) -> str:
        """Word the files of labels."""
        strokes = sum(len(shapes) for shapes in self.shapes.values())
        parts = {
            "masks": self.masks,
            "entries of shapes.json": strokes,
            "boxes": len(self.boxes),
            "points": len(self.points),
            "images with tags": len(self.tags),
        }
        return ", ".join(f"{count} {what}" for what, count in parts.items() if count) or "nothing"


def _split_name(subset: str) -> str:
    return _SUBSETS.get(subset.lower(), subset.lower())


def _problem_text(problems: list[str], source: Path) -> str:
    lines = list(dict.fromkeys(problems))
    if len(lines) == 1:
        return f"{lines[0]} (nothing was written)"
    more = [f".. and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    shown = "\n  ".join([*lines[:_SHOWN], *more])
    return f"{source} has {len(lines)} problems; nothing was written:\n  {shown}"
