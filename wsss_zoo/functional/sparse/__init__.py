"""Sparse labels as arrays: drawn strokes, points and boxes, and simulated ones."""
