import numpy as np

from tests.each import each
from wsss_zoo.data.reading.class_files import read_class_file
from wsss_zoo.drawing.overlay import class_lines, draw_class_list, draw_overlay
from wsss_zoo.drawing.pictures import color_label
from wsss_zoo.files.pseudo_labels import voc_palette


def naive_overlay(image, label, opacity, background):
    height, width = label.shape
    result = image.astype(float)
    colors = color_label(label).astype(float)
    for y in range(height):
        for x in range(width):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = [p for p in around if p[0] in range(height) and p[1] in range(width)]
            edge = any(label[p] != label[y, x] for p in inside)
            strength = opacity + 0.6 * (1 - opacity) * edge
            if background and label[y, x] == 0:
                strength = 0
            result[y, x] = (1 - strength) * result[y, x] + strength * colors[y, x]
    return result


@each("background", [True, False])
def test_overlay(background):
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (70, 9, 3), dtype=np.uint8)
    # In pieces of many sizes, over the seams of the parts that are drawn at a time.
    label = np.repeat(generator.choice([0, 1, 2, 255], (10, 9)).astype(np.uint8), 7, axis=0)
    big = [np.concatenate([a] * 8) for a in (image, label)]
    expected = naive_overlay(*big, 0.4, background)
    draw_overlay(*big, opacity=0.4, background=background)
    assert np.abs(big[0] - expected).max() <= 0.51


def test_opaque_overlay_is_the_label_map():
    label = np.array([[0, 1, 255]], dtype=np.uint8)
    image = np.full((1, 3, 3), 9, dtype=np.uint8)
    draw_overlay(image, label, opacity=1, background=False)
    np.testing.assert_array_equal(image, color_label(label))


@each("count", [1, 2, 30, 254])
def test_legend_shows_every_colour(count):
    names = [f"class {index}" for index in range(count)]
    legend = np.asarray(draw_class_list(names, ignored=False))
    shown, palette = (np.dot(a, [1, 256, 65536]) for a in (legend, voc_palette()[:count]))
    assert np.isin(palette, np.unique(shown)).all()
    # Nothing touches the border.
    border = np.concatenate([legend[0], legend[-1], legend[:, 0], legend[:, -1]])
    assert (border == 255).all()
    assert draw_class_list(names, ignored=True).size != (0, 0)


def test_class_lines_are_a_class_list(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text(class_lines(["background", "tv 2", "Kühe"], ignored=True), encoding="utf-8")
    read = read_class_file(path)
    assert read.names == ["background", "tv 2", "Kühe"]
    assert read.colors == {(0, 0, 0): 0, (128, 0, 0): 1, (0, 128, 0): 2, (224, 224, 192): 255}
