"""Windows on the 10 m grid of a scene, and the error for options that do not go with one."""

from dataclasses import dataclass

from seg.errors import SceneError, WrongUseError


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
