"""Methods that learn from masks or pseudo-labels."""
