"""Draw the attention of a CoAttention checkpoint: one marked position, and where it attends.

    python experiments/attention_pictures.py CKPT ROOT OUT.png ID:ID ... [--classes cat dog ...]

Each pair of VOC 2012 images is a row of four pictures:

* the first image with its strongest position of the first common class;
* the attention of that position over the second image;
* the single-round map of the first image;
* the map of the features that the first image gathers from the second.

Each map is divided by its maximum. The script prints the share of attention on the ten strongest
positions.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from wsss_zoo import VOC2012, CoAttention
from wsss_zoo.drawing import heat_overlay
from wsss_zoo.functional import class_activation_map, co_attention_affinity

HEIGHT, GAP, TOP = 200, 6, 10


@torch.no_grad()
def draw_pair(method: CoAttention, data: VOC2012, first: str, second: str) -> Image.Image:
    """One row of pictures; see above."""
    pixels = [data.read_image(name) for name in (first, second)]
    images = [torch.from_numpy(p).permute(2, 0, 1)[None] / 255 for p in pixels]
    labels = data.labels_of([first, second], from_masks=True)
    both = np.flatnonzero(labels[first] & labels[second])
    if not len(both):
        raise SystemExit(f"{first} and {second} share no class; give pairs that do")
    label = int(both[0])
    model, w_p = method.model, method.model.attention.affinity()
    feat, other = (model.features(image) for image in images)
    own = class_activation_map(feat, model.own.weight)[0, label]
    values = class_activation_map(other, model.common.weight)[:, label : label + 1]
    gathered = model.attention.gather(feat, other, w_p, values)[0, 0]
    place = int(own.argmax())
    compared = [F.normalize(x, dim=1) if model.attention.cosine else x for x in (feat, other)]
    attention = co_attention_affinity(*compared, w_p)[0, place].softmax(0)
    strongest = float(attention.topk(min(TOP, len(attention))).values.sum())
    entropy = float(-(attention * attention.clamp_min(1e-12).log()).sum())
    print(
        f"{first} {second} {data.fg_names[label]}: {len(attention)} positions, {TOP} strongest "
        f"{strongest:.2f}, as if over {np.exp(entropy):.1f}"
    )
    marked = Image.fromarray(pixels[0]).copy()
    stride = model.backbone.strides[-1]
    grids = [_shown(grid, images[0], stride) for grid in (own, gathered)]
    x, y = (place % own.shape[1] + 0.5) * stride, (place // own.shape[1] + 0.5) * stride
    ImageDraw.Draw(marked).ellipse((x - 9, y - 9, x + 9, y + 9), outline=(255, 0, 0), width=4)
    looked = _shown(attention.view(other.shape[-2:]), images[1], stride)
    parts = [
        marked,
        Image.fromarray(heat_overlay(pixels[1], looked)),
        *(Image.fromarray(heat_overlay(pixels[0], grid)) for grid in grids),
    ]
    parts = [part.resize((round(part.width * HEIGHT / part.height), HEIGHT)) for part in parts]
    row = Image.new("RGB", (sum(part.width + GAP for part in parts), HEIGHT), "white")
    left = 0
    for part in parts:
        row.paste(part, (left, 0))
        left += part.width + GAP
    return row


def _shown(grid: Tensor, image: Tensor, stride: int) -> np.ndarray:
    """A map at the size of its image, over its maximum, (1, H, W)."""
    size = [-(-side // stride) * stride for side in image.shape[-2:]]
    full = F.interpolate(grid[None, None].relu(), size, mode="bilinear", align_corners=False)[0, 0]
    full = full[: image.shape[-2], : image.shape[-1]]
    return (full / full.max().clamp_min(1e-8)).numpy()[None]


def main() -> None:
    """Draw the pairs below one another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("root")
    parser.add_argument("out", type=Path)
    parser.add_argument("pairs", nargs="+", metavar="ID:ID")
    parser.add_argument("--classes", nargs="+")
    args = parser.parse_args()
    data = VOC2012(args.root, classes=args.classes)
    method = CoAttention.load_from_checkpoint(args.checkpoint, map_location="cpu").eval()
    rows = [draw_pair(method, data, *pair.split(":")) for pair in args.pairs]
    sheet = Image.new("RGB", (max(row.width for row in rows), (HEIGHT + GAP) * len(rows)), "white")
    for number, row in enumerate(rows):
        sheet.paste(row, (0, number * (HEIGHT + GAP)))
    sheet.save(args.out)


if __name__ == "__main__":
    main()
