"""Batches of the weak-shot regime and proposals, made by hand."""

import torch

from wsss_zoo.modules import Proposals

# Of the five classes the last two are novel: they have tags only.
K, NOVEL = 5, (3, 4)
IS_BASE = torch.tensor([True, True, True, False, False])


def proposals(N=3, L=2, Q=6, h=8, w=10, E=4, seed=0, scale=3.0) -> Proposals:
    """Random ones; leaves of the graph."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (N, L, Q, K + 1), (N, L, Q, h, w), (N, E, h, w)
    return Proposals(*(scale * torch.randn(shape, generator=generator) for shape in shapes))


def leaves(given: Proposals) -> Proposals:
    """The same, requiring gradients."""
    return Proposals(*(value.detach().clone().requires_grad_() for value in given))


def masks(N=3, height=32, width=40, seed=0, novel=((3,), (3, 4), ())) -> tuple:
    """Base classes with ignored pixels (N, H, W), where it is valid, and novel tags (N, K)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 3, (N, -(-height // 4), -(-width // 4)), generator=generator)
    coarse[torch.rand(coarse.shape, generator=generator) < 0.4] = 255
    mask = coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :height, :width].clone()
    valid = torch.ones(N, height, width, dtype=torch.bool)
    valid[0, :, -6:] = False
    mask[~valid] = 255
    tags = torch.zeros(N, K)
    for n, classes in enumerate(novel):
        tags[n, list(classes)] = 1
    return mask, valid, tags


def weak_shot_batch(N=2, size=64, seed=0, device=None) -> dict:
    """A batch as the data module makes it: images and references, tags of novel classes alone."""
    generator = torch.Generator().manual_seed(seed)

    def side(offset):
        mask, valid, tags = masks(N, size, size, seed + offset, ((3,), (3, 4))[:N])
        return {
            "image": torch.rand(N, 3, size, size, generator=generator),
            "mask": mask,
            "valid": valid,
            "image_labels": tags[:, 1:],
            "image_id": [f"{offset}{n}" for n in range(N)],
        }

    return {**side(0), "reference": side(1)}
