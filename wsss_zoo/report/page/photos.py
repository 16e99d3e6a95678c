"""Photographs and masks out of the data set that a run was told of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from numpy.typing import NDArray

Photo = tuple[NDArray[Any], NDArray[Any] | None]


def read_photos(run: Path, image_ids: Sequence[str]) -> tuple[dict[str, Photo], str]:
    """Images and masks of a run that wrote label maps.

    Args:
        run: Its folder.
        image_ids: Which images.

    Returns:
        RGB image (H, W, 3) and class index per pixel (H, W), None without a mask, by id; and what
        went wrong, "" if nothing: the data may not be where they were, or not on this machine.
    """
    # Only here: it takes torch.
    from wsss_zoo.runs.data import make_data

    try:
        name = "config_predict.yaml" if (run / "config_predict.yaml").exists() else "config.yaml"
        config = yaml.safe_load((run / name).read_text(encoding="utf-8"))
        data = make_data(config["data"])
        data.setup("predict")
        photos: dict[str, Photo] = {
            image_id: (data.read_image(image_id), data.read_mask(image_id))
            for image_id in image_ids
        }
    except Exception as error:  # the code of any data set, the user's own too
        return {}, " ".join(str(error).split())[:200] or type(error).__name__
    return photos, ""
