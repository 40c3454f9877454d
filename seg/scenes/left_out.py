"""What the windows of a scene show beyond what was looked at before: where bands have data, and what is left out.

Values that cannot be measured are no data. Few of them may lie where nobody has looked when a scene was opened, so they
are counted whenever a window is read, and said when the work is done.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class BandCount:
    """Pixels of a band.

    Attributes:
        read: How many were read.
        present: How many of them have data.
        lost: How many have values that cannot be measured.
        example: One of these values.
    """

    read: int = 0
    present: int = 0
    lost: int = 0
    example: float = 0.0

    def __add__(self, other: "BandCount") -> "BandCount":
        return BandCount(
            self.read + other.read,
            self.present + other.present,
            self.lost + other.lost,
            self.example if self.lost else other.example,
        )


@dataclass
class LeftOut:
    """What was read of a scene by all of its readers.

    Attributes:
        bands: Counts by band; never changed but put anew, so that other threads may look at it.
    """

    bands: Mapping[str, BandCount] = field(default_factory=dict)

    def add(self, band: str, count: BandCount) -> None:
        """Add what a window has shown."""
        self.bands = {**self.bands, band: self.bands.get(band, BandCount()) + count}

    @property
    def record(self) -> dict[str, list[float]]:
        """The counts, of plain JSON types."""
        return {band: [one.read, one.present, one.lost, one.example] for band, one in self.bands.items()}

    @classmethod
    def of(cls, records: Iterable[Mapping[str, list[float]]]) -> "LeftOut":
        """The sum of some counts."""
        total = cls()
        for record in records:
            for band, (read, present, lost, example) in record.items():
                total.add(band, BandCount(int(read), int(present), int(lost), example))
        return total

    def remarks(self, scene: str) -> tuple[str, ...]:
        """What is to be said of a scene after its windows were read: nothing, or a sentence."""
        told = [
            f"{band} {one.lost:,} ({100 * one.lost / one.read:.2g} %), such as {one.example:.10g}"
            for band, one in self.bands.items()
            if one.lost
        ]
        if not told:
            return ()
        return (
            f"Pixels of {scene} were left out because their values cannot be measured, though nothing declares them as "
            f"nodata: {'; '.join(told)}.",
        )

    def shares(self) -> str:
        """On which part of what was read each band has data: ``B02 on 99 %, B11 on 0 %``."""
        return ", ".join(f"{band} on {100 * one.present / one.read:.2g} %" for band, one in self.bands.items())


def count(present: npt.NDArray[np.bool_], lost: Iterable[npt.NDArray[np.generic]]) -> BandCount:
    """Count pixels of a window.

    Args:
        present: Which have data.
        lost: Stored values of those that cannot be measured.
    """
    values = [float(part[0].item()) for part in lost if part.size]
    return BandCount(
        present.size, int(np.count_nonzero(present)), sum(part.size for part in lost), values[0] if values else 0.0
    )
