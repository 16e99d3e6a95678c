"""Commands that check data and labels: ``wsss-zoo inspect`` and ``reliability``."""
