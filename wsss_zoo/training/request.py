"""What a user asked ``wsss-zoo train`` for, and the folder that the answer goes to."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsss_zoo.files.atomic import read_json
from wsss_zoo.training.settings import Quality

#: The file of a training's folder that says what was asked for and chosen.
PLAN = "plan.json"
RECIPE = "recipe.yaml"
#: Where a few steps are tried, and what they print.
TRIAL, TRIAL_LOG = "trial", "trial.log"
_OF_PLANS = (TRIAL, TRIAL_LOG)


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Args:
        folder: The images and labels, see `Folder`.
        quality: How long it may take.
        seconds: How long it may take at most; None for as long as the quality needs.
        weights: "imagenet", a file, or None for random weights.
        backbone: Encoder of the network; None for the one that fits quality and machine.
        data: More options of `Folder`.
        trainer: More options of Lightning's Trainer.
    """

    folder: Path
    quality: Quality = "normal"
    seconds: float | None = None
    weights: str | None = "imagenet"
    backbone: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def data_options(self) -> dict[str, Any]:
        """Options of the data set, root included."""
        return {"root": str(self.folder), **self.data}

    def state(self) -> dict[str, Any]:
        """Return what tells this request, and the files it was made for, from another."""
        return {
            "folder": str(self.folder.resolve()),
            "files": files_digest(self.folder),
            "quality": self.quality,
            "time": self.seconds,
            "weights": self.weights,
            "backbone": self.backbone,
            "data": dict(self.data),
            "trainer": dict(self.trainer),
        }


def files_digest(folder: Path) -> str:
    """Hash names, sizes and times of all files of a folder, hidden ones left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(place, name)
                status = path.stat(follow_symlinks=False)
                relative = path.relative_to(folder).as_posix()
                found.append(f"{relative}\t{status.st_size}\t{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(found).encode("utf-8", "surrogateescape")).hexdigest()


def choose_folder(out: Path | None, state: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Choose the folder of a training, and read its plan if it is there already.

    Args:
        out: The user's choice; None for the first of ``runs/NAME``, ``runs/NAME_2``, .. that is
            free or holds the same request, or only the plan of another.
        state: See `Request.state`.

    Returns:
        The folder and the content of its plan, {} for a new one.

    Raises:
        ValueError: If ``out`` holds something else.
    """
    if out is not None:
        known = _known(out, state)
        if known and known.get("request") != state:
            changed = [key for key, value in state.items() if known["request"].get(key) != value]
            raise ValueError(
                f"{out} holds a training of another request (different: {', '.join(changed)}), "
                "which would be replaced; name another --out, or delete that folder"
            )
        if not known and not _is_free(out):
            raise ValueError(f"{out} is there and wsss-zoo train has not made it; name another")
        return out, known
    name = Path(state["folder"]).name
    number = 1
    while True:
        place = Path("runs", name if number == 1 else f"{name}_{number}")
        known = _known(place, state)
        if known.get("request") == state or (not known and _is_free(place)):
            return place, known
        number += 1


def recipe_digest(text: str) -> str:
    """Hash the text of a recipe, to find out whether a user changed it."""
    return hashlib.sha256(text.encode()).hexdigest()


def _known(place: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """Read the plan of a folder; delete one of another request that nothing followed, for {}."""
    known = read_json(place / PLAN)
    if known and known.get("request") != state and _is_free(place, PLAN):
        text = (place / RECIPE).read_text(encoding="utf-8") if (place / RECIPE).is_file() else ""
        if not text or recipe_digest(text) == known.get("recipe_sha256"):
            (place / PLAN).unlink()
            return {}
    return known


def _is_free(place: Path, *more: str) -> bool:
    """Tell whether there is nothing, or only what a plan that failed has left."""
    if not place.exists():
        return True
    ours = {*_OF_PLANS, RECIPE, *more}
    return place.is_dir() and {path.name for path in place.iterdir()} <= ours
