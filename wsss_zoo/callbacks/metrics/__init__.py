"""Metrics of each kind of output, and of folders of pseudo-labels."""
