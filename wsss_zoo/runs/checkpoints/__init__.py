"""Checkpoints of a run: reading, fit to method and data, exact resume, trained segmenters."""
