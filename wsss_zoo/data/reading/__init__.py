"""Reading of images, masks, tags, classes and splits of a data set."""
