"""Draw the figures of these pages from generated images and the networks of ``make demo``.

    make demo && python docs/build/figures.py runs/demo [NAME ...]

Pictures show Shapes. The two networks of the demo predict the labels and maps. They were trained on
tags alone, so their labels are partly wrong, as pseudo-labels are.
"""

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import label_noise_figure
import semi_figures
import sparse_figure
import weak_shot_figures
from figure_example import Example, colored, make_example, photo
from flow_chart import LINE, FlowChart, Node, save_small

from wsss_zoo import Shapes
from wsss_zoo.callbacks import SheetRow, draw_sheet
from wsss_zoo.drawing import heat_overlay
from wsss_zoo.files import read_cam, read_label
from wsss_zoo.functional import cam_to_label

IMAGES = Path(__file__).parents[1] / "images"
SHEET = ("train_000002", "train_000003", "train_000005")


def supervised(example: Example) -> FlowChart:
    """Draw image and mask."""
    chart = FlowChart(6.4, 1.65)
    _, label = example.labels(example.image)
    image = chart.picture(0.7, 0.85, photo(example.image[0]), "image")
    network = chart.box(2.1, 0.85, "network", "network")
    preds = chart.picture(3.4, 0.85, colored(label[0]), "prediction")
    loss = chart.box(4.6, 0.85, "cross-\nentropy", "loss", 0.8)
    mask = chart.picture(5.75, 0.85, colored(example.mask[0]), "mask")
    chart.arrow(image, network)
    chart.arrow(network, preds)
    chart.arrow(preds, loss)
    chart.arrow(mask, loss, label=True)
    return chart


def cam(example: Example) -> FlowChart:
    """Draw training on tags, and the labels made from the maps."""
    chart = FlowChart(8.3, 3.2)
    maps = example.maps()
    image = chart.picture(0.7, 0.85, photo(example.weak[0]), "image")
    network = chart.box(2.0, 0.85, "backbone", "network")
    pool = chart.box(3.5, 0.85, "average over\npositions", "step", 1.15)
    linear = chart.box(5.0, 0.85, "linear layer", "network", 1.05)
    loss = chart.box(6.35, 0.85, "binary cross-\nentropy", "loss", 1.1)
    tags = chart.box(7.65, 0.85, "tags: crane,\nmixer", "step", 0.95)
    for start, end in ((image, network), (network, pool), (pool, linear), (linear, loss)):
        chart.arrow(start, end)
    chart.arrow(tags, loss, label=True)
    merge = chart.box(2.6, 2.45, "feature maps\nx class weights\nof each scale", "step", 1.25)
    heat = chart.picture(
        4.25, 2.45, heat_overlay(photo(example.weak[0]), maps[0].numpy()), "class activation maps"
    )
    rule = chart.box(5.75, 2.45, "threshold,\nperhaps CRF", "step", 1.1)
    made = cam_to_label(maps, example.tags, 0.3)[0]
    label = chart.picture(7.35, 2.45, colored(made), "pseudo-label")
    chart.arrow(network, merge, sides="bt")
    chart.arrow(linear, merge, sides="bt")
    for start, end in ((merge, heat), (heat, rule), (rule, label)):
        chart.arrow(start, end)
    return chart


def co_attention(example: Example) -> FlowChart:
    """Draw two images, their common features, and the features of each alone."""
    chart = FlowChart(8.9, 3.2)
    images = [
        chart.picture(0.7, y, photo(example.weak[index]), f"image {name}")
        for index, (name, y) in enumerate((("m", 0.75), ("n", 2.45)))
    ]
    backbone = chart.box(2.1, 1.6, "backbone", "network")
    affinity = chart.box(3.75, 1.6, "affinity of\nall positions,\nsoftmax", "network", 1.2)
    shared = chart.box(5.4, 1.6, "what m finds\nagain in n,\nand n in m", "step", 1.2)
    alone = chart.box(5.4, 2.75, "what is\nleft over", "step", 1.0)
    layer = chart.box(6.85, 1.6, "class\nlayer", "network", 0.75)
    losses = [
        chart.box(8.2, y, f"{text}", "loss", 1.1)
        for y, text in (
            (0.45, "tags of\neach"),
            (1.6, "tags that\nboth have"),
            (2.75, "tags of\none alone"),
        )
    ]
    for image in images:
        chart.arrow(image, backbone)
    for start, end in ((backbone, affinity), (affinity, shared), (shared, layer)):
        chart.arrow(start, end)
    chart.arrow(shared, alone, sides="bt")
    chart.arrow(alone, layer, sides="rb")
    chart.arrow(backbone, layer, sides="tt", bend=-0.25)
    for loss in losses:
        chart.arrow(layer, loss)
    return chart


