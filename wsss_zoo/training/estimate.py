"""How good masks are, estimated from tags, where no mask tells."""

from pathlib import Path

from wsss_zoo.callbacks.metrics.label_estimate import EstimateCounts
from wsss_zoo.data import BaseDataModule
from wsss_zoo.files.pseudo_labels import read_label


def estimate_lines(data: BaseDataModule, masks: Path) -> list[str]:
    """Compare masks of tagged images with their tags.

    Args:
        data: The data set.
        masks: Folder of ``<id>.png``, class index per pixel.

    Returns:
        The estimate in words; none where there are no tags.
    """
    ids = data.ids_of("all")
    tags = data.labels_of(ids, from_masks=False)
    counts = EstimateCounts(data.num_classes, int(data.background))
    for image_id, present in tags.items():
        counts.add(read_label(masks, image_id), present, None)
    if not tags:
        return []
    metrics = counts.metrics(data.class_names)
    missing, untagged = metrics.get("estimate/missing"), metrics["estimate/untagged_pixels"]
    lines = [f"estimated from the tags of {len(tags)} images, for want of held-out masks:"]
    if missing is not None:
        lines.append(f"a tagged class is found in {1 - missing:.0%} of its images, mean of classes")
    lines.append(f"{untagged:.0%} of the pixels have a class that the image is not tagged with")
    return lines
