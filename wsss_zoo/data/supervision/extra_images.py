"""Tagged images of other domains beside a data set: single-label or web images."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.reading.class_files import find_class_file, read_class_file
from wsss_zoo.data.reading.image_files import Checks, ImageFiles, ImageReader
from wsss_zoo.data.reading.tag_files import TAG_FILES, Tags, check_tags, multi_hot, read_tag_file
from wsss_zoo.files.decoding import UInt8Array, readable_suffixes
from wsss_zoo.files.listing import find_one, ids_by_name, list_files

logger = logging.getLogger(__name__)

_LAYOUT = """expected
  <root>/images/<id>.jpg    images of any format
  <root>/image_labels.csv   their tags: a header, then lines 'id,class;class' (or .json)"""


@dataclass(frozen=True)
class JoinedSource:
    """Reads the images of a data set and, by ids ``<domain>/<id>``, those of extra roots."""

    target: ImageReader
    extra: dict[str, ImageReader]

    def read_image(self, image_id: str) -> UInt8Array:
        """Read an RGB image, (H, W, 3)."""
        domain, _, own_id = image_id.partition("/")
        extra = self.extra.get(domain)
        return self.target.read_image(image_id) if extra is None else extra.read_image(own_id)

    def domain_of(self, image_id: str) -> int:
        """Number an image's domain: 0 is the data set, 1, 2, ... the extra roots."""
        domain = image_id.partition("/")[0]
        return list(self.extra).index(domain) + 1 if domain in self.extra else 0


def read_extra_images(
    images: Catalog, roots: Mapping[str, str], ids: Sequence[str]
) -> tuple[JoinedSource, dict[str, NDArray[np.uint8]]]:
    """Read and check the tagged images of extra roots, which are folders by domain name.

    The co-attention paper (ECCV 2020) trains on extra single-label or web images in this way. A
    root's masks are not read. Links out of it are refused where the data set refuses its own.
    ``ids`` are the data set's own training images.

    Returns:
        Reader of the data set's and the roots' images; tags of the latter by ``<domain>/<id>``.
    """
    extra: dict[str, ImageReader] = {}
    tags: Tags = {}
    for domain, root in roots.items():
        _check_domain(domain, ids)
        source, found = _read_root(Path(root), domain, images)
        source.check(list(found), Checks(masks=False, open_files=images.check_files))
        extra[domain] = source
        tags |= {f"{domain}/{image_id}": names for image_id, names in found.items()}
    return JoinedSource(images.source, extra), multi_hot(tags, images.fg_names)


def _check_domain(domain: str, target_ids: Sequence[str]) -> None:
    if not re.fullmatch("[A-Za-z0-9_-]+", domain):
        raise ValueError(
            f"extra_roots has the domain name {domain!r}; image ids begin with it, so take "
            "letters, digits, - and _ only"
        )
    taken = next((i for i in target_ids if i.partition("/")[0] == domain), None)
    if taken is not None:
        raise ValueError(
            f"extra_roots has the domain name {domain!r}, but the data set's own image {taken!r} "
            "begins with it; choose another name"
        )


def _read_root(root: Path, domain: str, images: Catalog) -> tuple[ImageFiles, Tags]:
    """Images of an extra root, and the classes in use of those that have any."""
    if not root.is_dir():
        raise FileNotFoundError(
            f"extra root {root} of domain {domain!r} is no folder that exists; {_LAYOUT}"
        )
    boundary = None if images.outside_links else root
    files = list_files(root / "images", readable_suffixes(), root=boundary).files
    if not files:
        raise FileNotFoundError(f"extra root {root} has no images in {root / 'images'}; {_LAYOUT}")
    tags, in_use = _read_tags(root, files, images), set(images.fg_names)
    used = {i: [name for name in tags[i] if name in in_use] for i in files if i in tags}
    dropped = sum(map(len, tags.values())) - sum(map(len, used.values()))
    used = {image_id: names for image_id, names in used.items() if names}
    if not used:
        raise ValueError(
            f"extra root {root}: none of its {len(files)} images is tagged with a class in use "
            f"({', '.join(images.fg_names)}); correct its tags or leave it out of extra_roots"
        )
    if dropped:
        logger.info("%s: %d tags of classes that are not in use were dropped", root, dropped)
    left_out = len(files) - len(used)
    if left_out:
        text = "%s: %d of %d images are left out, as they have no tag of a class in use"
        logger.warning(text, root, left_out, len(files))
    return ImageFiles(files, {}, (), pixels=images.pixels), used


def _read_tags(root: Path, files: dict[str, str], images: Catalog) -> Tags:
    path, class_list = find_one(root, TAG_FILES), find_class_file(root)
    if path is None:
        raise FileNotFoundError(f"extra root {root} has no tag file image_labels.csv; {_LAYOUT}")
    known = images.known_fg_names
    # A table may have columns for classes that the root lists, and that none of its images shows.
    columns = known + (read_class_file(class_list).names if class_list.is_file() else [])
    tags = read_tag_file(path, columns, ids=ids_by_name(files))
    tags = {image_id: list(dict.fromkeys(names)) for image_id, names in tags.items()}
    return check_tags(tags, origin=str(path), known_classes=known, images=files)
