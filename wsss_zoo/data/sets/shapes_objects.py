"""The objects of the generated scenes: a body that two classes share and a part of one's own."""

import colorsys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Rng = np.random.Generator
Pair = tuple[float, float]
# Signed distance, negative inside, (h, w), and RGB colour in [0, 1], (h, w, 3). Coordinates u
# (right) and v (down) are local: the whole object lies in the circle of radius REACH around 0.
Painted = tuple[Floats, Floats]
Painter = Callable[[Rng, Floats, Floats], Painted]
REACH = 1.3


class ObjectClass(NamedTuple):
    """A class: its name, painters of the shared body and of its own part, the part's middle."""

    name: str
    body: Painter
    part: Painter
    anchor: Pair


def random_colour(rng: Rng, hue: Pair, saturation: Pair, value: Pair) -> Floats:
    """Draw an RGB colour in [0, 1] from ranges of hue (turns), saturation and value."""
    hsv = (rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value))
    return np.array(colorsys.hsv_to_rgb(*hsv), np.float32)


def _leafy_stem(rng: Rng, u: Floats, v: Floats) -> Painted:
    stem = _capsule(u, v, (0, -0.5), (rng.uniform(-0.1, 0.1), 0.95), 0.09)
    leaves = []
    for side, height in ((-1, 0.3), (1, 0.15), (-1, 0.75), (1, 0.65)):
        length, slope = rng.uniform(0.5, 0.75), rng.uniform(0.1, 0.5)
        across = v - height + slope * u * side
        leaves.append(_ellipse(u * side, across, (length / 2, 0), (length / 2 + 0.05, 0.16)))
    colour = random_colour(rng, (0.2, 0.42), (0.35, 0.8), (0.3, 0.7))
    veins = _stripes((np.abs(u) - v) * 5)
    return _union(stem, *leaves), _mix(0.5 * veins, colour * 1.5, colour)


def _torso(rng: Rng, u: Floats, v: Floats) -> Painted:
    legs = [
        _capsule(u, v, (at, 0.1), (at + rng.uniform(-0.12, 0.12), 0.62), 0.085)
        for at in (-0.3, -0.1, 0.4, 0.6)
    ]
    tail = _capsule(u, v, (0.65, -0.05), (0.95, rng.uniform(-0.5, 0.3)), 0.08)
    trunk = _ellipse(u, v, (0.15, 0), (0.66, 0.34))
    colour = random_colour(rng, (0.03, 0.13), (0.1, 0.5), (0.35, 0.75))
    a, b, c, d = rng.uniform(0, 6, 4).tolist()
    fur = np.sin(9 * u + a + 2 * np.sin(7 * v + b)) * np.sin(9 * v + c + 2 * np.sin(6 * u + d))
    return _union(trunk, tail, *legs), _mix((2 * fur).clip(0, 1), colour * 0.55, colour)


def _vehicle(rng: Rng, u: Floats, v: Floats) -> Painted:
    wheel = np.hypot(np.abs(u + 0.025) - 0.525, v - 0.5)
    cabin = _box(u, v, (-0.95, -0.3), (-0.45, 0.3))
    chassis = _box(u, v, (-0.95, 0.08), (0.95, 0.42))
    colour = random_colour(rng, (0, 1), (0.3, 0.8), (0.4, 0.85))
    paint = _mix(0.5 * _stripes(u * 3.3) * (v > 0.15), colour * 0.5, colour)
    paint = _mix(_box(u, v, (-0.87, -0.22), (-0.58, 0.02)) < 0, _GLASS, paint)
    paint = _mix(wheel < 0.22, _mix(wheel < 0.1, _STEEL, _BLACK), paint)
    return _union(wheel - 0.22, cabin, chassis), paint


def _daisy(rng: Rng, u: Floats, v: Floats) -> Painted:
    du, dv = u, v + 0.6
    radius, petals = np.hypot(du, dv), int(rng.integers(7, 11))
    wave = np.cos(petals * np.arctan2(dv, du) + rng.uniform(0, 6))
    white = random_colour(rng, (0, 1), (0, 0.1), (0.85, 1))
    yellow = random_colour(rng, (0.11, 0.16), (0.75, 1), (0.75, 0.95))
    petal = _mix(0.35 * (wave < -0.2), white * 0.6, white)
    return radius - (0.36 + 0.07 * wave), _mix(radius < 0.16, yellow, petal)


def _tulip(rng: Rng, u: Floats, v: Floats) -> Painted:
    cup = _ellipse(u, v, (0, -0.62), (0.34, 0.42))
    teeth = np.abs((u / 0.23 + 0.5) % 1 - 0.5) * 0.5
    red = random_colour(rng, (0.9, 1.0), (0.75, 0.95), (0.7, 0.95))
    stripes = _stripes(u / 0.23 + 0.25)
    return _cut(cup, teeth - 0.88 - v), _mix(0.6 * stripes, red * 0.55, red)


