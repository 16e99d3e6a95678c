"""Use a trained network: ``wsss-zoo label`` and ``export``."""
