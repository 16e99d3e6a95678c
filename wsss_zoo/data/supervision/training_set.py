"""The training set of each kind of supervision."""

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils.data import Dataset

from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.supervision.image_labels import make_tagged_images
from wsss_zoo.data.supervision.images import make_plain_images
from wsss_zoo.data.supervision.mask import make_masked_images
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.supervision.pairs import make_image_pairs
from wsss_zoo.data.supervision.semi import make_semi_images
from wsss_zoo.data.supervision.sparse import make_sparse_images
from wsss_zoo.data.supervision.weak_shot import make_weak_shot_images
from wsss_zoo.data.transforms.crops import Sample

TrainingSet = Dataset[Sample] | Mapping[str, Dataset[Sample]]


def make_training_set(images: Catalog, options: TrainingOptions) -> TrainingSet:
    """Check and make the training set that ``options.supervision`` names.

    Raises:
        ValueError: If the options do not fit together or a list is empty.
        FileNotFoundError: If a file is missing.
    """
    if options.extra_roots and options.supervision not in ("image_labels", "pairs"):
        raise ValueError(
            f"extra_roots {options.extra_roots} adds tagged images, which supervision "
            f"{options.supervision!r} cannot use; leave it out, or take a method that learns from "
            "'image_labels' or 'pairs'"
        )
    if options.sparse_dir and options.supervision != "sparse":
        raise ValueError(
            f"sparse_dir {options.sparse_dir!r} has sparse labels, which supervision "
            f"{options.supervision!r} cannot use; leave it out, or train Sparse"
        )
    if options.supervision not in _MAKERS:
        known = ", ".join(_MAKERS)
        raise ValueError(f"supervision is {options.supervision!r}; give one of {known}")
    if options.pseudo_label_dir is not None and options.supervision in _REMEDIES:
        raise ValueError(
            f"pseudo_label_dir is {options.pseudo_label_dir!r}, but supervision "
            f"{options.supervision!r} learns from {_REMEDIES[options.supervision]}"
        )
    return _MAKERS[options.supervision](images, options)


def training_ids(train: TrainingSet) -> set[str]:
    """Collect the ids of all images of a training set, in whatever role."""
    if isinstance(train, Mapping):
        return {image_id for part in train.values() for image_id in training_ids(part)}
    # Pairs and weak-shot samples are made from images that know their ids.
    images: Any = getattr(train, "images", train)
    return set(images.ids)


def training_lists(train: TrainingSet) -> list[str]:
    """List the ids of each part of a training set, a line an image, in its order."""
    if isinstance(train, Mapping):
        return [text for part in train.values() for text in training_lists(part)]
    images: Any = getattr(train, "images", train)
    return ["\n".join(images.ids)]


def _make_graphs(images: Catalog, options: TrainingOptions) -> Dataset[Sample]:
    # Here, as it takes seconds to import and only one kind of supervision needs it.
    from wsss_zoo.data.supervision.graphs import make_region_graphs

    return make_region_graphs(images, options)


_SEGMENT = "; leave it out, or train a segmenter on it, as Supervised or FixMatch"
# What a training set without masks is made of, and what to do instead of giving it pseudo-labels.
_REMEDIES = {
    "image_labels": f"tags{_SEGMENT}",
    "pairs": f"tags{_SEGMENT}",
    "images": f"images alone{_SEGMENT}",
    "graphs": "region graphs; leave it out, and give the labels to the prediction that writes the "
    "graphs (--graphs.pseudo_label_dir)",
}
_MAKERS: dict[str, Callable[[Catalog, TrainingOptions], TrainingSet]] = {
    "mask": make_masked_images,
    "image_labels": make_tagged_images,
    "images": make_plain_images,
    "pairs": make_image_pairs,
    "semi": make_semi_images,
    "sparse": make_sparse_images,
    "weak_shot": make_weak_shot_images,
    "graphs": _make_graphs,
}
