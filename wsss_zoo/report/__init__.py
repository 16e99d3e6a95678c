"""``wsss-zoo compare``: read run folders, compare them, print tables and write one HTML page.

Needs no torch, except to draw label maps that ``predict`` wrote over their images.
"""
