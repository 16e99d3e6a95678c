import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.callbacks.writers import cam_labels
from wsss_zoo.callbacks.writers.cam_labels import (
    CamLabelOptions,
    cam_pseudo_label,
    refine_cams,
)
from wsss_zoo.functional import dense_crf, pixel_adaptive_refinement, saliency_label

TAGS = torch.tensor([0.0, 1.0, 0.0, 1.0])


def random_cam(seed: int = 0) -> torch.Tensor:
    return torch.rand(4, 6, 7, generator=torch.Generator().manual_seed(seed))


def smooth_scene() -> tuple[torch.Tensor, np.ndarray]:
    """Two discs in an image and maps that follow them roughly."""
    rows, columns = np.indices((40, 50))
    image = np.full((40, 50, 3), 90, dtype=np.uint8)
    cam = torch.zeros(4, 40, 50)
    for k, (y, x), color in ((1, (15, 14), (200, 30, 30)), (3, (24, 36), (20, 190, 60))):
        distance = np.hypot(rows - y, columns - x)
        image[distance < 9] = color
        cam[k] = torch.from_numpy(np.exp(-((distance / 8) ** 2)))
    noise = np.random.default_rng(0).normal(0, 6, image.shape)
    return cam, (image + noise).clip(0, 255).astype(np.uint8)


def loop_constant(cam: torch.Tensor, tags: torch.Tensor, background: float) -> np.ndarray:
    label = np.zeros(cam.shape[1:], dtype=int)
    for y, x in np.ndindex(label.shape):
        best = background
        for k in range(len(cam)):
            if tags[k] > 0 and cam[k, y, x] > best:
                best, label[y, x] = cam[k, y, x], k + 1
    return label


def test_constant_background_is_a_loop_over_pixels():
    label = cam_pseudo_label(random_cam(), TAGS, CamLabelOptions(bg_threshold=0.6))
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, loop_constant(random_cam(), TAGS, 0.6))
    assert set(np.unique(label)) == {0, 2, 4}


def test_power_background_is_a_loop_over_pixels():
    cam = random_cam(1)
    label = cam_pseudo_label(cam, TAGS, CamLabelOptions(bg_power=2.0))
    expected = np.zeros(label.shape, dtype=int)
    for y, x in np.ndindex(label.shape):
        scores = {2: cam[1, y, x].item(), 4: cam[3, y, x].item()}
        best = max(scores, key=scores.__getitem__)
        expected[y, x] = best if scores[best] > (1 - scores[best]) ** 2 else 0
    np.testing.assert_array_equal(label, expected)
    assert (label == 0).any()


