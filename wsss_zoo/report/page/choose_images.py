"""Which images a page shows: every class, and those that the runs label worst."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.drawing.choice import image_miou, spread, typical_and_worst
from wsss_zoo.files.decoding import IGNORE_INDEX
from wsss_zoo.report.page.label_sources import DAMAGED, Source, small
from wsss_zoo.report.page.photos import read_masks

_COMPARED = 60  # images that those of the page are chosen from


def choose_images(sources: Mapping[int, Source], count: int) -> list[str]:
    """Choose images: first of those that most runs have, in the order of the first of them."""
    counts = Counter(image_id for source in sources.values() for image_id in source.panels)
    chosen: list[str] = []
    for times in sorted({*counts.values()}, reverse=True):
        ids = [image_id for image_id, number in counts.items() if number == times]
        room = count - len(chosen)
        if len(ids) > room:
            classes, scores = _look_at(spread(ids, _COMPARED), sources)
            typical, worst = typical_and_worst(classes, scores, room)
            ids = [*typical, *reversed(worst)]
        chosen += ids
    return chosen


def _look_at(
    image_ids: Sequence[str], sources: Mapping[int, Source]
) -> tuple[dict[str, set[str]], dict[str, float]]:
    """The classes of images, by their truth else the labels, and the mean IoU of the labels."""
    truths: dict[str, NDArray[np.uint8]] = {}
    for source in sources.values():
        unknown = [i for i in image_ids if i not in truths and i in source.panels]
        if source.sheet is None and unknown:
            truths |= read_masks(source.run.folder, unknown, small)
        for image_id in unknown if source.sheet is not None else []:
            if "truth" in source.panels[image_id]:
                truths[image_id] = source.indices(image_id, "truth")
    classes: dict[str, set[str]] = {}
    scores: dict[str, float] = {}
    for image_id in image_ids:
        labels = []
        for source in sources.values():
            with suppress(*DAMAGED):  # said when it is drawn
                labels += [source.indices(image_id, "preds")] if image_id in source.panels else []
        truth = truths.get(image_id)
        judged = [x for x in labels if truth is not None and x.shape == truth.shape]
        if truth is not None and judged:
            scores[image_id] = float(np.mean([image_miou(label, truth) for label in judged]))
        shown = [truth] if truth is not None else labels
        indices = {int(index) for label in shown for index in np.unique(label)}
        # The background, class 0, is everywhere, or a class as any other.
        classes[image_id] = {str(index) for index in indices - {IGNORE_INDEX}}
    return classes, scores
