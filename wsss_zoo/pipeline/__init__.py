"""Recipes of several steps: ``wsss-zoo pipeline``."""
