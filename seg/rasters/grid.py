"""The 10 m grid of a scene, windows on it, and the error for scenes that cannot be used."""

from dataclasses import dataclass

from seg.errors import SceneError, WrongUseError

PIXEL_METRES = 10.0
"""Pixel size of the grid that every scene is read and mapped on."""
FACTORS = (1, 2, 6)
"""How many 10 m pixels a pixel of a band may have along its edge: bands of 10, 20 and 60 m."""


class SceneUseError(SceneError, WrongUseError):
    """An option that does not go with a scene, whatever its values are."""


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a scene, in 10 m pixels of its grid.

    Attributes:
        left, top: Column and row of the upper-left pixel.
        width, height: Pixels.
    """

    left: int
    top: int
    width: int
    height: int

    def shape(self, factor: int) -> tuple[int, int]:
        """Rows and columns of this window in a band whose pixels are `factor` of the grid's along an edge."""
        return -(-self.height // factor), -(-self.width // factor)
