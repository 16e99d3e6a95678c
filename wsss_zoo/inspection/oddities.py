"""Find suspicious but legal contents of a data set."""

from collections import defaultdict

import numpy as np

from wsss_zoo.data.reading.class_files import is_background_name
from wsss_zoo.data.reading.image_files import MIXED_WHITE, MIXED_WHITE_REMEDY, mixed_white, notes_of
from wsss_zoo.data.sets.folder import BACKGROUND_REMEDY
from wsss_zoo.data.supervision.image_labels import COMMON_REMEDY, common_classes
from wsss_zoo.files.decoding import IGNORE_INDEX
from wsss_zoo.inspection.inspection import ImageRecord, Inspection

_TINY = 32
_UNIFORM = "masks of background and ignored pixels (255) only"


def find_oddities(found: Inspection) -> dict[str, list[str]]:
    """List the ids or files of suspicious contents, by their kind."""
    oddities: dict[str, list[str]] = defaultdict(list)
    for record in found.records.values():
        for kind in _of_image(record) + _of_mask(record, len(found.class_names), found.first_fg):
            oddities[kind].append(record.image_id)
    facts = [(i, record.facts) for i, record in found.records.items() if record.facts]
    oddities |= notes_of(facts)
    first = found.class_names[0]
    if found.first_fg and not is_background_name(first):
        oddities[f"{first!r} is taken for the background, as it is the first class"].append(
            BACKGROUND_REMEDY
        )
    mixed = mixed_white(_contents(found))
    if mixed:
        oddities[f"{MIXED_WHITE}; {MIXED_WHITE_REMEDY}"] += mixed
    masked = [i for i in found.records if found.is_masked(i)]
    if _UNIFORM in oddities and not any(found.classes_in_mask(i) for i in masked):
        oddities["no mask has any foreground"].append(
            "if 255 stands for a class, give --data.binary_masks true, or that colour in "
            "classes.txt: 'cat 255 255 255'"
        )
    shown = [record.pixels for record in map(found.records.get, masked) if record is not None]
    if found.first_fg and shown and not any(p is not None and p[0] for p in shown):
        oddities["masks without background"].append(
            f"none of {len(masked)} masks shows any: validation cannot count false objects; where "
            "all objects are outlined, import with --rest background"
        )
    if found.splits.get(found.train):
        seen = {name for i in found.splits[found.train] for name in found.classes_of(i)}
        if found.sparse is not None:
            seen |= {name for name, _ in found.sparse.shapes}
            seen |= {n for i, n in enumerate(found.class_names) if found.sparse.pixels[i]}
        absent = [name for name in found.fg_names if name not in seen]
        oddities[f"classes that occur nowhere in {found.train}"] += absent
        tagged = {i: found.classes_of(i) for i in found.splits[found.train] if i in found.tags}
        oddities[f"tags that say little: {COMMON_REMEDY}"] += common_classes(tagged, found.fg_names)
    _compare_splits(found, oddities)
    if found.sparse is not None:
        for image_id, count in found.sparse.contradictions.items():
            oddities["strokes or points of two classes on a pixel, which is ignored"].append(
                f"{image_id}: {count} pixels"
            )
        if found.first_fg and not found.sparse.pixels[0]:
            oddities["sparse labels without background"].append(
                "no pixel of it is labelled: the net cannot learn it, unless boxes or masks show it"
            )
    oddities["files and folders that are not read"] += found.unread
    return {kind: entries for kind, entries in oddities.items() if entries}


def _of_image(record: ImageRecord) -> list[str]:
    kinds = {
        f"images with a side below {_TINY} pixels": record.size and min(record.size) < _TINY,
        "images of a single colour": record.is_flat,
        "masks with opacity, of which the colour below counts": record.mask_has_alpha,
        "images turned by their EXIF data; see that their masks are upright": record.is_turned,
    }
    return [kind for kind, applies in kinds.items() if applies]


def _of_mask(record: ImageRecord, num_classes: int, first_fg: int) -> list[str]:
    if record.pixels is None or np.any(record.pixels[first_fg:num_classes]):
        return []
    if not np.any(record.pixels[:first_fg]):
        return ["masks in which everything is ignored (255)"]
    return [_UNIFORM if record.pixels[IGNORE_INDEX] else "masks of background only"]


def _contents(found: Inspection) -> dict[str, tuple[bool, bool]]:
    """Whether each mask has a class besides index 0, and whether it has 0 and 255."""
    return {
        image_id: (
            bool(record.pixels[1 : len(found.class_names)].any()),
            bool(record.pixels[IGNORE_INDEX] and record.pixels[0]),
        )
        for image_id, record in found.records.items()
        if record.pixels is not None
    }


def _compare_splits(found: Inspection, oddities: dict[str, list[str]]) -> None:
    train = set(found.splits.get(found.train, ()))
    for name in found.held_out:
        oddities[f"images on both lists, {found.train} and {name}"] += [
            image_id for image_id in found.splits[name] if image_id in train
        ]
    held_out = {i for name in found.held_out for i in found.splits[name]} - train
    groups: dict[bytes, list[str]] = defaultdict(list)
    for record in found.records.values():
        if record.digest:
            groups[record.digest].append(record.image_id)
    for group in groups.values():
        if len(group) > 1:
            leaks = train & set(group) and held_out & set(group)
            where = f", in {found.train} and held out" if leaks else ""
            oddities[f"equal images{where}"].append(" = ".join(group))
