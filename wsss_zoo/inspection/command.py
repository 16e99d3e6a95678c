"""``wsss-zoo inspect``: report contents and faults of a data set, and draw its images."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from wsss_zoo.data import BaseDataModule, Folder
from wsss_zoo.data.reading.shape_files import KINDS
from wsss_zoo.data.reading.sparse_files import SparseSource
from wsss_zoo.drawing.choice import choose_typical, spread
from wsss_zoo.drawing.contact_sheet import Tile, draw_contact_sheet
from wsss_zoo.files.atomic import replacing
from wsss_zoo.files.decoding import IGNORE_INDEX
from wsss_zoo.files.outputs import check_output_file
from wsss_zoo.importing.report import lines_of_import
from wsss_zoo.inspection.inspection import ImageRecord, Inspection, inspect_data, shown_labels
from wsss_zoo.inspection.oddities import find_oddities
from wsss_zoo.inspection.sparse_counts import SparseCounts

_FIRST = 10  # ids named of each oddity


def inspect_data_set(
    *, data: BaseDataModule, out: Path = Path("inspect.png"), num_images: int = 36
) -> int:
    """Print what a data set holds and what is wrong with it, and draw some of its images.

    Your own folder is --data Folder --data.root FOLDER; --data.help NAME lists the options of a
    data set. The exit code is 1 if something cannot be used. With --data.pseudo_label_dir FOLDER
    the sheet shows these labels, those that agree least with the masks first.

    Args:
        data: The data set.
        out: Picture sheet to write.
        num_images: Images on the sheet; 0 for none.

    Raises:
        OSError: If the sheet cannot be written.
        ValueError: If the sheet's name has no suffix of a picture.
    """
    if num_images > 0:
        check_output_file(out, picture_suffixes())
    console = Console()
    found = _inspect(data, console)
    print_report(found, console)
    if isinstance(data, Folder):
        _print_import(data.root, console)
    if num_images > 0:
        _draw(data, found, out, num_images, console)
    return 1 if found.errors else 0


def picture_suffixes() -> list[str]:
    """List the suffixes of pictures that can be written in colour."""
    names = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
    return [s for name in names for s, n in Image.registered_extensions().items() if n == name]


def print_report(found: Inspection, console: Console) -> None:
    """Print counts, classes, disagreements of tags and masks, oddities and all errors."""
    if found.splits:
        console.print(_split_table(found))
        console.print(_class_table(found))
        if found.train in found.splits:
            console.print(_mask_table(found))
    for line in _value_lines(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if found.sparse is not None:
        console.print(_sparse_table(found, found.sparse))
    disagreements = found.disagreements()
    if disagreements:
        console.print(_disagreement_table(disagreements))
    if found.pseudo:
        console.print(_pseudo_title(found), highlight=False, soft_wrap=True)
        console.print(_pseudo_table(found))
    oddities = find_oddities(found) | ({"to know": found.notes} if found.notes else {})
    for kind, entries in oddities.items():
        console.print(f"{kind}: {len(entries)}", style="yellow", markup=False, highlight=False)
        _print_lines(entries[:_FIRST], console)
        if len(entries) > _FIRST:
            console.print(f"  and {len(entries) - _FIRST} more")
    if found.errors:
        console.print(f"errors: {len(found.errors)}", style="bold red", highlight=False)
        _print_lines(found.errors, console)
    else:
        console.print("no errors", style="green")


def choose_images(found: Inspection, count: int) -> list[str]:
    """Choose images for the sheet: masked ones, others with labels, and unlabelled ones.

    Of each kind a third are suspicious ones, if there are so many; then every class that occurs is
    there, as far as there is room; the others are evenly spread. Pseudo-labels come first, half of
    them the worst.
    """
    if found.pseudo:
        return _choose_pseudo(found, count)
    groups: list[list[str]] = [[], [], []]
    for image_id, record in found.records.items():
        if record.size is not None:
            is_drawn = found.sparse is not None and image_id in found.sparse.images
            is_labelled = image_id in found.tags or is_drawn
            kind = 0 if found.is_masked(image_id) else 1 if is_labelled else 2
            groups[kind].append(image_id)
    quotas = [0, 0, 0]
    # Masks first: they are what can be wrong in most ways.
    while sum(quotas) < min(count, sum(map(len, groups))):
        for kind in (0, 0, 1, 2):
            quotas[kind] += quotas[kind] < len(groups[kind]) and sum(quotas) < count
    chosen = set[str]()
    for group, quota in zip(groups, quotas, strict=True):
        odd = [image_id for image_id in group if _warning(image_id, found)]
        masked = {i: found.classes_in_mask(i) for i in group if found.is_masked(i)}
        classes = {i: masked[i] if i in masked else found.classes_of(i) for i in group}
        chosen |= {*choose_typical(classes, quota, spread(odd, quota // 3))}
    return [image_id for image_id in found.records if image_id in chosen]


def _choose_pseudo(found: Inspection, count: int) -> list[str]:
    """The worst and the typical pseudo-labels, by their agreement with the masks."""
    usable = [i for i in found.pseudo if found.records[i].size is not None]
    known = sorted((i for i in usable if not math.isnan(found.pseudo[i][1])), key=_iou_in(found))
    fg = range(found.first_fg, len(found.class_names))
    classes = {i: {found.class_names[n] for n in fg if found.pseudo[i][0][n]} for i in usable}
    chosen = choose_typical(classes, min(count, len(usable)), known[: (count + 1) // 2])
    return sorted(chosen, key=lambda i: (math.isnan(found.pseudo[i][1]), found.pseudo[i][1], i))


def _iou_in(found: Inspection) -> Callable[[str], float]:
    return lambda image_id: found.pseudo[image_id][1]


def _inspect(data: BaseDataModule, console: Console) -> Inspection:
    def show_progress(records: Iterable[ImageRecord], total: int) -> Iterable[ImageRecord]:
        text = "reading images and masks"
        return track(records, text, total, console=console, transient=True)

    return inspect_data(data, show_progress)


def _draw(data: BaseDataModule, found: Inspection, out: Path, count: int, console: Console) -> None:
    chosen = choose_images(found, count)
    if not chosen:
        return
    # What cannot be used is in the errors already.
    drawn = None if found.sparse is None else data.open_sparse_labels(_ignore)
    tiles = [_tile(image_id, data, found, drawn) for image_id in chosen]
    shown = f"{len(chosen)} of {len(found.records)} images"
    title = f"{type(data).__name__}: {shown}"
    if found.pseudo:
        title += f", pseudo-labels of {data.pseudo_label_dir}, the worst first"
    sheet = draw_contact_sheet(tiles, found.class_names, title=title, first_fg=found.first_fg)
    with replacing(out) as unfinished:
        sheet.save(unfinished, Image.registered_extensions()[out.suffix.lower()])
    console.print(f"pictures: {out}", markup=False, highlight=False, soft_wrap=True)


def _print_import(root: Path, console: Console) -> None:
    lines = lines_of_import(root)
    if lines:
        console.print("imported with wsss-zoo import", style="bold")
        _print_lines(lines, console)


def _tile(
    image_id: str, data: BaseDataModule, found: Inspection, sparse: SparseSource | None
) -> Tile:
    image, tags = data.read_image(image_id), found.tags.get(image_id)
    if image_id in found.pseudo:
        iou = found.pseudo[image_id][1]
        note = "" if math.isnan(iou) else f"mean IoU {iou:.2f}"
        label = shown_labels(data).read_mask(image_id)
        return Tile(image_id, image, label, tags, note=note)
    mask = data.read_mask(image_id) if found.is_masked(image_id) else None
    tile = Tile(image_id, image, mask, tags, _warning(image_id, found))
    if sparse is None or image_id not in sparse:
        return tile
    try:
        drawn = sparse.read(image_id, image.shape[:2], _ignore)
    except (OSError, ValueError):  # is among the errors
        return tile
    boxes = zip(drawn.boxes.tolist(), drawn.box_classes.tolist(), strict=True)
    return replace(tile, marks=drawn.mask, boxes=[*boxes])


def _ignore(problem: str) -> None:
    """Leave out a shape that cannot be used."""


def _warning(image_id: str, found: Inspection) -> str:
    if found.records[image_id].is_unusable:
        return "mask not usable"
    if image_id not in found.tags or not found.is_masked(image_id):
        return ""
    tagged, masked = set(found.tags[image_id]), found.classes_in_mask(image_id)
    sides = {"mask has no": tagged - masked, "no tag for": masked - tagged}
    return "; ".join(f"{side} {', '.join(sorted(names))}" for side, names in sides.items() if names)


def _table(title: str, first: str, *numbers: str) -> Table:
    # Names are the user's: as Text, no bracket of theirs is markup.
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in numbers:
        table.add_column(Text(column), justify="right")
    return table


def _split_table(found: Inspection) -> Table:
    sparse = None if found.sparse is None else found.sparse.images
    drawn = ["with sparse labels"] if sparse is not None else []
    columns = ("images", "with mask", *drawn, "with tags", "unlabelled", "not usable")
    table = _table("images", "split", *columns)
    for name, ids in found.splits.items():
        bad = [i for i in ids if found.records[i].is_unusable]
        labeled = set(found.tags) | (sparse or set())
        unlabeled = [i for i in ids if not found.is_masked(i) and i not in labeled]
        masked, tagged = sum(map(found.is_masked, ids)), sum(i in found.tags for i in ids)
        drawn_ids = [] if sparse is None else [sum(i in sparse for i in ids)]
        left = len(set(unlabeled) - set(bad))
        counts = (len(ids), masked, *drawn_ids, tagged, left, len(bad))
        table.add_row(Text(name), *map(str, counts))
    return table


def _class_table(found: Inspection) -> Table:
    masks = [record.pixels for record in found.records.values() if record.pixels is not None]
    pixels = np.sum(masks, axis=0) if masks else np.zeros(256, dtype=np.int64)
    labeled = max(1, int(pixels[: len(found.class_names)].sum()))
    names = dict.fromkeys((found.train, *found.held_out))
    splits = [name for name in names if name in found.splits]
    table = _table("classes", "class", "images tagged", "masks", "% of labelled pixels", *splits)
    for index, name in enumerate(found.class_names):
        share = f"{100 * pixels[index] / labeled:.2f}"
        in_masks = str(sum(bool(counts[index]) for counts in masks))
        if index < found.first_fg:
            table.add_row(Text(name), "", in_masks, share, *("" for _ in splits), style="dim")
            continue
        tagged = sum(name in names for names in found.tags.values())
        by_split = [sum(name in found.classes_of(i) for i in found.splits[s]) for s in splits]
        table.add_row(Text(name), str(tagged), in_masks, share, *map(str, by_split))
    ignored = sum(bool(counts[IGNORE_INDEX]) for counts in masks)
    share = f"{100 * pixels[IGNORE_INDEX] / max(1, int(pixels.sum())):.2f} of all"
    table.add_section()
    table.add_row("ignored (255)", "", str(ignored), share, *("" for _ in splits), style="dim")
    return table


def _mask_table(found: Inspection) -> Table:
    """Count the training masks that have each class."""
    records = [found.records[i] for i in found.splits[found.train]]
    masks = [record.pixels for record in records if record.pixels is not None]
    table = _table(f"masks in {found.train}: {len(masks)}", "class", "masks", "pixels")
    for index, name in enumerate(found.class_names):
        counts = [int(pixels[index]) for pixels in masks]
        style = "dim" if index < found.first_fg else None
        table.add_row(Text(name), str(sum(map(bool, counts))), str(sum(counts)), style=style)
    return table


def _value_lines(found: Inspection) -> list[str]:
    """Say which values images of more than 8 bits hold, and which are black and white."""
    facts = [record.facts for record in found.records.values() if record.facts]
    lines = []
    for shown in dict.fromkeys(fact.shown for fact in facts if fact.shown and fact.extent):
        extents = [fact.extent for fact in facts if fact.shown == shown and fact.extent]
        smallest, largest = min(low for low, _ in extents), max(high for _, high in extents)
        lines.append(
            f"images of more than 8 bits: {len(extents)}, values {smallest:g} to {largest:g}, "
            f"black {shown[0]:g}, white {shown[1]:g}"
        )
    return lines


def _sparse_table(found: Inspection, sparse: SparseCounts) -> Table:
    columns = ("strokes", "points", "polygons", "boxes", "labelled pixels", "% of them")
    table = _table(f"sparse labels of {len(sparse.images)} images", "class", *columns)
    labeled = max(1, int(sparse.pixels[:IGNORE_INDEX].sum()))
    used = {name for name, _ in sparse.shapes}
    names = [*found.class_names, *sorted(used - set(found.class_names))]
    for index, name in enumerate(names):
        counts = (sparse.shapes[name, kind] for kind in KINDS)
        pixels = int(sparse.pixels[index]) if index < len(found.class_names) else 0
        share = f"{100 * pixels / labeled:.2f}"
        table.add_row(Text(name), *map(str, counts), str(pixels), share)
    share = f"{100 * labeled / max(1, int(sparse.pixels.sum())):.2f} of all"
    table.add_section()
    table.add_row("all", *("" for _ in KINDS), str(int(sparse.pixels[:IGNORE_INDEX].sum())), share)
    return table


def _disagreement_table(disagreements: dict[str, tuple[list[str], list[str]]]) -> Table:
    table = Table(title="tags and masks disagree", title_justify="left")
    for column in ("class", "tagged, not in the mask", "in the mask, not tagged"):
        table.add_column(column)
    for name, sides in disagreements.items():
        cells = (f"{len(ids)}: {_first(ids)}" if ids else "" for ids in sides)
        table.add_row(*map(Text, (name, *cells)))
    return table


def _pseudo_title(found: Inspection) -> str:
    scores = [iou for _, iou in found.pseudo.values() if not math.isnan(iou)]
    mean = f", mean IoU {np.mean(scores):.4f} over the {len(scores)} with a mask" if scores else ""
    return f"pseudo-labels of {len(found.pseudo)} images{mean} (an image at a time)"


def _pseudo_table(found: Inspection) -> Table:
    table = _table("", "class", "images")
    table.add_column("% of labelled pixels", justify="right")
    pixels = np.sum([counts for counts, _ in found.pseudo.values()], axis=0)
    labeled = max(1, int(pixels[: len(found.class_names)].sum()))
    for index, name in enumerate(found.class_names):
        images = sum(bool(counts[index]) for counts, _ in found.pseudo.values())
        table.add_row(Text(name), str(images), f"{100 * pixels[index] / labeled:.2f}")
    return table


def _first(ids: list[str]) -> str:
    return ", ".join(ids[:3]) + (", .." if len(ids) > 3 else "")


def _print_lines(lines: Iterable[str], console: Console) -> None:
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
