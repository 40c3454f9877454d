"""Rules that assign patches to train, validation and test, and a buffer between the splits."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seg.errors import WrongUseError
from seg.reben.bands import PATCH_METRES
from seg.reben.patch import PATCHES_PER_TILE_EDGE, SPLITS, TILE_METRES, geographic_split
from seg.store.geography import Geography, geography
from seg.store.index import Index

SHARES = (0.50, 0.25, 0.25)
"""Train, validation and test; the shares of the official splits, rounded."""
LEFT_OUT = -1
"""In the place of a split: the patch belongs to none, because it lies in the buffer."""

Splits = npt.NDArray[np.int8]
"""Position in `SPLITS` per row, or `LEFT_OUT`."""


@dataclass(frozen=True)
class SplitPlan:
    """How patches are assigned.

    Attributes:
        rule: One of `RULES`.
        shares: Of train, validation and test; the published rule has its own.
        block: Edge of a block for the rule ``block``, metres.
        buffer: Least distance between the centres of a training patch and one of validation or test, and of a
            validation and a test patch, metres, across tiles too; 0: none.
        seed: Of what is drawn at random.
    """

    rule: str = "published"
    shares: tuple[float, ...] = SHARES
    block: float = 20_000.0
    buffer: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise WrongUseError(f"there is no rule '{self.rule}'; rules are {', '.join(RULES)}")
        if len(self.shares) != len(SPLITS) or not (min(self.shares) > 0 and sum(self.shares) < math.inf):
            raise WrongUseError("the shares of train, validation and test are three numbers above 0, such as 2,1,1")
        if not PATCH_METRES <= self.block <= TILE_METRES:
            raise WrongUseError(f"a block has an edge of 1.2 to 109.8 km, not {self.block / 1000:g} km")
        if not 0 <= self.buffer <= TILE_METRES:
            raise WrongUseError(f"a buffer is 0 to 109.8 km wide, not {self.buffer / 1000:g} km")
        if self.seed < 0:
            raise WrongUseError(f"the seed must be 0 or more, not {self.seed}")

    @property
    def fractions(self) -> tuple[float, ...]:
        """The shares, so that they sum to 1."""
        return tuple(share / sum(self.shares) for share in self.shares)

    @property
    def words(self) -> str:
        """The plan for a record, such as ``block of 20 km, buffer 2 km, seed 0``."""
        parts = [f"block of {self.block / 1000:g} km" if self.rule == "block" else self.rule]
        parts += [f"buffer {self.buffer / 1000:g} km"] if self.buffer else []
        parts += [f"seed {self.seed}"] if self.rule in ("random", "block") else []
        return ", ".join(parts)


def plans_of(rules: Sequence[str], shares: str, block: float, buffer: float, seed: int) -> list[SplitPlan]:
    """Plans as typed on the command line.

    Args:
        rules: Names of rules; published, tile, block or random.
        shares: Of train, validation and test, comma-separated.
        block, buffer: Kilometres.
        seed: Of what is drawn at random.

    Raises:
        WrongUseError: If one of them makes no sense.
    """
    if 0 < 1000 * buffer <= PATCH_METRES:
        raise WrongUseError(
            f"a buffer of {buffer:g} km leaves nothing out, as the centres of neighbours are 1.2 km apart, and 1.7 km "
            "corner to corner; take more than that"
        )
    try:
        numbers = tuple(float(share) for share in shares.split(","))
    except ValueError:
        numbers = ()
    return [SplitPlan(rule, numbers, 1000 * block, 1000 * buffer, seed) for rule in dict.fromkeys(rules)]


def check_split(sources: Sequence[Path], plans: Sequence[SplitPlan], out: Path | None, report: Path | None) -> None:
    """Make sure that the request makes sense, as far as that shows before anything is read.

    Raises:
        WrongUseError: If it does not.
    """
    if out is None and report is None:
        raise WrongUseError("say what is to be made: --out for the new splits, --report for what they let through")
    if out is not None and len(plans) != 1:
        raise WrongUseError(f"one split can be written, not {len(plans) or 'none'}; give --out with one --rule")
    if gone := [source for source in sources if source.suffix != ".parquet" and not source.exists()]:
        raise WrongUseError(f"there is no metadata file {gone[0]} and no such store; name one that is there")
    if out is not None and report is not None and out.resolve() in (report.resolve(), *report.resolve().parents):
        raise WrongUseError(f"{report} would lie in {out}; name another --report")
    if out is not None and out.resolve() in map(Path.resolve, sources):
        raise WrongUseError(f"{out} is there already; name a new store or parquet")
    if out is not None and (out.is_dir() or store_of(sources)):
        require_new(out)
    if out is not None and store_of(sources) and out.suffix == ".parquet":
        raise WrongUseError(f"a store is split into a store, which is a folder; leave out .parquet in {out}")
    if out is not None and not store_of(sources) and out.suffix != ".parquet":
        raise WrongUseError(f"the new metadata are a parquet; name it {out}.parquet")


def store_of(sources: Sequence[Path]) -> Path | None:
    """The store, if that is what is split, and no metadata.

    Raises:
        WrongUseError: If it is one of several sources.
    """
    folders = [source for source in sources if source.is_dir()]
    if folders and len(sources) > 1:
        raise WrongUseError(f"{folders[0]} is a folder; name one store, or metadata parquets only")
    return folders[0] if folders else None


def require_new(out: Path) -> None:
    """Refuse a place for a new store that is taken.

    Raises:
        WrongUseError: If it is.
    """
    if os.path.lexists(out):
        raise WrongUseError(f"{out} is there already; name a new store or parquet")


def assign(index: Index, plan: SplitPlan) -> Splits:
    """Assign every patch; depends on nothing but the patch ids and the plan.

    Raises:
        WrongUseError: If a split would be left without a patch.
    """
    places = geography(index)
    splits = RULES[plan.rule](places, plan)
    if plan.buffer:
        splits = with_buffer(splits, places, plan.buffer)
    _require_all(splits, plan)
    return splits


def published(index: Index) -> Splits:
    """The split of the official metadata, by `seg.reben.patch.geographic_split`; possibly without some of the three."""
    return _published(geography(index), SplitPlan())


def split_by_tile(index: Index, shares: tuple[float, ...] = SHARES) -> Splits:
    """Assign train, validation and test so that all patches of a tile are in one split.

    Raises:
        WrongUseError: If there are fewer than three tiles.
    """
    return _balanced(geography(index).tile_N, shares, "tile", len(SPLITS))


def with_buffer(splits: Splits, places: Geography, metres: float) -> Splits:
    """The splits without those patches that lie too near to a patch of another split.

    The test split stays whole. Validation loses what is nearer to a test patch than ``metres``, train what is nearer to
    a patch of either, those that were just left out excepted. Distances are those between centres, over all tiles.
    """
    from scipy.spatial import cKDTree

    earth_N3, kept = places.centres(), splits.copy()
    for own in (1, 0):
        others = kept > own
        rows = np.flatnonzero(kept == own)
        if others.any() and len(rows):
            distance, _ = cKDTree(earth_N3[others]).query(earth_N3[rows], distance_upper_bound=metres)
            kept[rows[distance < metres]] = LEFT_OUT
    return kept


def _published(places: Geography, plan: SplitPlan) -> Splits:
    edge = range(PATCHES_PER_TILE_EDGE)
    table = np.array([[SPLITS.index(geographic_split(column, row)) for column in edge] for row in edge], np.int8)
    return table[places.row_N, places.column_N]


def _random(places: Geography, plan: SplitPlan) -> Splits:
    """Patch by patch, whatever lies beside it; what reBEN's split is there to avoid."""
    bounds = np.rint(np.cumsum(plan.fractions) * len(places)).astype(np.int64)
    drawn = _generator(plan).permutation(
        np.searchsorted(bounds[:-1], np.arange(len(places)), side="right").astype(np.int8)
    )
    # In the order of the ids, so that the order of the rows does not matter.
    splits = np.empty_like(drawn)
    splits[np.lexsort((places.row_N, places.column_N, places.product_N))] = drawn
    return splits


