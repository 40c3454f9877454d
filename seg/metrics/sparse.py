"""Counts per patch that are mostly 0: of confusion cells, of confidence bins, of pixels along boundaries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class PatchCounts:
    """A matrix of counts, patches x size, of which only what is not 0 is kept.

    Attributes:
        size: Number of columns.
        offsets: int64 (N + 1,); the entries of patch n in `keys` and `counts` are offsets[n] to offsets[n + 1].
        keys: Columns that are not 0, uint16, ascending within a patch.
        counts: What they hold, uint32, greater than 0.
    """

    size: int
    offsets: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint16]
    counts: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: Rows) -> "PatchCounts":
        """The counts of some patches only, in the order of `rows`."""
        entries = self._entries(rows)
        return PatchCounts(self.size, offsets_of(np.diff(self.offsets)[rows]), self.keys[entries], self.counts[entries])

    def total(self) -> Counts:
        """Counts summed over all patches: int64 (size,)."""
        return _accumulate(self.keys.astype(np.int64), self.counts, self.size)

    def dense(self, rows: Rows | None = None) -> Counts:
        """Counts of some patches, or of all: int64 (R, size)."""
        chosen = self if rows is None else self.take(rows)
        return chosen.grouped(np.arange(len(chosen)), len(chosen))

    def grouped(self, groups_N: npt.NDArray[np.integer[Any]], number: int) -> Counts:
        """Counts summed over groups of patches: int64 (number, size).

        Args:
            groups_N: The group of each patch, 0 to number - 1.
            number: Number of groups.
        """
        assert len(groups_N) == len(self), f"{len(groups_N)} groups for {len(self)} patches"
        bins = np.repeat(groups_N.astype(np.int64), np.diff(self.offsets)) * self.size + self.keys
        return _accumulate(bins, self.counts, number * self.size).reshape(number, self.size)

    def by_patch(self, column_of_key: npt.NDArray[np.integer[Any]], columns: int) -> Counts:
        """Counts of each patch with the columns merged: int64 (N, columns).

        Args:
            column_of_key: New column of each old one, (size,).
            columns: Number of new columns.
        """
        patches = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        merged = _accumulate(patches * columns + column_of_key[self.keys], self.counts, len(self) * columns)
        return merged.reshape(len(self), columns)

    def _entries(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Positions in `keys` and `counts` that belong to the rows, row after row."""
        lengths = np.diff(self.offsets)[rows]
        shift = self.offsets[rows] - (np.cumsum(lengths) - lengths)
        return np.repeat(shift, lengths) + np.arange(lengths.sum())


def sparse_counts(dense_NS: npt.NDArray[np.integer[Any]]) -> PatchCounts:
    """What is not 0 of counts of patches x columns; none may be negative or exceed 32 bits."""
    patches, size = dense_NS.shape
    assert size <= 2**16, f"{size} columns do not fit into 16 bits"
    rows, keys = np.nonzero(dense_NS)
    counts = dense_NS[rows, keys]
    assert not counts.size or (counts.min() > 0 and counts.max() < 2**32), "counts of a patch fit into uint32"
    lengths = np.bincount(rows, minlength=patches)
    return PatchCounts(size, offsets_of(lengths), keys.astype(np.uint16), counts.astype(np.uint32))


def concatenate(parts: Sequence[PatchCounts]) -> PatchCounts:
    """The patches of some parts, one after the other."""
    assert len({part.size for part in parts}) == 1, "parts of one size"
    return PatchCounts(
        parts[0].size,
        offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        np.concatenate([part.keys for part in parts]),
        np.concatenate([part.counts for part in parts]),
    )


def offsets_of(lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Where each of some lists begins that stand one after the other, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _accumulate(bins: npt.NDArray[np.int64], counts: npt.NDArray[np.uint32], size: int) -> Counts:
    """Sum of the counts that fall into each bin; exact, which ``bincount`` with weights is not beyond 2^53."""
    sums = np.zeros(size, dtype=np.int64)
    np.add.at(sums, bins, counts.astype(np.int64))
    return sums
