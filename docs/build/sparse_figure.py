"""Draw the figure of Sparse."""

import numpy as np
import torch
from figure_example import Example, colored, photo
from flow_chart import FlowChart

from wsss_zoo.functional import simulate_scribbles

_SURE = 0.8


def sparse(example: Example) -> FlowChart:
    """Draw strokes and confident labels of the average that teach one crop."""
    chart = FlowChart(8.4, 3.15)
    confidence, label = example.labels(example.weak)
    strokes = simulate_scribbles(label[0].numpy().astype(np.uint8), 0, width=5)
    drawn = torch.from_numpy(strokes != 255)
    weak = chart.picture(0.7, 0.85, photo(example.weak[0]), "weak view")
    view = chart.picture(
        0.7, 2.45, photo(example.weak[0]), "weak view (strong\nif nothing is drawn)"
    )
    average = chart.box(2.2, 0.85, "average", "memory", 0.85)
    student = chart.box(2.2, 2.45, "student", "network", 0.85)
    sure = (confidence[0] >= _SURE) & ~drawn
    target = chart.picture(3.8, 0.85, colored(label[0], sure), "label where sure")
    preds = chart.picture(3.8, 2.45, colored(label[0]), "prediction")
    given = chart.picture(7.6, 2.45, colored(torch.from_numpy(strokes).long(), drawn), "strokes")
    taught = chart.box(5.7, 0.85, "$L_u$", "loss", 0.7)
    partial = chart.box(5.7, 2.45, "$L_{partial}$", "loss", 0.85)
    for start, end in ((weak, average), (average, target), (view, student), (student, preds)):
        chart.arrow(start, end)
    chart.arrow(target, taught, label=True)
    chart.arrow(preds, taught, sides="rb")
    chart.arrow(preds, partial)
    chart.arrow(given, partial, label=True)
    chart.arrow(student, average, "average\nof weights", label=True)
    return chart
