"""Random transforms of image and mask."""
