"""Read photographs and masks from the data set of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from numpy.typing import NDArray

from wsss_zoo.runs.folder import CONFIG

Photo = tuple[NDArray[Any], NDArray[Any] | None]


def read_photos(run: Path, image_ids: Sequence[str]) -> tuple[dict[str, Photo], str]:
    """Read images of a run (its folder) that wrote label maps, and their masks.

    Returns:
        RGB image (H, W, 3) and class index per pixel (H, W), None without a mask, by id; and what
        went wrong, "" if nothing: the data may not be where they were, or not on this machine.
    """
    # Only here: it takes torch.
    from wsss_zoo.runs.data import make_data

    try:
        path = run / "config_predict.yaml"
        path = path if path.exists() else run / CONFIG
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        data = make_data(config["data"])
        data.setup("predict")
        return {i: (data.read_image(i), data.read_mask(i)) for i in image_ids}, ""
    except Exception as error:  # the code of any data set, the user's own too
        return {}, " ".join(str(error).split())[:200] or type(error).__name__
