"""Small folders of pseudo-labels, as predict writes them."""

from pathlib import Path

import numpy as np

from wsss_zoo.files.manifests import Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import write_label

NAMES = ["background", "cat", "dog"]


def write_labels(folder: Path, seed: int, ids=("a", "b", "c/d", "e"), **changes) -> None:
    """Write random label maps of three classes and the manifest of a checkpoint named by seed."""
    rng = np.random.default_rng(seed)
    for image_id in ids:
        write_label(folder, image_id, rng.integers(0, len(NAMES), (5, 7), dtype=np.uint8))
    values = {"method": "Supervised", "class_names": NAMES, "count": len(ids), "config_hash": "x"}
    values |= {"checkpoint_hash": str(seed), "options": {}, "split": "train"}
    write_manifest(folder, Manifest(**values | changes))
