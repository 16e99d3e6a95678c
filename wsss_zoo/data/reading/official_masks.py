"""Label maps whose numbers are those of a long official list, in ``.mat`` or PNG files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import scipy.io
from numpy.typing import NDArray

from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.files.decoding import UInt8Array

T = TypeVar("T")
# Stands in tables for a number that no label map may hold.
_NO_LABEL = -1


@dataclass(frozen=True)
class OfficialMaskFiles(ImageFiles):
    """Images, and masks in ``.mat`` or PNG files that hold the numbers of a long official list.

    ``table`` has the class index in use by official number, see `number_table`; ``variable`` is the
    name of the matrix in ``.mat`` files.
    """

    table: NDArray[np.int16]
    variable: str

    def read_values(self, path: str) -> NDArray[Any]:
        """Read the official number per pixel, (H, W)."""
        is_matrix = path.endswith(".mat")
        return read_matrix(path, self.variable) if is_matrix else super().read_values(path)

    def map_indices(self, values: NDArray[Any], path: str) -> UInt8Array:
        """Map official numbers to class indices; see `map_numbers`."""
        return map_numbers(values, self.table, path)

    def mask_size(self, image_id: str) -> tuple[int, int]:
        """Read height and width of a label map, pixels, from the file's header."""
        path = self.masks[image_id]
        if not path.endswith(".mat"):
            return super().mask_size(image_id)
        shape = variable_shapes(path).get(self.variable, ())
        if len(shape) != 2:
            raise _no_matrix(path, self.variable)
        return shape


def number_table(indices: Mapping[int, int], size: int) -> NDArray[np.int16]:
    """Make a table of class indices by official number, (size,); others are errors.

    >>> number_table({0: 255, 2: 0}, 3).tolist()
    [255, -1, 0]
    """
    table = np.full(size, _NO_LABEL, dtype=np.int16)
    for label, index in indices.items():
        table[label] = index
    return table


def map_numbers(labels: NDArray[Any], table: NDArray[np.int16], path: str) -> UInt8Array:
    """Map official numbers in a file, (H, W), to class indices by a `number_table`.

    ValueError if a number is not in the table; the message names the file.
    """
    if labels.min(initial=0) >= 0 and labels.max(initial=0) < len(table):
        mapped = table.take(labels)
        if mapped.min(initial=0) >= 0:
            return mapped.astype(np.uint8)
    known = {label for label, index in enumerate(table.tolist()) if index != _NO_LABEL}
    found = [number for number in np.unique(labels).tolist() if number not in known]
    raise ValueError(
        f"{path} holds the number {found[0]}, which is no label of this data set; unpack the "
        "official archive again, or say how the files are numbered"
    )


def read_matrix(path: str, variable: str) -> NDArray[Any]:
    """Read a matrix of whole numbers from a MATLAB file, (H, W); OSError if it cannot be read."""
    content = load_matlab(path, lambda: scipy.io.loadmat(path, variable_names=[variable]))
    matrix = np.asarray(content.get(variable))
    if matrix.ndim != 2:
        raise _no_matrix(path, variable)
    return matrix.astype(np.int64) if matrix.dtype.kind == "f" else matrix


def variable_shapes(path: str) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the variables in a MATLAB file, but not their values."""
    return {name: shape for name, shape, _ in load_matlab(path, lambda: scipy.io.whosmat(path))}


def _no_matrix(path: str, variable: str) -> OSError:
    return OSError(f"{path} has no matrix {variable!r}; unpack the official archive again")


def load_matlab(path: str, load: Callable[[], T]) -> T:
    """Call a reader of a MATLAB file; what it raises becomes an OSError that names the file."""
    try:
        return load()
    except NotImplementedError as error:
        raise OSError(
            f"{path} is in MATLAB's format 7.3, which is not read; take a release in an older "
            "format"
        ) from error
    except Exception as error:  # scipy lets many kinds through for a damaged file
        raise OSError(
            f"{path} cannot be read ({type(error).__name__}: {error}); unpack the official "
            "archive again"
        ) from error
