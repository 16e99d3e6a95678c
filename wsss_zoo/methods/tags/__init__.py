"""Methods that learn from image-level tags."""
