"""Commands that look at data and labels: ``wsss-zoo inspect`` and ``reliability``."""
