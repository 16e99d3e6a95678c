"""Draw the figures of these pages from generated images and the networks of ``make demo``.

    make demo && python docs/figures.py runs/demo [NAME ...]

Pictures are of Shapes; labels and maps in them are what the demo's two networks say, which were
trained from tags alone: they are wrong in places, as pseudo-labels are.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from flow_chart import LINE, FlowChart, Node, save_small
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo import CAM, Augmentation, Shapes, Supervised
from wsss_zoo.callbacks import SheetRow, draw_sheet
from wsss_zoo.callbacks.pictures import color_label, heat_overlay
from wsss_zoo.data.pseudo_labels import read_cam, read_label
from wsss_zoo.functional import calibrated_fusion, cam_to_label, cutmix, mask_to_image_labels

IMAGES = Path(__file__).parent / "images"
CHECKPOINT = "checkpoints/last.ckpt"
# Images of the training split that show something, and the seed of their views.
FIRST, SECOND, LABELED, SEED = "train_000003", "train_000002", "train_000000", 8
SURE = 0.9
SHEET = ("train_000002", "train_000003", "train_000005")

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Example:
    """What is drawn: two unlabelled images, a labelled one, and what the networks say of them.

    Args:
        weak: Weak views, (2, 3, S, S).
        strong: Two strong views of each, (2, 2, 3, S, S).
        image: Labelled image, (1, 3, S, S).
        mask: Its mask, (1, S, S).
        tags: Of the first unlabelled image, (1, K).
        segmenter: A trained `Supervised`.
        cam: A trained `CAM`.
    """

    weak: Tensor
    strong: Tensor
    image: Tensor
    mask: Tensor
    tags: Tensor
    segmenter: Supervised
    cam: CAM

    def labels(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Confidence and class index per pixel, each (N, S, S)."""
        with torch.no_grad():
            confidence, label = self.segmenter(image).softmax(1).max(1)
        return confidence, label

    def maps(self) -> Tensor:
        """Class activation maps of the first unlabelled image, (1, K, S, S)."""
        batch = {"image": self.weak[:1], "image_labels": self.tags}
        with torch.no_grad():
            maps: Tensor = self.cam.predict_step(batch, 0)["cam"]
        return maps


def make_example(run: Path | None) -> Example:
    """Images and networks; without a finished demo, networks that are not trained."""
    if run is None:
        torch.manual_seed(0)
        segmenter, cam = Supervised(7, backbone="test_resnet"), CAM(7, backbone="test_resnet")
    else:
        segmenter, cam = (
            kind.load_from_checkpoint(run / step / CHECKPOINT, map_location="cpu")
            for kind, step in ((Supervised, "segmenter"), (CAM, "cam"))
        )
    data = Shapes(
        supervision="semi",
        labeled_split=0.1,
        crop_size=128,
        strong_views=2,
        num_workers=0,
        augmentation=Augmentation(
            scale_range=(1.0, 1.0), flip_prob=0.0, jitter_prob=1.0, grey_prob=0.0, cutout_prob=0.0
        ),
        seed=SEED,
    )
    data.setup("fit")
    images = data.train_dataloader().iterables["unlabeled"].dataset
    views = [images[images.ids.index(name)] for name in (FIRST, SECOND)]
    image = torch.from_numpy(data.read_image(LABELED)).permute(2, 0, 1)[None] / 255
    return Example(
        weak=torch.stack([view["weak"] for view in views]),
        strong=torch.stack([view["strong"] for view in views]),
        image=image,
        mask=torch.from_numpy(data.read_mask(LABELED))[None].long(),
        tags=mask_to_image_labels(torch.from_numpy(data.read_mask(FIRST))[None].long(), 7),
        segmenter=segmenter.eval(),
        cam=cam.eval(),
    )


def photo(image: Tensor) -> Picture:
    """RGB picture (S, S, 3) of an image (3, S, S) in [0, 1]."""
    return (255 * image).round().byte().permute(1, 2, 0).numpy()


def colored(label: Tensor, kept: Tensor | None = None) -> Picture:
    """Colours of a label map (S, S); pixels that are not kept are hatched."""
    if kept is not None:
        label = torch.where(kept, label, 255)
    return color_label(label.byte().numpy())


def supervised(example: Example) -> FlowChart:
    """Image and mask."""
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
    """Training from tags, and what becomes of the maps."""
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


def pi_model(example: Example) -> FlowChart:
    """Two views of an image."""
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
    """A view and the average of what was said before."""
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
    """Teacher and student."""
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
    """The region that CutMix fills from the other image, (1, S, S)."""
    region = torch.zeros(1, 128, 128, dtype=torch.bool)
    region[:, 62:122, 8:70] = True
    return region


def _mixed(value: Tensor) -> Tensor:
    return cutmix(value[:1], value[1:], _box())[0]


def fixmatch(example: Example) -> FlowChart:
    """Labels of two weak views, mixed as their strong views are."""
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
    target = chart.picture(
        7.5, 0.85, colored(_mixed(label), _mixed(kept)), "labels mixed alike"
    )
    chart.arrow(labels[1], target, label=True)
    chart.arrow(target, loss, label=True)
    for start, end in ((mixed, again), (again, shown), (shown, loss)):
        chart.arrow(start, end)
    return chart


def unimatch(example: Example) -> FlowChart:
    """One label for three predictions."""
    chart = FlowChart(8.4, 4.75)
    confidence, label = example.labels(example.weak)
    weak = chart.picture(0.7, 0.85, photo(example.weak[0]), "weak view")
    encoder = chart.box(2.1, 0.85, "encoder", "network", 0.85)
    decoder = chart.box(3.5, 0.85, "decoder", "network", 0.85)
    target = chart.picture(
        7.55, 0.85, colored(label[0], confidence[0] >= SURE), "label where sure"
    )
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


def cps(example: Example) -> FlowChart:
    """Two networks, each the other's teacher."""
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
    """Decoder and Grad-CAMs fused."""
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


def cpc(example: Example) -> FlowChart:
    """Rows of patches: known, skipped, to be predicted."""
    chart = FlowChart(8.2, 3.1)
    image = chart.picture(1.4, 1.65, photo(example.weak[0]), "patches of 32 pixels, half overlapping", 2.4)
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


def st(example: Example) -> FlowChart:
    """Self-training in one round."""
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
    """Self-training in two rounds, the reliable half first."""
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
        cpc,
        cps,
        fixmatch,
        mean_teacher,
        pi_model,
        pseudoseg,
        st,
        st_plus_plus,
        supervised,
        temporal_ensembling,
        unimatch,
    )
}


def draw_demo(run: Path, path: Path) -> None:
    """Some rows of the demo's picture sheet."""
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
    """Draw all figures, or those named."""
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
