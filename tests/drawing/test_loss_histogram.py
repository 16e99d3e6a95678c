import io

import numpy as np
from PIL import Image

from tests.each import each
from wsss_zoo.drawing.loss_histogram import draw_losses


def draw(losses, is_correct, **thresholds):
    return draw_losses(
        np.array(losses, np.float32), np.array(is_correct, bool), thresholds, "precision 0.9"
    )


def test_the_picture_is_the_same_each_time():
    losses, is_correct = [0.1, 0.2, 5.0, np.inf], [True, True, False, False]
    picture = draw(losses, is_correct, gamma=0.3, youden=0.2)
    assert draw(losses, is_correct, gamma=0.3, youden=0.2) == picture
    assert draw(losses, is_correct, gamma=0.1, youden=0.2) != picture
    image = Image.open(io.BytesIO(picture))
    assert image.size == (768, 408)
    assert len(np.unique(np.asarray(image).reshape(-1, 4), axis=0)) > 20
    assert "Software" not in image.info


@each(
    ("losses", "is_correct"),
    [([0.0], [True]), ([np.inf], [False]), ([0.5, 0.5], [False, False]), ([1e-9], [True])],
)
def test_odd_losses_can_be_drawn(losses, is_correct):
    assert draw(losses, is_correct, gamma=None, youden=None).startswith(b"\x89PNG")
