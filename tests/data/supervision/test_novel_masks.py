"""Rules for the masks of novel classes, against loops."""

import pytest
import torch

from tests.each import each
from wsss_zoo.data.supervision.novel_masks import erase_novel, index_table, paste_novel


def pasted_pixel(true: int, pseudo: int, novel: set[int], tagged: set[int]) -> int:
    if true != 255 and true not in novel:
        return true
    if pseudo in novel and pseudo in tagged:
        return pseudo
    return 255


def random_mask(generator: torch.Generator) -> torch.Tensor:
    mask = torch.randint(0, 8, (9, 11), generator=generator)
    return mask.masked_fill(mask == 7, 255)


@each("seed", range(5))
@pytest.mark.parametrize("novel", [{2, 5}, {0}, set(range(7)), set()])
def test_pasting_follows_the_rule(seed, novel):
    generator = torch.Generator().manual_seed(seed)
    mask, pseudo = random_mask(generator), random_mask(generator)
    tagged = {c for c in range(7) if torch.rand((), generator=generator) < 0.5}
    expected = [
        [pasted_pixel(int(a), int(b), novel, tagged) for a, b in zip(*rows, strict=True)]
        for rows in zip(mask, pseudo, strict=True)
    ]
    given = mask.clone(), pseudo.clone()
    result = paste_novel(mask, pseudo, index_table(sorted(novel)), index_table(sorted(tagged)))
    assert result.tolist() == expected
    assert result.dtype == torch.int64
    assert torch.equal(mask, given[0])
    assert torch.equal(pseudo, given[1])


def test_pasting_does_not_see_which_novel_class_is_true():
    generator = torch.Generator().manual_seed(0)
    mask, pseudo = random_mask(generator), random_mask(generator)
    tables = index_table([2, 5]), index_table([1, 2, 5])
    unknown = (mask == 2) | (mask == 5) | (mask == 255)
    other = torch.where(unknown, torch.tensor([2, 5, 255])[torch.randint(3, mask.shape)], mask)
    assert not torch.equal(mask, other)
    assert torch.equal(paste_novel(mask, pseudo, *tables), paste_novel(other, pseudo, *tables))


@each("seed", range(3))
def test_erasing(seed):
    mask = random_mask(torch.Generator().manual_seed(seed))
    expected = [[255 if int(value) in (0, 3) else int(value) for value in row] for row in mask]
    assert erase_novel(mask, index_table([0, 3])).tolist() == expected
    assert torch.equal(erase_novel(mask, index_table([])), mask)


def test_table():
    assert index_table([0, 255]).nonzero().flatten().tolist() == [0, 255]
    assert not index_table([]).any()
