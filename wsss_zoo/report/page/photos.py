"""Read photographs and masks from the data set of a run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from wsss_zoo.runs.folder import CONFIG

Photo = tuple[NDArray[Any], NDArray[Any] | None]


def read_photos(run: Path, image_ids: Sequence[str]) -> tuple[dict[str, Photo], str]:
    """Read images of a run (its folder) that wrote label maps, and their masks.

    Returns:
        RGB image (H, W, 3) and class index per pixel (H, W), None without a mask, by id; and what
        went wrong, "" if nothing: the data may not be where they were, or not on this machine.
    """
    try:
        data = _open_data(run)
        return {i: (data.read_image(i), data.read_mask(i)) for i in image_ids}, ""
    except Exception as error:  # the code of any data set, the user's own too
        return {}, " ".join(str(error).split())[:200] or type(error).__name__


def read_masks(
    run: Path, image_ids: Sequence[str], shrink: Callable[[Image.Image], Image.Image]
) -> dict[str, NDArray[np.uint8]]:
    """Read the masks of images of a run, each made smaller; none where the data are gone."""
    try:
        data = _open_data(run)
        masks = {image_id: data.read_mask(image_id) for image_id in image_ids}
        return {
            image_id: np.asarray(shrink(Image.fromarray(mask)))
            for image_id, mask in masks.items()
            if mask is not None
        }
    except Exception:  # `read_photos` says it
        return {}


def _open_data(run: Path) -> Any:  # the data module of any data set
    # Only here: it takes torch.
    from wsss_zoo.runs.data import make_data

    path = run / "config_predict.yaml"
    path = path if path.exists() else run / CONFIG
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    data = make_data(config["data"])
    # Some images are looked at, not all.
    data.check_files = False
    data.setup("predict")
    return data
