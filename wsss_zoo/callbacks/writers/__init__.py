"""Writers of predictions, which resume where a killed run stopped."""
