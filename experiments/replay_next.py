"""Replay the choice of `wsss-zoo next` on PASCAL VOC's animals against a random choice.

python experiments/replay_next.py --data.root DIR --model.weights FILE --out DIR [--seeds 5]
(what it printed is kept in replay_next.txt)

Masks of ``train`` are hidden and shown again in two rounds, 28 -> 55 -> 109. Protocol, cheap on
purpose: the encoder is frozen (ImageNet weights), its last feature map of each image is computed
once, and a linear classifier of its cells is trained to the optimum (L-BFGS). The choice sees what
`next` sees: the classifier's entropy, the encoder's features, and the classes of the masks it has.
Each seed begins with other 28 masks, the same for all strategies, and chance decides nothing else.
Val mIoU is that of 7 classes at the masks' size. The area is that under val mIoU over the logarithm
of the number of masks, divided by its width. "all" is the classifier on all masks of train.

A finished measurement is kept in OUT and not repeated.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo import VOC2012
from wsss_zoo.data.supervision.labeled_split import sample_labeled_split
from wsss_zoo.files.atomic import read_json, replacing, write_json
from wsss_zoo.functional import confusion_matrix, mean_iou
from wsss_zoo.functional.labeling.learning_curve import fit_learning_curve
from wsss_zoo.functional.labeling.tag_faults import class_presence
from wsss_zoo.functional.labeling.uncertainty import pixel_entropy, pixel_margin, view_disagreement
from wsss_zoo.labeling.ranking import rank_images
from wsss_zoo.modules import Backbone

SIZES = (28, 55, 109)
CLASSES = ["cat", "cow", "dog", "horse", "person", "sheep"]
# Of the classifier's weights, in the loss of a mean over cells.
_DECAY = 1e-3


@dataclass
class Frozen:
    """Feature maps of images, and their masks."""

    ids: list[str]
    maps: dict[str, Tensor]  # (D, h, w) float16
    masks: dict[str, NDArray[np.uint8]]
    tags: NDArray[np.uint8]  # (N, K)
    mirrored: dict[str, Tensor]  # maps of the mirrored images, mirrored back

    def rows(self, image_id: str) -> tuple[Tensor, Tensor]:
        """Cells of an image (M, D), and the share of each class in them (M, C), known ones only."""
        features = self.maps[image_id].float()
        mask = torch.from_numpy(self.masks[image_id]).long()
        known = mask != 255
        one_hot = F.one_hot(mask.where(known, 0), len(CLASSES) + 1) * known[..., None]
        padded = F.pad(one_hot.permute(2, 0, 1).float(), _padding(mask.shape, features.shape[1:]))
        shares = F.adaptive_avg_pool2d(padded, features.shape[1:]).flatten(1).T
        kept = shares.sum(1) > 0.5
        return features.flatten(1).T[kept], (shares / shares.sum(1, keepdim=True))[kept]


def _padding(size: torch.Size, cells: torch.Size) -> tuple[int, int, int, int]:
    return 0, cells[1] * 16 - size[1], 0, cells[0] * 16 - size[0]


def freeze(root: str, weights: str, cache: Path) -> tuple[Frozen, Frozen]:
    """Compute the feature maps of ``train`` and ``val``, or read those of an earlier call."""
    data = VOC2012(root, classes=CLASSES)
    splits = {split: data.ids_of(split) for split in ("train", "val")}
    if not cache.exists():
        backbone = Backbone("tf_efficientnet_lite0", weights, output_stride=16).eval()
        maps: dict[str, list[Tensor]] = {}
        with torch.inference_mode():
            for image_id in [i for ids in splits.values() for i in ids]:
                image = torch.from_numpy(data.read_image(image_id)).permute(2, 0, 1)[None] / 255
                prepared = backbone.prepare(image)
                both = torch.cat([prepared, prepared.flip(-1)])
                straight, mirrored = backbone.extract(both)[-1].half()
                maps[image_id] = [straight, mirrored.flip(-1)]
        with replacing(cache) as unfinished:
            torch.save(maps, unfinished)
    maps = torch.load(cache, weights_only=True)
    straight, mirrored = ({i: pair[n] for i, pair in maps.items()} for n in (0, 1))
    found = []
    for ids in splits.values():
        tags = data.labels_of(ids, from_masks=True)
        masks = {i: data.read_mask(i) for i in ids}
        found.append(Frozen(ids, straight, masks, np.stack([tags[i] for i in ids]), mirrored))
    return found[0], found[1]


class Probe:
    """A linear classifier of cells, trained to the optimum."""

    def __init__(self, data: Frozen, ids: list[str]) -> None:
        torch.manual_seed(0)
        rows = [data.rows(image_id) for image_id in ids]
        x, y = torch.cat([r[0] for r in rows]), torch.cat([r[1] for r in rows])
        self.mean, self.std = x.mean(0), x.std(0).clamp_min(1e-3)
        x = (x - self.mean) / self.std
        self.weight = torch.zeros(y.shape[1], x.shape[1], requires_grad=True)
        self.bias = torch.zeros(y.shape[1], requires_grad=True)
        search = {"max_iter": 60, "history_size": 10, "line_search_fn": "strong_wolfe"}
        optimizer = torch.optim.LBFGS([self.weight, self.bias], **search)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(F.linear(x, self.weight, self.bias), y)
            loss = loss + _DECAY * self.weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Logits (C, h, w) of a map (D, h, w)."""
        x = (features.float() - self.mean[:, None, None]) / self.std[:, None, None]
        return torch.einsum("cd,dhw->chw", self.weight, x) + self.bias[:, None, None]

    def enlarged(self, features: Tensor, size: tuple[int, ...]) -> Tensor:
        """Logits (C, H, W) of an image of `size` = (H, W)."""
        logits = self.logits(features)
        padded = [16 * side for side in logits.shape[1:]]
        large = F.interpolate(logits[None], size=padded, mode="bilinear")[0]
        return large[:, : size[0], : size[1]]

    def measure(self, data: Frozen) -> NDArray[np.int64]:
        """Confusion matrix of each image, (N, C, C)."""
        found = []
        for image_id in data.ids:
            mask = torch.from_numpy(data.masks[image_id]).long()
            logits = self.enlarged(data.maps[image_id], mask.shape)
            found.append(confusion_matrix(logits.argmax(0), mask, len(logits), 255).numpy())
        return np.stack(found)


