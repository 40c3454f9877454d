"""What the windows of a scene show beyond what was looked at before: where bands have data, and what is left out.

Values that cannot be measured are no data. Few of them may lie where nobody has looked when a scene was opened, so they
are counted whenever a window is read, and said when the work is done.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


@dataclass
class BandCount:
    """Pixels of a band.

    Attributes:
        read: How many were read.
        present: How many of them have data.
        lost: By row of the band, how many have values that cannot be measured.
        example: One of these values.
    """

    read: int = 0
    present: int = 0
    lost: Counter[int] = field(default_factory=Counter)
    example: float = 0.0


@dataclass
class LeftOut:
    """What was read of a scene by its readers, one after the other.

    Attributes:
        bands: Counts by band.
    """

    bands: dict[str, BandCount] = field(default_factory=dict)

    def add(self, band: str, top: int, present_HW: Mask, lost_HW: Mask | None, example: float) -> None:
        """Add what a window has shown.

        Args:
            band: Its band.
            top: Row of the band at which it begins.
            present_HW: Which pixels have data.
            lost_HW: Which have values that cannot be measured; None: none.
            example: One of these values.
        """
        count = self.bands.setdefault(band, BandCount())
        count.read, count.present = count.read + present_HW.size, count.present + int(np.count_nonzero(present_HW))
        if lost_HW is not None:
            in_row = lost_HW.sum(axis=1)
            # Put anew, because another thread may be writing it down.
            count.lost = count.lost + Counter({top + int(row): int(in_row[row]) for row in np.flatnonzero(in_row)})
            count.example = example

    @property
    def record(self) -> dict[str, Any]:
        """The counts, of plain JSON types."""
        return {
            band: [one.read, one.present, list(one.lost.items()), one.example] for band, one in list(self.bands.items())
        }

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]]) -> "LeftOut":
        """What several calls have counted that may have read some rows again."""
        total = cls()
        for record in records:
            for band, (read, present, lost, example) in record.items():
                one = total.bands.setdefault(band, BandCount())
                one.read, one.present = one.read + read, one.present + present
                one.lost |= Counter(dict(lost))
                one.example = one.example or example
        return total

    def remarks(self, scene: str, pixels: Mapping[str, int]) -> tuple[str, ...]:
        """What is to be said of a scene after its windows were read: nothing, or a sentence.

        Args:
            scene: Its name.
            pixels: Of each band.
        """
        lost = {band: one.lost.total() for band, one in self.bands.items() if one.lost}
        told = [
            f"{band} {number:,} ({100 * number / pixels[band]:.2g} %), such as {self.bands[band].example:.10g}"
            for band, number in lost.items()
        ]
        if not told:
            return ()
        return (
            f"Pixels of {scene} were left out because their values cannot be measured, though nothing declares them as "
            f"nodata: {'; '.join(told)}.",
        )

    def shares(self) -> str:
        """On which part of what was read each band has data: ``B02 on 99 %, B11 on 0 %``."""
        return ", ".join(f"{band} on {100 * one.present / one.read:.0f} %" for band, one in self.bands.items())
