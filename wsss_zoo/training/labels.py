"""What a folder has to learn from, in numbers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from wsss_zoo.files.decoding import IGNORE_INDEX
from wsss_zoo.inspection.inspection import Inspection


@dataclass(frozen=True)
class Labels:
    """Numbers of training images by their labels, and of classes.

    Args:
        fg_names: Names of the K foreground classes.
        masked: Training images with a mask.
        sparse: Training images with scribbles, points, boxes or part masks.
        tagged: Training images with tags and neither mask nor sparse labels.
        unlabelled: Training images without any label.
        held_out: Held-out images with a mask.
        mask_classes: Training masks with a pixel of each class.
        tag_classes: Training images whose tag row names each class.
        tag_rows: Training images with a tag row, empty ones too.
        tagged_in_masks: Training images with a mask and a tag of each class.
        side: Median of the shorter sides of the images, pixels.
        ignored: Training masks of background and ignored pixels (255) alone.
    """

    fg_names: tuple[str, ...]
    masked: int = 0
    sparse: int = 0
    tagged: int = 0
    unlabelled: int = 0
    held_out: int = 0
    mask_classes: Mapping[str, int] = field(default_factory=dict)
    tag_classes: Mapping[str, int] = field(default_factory=dict)
    tag_rows: int = 0
    tagged_in_masks: Mapping[str, int] = field(default_factory=dict)
    side: int = 320
    ignored: int = 0

    @property
    def images(self) -> int:
        """Number of training images."""
        return self.masked + self.sparse + self.tagged + self.unlabelled

    @property
    def undrawn(self) -> tuple[str, ...]:
        """Classes that tags name and no training mask shows."""
        names = self.fg_names
        return tuple(n for n in names if self.tag_classes.get(n) and not self.mask_classes.get(n))

    @property
    def learnable_from_tags(self) -> tuple[str, ...]:
        """Classes that some tagged images have and others lack: what a classifier can learn."""
        names = self.fg_names
        return tuple(n for n in names if 0 < self.tag_classes.get(n, 0) < self.tag_rows)

    def lines(self) -> list[str]:
        """Say what there is, a line each."""
        kinds = {
            "with a mask": self.masked,
            "with sparse labels": self.sparse,
            "with tags only": self.tagged,
            "without labels": self.unlabelled,
        }
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        held = f"{self.held_out} with a mask" if self.held_out else "none with a mask"
        named = ", ".join(self.fg_names)
        lines = [
            f"{len(self.fg_names)} classes besides background: {named}",
            f"{self.images} training image{'s' * (self.images != 1)}: {counts or 'none'}",
            f"held-out images: {held}",
        ]
        seen = {**Counter(self.mask_classes), **Counter(self.tag_classes)}
        without = [name for name in self.fg_names if not seen.get(name)]
        if without and not self.sparse:
            lines.append(f"without any mask or tag, so not learnt: {', '.join(without)}")
        return lines


def count_labels(found: Inspection, val: str = "val") -> Labels:
    """Count the labels of an inspected data set, of its training split and its split ``val``."""
    train = found.splits.get(found.train, [])
    masked = {i for i in train if found.is_masked(i)}
    sparse = (found.sparse.images if found.sparse else frozenset[str]()) & set(train)
    only_masked = masked - sparse
    rows = [i for i in train if i in found.tags]
    tagged = {i for i in rows if i not in masked and i not in sparse}
    sides = [min(record.size) for record in found.records.values() if record.size]
    return Labels(
        tuple(found.fg_names),
        masked=len(only_masked),
        sparse=len(sparse),
        tagged=len(tagged),
        unlabelled=len(train) - len(only_masked) - len(sparse) - len(tagged),
        held_out=sum(found.is_masked(i) for i in found.splits.get(val, [])),
        mask_classes=Counter(name for i in masked for name in found.classes_in_mask(i)),
        tag_classes=Counter(name for i in rows for name in set(found.tags[i])),
        tag_rows=len(rows),
        tagged_in_masks=Counter(name for i in rows if i in masked for name in set(found.tags[i])),
        side=round(median(sides)) if sides else 0,
        ignored=sum(_is_ignored(found, i) for i in only_masked),
    )


def _is_ignored(found: Inspection, image_id: str) -> bool:
    pixels = found.records[image_id].pixels
    has_ignored = pixels is not None and bool(pixels[IGNORE_INDEX])
    return has_ignored and not found.classes_in_mask(image_id)
