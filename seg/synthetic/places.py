"""Where and when the synthetic reBEN looks: regions, dates, what grows there, and which patches are taken.

Regions are tiles of the official data set, so the georeference and the split rule are the real ones. Their land cover
follows the shares of labels that the official metadata give for the tile; dates lie in the official period, June 2017
to May 2018. Names of products and scenes are valid but made up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from seg.reben.patch import PATCHES_PER_TILE_EDGE, SPLITS, Split, geographic_split

BLOCK_EDGE = 6
"""Patches along one edge of a full block; every block lies in one split."""
MIN_PATCHES = 12
"""Fewer would leave splits with a patch or two."""
# A small set takes up one more region per 20 patches; a large one fills two train blocks and one of each other split.
_PATCHES_PER_VISIT = (20, 4 * BLOCK_EDGE**2)


class Visit(NamedTuple):
    """One acquisition of a region.

    Attributes:
        day: Date of the Sentinel-2 acquisition, ``YYYYMMDD``.
        snow, cloud: Share of a block's area under seasonal snow, and under cloud, 0 to 1.
        wind: Roughness of open water, 0 (calm) to 1 (storm).
        wet: Soil moisture, -1 (dry) to 1 (wet).
        haze: Residual of the atmospheric correction at B02, DN.
    """

    day: str
    snow: float = 0.0
    cloud: float = 0.0
    wind: float = 0.4
    wet: float = 0.0
    haze: float = 0.0


@dataclass(frozen=True, slots=True)
class Region:
    """A tile and its landscape.

    Attributes:
        tile: MGRS tile without the leading T.
        country: As in the official metadata.
        latitude: Of the tile's centre, degrees north.
        overpass: Time of the Sentinel-2 overpass (``HHMMSS``) and relative orbit (``Rnnn``), joined by ``_N9999_``.
        visits: Acquisitions, in the order in which they are used.
        shares: CLC level-3 code to its share of the land, any positive scale.
        always: Codes of which every block holds at least one polygon.
        sea: Share of a block that is sea.
        river: Whether a river wide enough for CLC crosses every block.
        frontier: Whether the mapped country ends inside the block (code 999 beyond).
        relief: Amplitude of the terrain, 0 (flat) to 1 (mountains).
    """

    tile: str
    country: str
    latitude: float
    overpass: str
    visits: tuple[Visit, ...]
    shares: dict[int, float]
    always: tuple[int, ...] = ()
    sea: float = 0.0
    river: bool = False
    frontier: bool = False
    relief: float = 0.1


def _region(tile: str, country: str, latitude: float, overpass: str, visits: str, shares: str, **more: Any) -> Region:
    """A region whose visits are days with what is unusual about them, and whose shares follow their codes."""
    days = [text.split() for text in visits.split(", ")]
    seen = (Visit(day, **dict(zip(unusual[::2], map(float, unusual[1::2]), strict=True))) for day, *unusual in days)
    numbers = list(map(int, shares.split()))
    by_code = dict(zip(numbers[::2], map(float, numbers[1::2]), strict=True))
    return Region(tile, country, latitude, overpass, tuple(seen), by_code, **more)


REGIONS: tuple[Region, ...] = (
    _region("33UUP", "Austria", 48.2, "101111_N9999_R022",
            "20170613 wet 0.2, 20171015 cloud 0.035, 20180421, 20170818 wet -0.5",
            "211 22 231 14 312 17 313 18 311 7 112 9 242 8 243 11 512 1 131 1", river=True, frontier=True, relief=0.4),
    _region("35VNK", "Finland", 62.6, "095115_N9999_R036",
            "20180525, 20171101 wet 0.6 haze 40, 20170905, 20170701 cloud 0.035",
            "312 32 313 30 324 16 512 22 243 6 211 4 311 3 412 3 112 1", always=(512,), relief=0.2),
    _region("29SNC", "Portugal", 38.4, "112120_N9999_R037",
            "20170813 wet -1, 20180224 wet 0.4, 20171002 wet -0.6, 20180515",
            "244 30 211 16 212 7 213 2 311 10 324 9 221 3 223 4 241 2 231 5 242 3 323 2 334 1 512 2",
            always=(244,), relief=0.2),
    _region("29UPU", "Ireland", 53.1, "114330_N9999_R123",
            "20180421 wind 0.2 wet 0.5, 20170617, 20171112 wind 1 wet 0.9, 20180225",
            "231 44 211 12 312 10 324 9 313 5 243 5 412 6 322 5 112 5 321 1 142 1", always=(322,), sea=0.3, relief=0.3),
    _region("34TCR", "Serbia", 45.0, "094405_N9999_R036",
            "20171206 cloud 0.035 wet 0.5 haze 60, 20180430, 20170803 wet -0.6, 20171002",
            "211 60 242 8 112 6 311 9 324 8 243 4 231 4 222 2 411 2 121 1 122 1", river=True, relief=0.05),
    _region("34VER", "Finland", 61.4, "101131_N9999_R022",
            "20170613 cloud 0.035 wind 0, 20180511 cloud 0.035 wind 0.7, 20170830, 20171019 wet 0.4",
            "313 30 312 26 211 15 243 10 324 9 112 4 311 3 123 1 411 2", sea=0.8),
    _region("29SND", "Portugal", 39.3, "112118_N9999_R037",
            "20180326 wind 0.6 wet 0.5, 20170704 wet -0.7, 20171121, 20180515 wind 0.9",
            "324 22 311 18 242 8 243 9 211 9 223 6 221 4 222 3 323 6 313 6 112 6 333 1 132 1",
            always=(323,), sea=0.26, relief=0.3),
    _region("31UER", "Belgium", 50.0, "105035_N9999_R051",
            "20180506, 20170829, 20171107 wet 0.8 haze 50, 20180225 wet 0.3",
            "211 26 112 12 242 19 231 14 311 13 243 8 121 4 111 1 313 2 124 1 141 1", always=(121,), relief=0.15),
    _region("35VPK", "Finland", 62.5, "094130_N9999_R136",
            "20180204 snow 0.36, 20170924 wet 0.3, 20180228 snow 0.3, 20170726",
            "312 34 313 30 324 17 512 11 243 6 211 6 311 5 412 6", always=(412,), relief=0.2),
    _region("34TEP", "Serbia", 43.8, "093040_N9999_R136",
            "20170914 cloud 0.035 wet -0.4, 20180502, 20180201 snow 0.2, 20171026",
            "311 38 243 20 242 17 324 9 211 9 112 4 321 3 231 2 222 1 131 1", relief=0.6),
    _region("35ULB", "Lithuania", 55.4, "093025_N9999_R136",
            "20170927 cloud 0.035, 20180507, 20170808, 20180413 wet 0.6",
            "211 24 242 13 313 16 311 11 243 9 231 8 324 11 312 10 112 4 512 2"),
    _region("32TMT", "Switzerland", 47.4, "102021_N9999_R065",
            "20170818 cloud 0.035 wet 0.1, 20171118 wet 0.6, 20180418 cloud 0.035, 20170625",
            "313 30 211 22 112 9 312 15 231 9 242 7 311 6 512 5 121 2 332 1", relief=0.8),
    _region("31UGR", "Luxembourg", 49.8, "104011_N9999_R008",
            "20171015 cloud 0.035, 20180508, 20170826, 20180221 wet 0.3",
            "231 16 313 20 311 17 242 11 211 10 312 16 243 9 112 8 324 4 133 1", frontier=True, relief=0.4),
    _region("34TEN", "Kosovo", 42.7, "094408_N9999_R036",
            "20171208 snow 0.16, 20180418, 20170829 wet -0.6, 20171014",
            "311 36 243 17 242 12 324 13 211 8 112 4 321 7 333 2 231 3 131 1",
            always=(321,), frontier=True, relief=0.7),
)  # fmt: skip
"""The regions, in the order in which a growing data set takes them up."""


class Block(NamedTuple):
    """A contiguous block of patches of one split in one product.

    Attributes:
        region: Index into `REGIONS`.
        visit: Index into the region's visits.
        split: The split of every patch in it.
        slot: Number of the place within the region and split; the same slot is the same piece of land.
        column, row: Of the upper-left patch.
        columns, rows: Size of the rectangle, patches.
        patches: How many of its patches are taken, row by row.
    """

    region: int
    visit: int
    split: Split
    slot: int
    column: int
    row: int
    columns: int
    rows: int
    patches: int

    def cells(self) -> list[tuple[int, int]]:
        """Column and row in the tile of every patch taken."""
        return [(self.column + i % self.columns, self.row + i // self.columns) for i in range(self.patches)]


class Acquisition(NamedTuple):
    """Names of one Sentinel-2 product (without ``.SAFE``) and its Sentinel-1 scene, and the day of the year."""

    product: str
    scene: str
    day_of_year: int


def acquisition(region: Region, visit: Visit) -> Acquisition:
    """Names and date of a visit; Sentinel-1 passes one to three days later, as in the real pairs."""
    day = datetime.strptime(visit.day, "%Y%m%d")
    ordinal = day.toordinal()
    time, rest = region.overpass.split("_", 1)
    product = f"S2{'AB'[ordinal % 2]}_MSIL2A_{visit.day}T{time}_{rest}_T{region.tile}"
    # Sentinel-1 crosses Europe near 05 and 17 UTC.
    passes = day + timedelta(1 + ordinal % 3, hours=(5, 17)[ordinal % 2], minutes=ordinal % 59, seconds=ordinal % 53)
    scene = f"S1{'AB'[ordinal // 2 % 2]}_IW_GRDH_1SDV_{passes:%Y%m%dT%H%M%S}"
    return Acquisition(product, scene, day.timetuple().tm_yday)


@cache
def _slots(split: Split) -> tuple[tuple[int, int], ...]:
    """Upper-left patch of every full block that lies in one split, without overlap."""
    edge = range(PATCHES_PER_TILE_EDGE)
    free = np.array([[geographic_split(column, row) == split for column in edge] for row in edge])
    slots = []
    for row in edge[:-BLOCK_EDGE]:
        for column in edge[:-BLOCK_EDGE]:
            window = free[row : row + BLOCK_EDGE, column : column + BLOCK_EDGE]
            if window.all():
                window[:] = False
                slots.append((column, row))
    return tuple(slots)


def capacity() -> int:
    """How many patches the regions and dates can hold."""
    per_product = min(len(_slots(split)) // blocks for split, blocks in zip(SPLITS, (2, 1, 1), strict=True))
    return per_product * _PATCHES_PER_VISIT[1] * sum(len(region.visits) for region in REGIONS)


def plan(patches: int, seed: int) -> Iterator[Block]:
    """Blocks that hold exactly this many patches: half train, a quarter validation, a quarter test.

    Small sets see every region once with small blocks; large ones come back to each region with full blocks, at other
    places and dates.

    Args:
        patches: At least `MIN_PATCHES`, at most `capacity()`.
        seed: Decides where in the tile the blocks lie.
    """
    least, most = _PATCHES_PER_VISIT
    tours = max(min(len(REGIONS), max(1, patches // least)), -(-patches // most))
    quarter = patches // 4
    totals = dict(zip(SPLITS, (patches - 2 * quarter, quarter, quarter), strict=True))
    used: dict[tuple[int, int, Split], int] = {}
    for tour in range(tours):
        region, lap = tour % len(REGIONS), tour // len(REGIONS)
        visit = lap % len(REGIONS[region].visits)
        for split, total in totals.items():
            left = total * (tour + 1) // tours - total * tour // tours
            while left:
                count = min(left, BLOCK_EDGE**2)
                slot = used.get((region, visit, split), 0)
                used[region, visit, split] = slot + 1
                yield _block(region, visit, split, slot, count, seed)
                left -= count


def _block(region: int, visit: int, split: Split, slot: int, count: int, seed: int) -> Block:
    order = np.random.default_rng((seed, region, SPLITS.index(split))).permutation(len(_slots(split)))
    column, row = _slots(split)[order[slot]]
    columns = min(BLOCK_EDGE, int(np.ceil(np.sqrt(count))))
    return Block(region, visit, split, slot, column, row, columns, -(-count // columns), count)
