"""Co-attention between two images: attention, maps and losses."""