def cpc(example: Example) -> FlowChart:
    """Draw rows of patches: known, skipped, to be predicted."""
    chart = FlowChart(8.2, 3.1)
    image = chart.picture(
        1.4, 1.65, photo(example.weak[0]), "patches of 32 pixels, half overlapping", 2.4
    )
    colors = ["#2563eb"] * 3 + ["#9ca3af"] + ["#dc2626"] * 3
    chart.frames(
        image,
        [(column / 8, row / 8, 0.25, colors[row]) for row in range(7) for column in range(7)],
        1.3,
    )
    for y, color, text in (
        (0.75, "#2563eb", "known rows"),
        (1.65, "#9ca3af", "skipped row"),
        (2.55, "#dc2626", "rows to predict"),
    ):
        chart.text(2.75, y, text, ha="left", color=color)
    encoder = chart.box(4.5, 0.75, "encoder,\neach patch alone", "network", 1.3)
    context = chart.box(6.0, 0.75, "context\nnetwork", "network", 0.9)
    guess = chart.box(7.4, 0.75, "one linear map\nper distance", "network", 1.2)
    other = chart.box(4.5, 2.55, "encoder,\neach patch alone", "network", 1.3)
    loss = chart.box(7.4, 2.55, "InfoNCE: which\npatch of all?", "loss", 1.25)
    chart.arrow(Node(3.2, 0.75, 0.75, 0.2), encoder)
    chart.arrow(Node(3.3, 2.55, 0.75, 0.2), other)
    for start, end in ((encoder, context), (context, guess), (guess, loss), (other, loss)):
        chart.arrow(start, end)
    return chart


def self_regulation(example: Example) -> FlowChart:
    """Draw exits along the network, and which exit teaches which."""
    chart = FlowChart(8.6, 3.1)
    image = chart.picture(0.7, 2.2, photo(example.image[0]), "image")
    places = (2.2, 3.8, 5.4, 7.0)
    stages = [
        chart.box(x, 2.2, text, "network", 1.0)
        for x, text in zip(places, ("stage 1", "stage 2", "stage 3", "decoder"), strict=True)
    ]
    exits = [
        chart.box(x, 0.9, text, "loss", 1.15)
        for x, text in zip(places, ("exit", "exit", "exit", "exit that\nremains"), strict=True)
    ]
    chart.arrow(image, stages[0])
    for start, end in pairwise(stages):
        chart.arrow(start, end)
    for stage, exit_ in zip(stages, exits, strict=True):
        chart.arrow(stage, exit_, sides="tb")
    for deeper, bend in zip(exits[1:], (0.25, 0.2, 0.16), strict=True):
        chart.arrow(exits[0], deeper, sides="tt", bend=-bend, label=True)
    chart.text(
        2.2,
        2.85,
        "above: the first exit teaches detail; below: the last teaches which classes are there",
        ha="left",
    )
    for shallower in exits[:-1]:
        chart.arrow(exits[-1], shallower, sides="bb", bend=-0.18, label=True)
    return chart


