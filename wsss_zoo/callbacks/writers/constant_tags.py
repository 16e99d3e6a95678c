"""Tags that nearly every image has, whose activation maps do not say where the class is."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.utilities import rank_zero_info

from wsss_zoo.contract import DataModule
from wsss_zoo.data.supervision.image_labels import common_shares

# With fewer images that keep a tag, labels would show less than they do with all maps.
_LEAST_LEFT = 0.5


def constant_tags(
    tags: Mapping[str, NDArray[np.uint8]], fg_names: Sequence[str]
) -> dict[str, float]:
    """Find the classes whose activation maps labels do without, and their shares of the images.

    These are the classes of `common_shares`. None is given up if fewer than half of the tagged
    images would keep a tag, as where there is one class and all images have it.

    Args:
        tags: Tags by image id, (K,) each.
        fg_names: The K foreground classes.

    >>> both, hat = np.array([1, 1], np.uint8), np.array([0, 1], np.uint8)
    >>> constant_tags({str(i): both if i % 3 else hat for i in range(30)}, ["bag", "hat"])
    {'hat': 1.0}
    >>> constant_tags({str(i): hat for i in range(30)}, ["bag", "hat"])
    {}
    """
    if not tags:
        return {}
    table = np.stack(list(tags.values())) > 0
    common = common_shares(dict(zip(fg_names, table.sum(0).tolist(), strict=True)), len(table))
    others = table[:, [name not in common for name in fg_names]].any(1)
    return common if others.sum() >= _LEAST_LEFT * table.any(1).sum() else {}


def find_constant_tags(data: DataModule) -> list[str]:
    """Find these classes among the training images with tags, and say which they are.

    Where the data module has no such images, as with a folder of other photographs than the network
    learnt from, those of the prediction count. One of the user's own that does not list images with
    tags has no such class.

    Returns:
        Names of foreground classes.
    """
    if not (hasattr(data, "tagged_ids") and hasattr(data, "labels_of")):
        return []
    source = "training images"
    try:
        ids = data.tagged_ids()
    except (ValueError, OSError):
        ids, source = data.predict_ids(), f"images of predict_split {data.predict_split!r}"
    shares = constant_tags(data.labels_of(ids, from_masks=True), data.fg_names)
    for name, share in shares.items():
        rank_zero_info(
            f"{name!r} is in {100 * share:.0f} % of the {source}: labels are made without its "
            "activation maps, and none of them has a pixel of it (labels.drop_constant_tags)"
        )
    return list(shares)