def _tile(places: Geography, plan: SplitPlan) -> Splits:
    return _balanced(places.tile_N, plan.fractions, "tile", len(SPLITS))


def _block(places: Geography, plan: SplitPlan) -> Splits:
    """Square blocks of the tiles' grids, all dates of a block together, drawn in random order."""
    cells = max(1, round(plan.block / PATCH_METRES))
    across = -(-PATCHES_PER_TILE_EDGE // cells)
    block_N = (places.tile_N * across + places.row_N // cells) * across + places.column_N // cells
    return _balanced(block_N, plan.fractions, "block", len(SPLITS), _generator(plan))


RULES: dict[str, Callable[[Geography, SplitPlan], Splits]] = {
    "published": _published,
    "tile": _tile,
    "block": _block,
    "random": _random,
}
"""Rules by name."""


def _balanced(
    group_N: npt.NDArray[np.int64],
    shares: tuple[float, ...],
    what: str,
    least: int,
    random: np.random.Generator | None = None,
) -> Splits:
    """Whole groups to splits: each goes to the split that is furthest below its share.

    Groups are taken by falling number of patches, or in random order.
    """
    names, group_of_row, counts = np.unique(group_N, return_inverse=True, return_counts=True)
    if len(names) < least:
        where = "MGRS tiles" if what == "tile" else "blocks"
        raise WrongUseError(
            f"a split by {what} needs patches from at least {least} {where}, but there are {len(names)}; take patches "
            f"of more {where}" + (", or smaller blocks" if what == "block" else ", or split by block")
        )
    wanted = np.array(shares) * len(group_N)
    filled = np.zeros(len(SPLITS))
    split_of_group = np.zeros(len(names), dtype=np.int8)
    # A stable sort leaves groups of equal size in the order of their names.
    order = np.argsort(-counts, kind="stable") if random is None else random.permutation(len(names))
    for group in order:
        # An empty split is the furthest below its share, so the first three groups fill all three.
        split = int(np.argmax((wanted - filled) / wanted))
        split_of_group[group] = split
        filled[split] += counts[group]
    return split_of_group[group_of_row]


def _generator(plan: SplitPlan) -> np.random.Generator:
    return np.random.default_rng(plan.seed)


def _require_all(splits: Splits, plan: SplitPlan) -> None:
    empty = [name for position, name in enumerate(SPLITS) if not (splits == position).any()]
    if not empty:
        return
    if plan.buffer:
        cure = "make the buffer narrower or the blocks larger"
    elif plan.rule == "published":
        cure = "these few patches lie in other parts of their tiles; split by tile, block or at random"
    else:
        cure = "take more patches"
    raise WrongUseError(f"{plan.words} leaves {' and '.join(empty)} without a patch; {cure}")
