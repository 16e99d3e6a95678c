"""Methods that learn from labels of some pixels."""
