"""Pictures: label maps over images, sheets, histograms, tables by class."""
