"""Loaders and samplers whose order is a function of the seed."""
