"""Losses on logits, probabilities and features."""
