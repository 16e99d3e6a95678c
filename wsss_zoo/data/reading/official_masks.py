"""Label maps whose numbers are those of a long official list, in ``.mat`` or PNG files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import scipy.io
from numpy.typing import NDArray

from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.files.decoding import UInt8Array, read_index_mask

T = TypeVar("T")
# Stands in tables for a number that no label map may hold.
_NO_LABEL = -1


@dataclass(frozen=True)
class OfficialMaskFiles(ImageFiles):
    """Images, and masks in ``.mat`` or PNG files that hold the numbers of a long official list.

    Args:
        images: See `ImageFiles`.
        masks: See `ImageFiles`; ``.mat`` or ``.png`` files.
        index_map: See `ImageFiles`; not used here.
        table: Class index by official number, see `number_table`.
        variable: Name of the matrix in ``.mat`` files.
    """

    table: NDArray[np.int16]
    variable: str

    def read_mask(self, image_id: str) -> UInt8Array | None:
        """See `ImageSource.read_mask`."""
        path = self.masks.get(image_id)
        if path is None:
            return None
        is_matrix = path.endswith(".mat")
        labels = read_matrix(path, self.variable) if is_matrix else read_index_mask(path)
        return map_numbers(labels, self.table, path)

    def mask_size(self, image_id: str) -> tuple[int, int]:
        """Height and width of a label map, pixels, from the file's header."""
        path = self.masks[image_id]
        if not path.endswith(".mat"):
            return super().mask_size(image_id)
        shape = variable_shapes(path).get(self.variable, ())
        if len(shape) != 2:
            raise _no_matrix(path, self.variable)
        return shape


def number_table(indices: Mapping[int, int], size: int) -> NDArray[np.int16]:
    """Table of class indices by official number, (size,); numbers not in ``indices`` are errors.

    >>> number_table({0: 255, 2: 0}, 3).tolist()
    [255, -1, 0]
    """
    table = np.full(size, _NO_LABEL, dtype=np.int16)
    for label, index in indices.items():
        table[label] = index
    return table


def map_numbers(labels: NDArray[Any], table: NDArray[np.int16], path: str) -> UInt8Array:
    """Class indices for the official numbers in a file, (H, W), by a `number_table`.

    Raises:
        ValueError: If a number is not in the table; the message names the file.
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
    """A matrix of whole numbers in a MATLAB file, (H, W); OSError if it cannot be read."""
    content = load_matlab(path, lambda: scipy.io.loadmat(path, variable_names=[variable]))
    matrix = np.asarray(content.get(variable))
    if matrix.ndim != 2:
        raise _no_matrix(path, variable)
    return matrix.astype(np.int64) if matrix.dtype.kind == "f" else matrix


def variable_shapes(path: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the variables in a MATLAB file, without reading them."""
    return {name: shape for name, shape, _ in load_matlab(path, lambda: scipy.io.whosmat(path))}


def _no_matrix(path: str, variable: str) -> OSError:
    return OSError(f"{path} has no matrix {variable!r}; unpack the official archive again")


def load_matlab(path: str, load: Callable[[], T]) -> T:
    """What a reader of a MATLAB file returns; what it raises becomes an OSError with the name."""
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
