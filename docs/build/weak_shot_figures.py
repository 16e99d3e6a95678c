"""Draw the figures of SimFormer and MaskFormer."""

import torch
from figure_example import Example, colored, photo
from flow_chart import FlowChart

#: What the masks of novel classes are turned into.
IGNORE_INDEX = 255


def sim_former(example: Example) -> FlowChart:
    """Draw base masks, the uncovered area, and pairs of pixels of two images."""
    image, mask = photo(example.image[0]), example.mask[0]
    shown = [int(index) for index in mask.unique() if index not in (0, IGNORE_INDEX)]
    novel = mask == shown[-1]
    base = torch.where(novel, IGNORE_INDEX, mask)
    left_over = torch.where(novel, shown[-1], 0)

    chart = FlowChart(9.0, 3.3)
    photograph = chart.picture(0.7, 0.9, image, "image")
    reference = chart.picture(0.7, 2.55, photo(example.weak[1]), "reference")
    network = chart.box(2.15, 1.7, "mask\ntransformer", "network", 1.05)
    proposals = chart.box(3.65, 0.9, "queries: class\nand mask each", "step", 1.2)
    pixels = chart.box(3.65, 2.55, "embeddings of\npixel pairs", "step", 1.2)
    matching = chart.box(5.2, 0.9, "matching with\nmasks and tags", "step", 1.2)
    similarity = chart.box(5.2, 2.55, "similarity\nnetwork", "network", 1.1)
    masks = chart.picture(6.75, 0.75, colored(base), "base masks")
    rest = chart.picture(8.2, 0.75, colored(left_over), "what they leave")
    pairs = chart.box(6.75, 2.55, "base pixels:\nsame class?", "loss", 1.1)
    distilled = chart.box(8.2, 2.55, "other pixels:\nnovel scores\nas alike", "loss", 1.1)
    for start, end in (
        (photograph, network),
        (reference, network),
        (network, proposals),
        (network, pixels),
        (proposals, matching),
        (pixels, similarity),
        (matching, masks),
        (similarity, pairs),
    ):
        chart.arrow(start, end)
    chart.arrow(masks, rest)
    chart.arrow(pairs, distilled)
    return chart


def mask_former(example: Example) -> FlowChart:
    """Draw image, proposals, and one target per class."""
    image, mask = photo(example.image[0]), example.mask[0]
    chart = FlowChart(7.6, 1.6)
    photograph = chart.picture(0.7, 0.85, image, "image")
    network = chart.box(2.1, 0.85, "mask\ntransformer", "network", 1.05)
    proposals = chart.box(3.6, 0.85, "queries: class\nand mask each", "step", 1.2)
    matching = chart.box(5.2, 0.85, "matching,\nthen class and\nmask losses", "loss", 1.2)
    truth = chart.picture(6.8, 0.85, colored(mask), "mask")
    for start, end in ((photograph, network), (network, proposals), (proposals, matching)):
        chart.arrow(start, end)
    chart.arrow(truth, matching, label=True)
    return chart
