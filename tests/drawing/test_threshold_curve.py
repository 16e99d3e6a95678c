import io

import numpy as np
from PIL import Image

from wsss_zoo.drawing.threshold_curve import draw_threshold


def test_the_picture_shows_the_choice_and_is_the_same_each_time():
    thresholds, separation = [0.1, 0.5, 0.9], [0.2, 0.6, 0.1]
    picture = draw_threshold(thresholds, separation, 0.5, "64 images")
    assert draw_threshold(thresholds, separation, 0.5, "64 images") == picture
    assert draw_threshold(thresholds, separation, 0.1, "64 images") != picture
    image = Image.open(io.BytesIO(picture))
    assert image.size == (768, 408)
    assert len(np.unique(np.asarray(image).reshape(-1, 4), axis=0)) > 20
    assert "Software" not in image.info
