"""What a prediction of pseudo-labels needs of its inputs, checked before the first image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from wsss_zoo.contract import DataModule

_LEARNS_FROM_LABELS = ("mask", "semi", "sparse")


def label_folders_read(trainer: Trainer, data: DataModule) -> dict[str, Sequence[str] | str | None]:
    """Collect the folders of labels that a prediction or its network reads, by option.

    These are the labels that the network learnt from and those that other callbacks examine.
    """
    folders: dict[str, Sequence[str] | str | None] = {}
    if getattr(data, "supervision", None) in _LEARNS_FROM_LABELS:
        folders["data.pseudo_label_dir"] = getattr(data, "pseudo_label_dir", None)
    # Typed as Any: Lightning's Trainer adds the attribute.
    callbacks: Any = getattr(trainer, "callbacks", [])
    for callback in callbacks:
        if hasattr(callback, "pseudo_label_dir"):
            folders[f"{callback.group}.pseudo_label_dir"] = callback.pseudo_label_dir
    return folders


def check_is_no_input(
    directory: Path, folders: Mapping[str, Sequence[str] | str | None], choose: str
) -> None:
    """Raise a ValueError if a folder that is read is the one to write, or lies in it.

    ``choose`` is the option that names the folder to write.
    """
    for option, given in folders.items():
        for folder in [given] if isinstance(given, str) else given or []:
            own = Path(folder).resolve()
            if own.is_relative_to(directory.resolve()):
                inside = "" if own == directory.resolve() else f" in {folder}"
                raise ValueError(
                    f"{directory} is to be written, but it is also read{inside} ({option}), and "
                    f"would be lost; choose another folder ({choose}, or "
                    "--trainer.default_root_dir)"
                )


def check_tags(module: LightningModule, data: DataModule) -> None:
    """Check that all images have tags, where the method or ``evaluation.gate_by_tags`` asks.

    A mask gives tags too. ValueError if images have neither; the first three are named. Nor are
    classes ruled out by tags without a background.
    """
    is_gated = getattr(getattr(module, "evaluation", None), "gate_by_tags", False)
    if is_gated and not getattr(data, "background", True):
        raise ValueError(
            f"evaluation.gate_by_tags needs a background class, but {type(data).__name__} has "
            "none; leave the option out"
        )
    if not is_gated and getattr(module, "output", None) != "classification":
        return
    ids = data.predict_ids()
    untagged = [image_id for image_id in ids if data.image_labels_of(image_id) is None]
    # Without any tags the first batch says so. Masks are decoded up to the first image without one.
    if len(untagged) < len(ids) and any(data.read_mask(image_id) is None for image_id in untagged):
        asker = "evaluation.gate_by_tags" if is_gated else type(module).__name__
        remedy = ", or leave it out" if is_gated else ""
        raise ValueError(
            f"{asker} needs the tags of every image, but {len(untagged)} of {len(ids)} images of "
            f"predict_split {data.predict_split!r} have none, first: {', '.join(untagged[:3])}; "
            f"add them to the tag file or choose another split (with Folder: tagged){remedy}"
        )