@dataclass
class View:
    """What a strategy sees of the images that are left."""

    features: NDArray[np.float64]
    entropy: NDArray[np.float64]
    margin: NDArray[np.float64]
    disagreement: NDArray[np.float64]  # of the image and its mirror image
    presence: NDArray[np.float64]
    tags: NDArray[np.uint8]
    labeled_features: NDArray[np.float64]
    class_counts: NDArray[np.int64]


Strategy = Callable[[View, int, np.random.Generator], list[int]]


def by_next(view: View, count: int, rng: np.random.Generator) -> list[int]:
    """Choose as the command does."""
    return _ranked(view, count)


def by_next_tags(view: View, count: int, rng: np.random.Generator) -> list[int]:
    """Choose as the command does where images are tagged."""
    return _ranked(view, count, presence=view.tags)


def by_margin(view: View, count: int, rng: np.random.Generator) -> list[int]:
    """Choose as the command does, with the margin in place of the entropy."""
    return _ranked(view, count, uncertainty=view.margin)


def by_views(view: View, count: int, rng: np.random.Generator) -> list[int]:
    """Choose as the command does, with the disagreement of two views in place of the entropy."""
    return _ranked(view, count, uncertainty=view.disagreement)


def by_random(view: View, count: int, rng: np.random.Generator) -> list[int]:
    """Choose by chance."""
    return list(rng.permutation(len(view.features))[:count])


def by_entropy(view: View, count: int, rng: np.random.Generator) -> list[int]:
    """Take the most unsure."""
    return list(np.argsort(-view.entropy, kind="stable")[:count])


def by_coverage(view: View, count: int, rng: np.random.Generator) -> list[int]:
    """Cover the features, whatever the network says."""
    ones = np.ones(len(view.features))
    return _ranked(view, count, uncertainty=ones, presence=0 * view.presence)


def by_need(view: View, count: int, rng: np.random.Generator) -> list[int]:
    """Cover the features, weighted by the classes that lack masks."""
    return _ranked(view, count, uncertainty=np.ones(len(view.features)))


def _ranked(view: View, count: int, **changes: NDArray[np.float64]) -> list[int]:
    given = {"features": view.features, "uncertainty": view.entropy, "presence": view.presence}
    ranked = rank_images(
        **(given | changes),
        count=count,
        labeled_features=view.labeled_features,
        class_counts=view.class_counts.tolist(),
    )
    return [image.index for image in ranked]


STRATEGIES: dict[str, Strategy] = {
    "random": by_random,
    "next": by_next,
    "next, with tags": by_next_tags,
    "next, by margin": by_margin,
    "next, by views": by_views,
    "entropy": by_entropy,
    "coverage": by_coverage,
    "coverage and need": by_need,
}


def look(probe: Probe, data: Frozen, labeled: list[str]) -> tuple[list[str], View]:
    """List the images that are left, and what is known of them."""
    place = {image_id: n for n, image_id in enumerate(data.ids)}
    known = set(labeled)
    left = [image_id for image_id in data.ids if image_id not in known]
    means = {i: data.maps[i].float().mean((1, 2)).numpy() for i in data.ids}
    probs = [probe.logits(data.maps[i]).softmax(0) for i in left]
    others = [probe.logits(data.mirrored[i]).softmax(0) for i in left]
    pairs = [torch.stack(pair) for pair in zip(probs, others, strict=True)]
    view = View(
        np.stack([means[i] for i in left]),
        np.array([float(pixel_entropy(p).mean()) for p in probs]),
        np.array([float(pixel_margin(p).mean()) for p in probs]),
        np.array([float(view_disagreement(pair).mean()) for pair in pairs]),
        np.stack([class_presence(p.numpy()) for p in probs]),
        data.tags[[place[i] for i in left]],
        np.stack([means[i] for i in labeled]),
        data.tags[[place[i] for i in labeled]].sum(0, dtype=np.int64),
    )
    return left, view