def st(example: Example) -> FlowChart:
    """Draw self-training in one round."""
    chart = FlowChart(8.2, 1.75)
    _, label = example.labels(example.weak)
    masks = chart.picture(0.65, 0.95, colored(example.mask[0]), "a few masks")
    teacher = chart.box(1.85, 0.95, "teacher", "network", 0.8)
    made = [chart.picture(x, 0.95, colored(label[index])) for index, x in enumerate((3.1, 4.15))]
    chart.text(3.625, 0.42, "labels of all other images", va="bottom")
    student = chart.box(5.85, 0.95, "student: masks\nand labels,\nstrong changes", "network", 1.35)
    chart.arrow(masks, teacher)
    chart.arrow(teacher, made[0])
    chart.arrow(made[1], student)
    shown = chart.picture(7.45, 0.95, photo(example.strong[0, 0]), "what it learns on")
    chart.arrow(shown, student)
    return chart


def st_plus_plus(example: Example) -> FlowChart:
    """Draw self-training in two rounds, the reliable half first."""
    chart = FlowChart(8.4, 3.05)
    _, label = example.labels(example.weak)
    times = [
        chart.box(1.0, 0.55 + 0.72 * index, f"teacher after\n{part} of training", "network", 1.45)
        for index, part in enumerate(("1/3", "2/3", "all"))
    ]
    rank = chart.box(3.0, 1.27, "agreement of\ntheir labels,\nimage by image", "step", 1.3)
    for node in times:
        chart.arrow(node, rank, sides="rl")
    good = chart.picture(4.75, 0.75, colored(label[1]), "reliable half")
    bad = chart.picture(4.75, 2.35, colored(label[0]), "the others")
    chart.arrow(rank, good, sides="rl")
    chart.arrow(rank, bad, sides="rl", bend=0.15)
    first = chart.box(6.3, 0.75, "student", "network", 0.8)
    final = chart.box(7.65, 1.55, "final network:\nall labels", "network", 1.2)
    chart.arrow(good, first)
    chart.arrow(first, bad, sides="br", bend=-0.3)
    chart.text(6.3, 1.85, "labels them\nagain", ha="left", color=LINE)
    chart.arrow(bad, final, sides="bb", bend=0.3)
    chart.arrow(good, final, sides="tt", bend=-0.3)
    return chart


FIGURES: dict[str, Callable[[Example], FlowChart]] = {
    function.__name__: function
    for function in (
        cam,
        co_attention,
        cpc,
        label_noise_figure.gat_corrector,
        weak_shot_figures.mask_former,
        weak_shot_figures.sim_former,
        semi_figures.cps,
        semi_figures.fixmatch,
        semi_figures.mean_teacher,
        semi_figures.pi_model,
        semi_figures.pseudoseg,
        self_regulation,
        sparse_figure.sparse,
        st,
        st_plus_plus,
        supervised,
        semi_figures.temporal_ensembling,
        semi_figures.unimatch,
        semi_figures.unimatch_v2,
    )
}


def draw_demo(run: Path, path: Path) -> None:
    """Draw some rows of the contact sheet of the demo."""
    data = Shapes()
    maps = {name: read_cam(run / "cam_labels" / "pseudo_labels", name)[0] for name in SHEET}
    rows = [
        SheetRow(
            image_id=name,
            image=data.read_image(name),
            truth=data.read_mask(name),
            cam=maps[name],
            pseudo_label=read_label(run / "cam_labels" / "pseudo_labels", name),
            preds=read_label(run / "pictures" / "pseudo_labels", name),
        )
        for name in SHEET
    ]
    save_small(draw_sheet(rows, data.class_names), path)


def main() -> None:
    """Draw all figures, or the named ones."""
    parser = argparse.ArgumentParser(description="Draw the figures of the documentation.")
    parser.add_argument("run", type=Path, help="folder of a finished `make demo`")
    parser.add_argument("names", nargs="*", help="figures to draw; default all")
    options = parser.parse_args()
    example = make_example(options.run)
    for name in options.names or FIGURES:
        FIGURES[name](example).save(IMAGES / f"{name}.png")
    if not options.names:
        draw_demo(options.run, IMAGES / "demo.png")


if __name__ == "__main__":
    main()
