"""Requests as they are typed, as far as what is wrong with them shows before anything is read."""

from seg.config.wording import listed
from seg.prepare.build import Subset
from seg.prepare.download import PARTS, RecordPart, check_parts
from seg.reben.bands import band_names
from seg.reben.patch import Split


def record_parts(only: str | None, mirror: str | None) -> list[RecordPart]:
    """The parts of the record to fetch, as typed on the command line.

    Args:
        only: Comma-separated; None: all.
        mirror: Address of a mirror; None: the record itself.

    Raises:
        WrongUseError: If a part does not exist, or the mirror is no address.
    """
    parts = list(PARTS) if only is None else listed(only)
    check_parts(parts, mirror)
    return [part for part in PARTS if part in parts]


def subset(
    split: Split | None = None, countries: str | None = None, bands: str | None = None, limit: int | None = None
) -> Subset:
    """A part of the data, as typed on the command line.

    Args:
        split: One split only.
        countries: Comma-separated.
        bands: A modality or comma-separated bands.
        limit: Most patches.

    Raises:
        WrongUseError: If a band does not exist, or a list names nothing.
    """
    return Subset(
        split,
        () if countries is None else tuple(listed(countries)),
        () if bands is None else band_names(",".join(listed(bands))),
        limit,
    )
