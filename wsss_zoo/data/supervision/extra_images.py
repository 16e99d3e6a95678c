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
from wsss_zoo.data.reading.image_files import Checks, ImageFiles, ImageSource
from wsss_zoo.data.reading.tag_files import (
    Tags,
    check_tags,
    find_tag_file,
    multi_hot,
    read_tag_file,
)
from wsss_zoo.files.decoding import UInt8Array, readable_suffixes
from wsss_zoo.files.listing import ids_by_name, list_files

logger = logging.getLogger(__name__)

_LAYOUT = """expected
  <root>/images/<id>.jpg    images of any format
  <root>/image_labels.csv   their tags: a header, then lines 'id,class;class' (or .json)"""


@dataclass(frozen=True)
class JoinedSource:
    """Reads the images of a data set and, by ids ``<domain>/<id>``, those of extra roots.

    Args:
        target: Reads the data set.
        extra: Reads the images of each domain by their ids in it.
    """

    target: ImageSource
    extra: dict[str, ImageSource]

    def read_image(self, image_id: str) -> UInt8Array:
        """RGB image, (H, W, 3)."""
        source, own_id = self._find(image_id)
        return source.read_image(own_id)

    def read_mask(self, image_id: str) -> UInt8Array | None:
        """See `ImageSource.read_mask`; None for every extra image."""
        source, own_id = self._find(image_id)
        return source.read_mask(own_id)

    def image_size(self, image_id: str) -> tuple[int, int]:
        """Height and width, pixels."""
        source, own_id = self._find(image_id)
        return source.image_size(own_id)

    def check(self, image_ids: Sequence[str], checks: Checks) -> None:
        """Have each domain check its files; see `ImageSource.check`."""
        own_ids: dict[str, list[str]] = {}
        for image_id in image_ids:
            domain, _, own_id = image_id.partition("/")
            known = domain in self.extra
            own_ids.setdefault(domain if known else "", []).append(own_id if known else image_id)
        for domain, ids in own_ids.items():
            source = self.extra.get(domain, self.target)
            source.check(ids, checks)

    def domain_of(self, image_id: str) -> int:
        """Number of an image's domain: 0 is the data set, 1, 2, ... the extra roots."""
        domain = image_id.partition("/")[0]
        return list(self.extra).index(domain) + 1 if domain in self.extra else 0

    def _find(self, image_id: str) -> tuple[ImageSource, str]:
        domain, _, own_id = image_id.partition("/")
        extra = self.extra.get(domain)
        return (self.target, image_id) if extra is None else (extra, own_id)


def read_extra_images(
    images: Catalog, roots: Mapping[str, str], ids: Sequence[str]
) -> tuple[JoinedSource, dict[str, NDArray[np.uint8]]]:
    """Read and check the tagged images of extra roots.

    The co-attention paper (ECCV 2020) trains on extra single-label or web images in this way. A
    root's masks are not read. Links out of it are refused where the data set refuses its own.

    Args:
        images: The data set.
        roots: Folder by domain name.
        ids: The data set's own training images.

    Returns:
        Reads the images of the data set and of the roots; tags of the roots' images, (K,) each, by
        ids ``<domain>/<id>``.
    """
    extra: dict[str, ImageSource] = {}
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
    tags = _read_tags(root, files, images)
    names = [name for tagged in tags.values() for name in tagged]
    used = {i: [name for name in tags[i] if name in images.fg_names] for i in files if i in tags}
    used = {image_id: tagged for image_id, tagged in used.items() if tagged}
    if not used:
        raise ValueError(
            f"extra root {root}: none of its {len(files)} images is tagged with a class in use "
            f"({', '.join(images.fg_names)}); correct its tags or leave it out of extra_roots"
        )
    dropped = len(names) - sum(map(len, used.values()))
    if dropped:
        logger.info("%s: %d tags of classes that are not in use were dropped", root, dropped)
    if len(used) < len(files):
        logger.warning(
            "%s: %d of %d images are left out, as they have no tag of a class in use",
            root,
            len(files) - len(used),
            len(files),
        )
    return ImageFiles(files, {}, ()), used


def _read_tags(root: Path, files: dict[str, str], images: Catalog) -> Tags:
    path = find_tag_file(root)
    if path is None:
        raise FileNotFoundError(f"extra root {root} has no tag file image_labels.csv; {_LAYOUT}")
    known = images.known_classes[int(images.background) :]
    ids = ids_by_name(files)
    tags: Tags = {}
    for name, classes in read_tag_file(path, _columns(root, known)).items():
        tags.setdefault(ids.get(name, name), []).extend(classes)
    return check_tags(
        {image_id: list(dict.fromkeys(classes)) for image_id, classes in tags.items()},
        origin=str(path),
        known_classes=known,
        is_image=files.__contains__,
    )


def _columns(root: Path, known: list[str]) -> list[str]:
    """Names that a table's columns may have: the root may list classes that none of its tags is."""
    path = find_class_file(root)
    return known + (read_class_file(path).names if path.is_file() else [])
