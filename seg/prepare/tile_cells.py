"""The 1200 m cells of a tile's grid that a scene covers, for those who look for them beside the archives."""

from seg.scenes.cells import Cells, cells_of

__all__ = ["Cells", "cells_of"]
