"""Folders of generated images."""

from pathlib import Path

import pytest
from PIL import Image

from wsss_zoo import Shapes
from wsss_zoo.files.pseudo_labels import voc_palette


class ShapesFolder:
    """A folder in the layout of `Folder`, with labels of so many of its images.

    Args:
        root: The folder to write.
        images: Number of images.
        masks: The first ones have masks.
        tags: The last ones have tags.
        size: Side of the images, pixels.
    """

    def __init__(self, root: Path, images: int, masks: int = 0, tags: int = 0, size: int = 64):
        self.root = root
        data = Shapes(num_train=images, image_size=size)
        (root / "images").mkdir(parents=True)
        (root / "masks").mkdir()
        (root / "classes.txt").write_text("\n".join(data.class_names))
        ids = data.split_ids("train")
        for image_id in ids:
            Image.fromarray(data.read_image(image_id)).save(root / "images" / f"{image_id}.png")
        for image_id in ids[:masks]:
            mask = Image.fromarray(data.read_mask(image_id))
            mask.putpalette(voc_palette().tobytes())
            mask.save(root / "masks" / f"{image_id}.png")
        rows = data.read_tags(ids[len(ids) - tags :]) if tags else {}
        if rows:
            lines = [f"{image_id},{';'.join(names)}" for image_id, names in rows.items()]
            (root / "image_labels.csv").write_text("\n".join(["id,class", *lines]))
        self.ids = ids


@pytest.fixture
def shapes_folder(tmp_path):
    """Make a folder of generated images."""
    return lambda name="photos", **numbers: ShapesFolder(tmp_path / name, **numbers).root
