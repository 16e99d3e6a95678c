"""Gaussian filter in high dimensions on the permutohedral lattice, with numpy and scipy."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.int8]
KeyArray = npt.NDArray[np.int64]

# Up to this distance float32 places a point in its cell to 1/64 or better.
MAX_DISTANCE = 2**16


@dataclass(frozen=True, slots=True, eq=False)
class PermutohedralLattice:
    """Gaussian filter of N points: products with sparse matrices over V lattice vertices.

    Attributes:
        slicing: (N, V) with d + 1 non-zeros per row: the weights of the vertices around the point,
            times the root of the factor that compensates for the gain of the blurs. Its transpose
            splats.
        blurs: d + 1 matrices (V, V), one per lattice direction, with 0.5 for each existing
            neighbour. A blur adds the product to the vertex itself.
    """

    slicing: sparse.csr_array
    blurs: tuple[sparse.csr_array, ...]

    def filter(self, values: FloatArray) -> FloatArray:
        """Sum the values of all points, weighted by a Gaussian of their distance.

        Args:
            values: (N, M) float32, one row per point.

        Returns:
            (N, M) float32, about `K @ values` up to one factor common to all points, with
            K[i, j] = exp(-|f_i - f_j|^2 / 2).
        """
        vertices = self.slicing.T @ values
        for blur in self.blurs:
            vertices += blur @ vertices
        filtered: FloatArray = self.slicing @ vertices
        return filtered

    def scaled(self, factor: FloatArray) -> "PermutohedralLattice":
        """Make the filter `diag(factor) K diag(factor)` of a factor per point, (N,) float32.

        It serves symmetric normalisation, and is as fast as this filter.
        """
        scaled = self.slicing.copy()
        scaled.data *= np.repeat(factor, len(self.blurs))
        return PermutohedralLattice(scaled, self.blurs)


def permutohedral_lattice(features: npt.ArrayLike) -> PermutohedralLattice:
    """Build the lattice that filters N points in d dimensions with a Gaussian of unit variance.

    Points of one simplex share its vertices, so vertices are looked up per simplex, not per point.

    Args:
        features: (d, N) coordinates in units of the desired standard deviation; d, N >= 1.

    Raises:
        ValueError: If the features are not (d, N) or not finite, or if the standard deviations are
            so small that the lattice cells cannot be told apart.

    Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice",
    Eurographics 2010. Equals the hash table of the authors' code up to float rounding.

    >>> lattice = permutohedral_lattice([[0.0, 0.1, 9.0]])
    >>> lattice.filter(np.eye(3, 1, dtype=np.float32)).round(2)
    array([[0.83],
           [0.81],
           [0.  ]], dtype=float32)
    """
    points = np.asarray(features, dtype=np.float32)
    if points.ndim != 2 or 0 in points.shape:
        raise ValueError(f"features have shape {points.shape}; give (d, N) with d, N >= 1")
    d, count = points.shape
    distance = np.abs(points).max()
    if not distance < MAX_DISTANCE:
        raise ValueError(
            f"features reach {distance:.3g} standard deviations, {MAX_DISTANCE} is the limit; "
            "choose larger standard deviations (sxy, srgb)"
        )
    remainder, rank, weights = _enclosing_simplex(_elevate(points))

    # The last coordinate follows from the others. The offset 2 keeps coordinates non-negative in
    # every step of a blur: a negative one would have the key of another vertex.
    remainder = remainder[:d] - remainder[:d].min(axis=1, keepdims=True) + 2
    strides = _key_strides((d + 1) * (remainder.max(axis=1) + 2))
    # (d + 1) * remainder - rank identifies the simplex.
    simplex_keys = strides @ ((d + 1) * remainder.astype(np.int64) - rank[:d])
    unique_keys, simplex = np.unique(simplex_keys, return_inverse=True)
    member = np.empty(len(unique_keys), np.int64)
    member[simplex] = np.arange(count)

    keys, vertices = np.unique(
        _vertex_keys(remainder[:, member], rank[:d, member], strides), return_inverse=True
    )
    columns = vertices.reshape(-1, d + 1).astype(np.int32)[simplex]
    weights *= np.float32(np.sqrt(1 / (1 + 2.0**-d)))
    starts = np.arange(0, columns.size + 1, d + 1, dtype=np.int32)
    slicing = sparse.csr_array((weights.ravel(), columns.ravel(), starts), shape=(count, len(keys)))
    return PermutohedralLattice(slicing, _blur_matrices(keys, strides))


def _elevate(points: FloatArray) -> FloatArray:
    """Map (d, N) points onto the plane of d + 1 coordinates that sum to 0."""
    d, count = points.shape
    # The blur has variance 2/3 (d + 1)^2 in lattice units.
    axis = np.arange(1, d + 1)
    scale = (np.sqrt(2 / 3) * (d + 1) / np.sqrt(axis * (axis + 1))).astype(np.float32)
    elevated = np.empty((d + 1, count), np.float32)
    total = np.zeros(count, np.float32)
    for j in range(d, 0, -1):
        scaled = points[j - 1] * scale[j - 1]
        elevated[j] = total - j * scaled
        total += scaled
    elevated[0] = total
    return elevated


def _enclosing_simplex(elevated: FloatArray) -> tuple[FloatArray, ByteArray, FloatArray]:
    """Find the simplex around each of N elevated points (d + 1, N).

    Returns:
        The remainder-0 vertex divided by d + 1, (d + 1, N); the rank of each coordinate by its
        distance from that vertex, 0 the largest, (d + 1, N); barycentric weights (N, d + 1).
    """
    d = len(elevated) - 1
    cells = elevated * np.float32(1 / (d + 1))
    remainder = np.rint(cells)
    offset = cells - remainder
    rank = np.zeros(elevated.shape, np.int8)
    for i in range(d):
        for j in range(i + 1, d + 1):
            smaller = (offset[i] < offset[j]).view(np.int8)
            rank[i] += smaller
            rank[j] += 1 - smaller
    # The rounded point may lie off the plane; the coordinates with the largest errors change.
    rank += remainder.sum(axis=0).astype(np.int8)
    step = (rank < 0).view(np.int8) - (rank > d).view(np.int8)
    rank += step * np.int8(d + 1)
    remainder += step

    offset = _sort_rows_descending(cells - remainder)
    weights = np.empty((elevated.shape[1], d + 1), np.float32)
    weights[:, 0] = 1 + offset[d] - offset[0]
    for k in range(1, d + 1):
        weights[:, k] = offset[d - k] - offset[d + 1 - k]
    return remainder, rank, weights


def _sort_rows_descending(values: FloatArray) -> FloatArray:
    """Sort each column of (M, N) in place, by odd-even transposition of whole rows."""
    for parity in range(len(values)):
        for row in range(parity % 2, len(values) - 1, 2):
            larger = np.maximum(values[row], values[row + 1])
            np.minimum(values[row], values[row + 1], out=values[row + 1])
            values[row] = larger
    return values


def _key_strides(extents: FloatArray) -> KeyArray:
    """Compute strides (d,) that pack coordinates in [0, extent) into one integer."""
    strides = [1]
    for extent in extents.tolist():
        strides.append(strides[-1] * int(extent))
    if strides[-1] >= 2**63:
        raise ValueError(
            f"features spread over {strides[-1]:.1e} lattice cells, 2^63 is the limit; choose "
            "larger standard deviations (sxy, srgb)"
        )
    return np.array(strides[:-1], np.int64)


def _vertex_keys(remainder: FloatArray, rank: ByteArray, strides: KeyArray) -> KeyArray:
    """Pack the d + 1 vertices of S simplices, from remainder and rank (d, S), into (S, d + 1)."""
    d, count = remainder.shape
    keys = np.empty((count, d + 1), np.int64)
    keys[:, 0] = ((d + 1) * strides) @ remainder.astype(np.int64)
    for k in range(1, d + 1):
        # Move one step along all coordinates, and the coordinate of rank d + 1 - k back.
        keys[:, k] = keys[:, k - 1] + strides.sum() - (d + 1) * (strides @ (rank == d + 1 - k))
    return keys


def _blur_matrices(keys: KeyArray, strides: KeyArray) -> tuple[sparse.csr_array, ...]:
    """Build matrices that sum half of both neighbours of V vertices, per lattice direction."""
    count, d = len(keys), len(strides)
    matrices = []
    for step in [*(strides.sum() - (d + 1) * strides), strides.sum()]:
        after = np.searchsorted(keys, keys + step)
        after[after == count] = 0
        vertex = np.flatnonzero(keys[after] == keys + step)
        neighbour = after[vertex]
        rows = np.concatenate([vertex, neighbour])
        columns = np.concatenate([neighbour, vertex])
        halves = np.full(len(rows), 0.5, np.float32)
        matrices.append(sparse.csr_array((halves, (rows, columns)), shape=(count, count)))
    return tuple(matrices)
