"""Codes of shapes: outlines and runs of pixels."""
