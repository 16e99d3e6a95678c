"""What the user typed: read, checked and documented; no torch."""
