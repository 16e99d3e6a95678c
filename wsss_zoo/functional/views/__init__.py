"""Views of an image: CutMix, patches, windows, crops on a grid."""
