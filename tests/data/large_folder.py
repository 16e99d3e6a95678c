"""A folder of very many images without a pixel: listing it is all that can be done with it."""

import json
from pathlib import Path

CLASSES = ["background", *(f"class {number}" for number in range(1, 21))]
NOVEL = [CLASSES[3], CLASSES[7]]
# Beside the supervision; every tenth image is labelled.
SETTINGS = {
    "mask": {},
    "pseudo-labels": {"supervision": "mask", "labeled_split": "labeled"},
    "image_labels": {"supervision": "image_labels"},
    "images": {"supervision": "images"},
    "semi": {"supervision": "semi", "labeled_split": "labeled"},
    "pairs": {"supervision": "pairs"},
    "weak_shot": {"supervision": "weak_shot", "novel_classes": NOVEL},
}


def write_large_folder(root: Path, folders: int, each: int) -> None:
    """``folders`` sub-folders of ``each`` images, masks and pseudo-labels, all of them empty files.

    Sub-folders of images and masks are links to the first, so that there are few files to make;
    those of pseudo-labels are counted without links.
    """
    for name, suffix in (("images", ".jpg"), ("masks", ".png"), ("labels", ".png")):
        real = folders if name == "labels" else 1
        for folder in range(real):
            (root / name / f"{folder:03d}").mkdir(parents=True)
            for number in range(each):
                (root / name / f"{folder:03d}" / f"{number:012d}{suffix}").touch()
        for folder in range(real, folders):
            (root / name / f"{folder:03d}").symlink_to("000")
    ids = [f"{folder:03d}/{number:012d}" for folder in range(folders) for number in range(each)]
    (root / "classes.txt").write_text("\n".join(CLASSES))
    tags = [f"{CLASSES[1 + n % 20]};{CLASSES[1 + n * 7 % 20]}" for n in range(len(ids))]
    rows = "".join(f"{name},{tag}\n" for name, tag in zip(ids, tags, strict=True))
    (root / "image_labels.csv").write_text("image_id,classes\n" + rows)
    (root / "splits").mkdir()
    for name, listed in (("train", ids), ("val", ids[: each // 2]), ("labeled", ids[::10])):
        (root / "splits" / f"{name}.txt").write_text("\n".join(listed))
    manifest = {
        "method": "CAM",
        "class_names": CLASSES,
        "count": len(ids),
        "config_hash": "",
        "checkpoint_hash": "",
        "options": {},
        "split": "train",
    }
    (root / "labels" / "manifest.json").write_text(json.dumps(manifest))


def settings(regime: str, root: Path) -> dict:
    """What `Folder` is made with, for one of `SETTINGS`."""
    labels = {"pseudo_label_dir": str(root / "labels")} if regime == "pseudo-labels" else {}
    return {
        **{"root": str(root), "check_files": False, "num_workers": 0, "allow_overlap": True},
        **labels,
        **SETTINGS[regime],
    }
