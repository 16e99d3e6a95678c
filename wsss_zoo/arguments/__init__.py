"""Read, check and document what the user typed, without torch."""
