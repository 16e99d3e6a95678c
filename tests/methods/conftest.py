"""Two small pictures that a tiny network can learn, and a Trainer that leaves no traces."""

import functools

import pytest
import torch
from torch.utils.data import DataLoader

from tests.trainers import quiet_trainer


def draw(image_id: str, boxes: list[tuple[int, int, int, int, int]], size: int = 64) -> dict:
    """Rectangles (class, y0, x0, y1, x1) of a colour per class, on noise; a frame of 255."""
    generator = torch.Generator().manual_seed(len(image_id))
    image = 0.4 + 0.2 * torch.rand(3, size, size, generator=generator)
    mask = torch.zeros(size, size, dtype=torch.int64)
    colours = torch.tensor([[0.0, 0.0, 0.0], [0.9, 0.1, 0.1], [0.1, 0.2, 0.9], [0.1, 0.9, 0.3]])
    image_labels = torch.zeros(3)
    for label, y0, x0, y1, x1 in boxes:
        image[:, y0:y1, x0:x1] = 0.8 * colours[label][:, None, None] + 0.2 * image[:, y0:y1, x0:x1]
        mask[y0:y1, x0:x1] = label
        image_labels[label - 1] = 1
    mask[:2] = 255
    return {"image": image, "mask": mask, "image_labels": image_labels, "image_id": image_id}


@pytest.fixture(scope="session")
def samples() -> list[dict]:
    return [
        draw("a", [(1, 8, 8, 40, 36), (2, 36, 40, 60, 60)]),
        draw("bb", [(3, 10, 20, 50, 56)]),
    ]


@pytest.fixture(scope="session")
def batch(samples: list[dict]) -> dict:
    return torch.utils.data.default_collate(samples)


@pytest.fixture
def loader(samples: list[dict]):
    """The two pictures, so many times over; by default one step is one batch of both."""

    def make(steps: int = 1, batch_size: int = 2) -> DataLoader:
        return DataLoader(samples * steps, batch_size=batch_size)

    return make


@pytest.fixture
def trainer(tmp_path):
    """A quiet Trainer on the CPU."""

    return functools.partial(quiet_trainer, tmp_path)
