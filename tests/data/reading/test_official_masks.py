import numpy as np
import pytest
import scipy.io

from tests.each import each
from wsss_zoo.data.reading.official_masks import (
    map_numbers,
    number_table,
    read_matrix,
    variable_shapes,
)

LABELS = np.array([[0, 3], [1, 3]])


@each("dtype", [np.uint8, np.uint16, np.int32, np.float64])
def test_reads_a_matrix_of_any_type(tmp_path, dtype):
    path = str(tmp_path / "a.mat")
    scipy.io.savemat(path, {"S": LABELS.astype(dtype), "other": np.arange(3)})
    matrix = read_matrix(path, "S")
    np.testing.assert_array_equal(matrix, LABELS)
    assert matrix.dtype.kind in "iu"
    assert variable_shapes(path) == {"S": (2, 2), "other": (1, 3)}


def test_a_table_gives_the_class_of_each_label():
    table = number_table({0: 255, 1: 7, 3: 0}, 5)
    np.testing.assert_array_equal(map_numbers(LABELS, table, "a"), [[255, 0], [7, 0]])
    empty = map_numbers(np.zeros((0, 4), dtype=np.uint8), table, "a")
    assert (empty.shape, empty.dtype) == ((0, 4), np.uint8)


@each("wrong", [2, 5, 70000, -1])
def test_a_number_that_is_no_label(wrong):
    labels = LABELS.copy()
    labels[1, 1] = wrong
    with pytest.raises(ValueError, match=rf"a\.mat holds the number {wrong}, which is no label"):
        map_numbers(labels, number_table({0: 255, 1: 7, 3: 0}, 5), "a.mat")


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"S": np.random.default_rng(0).integers(0, 9, (50, 50))})
    whole = path.read_bytes()
    for size in (0, 60, 1000):
        path.write_bytes(whole[:size])
        with pytest.raises(OSError, match=r"a\.mat cannot be read"):
            read_matrix(str(path), "S")
    path.write_bytes(b"")
    with pytest.raises(OSError, match=r"a\.mat cannot be read"):
        variable_shapes(str(path))


def test_a_file_without_the_matrix(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"T": LABELS})
    with pytest.raises(OSError, match=r"a\.mat has no matrix 'S'"):
        read_matrix(str(tmp_path / "a.mat"), "S")


def test_the_newer_format_is_refused_by_name(tmp_path):
    # The header of MATLAB's format 7.3, which is HDF5.
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124)
    (tmp_path / "a.mat").write_bytes(text + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(OSError, match=r"a\.mat is in MATLAB's format 7\.3"):
        read_matrix(str(tmp_path / "a.mat"), "S")
