"""Proposals of a mask transformer: targets, matching, inference."""
