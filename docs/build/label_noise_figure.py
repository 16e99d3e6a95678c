"""Draw the figure of GATCorrector."""

import torch
import torch.nn.functional as F
from figure_example import SEED, Example, colored, photo
from flow_chart import FlowChart
from skimage.segmentation import find_boundaries

from wsss_zoo.functional import (
    label_loss,
    noise_threshold,
    paint,
    pool_regions,
    prune_edges,
    region_adjacency,
    superpixels,
    vote,
    write_back,
)
from wsss_zoo.methods.graphs.image_network import fit_to_image
from wsss_zoo.modules import RegionNetwork

#: Regions asked for, and the share of right pixels among the believed.
REGIONS, PRECISION, NUM_CLASSES = 250, 0.97, 7


def gat_corrector(example: Example) -> FlowChart:
    """Draw a label, its clean part, and the labels that a graph network gives the rest.

    The networks of the demo never saw a mask. So the label is the true mask, moved and smeared. The
    network trained on true masks is the true mask, blurred.
    """
    image, picture = example.image, photo(example.image[0])
    true = F.one_hot(example.mask, NUM_CLASSES).permute(0, 3, 1, 2).float()
    smeared = F.max_pool2d(true[:, 1:].roll((-5, 6), (2, 3)), 13, 1, 6)
    label = torch.cat([0.5 + 0 * smeared[:, :1], smeared], 1).argmax(1)
    probs = F.avg_pool2d(true, 13, 1, 6)
    losses = label_loss(probs.clamp_min(1e-4).log(), label)[0]
    gamma = noise_threshold(losses.flatten(), (label == example.mask).flatten(), PRECISION)
    clean = losses <= gamma
    with torch.no_grad():
        decoded = example.segmenter.network.decoder(example.segmenter.network.features(image))[0]
    segments = torch.from_numpy(superpixels(picture, REGIONS, backend="skimage"))
    x = pool_regions(decoded, segments)
    edges = prune_edges(x, region_adjacency(segments))
    votes = vote(torch.where(clean, label[0], 255), segments, NUM_CLASSES)
    region_probs = fit_to_image(
        lambda: RegionNetwork(x.shape[1], NUM_CLASSES),
        lambda network: torch.optim.Adam(network.parameters(), 5e-3),
        *(x, edges, votes, 100, SEED, False),
    )
    corrected = write_back(region_probs.argmax(1), votes, segments, label[0], clean, "keep_pixels")

    chart = FlowChart(9.0, 3.2)
    given = chart.picture(0.75, 0.85, colored(label[0]), "label made of tags")
    photograph = chart.picture(0.75, 2.45, picture, "image")
    network = chart.box(2.25, 2.45, "network trained\non true masks", "memory", 1.25)
    loss = chart.box(2.25, 0.85, "loss above \u03b3?\nnoise", "step", 1.1)
    believed = chart.picture(3.85, 0.85, colored(label[0], clean), "what is believed")
    outlined = picture.copy()
    outlined[find_boundaries(segments.numpy(), mode="inner")] = (255, 255, 255)
    regions = chart.picture(3.85, 2.45, outlined, "superpixels")
    known = chart.picture(5.45, 0.85, colored(paint(votes, segments)), "majority of clean pixels")
    graph = chart.box(5.6, 2.45, "graph: touching\nand similar,\nmean features", "step", 1.25)
    layers = chart.box(7.15, 1.65, "graph\nattention", "network", 0.85)
    result = chart.picture(8.35, 1.65, colored(corrected), "corrected label")
    for start, end in ((given, loss), (loss, believed), (believed, known), (network, regions)):
        chart.arrow(start, end)
    chart.arrow(photograph, network)
    chart.arrow(network, loss, sides="tb")
    chart.arrow(regions, graph)
    chart.arrow(known, layers, label=True)
    chart.arrow(graph, layers)
    chart.arrow(layers, result)
    return chart
