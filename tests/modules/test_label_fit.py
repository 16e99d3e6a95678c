import torch

from tests.each import each
from wsss_zoo.functional import gate_by_possible
from wsss_zoo.modules import Evaluation, Segmenter
from wsss_zoo.modules.label_fit import LabelFit, count_labels


def network(architecture="deeplabv3plus"):
    torch.manual_seed(0)
    return Segmenter(3, "test_resnet", architecture).eval()


def possible(labels):
    """What labels (H, W) allow; 255 allows all three classes."""
    return torch.stack([(labels == k) | (labels == 255) for k in range(3)])


def test_counts_equal_a_loop_over_pixels():
    labels = torch.full((11, 14), 255)
    labels[2, 3:9], labels[7:10, 12], labels[10, 13] = 1, 2, 0
    size, covered, grid = (22, 28), (32, 32), (8, 8)
    expected = torch.zeros(3, *grid, dtype=torch.int64)
    for y in range(11):
        for x in range(14):
            if labels[y, x] != 255:
                # The centre of the pixel, in pixels of the view; cells of 4.
                row, column = int((y + 0.5) * 2 // 4), int((x + 0.5) * 2 // 4)
                expected[labels[y, x], row, column] += 1
    assert torch.equal(count_labels(possible(labels), size, covered, grid), expected)
    assert expected.sum() == 10


def test_images_without_labels_stay_as_they_are():
    torch.manual_seed(1)
    view, unknown = torch.rand(2, 3, 40, 50), torch.full((40, 50), 255)
    fit = LabelFit(network(), torch.stack([possible(unknown)] * 2))
    with torch.no_grad():
        torch.testing.assert_close(fit(view), network()(view))


@each("architecture", ["deeplabv3plus", "unet", "largefov", "linear"])
def test_labelled_pixels_get_their_class_at_any_scale_and_mirrored(architecture):
    torch.manual_seed(1)
    image = torch.rand(2, 3, 40, 50) * 0.2
    image[0, 0, :, :20] += 0.8
    image[1, 1, :20] += 0.8
    labels = torch.full((2, 40, 50), 255)
    labels[0, 10:30, 2:8], labels[0, 10:30, 40:48] = 2, 0
    labels[1, 2:8, 10:40], labels[1, 30:38, 10:40] = 1, 0
    fit = LabelFit(network(architecture), torch.stack([possible(x) for x in labels]))
    with torch.inference_mode():
        for scale in (1, 2):
            view = torch.nn.functional.interpolate(image, scale_factor=scale)
            large = labels.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
            straight = fit(view).argmax(1)
            assert (straight == large)[large != 255].float().mean() > 0.9
            both = fit(torch.cat([view, view.flip(-1)])).argmax(1)
            assert torch.equal(both[:2], straight)
            mirrored = large.flip(-1)
            assert (both[2:] == mirrored)[mirrored != 255].float().mean() > 0.9


@each("absent", [True, False])
def test_classes_without_a_label_stay_as_they_are(absent):
    torch.manual_seed(1)
    image, labels = torch.rand(1, 3, 40, 50), torch.full((40, 50), 255)
    labels[5:9, 5:9], labels[30:34, 30:34] = 0, 1
    allowed = possible(labels)
    allowed[2] &= not absent
    plain = network()(image)
    fitted = LabelFit(network(), allowed[None])(image)
    torch.testing.assert_close(fitted[:, 2], plain[:, 2])
    assert not torch.equal(fitted[:, :2], plain[:, :2])


def test_objects_alone_do_not_say_where_they_end():
    torch.manual_seed(1)
    image, labels = torch.rand(1, 3, 40, 50), torch.full((40, 50), 255)
    labels[5:9, 5:9], labels[30:34, 30:34] = 1, 2
    allowed, plain = possible(labels), network()(image)
    torch.testing.assert_close(LabelFit(network(), allowed[None])(image), plain)
    without = LabelFit(network(), allowed[None], background=False)(image)
    assert not torch.equal(without[:, 1:], plain[:, 1:])
    allowed[0] = False  # the image has none
    assert not torch.equal(LabelFit(network(), allowed[None])(image)[:, 1:], plain[:, 1:])


def test_evaluation_runs_it_like_any_forward():
    torch.manual_seed(1)
    image, labels = torch.rand(1, 3, 40, 50), torch.full((40, 50), 255)
    labels[5:9, 5:9], labels[30:34, 30:34] = 0, 1
    allowed = possible(labels)[None]
    fit = LabelFit(network(), allowed)
    evaluation = Evaluation(flip=True, gate_by_labels=True, refit_by_labels=True)
    with torch.no_grad():
        probs = evaluation(fit, image, None, allowed)
        views = fit(torch.cat([image, image.flip(-1)])).softmax(1)
        expected = (views[:1] + views[1:].flip(-1)) / 2
    torch.testing.assert_close(probs, gate_by_possible(expected, allowed))
