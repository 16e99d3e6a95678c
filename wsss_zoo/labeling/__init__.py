"""``wsss-zoo next`` and ``wsss-zoo audit``: which labels to add, and which to look at again."""
