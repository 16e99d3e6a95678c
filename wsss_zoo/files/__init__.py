"""Files of every kind, written atomically and read with clear errors; no torch, no Lightning."""
