"""Label noise and region graphs, measured and written during ``predict``."""
