"""Methods that learn from region graphs."""
