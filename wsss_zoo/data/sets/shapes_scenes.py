"""Generated scenes with exact masks: the embedded data set's images."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsss_zoo.data.sets.shapes_objects import OBJECT_CLASSES, REACH, Floats, Rng, random_colour

SHAPES_CLASSES = ["background", *(kind.name for kind in OBJECT_CLASSES)]

_MIN_SIZE = 32
# Of an object under others this much must stay visible, else it is left out of the scene: a tag
# that the pixels do not support would only be noise.
_MIN_VISIBLE = 0.4
_MIN_VISIBLE_PART = 0.6


class ShapesScene(NamedTuple):
    """One scene: image, RGB uint8 (S, S, 3), and mask, class index uint8 (S, S) without 255."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


class _Layer(NamedTuple):
    """A painted object: its window in the image, opacity, colour and place of its part there."""

    window: tuple[slice, slice]
    label: int
    alpha: Floats
    colour: Floats
    part: NDArray[np.bool_]


def shapes_scene(seed: int, index: int, image_size: int) -> ShapesScene:
    """Draw a scene: one to three objects of six classes on textured clutter.

    An object has a body, which two classes share (a leafy stem, a furry torso, a vehicle), and a
    smaller part that only its class has (the blossom, the head, the load). A classifier needs the
    part only, so its activation maps miss the body, as they do on photographs. Later objects cover
    earlier ones; one that is covered too far is left out, so that the classes in the mask are the
    image's tags. Strokes and blobs in the background belong to no class.

    Args:
        seed: Seed of the data set, >= 0.
        index: Number of the scene, >= 0.
        image_size: Side S of the image, in pixels, at least 32.

    Returns:
        Image and mask, a function of the three arguments alone. Indices are those of
        `SHAPES_CLASSES`; every scene shows at least one object.

    >>> scene = shapes_scene(seed=0, index=0, image_size=64)
    >>> scene.image.shape, [SHAPES_CLASSES[c] for c in np.unique(scene.mask)]
    ((64, 64, 3), ['background', 'tulip'])
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed is {seed} and index is {index}; give numbers >= 0")
    if image_size < _MIN_SIZE:
        raise ValueError(f"image_size is {image_size}; give at least {_MIN_SIZE} pixels")
    rng = np.random.default_rng([seed, index, image_size])
    canvas = _background(rng, image_size)
    mask = np.zeros((image_size, image_size), np.uint8)
    for layer in _visible(_layers(rng, image_size), image_size):
        alpha = layer.alpha[..., None]
        canvas[layer.window] += alpha * (layer.colour - canvas[layer.window])
        mask[layer.window][layer.alpha >= 0.5] = layer.label
    canvas = (canvas - 0.5) * rng.uniform(0.75, 1.15) + rng.uniform(0.42, 0.58)
    canvas += rng.uniform(0.01, 0.04) * rng.standard_normal(canvas.shape, np.float32)
    return ShapesScene((canvas.clip(0, 1) * 255).round().astype(np.uint8), mask)


def _layers(rng: Rng, size: int) -> list[_Layer]:
    count = rng.choice([1, 2, 3], p=[0.4, 0.35, 0.25])
    labels = rng.integers(1, len(SHAPES_CLASSES), count)
    return [_object(rng, int(label), size, crowd=int(count)) for label in labels]


def _visible(layers: list[_Layer], size: int) -> list[_Layer]:
    """Leave out the objects of which others leave too little to see; the last one always stays."""
    covered = np.zeros((size, size), bool)
    kept: list[_Layer] = []
    for layer in reversed(layers):
        free = ~covered[layer.window]
        solid = layer.alpha >= 0.5
        part = layer.part & solid
        if kept and (
            (solid & free).sum() < _MIN_VISIBLE * solid.sum()
            or (part & free).sum() < _MIN_VISIBLE_PART * part.sum()
        ):
            continue
        covered[layer.window] |= solid
        kept.append(layer)
    return kept[::-1]


def _object(rng: Rng, label: int, size: int, crowd: int) -> _Layer:
    """Paint one object at a random place, scale and angle; the middle of its part is in view."""
    kind = OBJECT_CLASSES[label - 1]
    scale = size * math.exp(rng.uniform(math.log(0.16), math.log(0.44 - 0.05 * crowd)))
    angle, mirror = rng.uniform(-0.8, 0.8), float(rng.choice([-1.0, 1.0]))
    cos, sin = math.cos(angle), math.sin(angle)
    au, av = kind.anchor[0] * mirror, kind.anchor[1]
    offset = scale * np.array([cos * au - sin * av, sin * au + cos * av])
    centre = size * rng.uniform(0.2, 0.8, 2)
    centre = (centre + offset).clip(0.12 * size, 0.88 * size) - offset

    (x0, y0), (x1, y1) = ((centre + d * REACH * scale).clip(0, size).astype(int) for d in (-1, 1))
    x = (np.arange(x0, x1, dtype=np.float32)[None, :] + 0.5 - centre[0]) / scale
    y = (np.arange(y0, y1, dtype=np.float32)[:, None] + 0.5 - centre[1]) / scale
    u = (mirror * (cos * x + sin * y)).astype(np.float32)
    v = (cos * y - sin * x).astype(np.float32)

    body, colour = kind.body(rng, u, v)
    part, part_colour = kind.part(rng, u, v)
    over = (0.5 - part * scale).clip(0, 1)[..., None]
    colour = colour + over * (part_colour - colour)
    light = rng.uniform(0.75, 1.2) + rng.uniform(-0.2, 0.2) * u + rng.uniform(-0.2, 0.2) * v
    alpha = (0.5 - np.minimum(body, part) * scale).clip(0, 1)
    return _Layer((slice(y0, y1), slice(x0, x1)), label, alpha, colour * light[..., None], part < 0)


def _background(rng: Rng, size: int) -> Floats:
    first, second = (random_colour(rng, (0, 1), (0.05, 0.6), (0.25, 0.9)) for _ in range(2))
    direction = rng.uniform(0, 2 * math.pi)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    blend = math.cos(direction) * ramp[None, :] + math.sin(direction) * ramp[:, None] + 0.5
    blend = (blend + 0.35 * _noise(rng, size, 4)).clip(0, 1)[..., None]
    canvas = _clutter(rng, first + blend * (second - first))
    for cells in (6, 14, 30, size // 2):
        canvas += rng.uniform(0, 0.09) * _noise(rng, size, cells)[..., None]
    return canvas


def _clutter(rng: Rng, canvas: Floats) -> Floats:
    """Draw strokes and blobs of any colour, which belong to no class."""
    size = len(canvas)
    picture = Image.fromarray((canvas * 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(4, 13)):
        red, green, blue = random_colour(rng, (0, 1), (0, 0.9), (0.1, 1)) * 255
        fill = (int(red), int(green), int(blue))
        x, y = size * rng.uniform(0, 1, 2)
        kind = rng.integers(3)
        if kind == 0:
            points = np.cumsum([[x, y], *(0.2 * size * rng.standard_normal((3, 2)))], axis=0)
            width = max(1, int(size * rng.uniform(0.01, 0.06)))
            draw.line(points.ravel().tolist(), fill, width, joint="curve")
        elif kind == 1:
            a, b = size * rng.uniform(0.02, 0.13, 2)
            draw.ellipse((x - a, y - b, x + a, y + b), fill)
        else:
            turns = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
            radius = size * rng.uniform(0.04, 0.14)
            draw.polygon([(x + radius * np.cos(t), y + radius * np.sin(t)) for t in turns], fill)
    return np.asarray(picture, np.float32) / 255


def _noise(rng: Rng, size: int, cells: int) -> Floats:
    """Smooth noise of about unit variance with so many cells along a side."""
    grid = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
    return np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
