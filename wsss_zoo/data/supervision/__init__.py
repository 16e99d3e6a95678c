"""Training batches of each supervision, and evaluation batches."""
