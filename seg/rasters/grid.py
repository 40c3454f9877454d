"""The 10 m grid that every scene stands on."""

PIXEL_METRES = 10.0
"""Pixel size of the grid that every scene is read and mapped on."""
FACTORS = (1, 2, 6)
"""How many 10 m pixels a pixel of a band may have along its edge: bands of 10, 20 and 60 m."""
