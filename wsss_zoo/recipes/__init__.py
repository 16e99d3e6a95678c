"""Recipes that travel with the package: ``wsss-zoo recipes``."""
