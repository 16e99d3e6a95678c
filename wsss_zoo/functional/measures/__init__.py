"""Measures of predictions against the truth."""
