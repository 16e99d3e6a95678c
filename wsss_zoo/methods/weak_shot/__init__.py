"""Methods that learn from masks of some classes and tags of the others."""
