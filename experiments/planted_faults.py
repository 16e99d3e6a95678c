"""Plant faults into the masks and tags of PASCAL VOC's animals, and let `wsss-zoo audit` find them.

python experiments/planted_faults.py --data.root DIR --out DIR --model.weights FILE [options]
(what it printed is kept in planted_faults.txt)

Images, masks and tags of ``train`` are copied into a folder for `Folder`. A tenth of the masks gets
a fault, a third of each kind: the largest class becomes another one; the largest object becomes
background; all objects are grown or shrunk by 4 % of sqrt(H W). A tenth of the images, chosen
independently, gets a wrong tag: one is removed, or replaced by another class.

--judge probe is the cheap protocol: in place of the networks of the command, the linear classifier
of replay_next.py on a frozen encoder, in the same three folds, with the same scores and ranking.
--judge command runs ``wsss-zoo audit`` with the further options, such as --trainer.max_steps 400.

For each kind it prints the AUROC of its score, planted against all other images, and how many of
the 20 highest were planted with it; then how many of the first images of all kinds in turn have any
fault. mIoU regained: val mIoU of the linear classifier, trained on the planted masks without as
many as are planted of the most suspicious, of random ones, of the planted ones, and on true masks.
"""

import argparse
import csv
import shutil
from pathlib import Path

import numpy as np
import replay_next
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.stats import rankdata

from wsss_zoo import VOC2012
from wsss_zoo.cli import main as wsss_zoo_main
from wsss_zoo.files.atomic import read_json, write_json
from wsss_zoo.functional import assign_folds, class_presence
from wsss_zoo.labeling.suspects import Suspect, mask_faults, rank_suspects, worst_images

CLASSES = replay_next.CLASSES
SHARE = 0.1
# Of sqrt(H W): by how much outlines are moved.
_MOVED = 0.04
_LEAST = 0.02  # share of an image that a forgotten object has
MASK_KINDS = ("class", "object", "outline")
Mask = NDArray[np.uint8]


def filled(mask: Mask) -> Mask:
    """Give ignored pixels the class of the nearest other one."""
    if not (mask != 255).any():
        return mask
    rows, columns = ndimage.distance_transform_edt(
        mask == 255, return_distances=False, return_indices=True
    )
    return mask[rows, columns]


def swap_class(mask: Mask, rng: np.random.Generator) -> Mask | None:
    """Give the largest class of a mask the index of another one."""
    counts = np.bincount(mask[mask != 255], minlength=len(CLASSES) + 1)[1:]
    given = 1 + int(counts.argmax())
    other = int(rng.choice([c for c in range(1, len(CLASSES) + 1) if c != given]))
    return np.where(mask == given, np.uint8(other), mask) if counts.any() else None


def forget_object(mask: Mask, rng: np.random.Generator) -> Mask | None:
    """Make the largest object background, with the ignored ring around it."""
    regions, count = ndimage.label((mask > 0) & (mask != 255))
    sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    if not count or sizes.max() < _LEAST * mask.size:
        return None
    gone = regions == 1 + int(sizes.argmax())
    ring = ndimage.binary_dilation(gone, iterations=6) & (mask == 255)
    return np.where(gone | ring, np.uint8(0), mask)


def move_outline(mask: Mask, rng: np.random.Generator) -> Mask | None:
    """Grow or shrink all objects."""
    whole, radius = filled(mask), _MOVED * mask.size**0.5
    inside = whole > 0
    if not inside.any() or inside.all():
        return None
    depth = ndimage.distance_transform_edt(inside)
    if rng.random() < 0.5 and (depth > radius).any():
        return np.where(depth > radius, whole, np.uint8(0))
    away, (rows, columns) = ndimage.distance_transform_edt(~inside, return_indices=True)
    return np.where(away <= radius, whole[rows, columns], np.uint8(0))


PLANTERS = {"class": swap_class, "object": forget_object, "outline": move_outline}


