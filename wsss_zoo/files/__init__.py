"""Files of every kind, written atomically and read with clear errors; no torch, no Lightning."""

from wsss_zoo.files.pseudo_labels import read_cam, read_label

__all__ = ["read_cam", "read_label"]
