"""What examples are drawn from: sizes, label maps, numbers."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

IGNORED = 255
#: From zeros to logits that saturate every softmax.
SCALES = [0.0, 1e-6, 1.0, 30.0, 1e4]


def sizes(largest: int = 8):
    """Height and width; single pixels and rows of pixels come first when an example shrinks."""
    return st.tuples(st.integers(1, largest), st.integers(1, largest))


@st.composite
def label_maps(draw, classes: int, shape: tuple[int, ...], ignored: bool = True) -> Tensor:
    """Class indices, int64."""
    values = [*range(classes), *([IGNORED] if ignored else [])]
    array = draw(hnp.arrays(np.int64, shape, elements=st.sampled_from(values)))
    return torch.from_numpy(array)


@st.composite
def tensors(draw, *shape: int, scales: list[float] | None = None) -> Tensor:
    """Normal numbers, times one of the scales."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return torch.randn(shape, generator=generator) * draw(st.sampled_from(scales or SCALES))


@st.composite
def flags(draw, *shape: int) -> Tensor:
    """bool."""
    return torch.from_numpy(draw(hnp.arrays(np.bool_, shape)))


def permutations(count: int):
    """Orders of ``count`` things, as a tensor."""
    return st.permutations(range(count)).map(torch.tensor)


@st.composite
def images(draw, size: tuple[int, int]) -> np.ndarray:
    """RGB image, (H, W, 3) uint8: noise, two colours, or one."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    kind = draw(st.sampled_from(["one", "two", "noise"]))
    image = np.full((*size, 3), rng.integers(0, 256, 3), dtype=np.uint8)
    if kind == "two":
        image[:, size[1] // 2 :] = rng.integers(0, 256, 3)
    elif kind == "noise":
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    return image


def json_values():
    """Anything that JSON can hold, numbers that are not finite too."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)

    def inside(values):
        return st.lists(values, max_size=3) | st.dictionaries(
            st.text(max_size=6), values, max_size=3
        )

    return st.recursive(leaves, inside, max_leaves=6)
