"""Methods that learn from a few masks and many unlabelled images."""