def measure(probe: Probe, val: Frozen) -> tuple[float, float]:
    """Val mIoU, and its standard deviation over draws of the val images."""
    matrices = probe.measure(val)
    rng = np.random.default_rng(0)
    draws = [matrices[rng.integers(0, len(matrices), len(matrices))].sum(0) for _ in range(200)]
    scores = [mean_iou(torch.from_numpy(matrix)) for matrix in draws]
    return mean_iou(torch.from_numpy(matrices.sum(0))), float(np.std(scores))


def replay(train: Frozen, val: Frozen, seed: int, name: str, out: Path) -> dict[str, list[float]]:
    """Choose, label and train for one seed and strategy; kept in ``out``."""
    path = out / "rounds" / f"{name.replace(', ', ' ').replace(' ', '_')}_{seed}.json"
    if not path.exists():
        labeled = sample_labeled_split(train.ids, train.tags, SIZES[0] / len(train.ids), seed)
        found: dict[str, list[float]] = {"miou": [], "error": [], "masks": [], "counts": []}
        for size, following in zip(SIZES, (*SIZES[1:], None), strict=True):
            probe = Probe(train, labeled)
            miou, error = measure(probe, val)
            left, view = look(probe, train, labeled)
            found["miou"].append(miou)
            found["error"].append(error)
            found["masks"].append(len(labeled))
            found["counts"].append(view.class_counts.tolist())
            if following is not None:
                rng = np.random.default_rng([seed, size])
                chosen = STRATEGIES[name](view, following - len(labeled), rng)
                labeled = labeled + [left[i] for i in chosen]
        write_json(path, found)
    return read_json(path)


def area(found: dict[str, list[float]]) -> float:
    """Area under val mIoU over the logarithm of the number of masks, per unit of its width."""
    logs = np.log(found["masks"])
    return float(np.trapezoid(found["miou"], logs) / (logs[-1] - logs[0]))


def main() -> None:
    """Measure all strategies and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("--data.root", "--model.weights", "--out"):
        parser.add_argument(name, required=True, dest=name.removeprefix("--").replace(".", "_"))
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    out = Path(given.out)
    train, val = freeze(given.data_root, given.model_weights, out / "features.pt")
    if not (out / "all.json").exists():
        write_json(out / "all.json", {"miou": measure(Probe(train, train.ids), val)[0]})
    results = {
        name: [replay(train, val, seed, name, out) for seed in range(given.seeds)]
        for name in STRATEGIES
    }
    report(results, read_json(out / "all.json")["miou"], train, out)


def report(
    results: dict[str, list[dict[str, list[float]]]], best: float, train: Frozen, out: Path
) -> None:
    """Print val mIoU, areas, differences to chance, class counts, and how forecasts came true."""
    print(f"all {len(train.ids)} masks: val mIoU {100 * best:.1f}")
    print(f"{'':18} {' '.join(f'{n:>11}' for n in SIZES)}    area   to random (standard error)")
    chance = np.array([area(found) for found in results["random"]])
    summary = {}
    for name, runs in results.items():
        scores = 100 * np.array([found["miou"] for found in runs])
        areas = np.array([area(found) for found in runs])
        gain = 100 * (areas - chance)
        error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else float("nan")
        cells = " ".join(
            f"{m:5.1f} ± {s:3.1f}" for m, s in np.stack([scores.mean(0), scores.std(0)], 1)
        )
        print(f"{name:18} {cells}  {100 * areas.mean():6.2f}  {gain.mean():+5.2f} ({error:.2f})")
        summary[name] = {"miou": scores.mean(0).tolist(), "area": 100 * float(areas.mean())}
        summary[name] |= {"to random": float(gain.mean()), "standard error": float(error)}
    print(f"\nimages with each class among {SIZES[-1]} masks: {', '.join(CLASSES)}")
    for name, runs in results.items():
        counts = np.mean([found["counts"][-1] for found in runs], axis=0)
        print(f"{name:18} {' '.join(f'{count:5.1f}' for count in counts)}")
    print("\nforecast of 54 more masks after 28 and 55, and what they brought")
    for name in ("random", "next"):
        for seed, run in enumerate(results[name]):
            curve = fit_learning_curve(run["masks"][:2], run["miou"][:2], run["error"][:2])
            gain, error = curve.gain(SIZES[1], SIZES[2] - SIZES[1])
            real = run["miou"][2] - run["miou"][1]
            print(f"{name}, seed {seed}: {100 * gain:+.1f} ± {100 * error:.1f}; {100 * real:+.1f}")
    write_json(out / "summary.json", {"all": 100 * best, "strategies": summary})


if __name__ == "__main__":
    main()
