"""Fully connected CRF, and the filter that it needs."""