def test_smaller_power_gives_more_background():
    shares = [
        (cam_pseudo_label(random_cam(), TAGS, CamLabelOptions(bg_power=p)) == 0).mean()
        for p in (0.5, 1.0, 4.0, 32.0)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


def test_confident_labels_leave_the_middle_out():
    cam = random_cam(2)
    label = cam_pseudo_label(cam, TAGS, CamLabelOptions(fg_conf=0.7, bg_conf=0.4))
    strongest = cam[[1, 3]].max(0).values.numpy()
    expected = loop_constant(cam, TAGS, 0.7)
    expected[(strongest > 0.4) & (strongest <= 0.7)] = 255
    np.testing.assert_array_equal(label, expected)
    assert {0, 255} < set(np.unique(label))


@pytest.mark.parametrize(
    "options",
    [
        CamLabelOptions(),
        CamLabelOptions(bg_power=4.0, crf=True),
        CamLabelOptions(fg_conf=0.3, bg_conf=0.05, crf=True),
    ],
)
def test_without_tags_all_is_background(options):
    image = np.zeros((6, 7, 3), np.uint8)
    label = cam_pseudo_label(random_cam(), torch.zeros(4), options, image)
    assert not label.any()


def test_label_crf_is_that_of_irn():
    cam, image = smooth_scene()
    label = cam_pseudo_label(cam, TAGS, CamLabelOptions(bg_threshold=0.2, crf=True), image)
    constant = loop_constant(cam, TAGS, 0.2)
    probs = np.full((3, 40, 50), 0.15, dtype=np.float32)
    for channel, index in enumerate((0, 2, 4)):
        probs[channel][constant == index] = 0.7
    refined = dense_crf(
        probs, image, iterations=10, gaussian_sxy=3, gaussian_weight=3, bilateral_sxy=50,
        bilateral_srgb=5, bilateral_weight=10,
    )  # fmt: skip
    np.testing.assert_array_equal(label, np.array([0, 2, 4])[refined.argmax(0)])
    assert (label != constant).any()


def test_softmax_crf_is_that_of_psa():
    cam, image = smooth_scene()
    label = cam_pseudo_label(cam, TAGS, CamLabelOptions(bg_power=4.0, crf=True), image)
    background = (1 - cam.max(0, keepdim=True).values) ** 4
    scores = torch.cat([background, cam[[1, 3]]]).clamp(min=1e-5)
    refined = dense_crf(
        (scores / scores.sum(0)).numpy(), image, iterations=10, gaussian_sxy=3, gaussian_weight=3,
        bilateral_sxy=80, bilateral_srgb=13, bilateral_weight=10,
    )  # fmt: skip
    np.testing.assert_array_equal(label, np.array([0, 2, 4])[refined.argmax(0)])


def test_confident_labels_refine_both_maps(monkeypatch):
    cam, image = smooth_scene()
    shapes = []

    def recorded(probs, image):
        shapes.append(probs.shape)
        return probs

    monkeypatch.setattr(cam_labels, "_label_crf", recorded)
    options = CamLabelOptions(fg_conf=0.5, bg_conf=0.1, crf=True)
    label = cam_pseudo_label(cam, TAGS, options, image)
    assert shapes == [(3, 40, 50)] * 2  # the two tagged classes and background, not all five
    plain = cam_pseudo_label(cam, TAGS, CamLabelOptions(fg_conf=0.5, bg_conf=0.1))
    np.testing.assert_array_equal(label, plain)


def test_saliency_decides_the_background():
    cam = random_cam(3)
    saliency = np.random.default_rng(0).random((6, 7), dtype=np.float32)
    options = CamLabelOptions(saliency_dir="maps")
    label = cam_pseudo_label(cam, TAGS, options, saliency=saliency)
    assert label.dtype == np.uint8
    expected = saliency_label(cam, TAGS, torch.from_numpy(saliency)).numpy()
    np.testing.assert_array_equal(label, expected)
    assert set(np.unique(label)) >= {2, 4, 255}
    none = cam_pseudo_label(cam, torch.zeros(4), options, saliency=saliency)
    assert not none.any()


def test_half_precision_maps():
    cam = random_cam().half()
    label = cam_pseudo_label(cam, TAGS, CamLabelOptions(bg_power=2.0))
    np.testing.assert_array_equal(
        label, cam_pseudo_label(cam.float(), TAGS, CamLabelOptions(bg_power=2.0))
    )


def test_crf_needs_an_image():
    with pytest.raises(ValueError, match="needs the image"):
        cam_pseudo_label(random_cam(), TAGS, CamLabelOptions(crf=True))


def test_saliency_is_needed():
    with pytest.raises(ValueError, match="need the saliency map"):
        cam_pseudo_label(random_cam(), TAGS, CamLabelOptions(saliency_dir="maps"))


def test_refined_maps_are_those_of_tagged_classes():
    cam, image = torch.stack([random_cam(), random_cam(1)]), torch.rand(2, 3, 6, 7)
    tags = torch.stack([TAGS, torch.tensor([0.0, 1.0, 0.0, 0.0])])
    given = cam.clone()
    refined = refine_cams(cam, tags, image)
    expected = pixel_adaptive_refinement(image, cam[:, [1, 3]]) / 1.01**10
    torch.testing.assert_close(refined[:, [1, 3]], expected)
    assert torch.equal(refined[:, [0, 2]], cam[:, [0, 2]])
    assert torch.equal(cam, given)
    assert refine_cams(cam, torch.zeros(2, 4), image) is cam
    flat = torch.full_like(cam, 0.3)
    torch.testing.assert_close(refine_cams(flat, tags, image), flat)


@each(
    ("options", "message"),
    [
        ({"bg_threshold": -0.1}, "bg_threshold"),
        ({"bg_threshold": 1.0}, "bg_threshold"),
        ({"bg_threshold": "otsu"}, r"in \[0, 1\) or auto, got 'otsu'"),
        ({"bg_threshold": "auto", "bg_power": 4.0}, "auto chooses .* but bg_power asks"),
        ({"bg_threshold": "auto", "saliency_dir": "maps"}, "but saliency_dir asks"),
        ({"bg_power": 0.0}, "bg_power"),
        ({"fg_conf": 0.3}, "give both"),
        ({"bg_conf": 0.3}, "give both"),
        ({"fg_conf": 0.05, "bg_conf": 0.3}, "bg_conf < fg_conf"),
        ({"fg_conf": 0.3, "bg_conf": 0.3}, "bg_conf < fg_conf"),
        ({"fg_conf": 0.3, "bg_conf": 0.05, "bg_power": 4.0}, "exclude each other"),
        ({"saliency_dir": "maps", "bg_power": 4.0}, "saliency_dir excludes bg_power"),
        ({"saliency_dir": "maps", "fg_conf": 0.3, "bg_conf": 0.1}, "saliency_dir excludes"),
        ({"saliency_dir": "maps", "crf": True}, "saliency_dir and crf exclude each other"),
        ({"par": True, "crf": True}, "crf and par exclude each other"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CamLabelOptions(**options)


def test_options_in_use_name_only_what_decides():
    assert CamLabelOptions().in_use() == {"bg_threshold": 0.15, "crf": False}
    auto = CamLabelOptions(bg_threshold="auto")
    assert auto.in_use() == {"bg_threshold": "auto", "crf": False}
    with pytest.raises(ValueError, match="give the number that choose_threshold chose"):
        cam_pseudo_label(random_cam(), TAGS, auto)
    assert CamLabelOptions(bg_power=4.0).in_use() == {"bg_power": 4.0, "crf": False}
    confident = CamLabelOptions(fg_conf=0.3, bg_conf=0.05, crf=True).in_use()
    assert confident == {"fg_conf": 0.3, "bg_conf": 0.05, "crf": True}
    refined = CamLabelOptions(par=True).in_use()
    assert refined == {"bg_threshold": 0.15, "crf": False, "par": True}
    salient = CamLabelOptions(saliency_dir="/somewhere/maps").in_use()
    assert salient == {
        "saliency_dir": "maps",
        "fg_threshold": 0.3,
        "conflict_threshold": 0.99,
        "attention_threshold": 0.95,
        "saliency_threshold": 32 / 255,
        "min_foreground": 0.01,
        "crf": False,
    }
