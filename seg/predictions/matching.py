"""Which patches of a split were predicted: every one of them once, and no others."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seg.config.wording import clipped, counted
from seg.errors import EvidenceError
from seg.predictions.pixels import is_patch
from seg.reben.patch import SPLITS, Split
from seg.store.index import Index, Rows

_NAMED = 3


@dataclass(frozen=True)
class Matched:
    """The patches of a split that were predicted.

    Attributes:
        rows: Rows of the index, in the order of their names.
        names: What their source calls them.
        missing: Patches of the split that were not predicted.
        spared: Patches of the split that were predicted and do not count, as they are flagged or have no map.
    """

    rows: Rows
    names: tuple[str, ...]
    missing: int
    spared: int


def match(what: str, names: Sequence[str], index: Index, rows: Rows, split: Split, *, partial: bool) -> Matched:
    """Find the patches of a split among what was predicted.

    Args:
        what: What was predicted, for messages.
        names: Patch ids, or names of Sentinel-1 patches, as the source has them.
        index: All patches of the store.
        rows: Rows of those that are scored.
        split: The split that they are of.
        partial: Whether some may be missing.

    Raises:
        EvidenceError: If patches are misnamed, doubled, of another split or unknown, or missing.
    """
    given = pa.array(names, pa.string())
    found = pc.index_in(given, value_set=index.patch_ids)
    by_s1 = pc.index_in(given, value_set=index.s1_names.filter(pc.not_equal(index.s1_names, "")))
    own_s1 = pc.index_in(index.s1_names.filter(pc.not_equal(index.s1_names, "")), value_set=index.s1_names)
    row_N = pc.coalesce(found, own_s1.take(by_s1)).fill_null(-1).to_numpy().astype(np.int64)
    _refuse_unknown(what, [names[i] for i in np.flatnonzero(row_N < 0).tolist()])
    doubled = [index.patch_id(row) for row, times in Counter(row_N.tolist()).items() if times > 1]
    if doubled:
        raise EvidenceError(f"{what}: {_some(doubled)} predicted more than once; leave one of each")
    other = row_N[index.splits[row_N] != SPLITS.index(split)]
    if len(other):
        where = sorted({SPLITS[code] for code in index.splits[other]})
        raise EvidenceError(
            f"{what}: {_some([index.patch_id(row) for row in other])} of the {' and '.join(where)} split, and {split} "
            f"is scored; leave only what is of {split}"
        )
    wanted = np.isin(row_N, rows)
    missing = rows[~np.isin(rows, row_N)]
    if not wanted.any():
        raise EvidenceError(f"{what} holds no patch of the {split} split; name predictions of patches of the store")
    if len(missing) and not partial:
        raise EvidenceError(
            f"{what}: of the {len(rows):,} patches of the {split} split, {_some([index.patch_id(r) for r in missing])} "
            "missing; predict all of them, or score what is there, outside of any ranking, with --partial"
        )
    kept = np.flatnonzero(wanted).tolist()
    return Matched(row_N[wanted], tuple(names[i] for i in kept), len(missing), int((~wanted).sum()))


def _refuse_unknown(what: str, names: Sequence[str]) -> None:
    misnamed = [name for name in names if not is_patch(name)]
    if misnamed:
        raise EvidenceError(
            f"{what}: {_some(misnamed, 'name is', 'names are')} of no patch; name each after its patch, such as "
            "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
        )
    if names:
        raise EvidenceError(f"{what}: {_some(names)} not in this store; name the one that they are of with --data")


def _some(names: Sequence[str], one: str = "patch is", many: str = "patches are") -> str:
    """``3 patches (a, b, c) are``."""
    shown = ", ".join(clipped(name) for name in sorted(names)[:_NAMED])
    more = ", ..." if len(names) > _NAMED else ""
    noun, _, verb = (one if len(names) == 1 else many).rpartition(" ")
    return f"{counted(len(names), noun, noun)} ({shown}{more}) {verb}"
