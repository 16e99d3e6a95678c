"""Shapes: equal letters, numbers, offsets, and what the message says."""

import pytest
import torch

from wsss_zoo.functional.tensors import at_least_float32, check_equal_shapes, check_shapes


@pytest.mark.parametrize(
    ("wanted", "shapes"),
    [
        ("(N, C) and (N,)", [(2, 3), (2,)]),
        ("(N, K + 1) and (N, K)", [(2, 4), (2, 3)]),
        ("(N, K) and (N, K + 1)", [(2, 3), (2, 4)]),
        ("(2, D) = [a, b] and (D, D)", [(2, 0), (0, 0)]),
    ],
)
def test_shapes_that_fit(wanted, shapes):
    check_shapes(wanted, **{f"x{i}": torch.zeros(shape) for i, shape in enumerate(shapes)})


@pytest.mark.parametrize(
    ("wanted", "shapes"),
    [
        ("(N, C) and (N,)", [(2, 3), (3,)]),
        ("(N, C) and (N,)", [(2, 3), (2, 1)]),
        ("(N, C) and (N,)", [(2, 3, 1), (2,)]),
        ("(N, C) and (N,)", [(2, 3), ()]),
        ("(N, K + 1) and (N, K)", [(2, 3), (2, 3)]),
        ("(2, D) and (D,)", [(3, 5), (5,)]),
        ("(D, D)", [(1, 2)]),
    ],
)
def test_shapes_that_do_not_fit(wanted, shapes):
    tensors = {f"x{i}": torch.zeros(shape) for i, shape in enumerate(shapes)}
    with pytest.raises(ValueError, match=r"not fit; give \(") as error:
        check_shapes(wanted, **tensors)
    assert str(error.value).endswith(wanted)
    assert all(f"{name} {tuple(x.shape)}" in str(error.value) for name, x in tensors.items())


def test_equal_shapes():
    a, b = torch.zeros(2), torch.zeros(2, 1)
    check_equal_shapes("crop", a=a, b=a, c=a)
    with pytest.raises(ValueError, match=r"^a \(2,\), b \(2,\) and c \(2, 1\) differ; crop$"):
        check_equal_shapes("crop", a=a, b=a, c=b)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_precision_is_at_least_that_of_float32(dtype):
    assert at_least_float32(torch.zeros(1, dtype=dtype)).dtype == torch.float32
    assert at_least_float32(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
