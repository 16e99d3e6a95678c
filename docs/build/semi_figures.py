"""Draw the figures of the semi-supervised methods."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from figure_example import Example, colored, photo
from flow_chart import FlowChart, Node
from torch import Tensor

from wsss_zoo.drawing import heat_overlay
from wsss_zoo.functional import calibrated_fusion, cutmix

# Confidence from which a label counts in the figures.
SURE = 0.9


def pi_model(example: Example) -> FlowChart:
    """Draw two views of an image."""
    chart = FlowChart(7.4, 3.0)
    first = chart.picture(0.75, 0.85, photo(example.weak[0]), "view 1")
    second = chart.picture(0.75, 2.35, photo(example.strong[0, 0]), "view 2")
    network = chart.box(2.4, 1.6, "network\n(dropout\nof its own\nfor each)", "network", 1.05)
    for y, view, place in ((0.85, example.weak, first), (2.35, example.strong[:, 0], second)):
        label = chart.picture(4.2, y, colored(example.labels(view)[1][0]), "probabilities")
        chart.arrow(place, network, sides="rl")
        chart.arrow(network, label, sides="rl")
        loss = Node(6.1, 1.6, 1.2, 0.54)
        chart.arrow(label, loss, sides="rl")
    chart.box(6.1, 1.6, "squared\ndifference", "loss", 1.2)
    return chart


def temporal_ensembling(example: Example) -> FlowChart:
    """Draw a view and the average of earlier predictions."""
    chart = FlowChart(7.6, 3.1)
    _, label = example.labels(example.strong[:, 0])
    with torch.no_grad():
        probs = example.segmenter(example.weak[:1]).softmax(1)
    before = F.avg_pool2d(probs, 8)[0].argmax(0)
    view = chart.picture(0.75, 0.85, photo(example.strong[0, 0]), "view of a crop")
    network = chart.box(2.3, 0.85, "network", "network")
    preds = chart.picture(3.9, 0.85, colored(label[0]), "probabilities p")
    loss = chart.box(6.2, 0.85, "squared\ndifference", "loss", 1.1)
    memory = chart.picture(3.9, 2.4, colored(before), "")
    name = chart.box(6.2, 2.4, "Z of this image\n(cells of a grid)", "memory", 1.4)
    chart.arrow(view, network)
    chart.arrow(network, preds)
    chart.arrow(preds, loss)
    chart.arrow(memory, name)
    chart.arrow(name, loss, "Z, corrected\nfor its bias", label=True)
    chart.arrow(preds, memory, "after the step:\nZ \u2190 0.6 Z + 0.4 p", label=True)
    return chart


def mean_teacher(example: Example) -> FlowChart:
    """Draw teacher and student."""
    chart = FlowChart(7.4, 3.0)
    loss = chart.box(6.1, 1.6, "squared\ndifference", "loss", 1.2)
    weak = chart.picture(0.75, 0.85, photo(example.weak[0]), "weak view")
    strong = chart.picture(0.75, 2.35, photo(example.strong[0, 0]), "strong view")
    teacher = chart.box(2.4, 0.85, "teacher", "memory")
    student = chart.box(2.4, 2.35, "student", "network")
    target = chart.picture(4.2, 0.85, colored(example.labels(example.weak)[1][0]), "probabilities")
    preds = chart.picture(
        4.2, 2.35, colored(example.labels(example.strong[:, 0])[1][0]), "probabilities"
    )
    for start, end in ((weak, teacher), (teacher, target), (strong, student), (student, preds)):
        chart.arrow(start, end)
    chart.arrow(target, loss, label=True, sides="rl")
    chart.arrow(preds, loss, sides="rl")
    chart.arrow(student, teacher, "average\nof weights", label=True)
    return chart


def _box() -> Tensor:
    """Return the region that CutMix fills from the other image, (1, S, S)."""
    region = torch.zeros(1, 128, 128, dtype=torch.bool)
    region[:, 62:122, 8:70] = True
    return region


def _mixed(value: Tensor) -> Tensor:
    return cutmix(value[:1], value[1:], _box())[0]


def fixmatch(example: Example) -> FlowChart:
    """Draw labels of two weak views, mixed like their strong views."""
    chart = FlowChart(8.4, 3.15)
    confidence, label = example.labels(example.weak)
    kept = confidence >= SURE
    network = chart.box(2.75, 0.85, "network", "network", 0.85)
    for index, x in enumerate((0.65, 1.7)):
        weak = chart.picture(x, 0.85, photo(example.weak[index]), f"weak {'AB'[index]}")
        chart.picture(x, 2.45, photo(example.strong[index, 0]), f"strong {'AB'[index]}")
    labels = [
        chart.picture(x, 0.85, colored(label[index], kept[index]), f"label {'AB'[index]}")
        for index, x in enumerate((3.85, 4.9))
    ]
    chart.arrow(weak, network)
    chart.arrow(network, labels[0], label=True)
    mixed = chart.picture(3.25, 2.45, photo(_mixed(example.strong[:, 0])), "mixed (CutMix)")
    chart.arrow(Node(1.7, 2.45, 0.95, 0.95), mixed)
    again = chart.box(4.75, 2.45, "network", "network", 0.85)
    preds = example.labels(_mixed(example.strong[:, 0])[None])[1][0]
    shown = chart.picture(6.05, 2.45, colored(preds), "prediction")
    loss = chart.box(7.5, 2.45, "cross-\nentropy", "loss", 0.85)
    target = chart.picture(7.5, 0.85, colored(_mixed(label), _mixed(kept)), "labels mixed alike")
    chart.arrow(labels[1], target, label=True)
    chart.arrow(target, loss, label=True)
    for start, end in ((mixed, again), (again, shown), (shown, loss)):
        chart.arrow(start, end)
    return chart


def unimatch(example: Example) -> FlowChart:
    """Draw one label for three predictions."""
    chart = FlowChart(8.4, 4.75)
    confidence, label = example.labels(example.weak)
    weak = chart.picture(0.7, 0.85, photo(example.weak[0]), "weak view")
    encoder = chart.box(2.1, 0.85, "encoder", "network", 0.85)
    decoder = chart.box(3.5, 0.85, "decoder", "network", 0.85)
    target = chart.picture(7.55, 0.85, colored(label[0], confidence[0] >= SURE), "label where sure")
    chart.arrow(weak, encoder)
    chart.arrow(encoder, decoder)
    chart.arrow(decoder, target, label=True)
    drop = chart.box(2.1, 1.85, "half of the\nchannels dropped", "step", 1.3)
    again = chart.box(3.8, 1.85, "decoder", "network", 0.85)
    loss_fp = chart.box(5.7, 1.85, "$L_{fp}$", "loss", 0.7)
    chart.arrow(encoder, drop)
    chart.arrow(drop, again)
    chart.arrow(again, loss_fp)
    chart.arrow(target, loss_fp, label=True, sides="br", bend=-0.2)
    for view, y in enumerate((2.9, 4.2)):
        strong = chart.picture(0.7, y, photo(example.strong[0, view]), f"strong view {view + 1}")
        network = chart.box(2.1, y, "network", "network", 0.85)
        shown = example.labels(example.strong[:1, view])[1][0]
        preds = chart.picture(3.8, y, colored(shown), "prediction")
        loss = chart.box(5.7, y, f"$L_{{s{view + 1}}}$", "loss", 0.7)
        for start, end in ((strong, network), (network, preds), (preds, loss)):
            chart.arrow(start, end)
        chart.arrow(target, loss, label=True, sides="br", bend=-0.2)
    return chart


def unimatch_v2(example: Example) -> FlowChart:
    """Draw one label for two strong views with complementary channels."""
    chart = FlowChart(8.4, 4.4)
    confidence, label = example.labels(example.weak)
    weak = chart.picture(0.7, 0.85, photo(example.weak[0]), "weak view")
    average = chart.box(2.1, 0.85, "average of\nthe weights", "memory", 1.1)
    target = chart.picture(7.55, 0.85, colored(label[0], confidence[0] >= SURE), "label where sure")
    chart.arrow(weak, average)
    chart.arrow(average, target, label=True)
    drops = ("channels b", "all other\nchannels")
    for view, y in enumerate((2.3, 3.7)):
        strong = chart.picture(0.7, y, photo(example.strong[0, view]), f"strong view {view + 1}")
        encoder = chart.box(2.05, y, "encoder", "network", 0.85)
        kept = chart.box(3.25, y, drops[view], "step", 0.95)
        decoder = chart.box(4.4, y, "decoder", "network", 0.85)
        shown = example.labels(example.strong[:1, view])[1][0]
        preds = chart.picture(5.6, y, colored(shown), "prediction")
        loss = chart.box(6.75, y, f"$L_{view + 1}$", "loss", 0.6)
        path = (strong, encoder, kept, decoder, preds, loss)
        for start, end in pairwise(path):
            chart.arrow(start, end)
        chart.arrow(target, loss, label=True, sides="br", bend=-0.2)
    return chart


def cps(example: Example) -> FlowChart:
    """Draw two networks that teach each other."""
    chart = FlowChart(7.9, 3.0)
    image = chart.picture(0.75, 1.6, photo(example.weak[0]), "image")
    shown = []
    # There is one trained network: its prediction of the mirrored image stands for the other's.
    _, label = example.labels(example.weak[:1])
    _, mirrored = example.labels(example.weak[:1].flip(-1))
    for number, y, preds in ((1, 0.85, label[0]), (2, 2.35, mirrored[0].flip(-1))):
        network = chart.box(2.4, y, f"network {number}", "network")
        label = chart.picture(4.1, y, colored(preds), "arg-max")
        loss = chart.box(6.7, y, f"cross-entropy\nof network {number}", "loss", 1.3)
        chart.arrow(image, network, sides="rl")
        chart.arrow(network, label)
        chart.arrow(label, loss)
        shown.append((label, loss))
    (label1, loss1), (label2, loss2) = shown
    chart.arrow(label1, loss2, label=True, sides="rl")
    chart.arrow(label2, loss1, label=True, sides="rl")
    return chart


def pseudoseg(example: Example) -> FlowChart:
    """Draw the fusion of decoder and Grad-CAMs."""
    chart = FlowChart(8.9, 3.3)
    maps = example.maps()
    with torch.no_grad():
        logits = example.segmenter(example.weak[:1])
    background = (1 - maps.amax(1, keepdim=True)) / 2
    fused = calibrated_fusion(logits, 8 * torch.cat([background, maps], 1), 0.5)
    weak = chart.picture(0.7, 1.6, photo(example.weak[0]), "weak view")
    encoder = chart.box(1.95, 1.6, "encoder", "network", 0.8)
    decoder = chart.box(3.1, 0.85, "decoder", "network", 0.8)
    refine = chart.box(3.15, 2.45, "classifier,\nself-attention", "network", 1.15)
    by_decoder = chart.picture(4.4, 0.85, colored(logits[0].argmax(0)), "decoder")
    heat = chart.picture(
        4.4, 2.45, heat_overlay(photo(example.weak[0]), maps[0].numpy()), "Grad-CAMs of the tags"
    )
    fusion = chart.box(5.65, 1.6, "calibrated\nfusion", "step", 0.95)
    label = chart.picture(6.9, 1.6, colored(fused[0].argmax(0)), "soft label")
    loss = chart.box(8.2, 1.6, "cross-\nentropy", "loss", 0.75)
    strong = chart.picture(8.2, 2.45, photo(example.strong[0, 0]), "", 0.75)
    chart.text(8.2, 2.87, "strong view, through\nthe network", va="top")
    for start, end, sides in (
        (weak, encoder, "rl"),
        (encoder, decoder, "rl"),
        (encoder, refine, "rl"),
        (decoder, by_decoder, "rl"),
        (refine, heat, "rl"),
        (by_decoder, fusion, "rl"),
        (heat, fusion, "rl"),
        (fusion, label, "rl"),
    ):
        chart.arrow(start, end, sides=sides)
    chart.arrow(label, loss, label=True)
    chart.arrow(strong, loss)
    return chart
