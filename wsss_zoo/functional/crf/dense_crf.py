"""Refine class probabilities along the edges of an image by a fully connected CRF."""

import numpy as np
import numpy.typing as npt

from wsss_zoo.functional.crf.permutohedral import PermutohedralLattice, permutohedral_lattice

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

MIN_PROB = 1e-5
# exp of it, summed over any number of classes, stays finite in float32.
MAX_LOGIT = 60.0


def dense_crf(
    probs: npt.NDArray[np.floating],
    image: ByteArray,
    *,
    iterations: int = 10,
    gaussian_sxy: float = 3.0,
    gaussian_weight: float = 3.0,
    bilateral_sxy: float = 80.0,
    bilateral_srgb: float = 13.0,
    bilateral_weight: float = 10.0,
) -> FloatArray:
    """Refine class probabilities by mean field in a fully connected CRF with Potts costs.

    Starts at Q = softmax(-U) with U = -log(clip(probs, 1e-5, 1)); every iteration sets
    Q = softmax(-U + sum_k weight_k D_k^-1/2 K_k D_k^-1/2 Q), where K_k is a Gaussian kernel, one of
    the positions and one of positions and colours, and D_k its row sums. Filtering on the
    permutohedral lattice is an approximation; Kraehenbuehl's code uses the same. Leave absent
    classes out: the time grows with C.

    Args:
        probs: Finite class probabilities, (C, H, W), any float type and memory layout. Pixels that
            do not sum to 1 are renormalised by the first softmax.
        image: RGB image before normalisation, (H, W, 3) uint8.
        iterations: Mean field steps; 0 returns softmax(-U).
        gaussian_sxy: Standard deviation of the position kernel in pixels, above 0, like the others.
        gaussian_weight: Weight of the position kernel; 0 leaves it out.
        bilateral_sxy: Standard deviation of the positions in the colour kernel, in pixels.
        bilateral_srgb: Standard deviation of the colours in the colour kernel, in grey levels of
            0-255.
        bilateral_weight: Weight of the colour kernel; 0 leaves it out.

    Returns:
        Probabilities, (C, H, W) float32, that sum to 1 over C.

    Raises:
        ValueError: If a standard deviation is far too small for the lattice.

    Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
    Potentials", NeurIPS 2011. The defaults are those of PSA and ToCo for soft maps; IRN refines
    hard labels (0.7 for the given one) with `bilateral_sxy=50, bilateral_srgb=5`.

    >>> image = np.zeros((1, 4, 3), np.uint8)
    >>> image[0, 2:] = 255
    >>> probs = np.array([[[0.9, 0.4, 0.4, 0.1]], [[0.1, 0.6, 0.6, 0.9]]])
    >>> dense_crf(probs, image).argmax(axis=0).tolist()
    [[0, 0, 1, 1]]
    """
    _check_arrays(probs, image)
    deviations = {"gaussian_sxy": gaussian_sxy, "bilateral_sxy": bilateral_sxy}
    for name, value in (deviations | {"bilateral_srgb": bilateral_srgb}).items():
        if not 0 < value < np.inf:
            raise ValueError(f"{name} is {value}; give a finite standard deviation > 0")
    weights = {"gaussian_weight": gaussian_weight, "bilateral_weight": bilateral_weight}
    for name, value in (weights | {"iterations": iterations}).items():
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} is {value}; give a finite number >= 0")
    kernels: list[PermutohedralLattice] = []
    if gaussian_weight > 0 and iterations > 0:
        kernels.append(_kernel(_positions(image, gaussian_sxy), gaussian_weight))
    if bilateral_weight > 0 and iterations > 0:
        colours = image.reshape(-1, 3).T / np.float32(bilateral_srgb)
        features = np.concatenate([_positions(image, bilateral_sxy), colours])
        kernels.append(_kernel(features, bilateral_weight))
    log_probs = np.log(np.clip(probs, MIN_PROB, 1.0).astype(np.float32))
    log_probs = np.ascontiguousarray(log_probs.reshape(len(probs), -1).T)
    result = _softmax_(log_probs.copy())
    for _ in range(iterations):
        logits = log_probs.copy()
        for kernel in kernels:
            logits += kernel.filter(result)
        result = _softmax_(logits)
    return np.ascontiguousarray(result.T).reshape(probs.shape)


def _check_arrays(probs: npt.NDArray[np.floating], image: ByteArray) -> None:
    if probs.ndim != 3 or 0 in probs.shape or not np.issubdtype(probs.dtype, np.floating):
        raise ValueError(
            f"probs have shape {probs.shape} and type {probs.dtype}; give floats (C, H, W) with "
            "C, H, W >= 1"
        )
    if image.shape != (*probs.shape[1:], 3) or image.dtype != np.uint8:
        raise ValueError(
            f"image has shape {image.shape} and type {image.dtype}, probs have shape "
            f"{probs.shape}; give the RGB image before normalisation, (H, W, 3) uint8, and resize "
            "probs to it"
        )
    if not np.isfinite(probs).all():
        raise ValueError(
            f"probs hold {np.count_nonzero(~np.isfinite(probs))} NaN or infinite values; check the "
            "logits or the CAM they were made of"
        )


def _positions(image: ByteArray, sxy: float) -> FloatArray:
    """Compute the pixels' x and y, (2, H * W), in units of the standard deviation."""
    y, x = np.indices(image.shape[:2], dtype=np.float32).reshape(2, -1)
    return np.stack([x, y]) / np.float32(sxy)


def _kernel(features: FloatArray, weight: float) -> PermutohedralLattice:
    """Build `weight * D^-1/2 K D^-1/2` of features (d, H * W), D the row sums of the kernel K."""
    lattice = permutohedral_lattice(features)
    row_sums = lattice.filter(np.ones((features.shape[1], 1), np.float32))
    return lattice.scaled(np.sqrt(np.float32(weight) / row_sums).ravel())


def _softmax_(logits: FloatArray) -> FloatArray:
    """Compute the softmax over the rows of (N, C), in place."""
    # Logits are >= log(MIN_PROB), so only large ones, from large weights, need the shift.
    if logits.max() > MAX_LOGIT:
        logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    # The product with ones is several times as fast as a sum over a short axis.
    logits /= (logits @ np.ones(logits.shape[1], np.float32))[:, None]
    return logits
