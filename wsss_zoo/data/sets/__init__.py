"""Data sets."""

from wsss_zoo.data.sets.shapes_scenes import SHAPES_CLASSES, shapes_scene

__all__ = ["SHAPES_CLASSES", "shapes_scene"]
