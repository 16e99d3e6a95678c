"""Masks that show base classes only, or novel ones where a pseudo-label has them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_zoo.files.decoding import IGNORE_INDEX


def index_table(indices: Sequence[int]) -> Tensor:
    """Whether each mask value is one of the indices, (256,) bool."""
    table = torch.zeros(IGNORE_INDEX + 1, dtype=torch.bool)
    table[list(indices)] = True
    return table


def erase_novel(mask: Tensor, is_novel: Tensor) -> Tensor:
    """A mask, (H, W) int64, with its novel classes ignored (255).

    >>> erase_novel(torch.tensor([[0, 1, 2, 255]]), index_table([2])).tolist()
    [[0, 1, 255, 255]]
    """
    return torch.where(is_novel[mask], IGNORE_INDEX, mask)


def paste_novel(mask: Tensor, pseudo: Tensor, is_novel: Tensor, is_tagged: Tensor) -> Tensor:
    """True base classes over pseudo-labels of novel ones (SimFormer's re-training, NeurIPS 2022).

    The true class where that is a base class; elsewhere the pseudo-label where that is a novel
    class which the image is tagged with; else 255. Where the true mask is novel and where it is
    ignored is treated alike, so nothing of the novel masks shows. SimFormer's released code takes
    the whole true mask where it finds no file of pseudo-labels. For the tables see `index_table`.

    >>> tables = index_table([2, 3]), index_table([1, 2])
    >>> paste_novel(torch.tensor([0, 3, 2, 255]), torch.tensor([2, 2, 3, 1]), *tables).tolist()
    [0, 2, 255, 255]
    """
    base = erase_novel(mask, is_novel)
    takes_pseudo = (base == IGNORE_INDEX) & (is_novel & is_tagged)[pseudo]
    return torch.where(takes_pseudo, pseudo, base)
