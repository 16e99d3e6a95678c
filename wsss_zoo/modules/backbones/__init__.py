"""Feature extractors: any timm network under one interface."""
