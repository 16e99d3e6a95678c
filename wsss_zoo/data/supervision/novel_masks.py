"""Masks that show base classes only, or novel ones where a pseudo-label has them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_zoo.files.decoding import IGNORE_INDEX


def index_table(indices: Sequence[int]) -> Tensor:
    """Mark the indices among the mask values, (256,) bool."""
    table = torch.zeros(IGNORE_INDEX + 1, dtype=torch.bool)
    table[list(indices)] = True
    return table


def erase_novel(mask: Tensor, is_novel: Tensor) -> Tensor:
    """Ignore the novel classes of a mask, (H, W) int64: set them to 255.

    >>> erase_novel(torch.tensor([[0, 1, 2, 255]]), index_table([2])).tolist()
    [[0, 1, 255, 255]]
    """
    return torch.where(is_novel[mask], IGNORE_INDEX, mask)


def paste_novel(mask: Tensor, pseudo: Tensor, is_novel: Tensor, is_tagged: Tensor) -> Tensor:
    """Paste true base classes over pseudo-labels (SimFormer's re-training, NeurIPS 2022).

    The true class where that is a base class; elsewhere the pseudo-label where that is a novel
    class which the image is tagged with; else 255. Pixels of novel and of ignored true class are
    treated alike, so nothing of the novel masks shows. Where there is no file of pseudo-labels, the
    authors' code takes the whole true mask. For the tables see `index_table`.

    >>> tables = index_table([2, 3]), index_table([1, 2])
    >>> paste_novel(torch.tensor([0, 3, 2, 255]), torch.tensor([2, 2, 3, 1]), *tables).tolist()
    [0, 2, 255, 255]
    """
    base = erase_novel(mask, is_novel)
    takes_pseudo = (base == IGNORE_INDEX) & (is_novel & is_tagged)[pseudo]
    return torch.where(takes_pseudo, pseudo, base)
