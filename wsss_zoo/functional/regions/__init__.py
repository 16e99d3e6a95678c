"""Regions of an image: superpixels, their features, their graph, their labels."""
