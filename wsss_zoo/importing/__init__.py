"""``wsss-zoo import``: annotations of any tool become a folder for training, without torch."""
