"""Decoders of feature maps beside those of the segmenter."""