def _fox(rng: Rng, u: Floats, v: Floats) -> Painted:
    x, y = np.abs(u + 0.62), v + 0.32
    # Sides run from the cheeks down to the muzzle; the ears stand on the flat top.
    face = _cut(-0.24 - y, y - 0.42, x * 0.8 + y * 0.6 - 0.26)
    ear = _cut(np.abs(x - 0.22) * 0.8 - (y + 0.56) * 0.5, y + 0.15)
    orange = random_colour(rng, (0.04, 0.08), (0.8, 1), (0.75, 0.95))
    white = random_colour(rng, (0, 1), (0, 0.1), (0.85, 1))
    colour = _mix(x * 0.75 + y > 0.2, white, orange)
    colour = _mix(np.hypot(x, y - 0.36) < 0.09, _BLACK, colour)
    colour = _mix(np.hypot(x - 0.14, y + 0.02) < 0.055, _BLACK, colour)
    return _union(face, ear), _mix(_box(x, y, (0.15, -0.5), (0.29, -0.3)) < 0, _BLACK, colour)


def _panda(rng: Rng, u: Floats, v: Floats) -> Painted:
    x, y = np.abs(u + 0.62), v + 0.28
    face = np.hypot(x, y * 1.1) - 0.34
    ear = np.hypot(x - 0.27, y + 0.29) - 0.14
    patch = _ellipse(x + 0.3 * y, y, (0.13, -0.05), (0.09, 0.13))
    white = random_colour(rng, (0, 1), (0, 0.1), (0.85, 1))
    black = _union(patch, np.hypot(x, y - 0.14) - 0.07) < 0
    return _union(face, ear), _mix(black | (face > 0), _BLACK, white)


def _crane(rng: Rng, u: Floats, v: Floats) -> Painted:
    tip = (0.85 + rng.uniform(-0.1, 0.05), -0.72 + rng.uniform(-0.05, 0.1))
    arm = _capsule(u, v, (0.0, 0.05), tip, 0.13)
    rope = _box(u, v, (tip[0] - 0.04, tip[1]), (tip[0] + 0.04, -0.15))
    hook = _box(u, v, (tip[0] - 0.13, -0.3), (tip[0] + 0.13, -0.06))
    yellow = random_colour(rng, (0.12, 0.16), (0.8, 1), (0.8, 1))
    colour = _mix(_stripes((u + 0.2 * v) * 4), _BLACK, yellow)
    return _union(arm, rope, hook), colour


def _mixer(rng: Rng, u: Floats, v: Floats) -> Painted:
    # A drum that leans backwards, with a spiral of stripes and a dark mouth.
    x, y = (u - 0.25) * 0.95 - (v + 0.25) * 0.3, (u - 0.25) * 0.3 + (v + 0.25) * 0.95
    drum = _cut(_ellipse(x, y, (0, 0), (0.62, 0.34)), x - 0.5)
    blue = random_colour(rng, (0.54, 0.64), (0.65, 0.95), (0.6, 0.9))
    white = random_colour(rng, (0, 1), (0, 0.1), (0.85, 1))
    colour = _mix(_stripes(x * 3.2 + y * 1.2 + rng.uniform()), white, blue)
    return drum, _mix(x > 0.42, _BLACK, colour)


_BLACK = np.array([0.08, 0.08, 0.1], np.float32)
_STEEL = np.array([0.7, 0.7, 0.7], np.float32)
_GLASS = np.array([0.65, 0.8, 0.9], np.float32)


def _ellipse(u: Floats, v: Floats, at: Pair, axes: Pair) -> Floats:
    radius: Floats = np.hypot((u - at[0]) / axes[0], (v - at[1]) / axes[1])
    return (radius - 1) * min(axes)


def _capsule(u: Floats, v: Floats, start: Pair, end: Pair, radius: float) -> Floats:
    du, dv = end[0] - start[0], end[1] - start[1]
    u, v = u - start[0], v - start[1]
    along = ((u * du + v * dv) / (du * du + dv * dv)).clip(0, 1)
    distance: Floats = np.hypot(u - along * du, v - along * dv)
    return distance - radius


def _box(u: Floats, v: Floats, low: Pair, high: Pair) -> Floats:
    return _cut(low[0] - u, u - high[0], low[1] - v, v - high[1])


def _union(*distances: Floats) -> Floats:
    union: Floats = np.minimum.reduce(distances)
    return union


def _cut(*distances: Floats) -> Floats:
    cut: Floats = np.maximum.reduce(distances)
    return cut


def _mix(weight: Floats | NDArray[np.bool_], yes: Floats, no: Floats) -> Floats:
    """Blend two colours by a map in [0, 1], (h, w)."""
    return no + weight[..., None].astype(np.float32) * (yes - no)


def _stripes(phase: Floats) -> Floats:
    """Soft stripes in [0, 1], one per unit of the phase."""
    wave: Floats = np.sin(2 * np.pi * phase)
    return (0.5 + 2 * wave).clip(0, 1)


# In the order of their class index, from 1. The two that share a body stand together.
OBJECT_CLASSES = (
    ObjectClass("daisy", _leafy_stem, _daisy, (0.0, -0.6)),
    ObjectClass("tulip", _leafy_stem, _tulip, (0.0, -0.6)),
    ObjectClass("fox", _torso, _fox, (-0.62, -0.3)),
    ObjectClass("panda", _torso, _panda, (-0.62, -0.3)),
    ObjectClass("crane", _vehicle, _crane, (0.4, -0.3)),
    ObjectClass("mixer", _vehicle, _mixer, (0.25, -0.25)),
)
