"""What brackets hold, in a sentence for every table that has them: whence they come and how often they are right."""

from seg.metrics.jackknife import LEVEL

COVERAGE = ((2, 96, 100), (3, 97, 100), (5, 97, 100), (8, 95, 99), (14, 94, 98), (25, 94, 98), (54, 94, 97))
"""Tiles, and how often of a hundred times an interval of level 0.95 held the truth with so many in simulations of the
official test split: the least and the most of mIoU, AP macro, F1 macro, OA and their paired differences.
``scripts/check_intervals.py`` measures it, and ``results/intervals`` holds it in full."""


def brackets_note(tiles: int, what: str = "intervals") -> str:
    """How the intervals of a table arise, and what they cover with so few tiles.

    Args:
        tiles: Number of S2 tiles that the patches lie in.
        what: What the brackets hold, such as ``intervals of the mean``.
    """
    if tiles < 2:
        return "There are no intervals: all patches lie in one S2 tile, and whole tiles are left out."
    simulated, least, most = next(row for row in reversed(COVERAGE) if row[0] <= tiles)
    return (
        f"Brackets hold {100 * LEVEL:g} % {what} from leaving out each of the {tiles} S2 tiles in turn; what lies in a "
        f"single tile has none. In simulated splits of {simulated} tiles they held the truth in {least} to {most} % of "
        "cases."
    )