def plant(data: VOC2012, root: Path, seed: int) -> dict[str, str]:
    """Write the folder; return the planted fault by image, "tag" faults as ``tag:<id>``."""
    rng = np.random.default_rng(seed)
    ids = data.ids_of("train")
    tags = {i: np.flatnonzero(t) for i, t in data.labels_of(ids, from_masks=True).items()}
    each = round(SHARE * len(ids) / len(PLANTERS))
    planted: dict[str, str] = {}
    wrong: dict[str, Mask] = {}
    for kind, planter in PLANTERS.items():
        for image_id in rng.permutation(ids).tolist():
            if sum(k == kind for k in planted.values()) == each:
                break
            if image_id not in planted:
                mask = planter(data.read_mask(image_id), rng)
                if mask is not None:
                    planted[image_id], wrong[image_id] = kind, mask
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for image_id in ids:
        shutil.copyfile(data.files.images[image_id], root / "images" / f"{image_id}.jpg")
        mask = wrong.get(image_id, data.read_mask(image_id))
        Image.fromarray(mask).save(root / "masks" / f"{image_id}.png")
    faulty = rng.permutation(ids)[: round(SHARE * len(ids))].tolist()
    for image_id in faulty:
        present = tags[image_id].tolist()
        gone = int(rng.choice(present))
        left = [k for k in present if k != gone]
        if not left or rng.random() < 0.5:
            left.append(int(rng.choice([k for k in range(len(CLASSES)) if k not in present])))
        tags[image_id] = np.array(sorted(left))
        planted[f"tag:{image_id}"] = "tag"
    lines = [f"{i},{';'.join(CLASSES[k] for k in tags[i])}\n" for i in ids]
    (root / "image_labels.csv").write_text("id,classes\n" + "".join(lines))
    (root / "classes.txt").write_text("\n".join(["background", *CLASSES]) + "\n")
    return planted


def auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Probability that a planted image scores higher than another one; ties count half."""
    ranks = rankdata(scores)
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (~positive).sum()))


def audit_by_probe(given: argparse.Namespace, out: Path) -> list[Suspect]:
    """Rank the labels of the folder by the linear classifier of other folds."""
    train, _ = replay_next.freeze(given.data_root, given.model_weights, out / "features.pt")
    train.masks = read_masks(out, train.ids)
    tags = read_tags(out)
    in_masks = np.stack([np.isin(range(1, 7), train.masks[i]) for i in train.ids])
    fold = assign_folds(in_masks, 3)
    faults, presence = {}, {}
    for n in range(3):
        probe = replay_next.Probe(
            train, [i for i, f in zip(train.ids, fold, strict=True) if f != n]
        )
        for image_id in (i for i, f in zip(train.ids, fold, strict=True) if f == n):
            mask = train.masks[image_id]
            probs = probe.enlarged(train.maps[image_id], mask.shape).softmax(0).numpy()
            faults[image_id] = mask_faults(probs, mask)
            presence[image_id] = class_presence(probs)
    return rank_suspects(faults, presence, tags, ["background", *CLASSES])


def audit_by_command(given: argparse.Namespace, out: Path, options: list[str]) -> list[Suspect]:
    """Run ``wsss-zoo audit`` and read its table."""
    command = ["audit", str(out / "data"), "--out", str(out / "audit")]
    wsss_zoo_main([*command, "--model.weights", given.model_weights, *options])
    with (out / "audit" / "audit.csv").open(newline="") as file:
        return [
            Suspect(row["image_id"], row["kind"], float(row["score"]), int(row["rank"]))
            for row in csv.DictReader(file)
        ]


def read_masks(out: Path, ids: list[str]) -> dict[str, Mask]:
    """Read the masks of the folder."""
    return {i: np.array(Image.open(out / "data" / "masks" / f"{i}.png")) for i in ids}


def read_tags(out: Path) -> dict[str, NDArray[np.int64]]:
    """Read the tags of the folder, (K,) each."""
    rows = csv.DictReader((out / "data" / "image_labels.csv").open(newline=""))
    return {
        row["id"]: np.array([name in row["classes"].split(";") for name in CLASSES], dtype=np.int64)
        for row in rows
    }


def judge(
    suspects: list[Suspect], planted: dict[str, str], ids: list[str]
) -> dict[str, dict[str, float]]:
    """Compare the ranking with what was planted; print and return it."""
    results: dict[str, dict[str, float]] = {}
    print(f"{'kind':8} planted  AUROC  in the first 20  by chance")
    for kind in (*MASK_KINDS, "tag"):
        found = {s.image_id: s.score for s in suspects if s.kind == kind}
        prefix = "tag:" if kind == "tag" else ""
        positive = np.array([planted.get(prefix + i) == kind for i in ids])
        scores = np.array([found[i] for i in ids])
        first = np.argsort(-scores, kind="stable")[:20]
        result = {"planted": int(positive.sum()), "auroc": auroc(scores, positive)}
        result |= {"first 20": int(positive[first].sum()), "by chance": 20 * positive.mean()}
        print(
            f"{kind:8} {result['planted']:7}  {result['auroc']:.3f}  {result['first 20']:15}  "
            f"{result['by chance']:9.1f}"
        )
        results[kind] = result
    any_fault = {key.removeprefix("tag:") for key in planted}
    worst = list(worst_images(suspects, len(ids)))
    for count in (20, len(any_fault)):
        hits, share = sum(i in any_fault for i in worst[:count]), len(any_fault) / len(ids)
        print(f"of the first {count} images {hits} have a fault; by chance {count * share:.1f}")
        results[f"first {count} of all"] = {"faulty": hits, "by chance": count * share}
    return results


def regain(
    given: argparse.Namespace, out: Path, planted: dict[str, str], suspects: list[Suspect]
) -> dict[str, float]:
    """Val mIoU of the linear classifier on planted masks less some of them."""
    train, val = replay_next.freeze(given.data_root, given.model_weights, out / "features.pt")
    true, masks = train.masks, read_masks(out, train.ids)
    faulty = [i for i in train.ids if planted.get(i) in MASK_KINDS]
    order = list(worst_images([s for s in suspects if s.kind != "tag"], len(train.ids)))
    chance = np.random.default_rng(0).permutation(train.ids).tolist()
    left_out = {"nothing": [], "random": chance, "suspects": order, "planted": faulty}
    found = {}
    for name, images in left_out.items():
        gone = set(images[: len(faulty)])
        train.masks = masks
        probe = replay_next.Probe(train, [i for i in train.ids if i not in gone])
        found[name] = 100 * replay_next.measure(probe, val)[0]
        print(f"planted masks without {name:9}: val mIoU {found[name]:.2f}")
    train.masks = true
    found["true masks"] = 100 * replay_next.measure(replay_next.Probe(train, train.ids), val)[0]
    print(f"true masks: val mIoU {found['true masks']:.2f}")
    return found


def main() -> None:
    """Plant, audit, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("--data.root", "--model.weights", "--out"):
        parser.add_argument(name, required=True, dest=name.removeprefix("--").replace(".", "_"))
    parser.add_argument("--judge", choices=["probe", "command"], default="probe")
    parser.add_argument("--seed", type=int, default=0)
    given, options = parser.parse_known_args()
    out = Path(given.out)
    data = VOC2012(given.data_root, classes=CLASSES)
    if not (out / "planted.json").exists():
        write_json(out / "planted.json", plant(data, out / "data", given.seed))
    planted = read_json(out / "planted.json")
    by_command = given.judge == "command"
    suspects = audit_by_command(given, out, options) if by_command else audit_by_probe(given, out)
    print(f"judged by the {given.judge} {' '.join(options)}".rstrip())
    results = judge(suspects, planted, data.ids_of("train"))
    regained = regain(given, out, planted, suspects)
    write_json(out / f"{given.judge}.json", {"found": results, "val miou": regained})


if __name__ == "__main__":
    main()
