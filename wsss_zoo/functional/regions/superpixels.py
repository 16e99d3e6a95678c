"""Superpixels: small connected regions that follow the edges of an image."""

from importlib import import_module
from importlib.metadata import version
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

SuperpixelBackend = Literal["auto", "fast_slic", "skimage"]

COMPACTNESS = 10.0
# fast_slic aborts the process (SIGFPE) where it finds more seeds than it has cells for.
MIN_PIXELS_PER_SEED = 64
# Its labels are int16.
MAX_SEEDS = np.iinfo(np.int16).max

INSTALL_FAST_SLIC = (
    'pip install "cython>=0.29" numpy wheel "setuptools<81"\n'
    "pip install --no-build-isolation fast-slic"
)


def superpixels(
    image: npt.NDArray[np.uint8], num_segments: int, backend: SuperpixelBackend = "auto"
) -> npt.NDArray[np.int64]:
    """Divide an image into superpixels by SLIC.

    Deterministic for an image, a request and a backend. The two backends give different regions: do
    not mix them within one run (see `superpixel_backend`).

    Args:
        image: RGB image before normalisation, (H, W, 3) uint8 with H, W >= 1, any memory layout.
        num_segments: Number of regions to ask for, at least 1, which SLIC approximates. Capped at
            one region per 64 pixels and at 32,767.
        backend: `"fast_slic"` (C++, 20-40 times faster, no dependency of this package), `"skimage"`
            (scikit-image), or `"auto"`: fast_slic if it can be imported, else skimage.

    Returns:
        Region of each pixel, (H, W) int64, with contiguous ids 0..V-1.

    Raises:
        ImportError: If the backend is `"fast_slic"` and it cannot be imported.

    Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", TPAMI 2012,
    with compactness 10. Both backends convert colours to CIELAB themselves.

    >>> image = np.zeros((16, 32, 3), np.uint8)
    >>> image[:, 16:] = 255
    >>> segments = superpixels(image, 8, backend="skimage")
    >>> set(segments[:, :16].flat) & set(segments[:, 16:].flat)
    set()
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != np.uint8:
        raise ValueError(
            f"image has shape {image.shape} and type {image.dtype}; give the RGB image before "
            "normalisation, (H, W, 3) uint8"
        )
    if num_segments < 1:
        raise ValueError(f"num_segments is {num_segments}; give at least 1")
    fast_slic = _import_fast_slic(backend)
    height, width = image.shape[:2]
    seeds = min(int(num_segments), max(height * width // MIN_PIXELS_PER_SEED, 1), MAX_SEEDS)
    if seeds == 1:
        return np.zeros((height, width), np.int64)
    segments = _skimage(image, seeds) if fast_slic is None else _fast_slic(fast_slic, image, seeds)
    return _without_gaps(segments)


def superpixel_backend(backend: SuperpixelBackend = "auto") -> str:
    """Return name and version of the library behind a backend, for the key of a cache.

    For example `"fast_slic 0.4.0"` or `"scikit-image 0.26.0"`. The backend is as in `superpixels`.

    Raises:
        ImportError: If the backend is `"fast_slic"` and it cannot be imported.

    >>> superpixel_backend("skimage").split()[0]
    'scikit-image'
    """
    if _import_fast_slic(backend) is None:
        return f"scikit-image {version('scikit-image')}"
    return f"fast_slic {version('fast-slic')}"


def _import_fast_slic(backend: str) -> Any:
    """Import the fast_slic class of this backend; None stands for scikit-image."""
    if backend not in get_args(SuperpixelBackend):
        raise ValueError(
            f"backend is {backend!r}; give one of {', '.join(get_args(SuperpixelBackend))}"
        )
    if backend == "skimage":
        return None
    try:
        plain = import_module("fast_slic").Slic
    except ImportError as error:
        if backend == "auto":
            return None
        raise ImportError(
            "fast_slic cannot be imported; install it, which takes a C++ compiler and these two "
            f'lines, or give backend="skimage":\n{INSTALL_FAST_SLIC}'
        ) from error
    try:
        return import_module("fast_slic.avx2").SlicAvx2
    except ImportError:
        return plain


def _fast_slic(slic_class: Any, image: npt.NDArray[np.uint8], seeds: int) -> npt.NDArray[np.int64]:
    """Run a new instance of fast_slic, because a used one would start at its last centres."""
    # One thread: OpenMP threads wait for each other on a busy machine, 100 times longer.
    slic = slic_class(num_components=seeds, compactness=COMPACTNESS, num_threads=1)
    labels: npt.NDArray[np.int64] = slic.iterate(np.require(image, requirements=["C", "W"]))
    return labels


def _skimage(image: npt.NDArray[np.uint8], seeds: int) -> npt.NDArray[np.int64]:
    # Slow to import, and only needed by this backend.
    from skimage.segmentation import slic

    labels: npt.NDArray[np.int64] = slic(image, seeds, compactness=COMPACTNESS, start_label=0)
    return labels


def _without_gaps(segments: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Renumber the used ids from 0 on, in their order."""
    shifted = segments.astype(np.int64) - segments.min()
    # Unlike np.unique, a table of the ids does not sort the pixels.
    occurs = np.bincount(shifted.ravel()) > 0
    renumbered: npt.NDArray[np.int64] = (np.cumsum(occurs) - 1)[shifted]
    return renumbered
