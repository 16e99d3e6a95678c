"""From a folder to a model: ``wsss-zoo train``."""
