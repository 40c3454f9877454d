"""What a store is made from: trees and archives, opened, and the parts of patches that are taken out of them."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seg.errors import ArchiveError
from seg.prepare.archive import Archive, Member, Passage, find_archive, read_members
from seg.prepare.encode import Part
from seg.prepare.gather import Gatherer
from seg.prepare.layout import LAYERS, PUBLISHED, Kind, group_of, is_patch
from seg.prepare.tiff import decode_tiff
from seg.prepare.tree import Tree, scan_tree
from seg.store.index import BoolArray, Index, Rows
from seg.store.tensors import checksum

METADATA_FILES = ("metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet")
"""The published metadata: clear patches, and those with seasonal snow, cloud or cloud shadow."""

Opened = dict[Kind, Tree | Archive]


@dataclass(frozen=True)
class Sources:
    """What a store is built from.

    Attributes:
        s2, s1, maps: Roots of the published trees, or archives; None where a store is to do without.
        metadata: The metadata parquets.
    """

    s2: Path | None
    s1: Path | None
    maps: Path | None
    metadata: tuple[Path, ...]

    @property
    def paths(self) -> dict[Kind, Path]:
        """The trees and archives that there are."""
        named: dict[Kind, Path | None] = {"s2": self.s2, "s1": self.s1, "maps": self.maps}
        return {kind: path for kind, path in named.items() if path is not None}


def published_sources(tree: Path) -> Sources:
    """The sources in a folder that holds all published parts under their published names."""
    return Sources(
        **{kind: tree / name for kind, name in PUBLISHED.items()},
        metadata=tuple(tree / name for name in METADATA_FILES if (tree / name).is_file()),
    )


def wanted_layers(kind: Kind, bands: Sequence[str]) -> tuple[str, ...]:
    """The layers of a kind that a choice of bands needs; an empty choice needs all."""
    return tuple(x for x in LAYERS[kind] if kind == "maps" or not bands or x in bands)


def find_sources(sources: Sources) -> None:
    """Make sure that every source is there, before anything takes time.

    Raises:
        ArchiveError: If one is not.
    """
    for kind, path in sources.paths.items():
        if not path.is_dir():
            find_archive(path, kind)


def open_sources(sources: Sources, bands: Sequence[str]) -> Opened:
    """Trees, looked through, and archives, found; without those that hold none of the bands.

    Raises:
        ArchiveError: If one is missing or holds nothing of reBEN.
    """
    opened: Opened = {}
    for kind, path in sources.paths.items():
        if layers := wanted_layers(kind, bands):
            opened[kind] = scan_tree(path, kind, layers) if path.is_dir() else find_archive(path, kind)
    return opened


class Names:
    """The rows of names.

    Args:
        names: A name per row; several rows may share one, as two acquisitions may share a Sentinel-1 patch.

    Attributes:
        first: The first row with the same name, per row.
    """

    def __init__(self, names: pa.StringArray) -> None:
        text = names.to_numpy(zero_copy_only=False).astype("S")
        self._distinct, self._first, inverse = np.unique(text, return_index=True, return_inverse=True)
        self.first: Rows = self._first[inverse]
        self._names = names
        self._last = ("", -1)

    def name(self, row: int) -> str:
        """The name of a row."""
        return str(self._names[row].as_py())

    def row(self, name: str) -> int:
        """The first row with a name, -1 if there is none."""
        if name != self._last[0]:
            text = name.encode()
            place = int(np.searchsorted(self._distinct, text))
            known = place < len(self._distinct) and self._distinct[place] == text
            self._last = (name, int(self._first[place]) if known else -1)
        return self._last[1]


def names_of(index: Index, kind: Kind) -> pa.StringArray:
    """The names that the patches of a kind have."""
    return index.s1_names if kind == "s1" else index.patch_ids


def tree_parts(
    index: Index, trees: Mapping[Kind, Tree], needed: Mapping[Kind, BoolArray]
) -> Generator[Part, None, None]:
    """The parts that are needed out of trees, patch by patch."""
    rows = np.flatnonzero(np.logical_or.reduce([needed[kind] for kind in trees]))
    for row in rows.tolist():
        for kind, tree in trees.items():
            if needed[kind][row]:
                name = index.s1_name(row) if kind == "s1" else index.patch_id(row)
                yield Part(kind, row, name, tree.folder(name), tree.layers)


@dataclass
class ArchiveParts:
    """One passage through an archive: what is wanted of it, and what was met.

    Attributes:
        archive: The archive.
        folder: Where files of incomplete patches may be put.
        names: Rows by name.
        chosen: The patches that are wanted; narrows down to what was taken where `most` says so.
        stored: Those of them that are there already.
        layers: The layers that are needed.
        most: Take the first so many patches only; None: all.
        known_only: A patch that has no row is an error.
        whole: Read to the end, so that the archive's own checksums are compared, even if nothing is needed any more.
        passage: What was met.
        repeated: Files that came again, with the checksum of their values; to be compared with the store.
        met: Whether any file of a patch that is wanted was met, of whatever layer.
        absent: Layers that are wanted and no patch has, after the end.
        lacking: Patches without a layer that others have, after the end: row and layer.
    """

    archive: Archive
    folder: Path
    names: Names
    chosen: BoolArray
    stored: BoolArray
    layers: tuple[str, ...]
    most: int | None = None
    known_only: bool = False
    whole: bool = False
    passage: Passage = field(default_factory=Passage)
    repeated: list[tuple[int, str, int]] = field(default_factory=list)
    met: bool = False
    absent: tuple[str, ...] = ()
    lacking: dict[int, str] = field(default_factory=dict)

    def parts(self) -> Generator[Part, None, None]:
        """The parts that are needed and not stored, as they become complete.

        Raises:
            ArchiveError: If the archive is damaged, or holds a patch that is not listed or a file twice that differs.
        """
        with Gatherer(len(self.chosen), self.layers, self.folder) as gatherer:
            yield from self._gathered(gatherer)
            yield from self._rest(gatherer)

    def _gathered(self, gatherer: Gatherer) -> Iterator[Part]:
        taken = np.zeros_like(self.chosen)
        finished = 0
        for member in read_members(self.archive, self.passage):
            if (row := self._row(member, taken)) < 0:
                continue
            taken[row] = True
            if gatherer.seen(row, member.layer):
                self._compare(gatherer, row, member)
                continue
            complete = gatherer.mark(row, member.layer)
            if not self.stored[row]:
                gatherer.keep(row, member.layer, member.read())
                if complete:
                    yield self._part(row, member.name, gatherer.take(row))
            finished += complete
            if not self.whole and finished == self._expected():
                break
        if self.most is not None:
            self.chosen &= taken

    def _expected(self) -> int:
        chosen = int(self.chosen.sum())
        return chosen if self.most is None else min(self.most, chosen)

    def _row(self, member: Member, taken: npt.NDArray[np.bool_]) -> int:
        """The row of a file that is wanted, else -1."""
        row = self.names.row(member.name)
        kind = self.archive.kind
        misplaced = member.group != group_of(kind, member.name)
        if misplaced or (row < 0 and not is_patch(kind, member.name)):
            self.passage.ignored += 1
            return -1
        if row < 0:
            self.passage.unlisted += 1
            if self.known_only:
                raise ArchiveError(
                    f"{member.name} of {self.archive.name} is not in the metadata; give further metadata parquets with "
                    "--metadata, or build what is in both with --partial"
                )
            return -1
        if not self.chosen[row]:
            return -1
        self.met = True
        if member.layer not in self.layers:
            return -1
        enough = self.most is not None and not taken[row] and int(taken.sum()) >= self.most
        return -1 if enough else row

    def _compare(self, gatherer: Gatherer, row: int, member: Member) -> None:
        """A file that comes again must hold the same."""
        where = f"{self.archive.name}/{member.name}_{member.layer}.tif"
        content, before = member.read(), gatherer.content(row, member.layer)
        self.passage.ignored += 1
        if before is None:
            values = decode_tiff(content, member.layer, where)
            self.repeated.append((row, member.layer, checksum(values.tobytes())))
        elif before != content:
            raise twice(where)

    def _rest(self, gatherer: Gatherer) -> Iterator[Part]:
        """Where no patch of the archive has all bands of reBEN, those that have all bands of this archive."""
        layers = gatherer.layers()
        self.absent = tuple(layer for layer in self.layers if layer not in layers)
        self.lacking = gatherer.lacking(layers)
        if layers and layers != self.layers:
            for row in gatherer.complete(layers).tolist():
                if not self.stored[row]:
                    yield self._part(row, self.names.name(row), gatherer.take(row))

    def _part(self, row: int, name: str, files: dict[str, bytes]) -> Part:
        layers = tuple(layer for layer in self.layers if layer in files)
        return Part(self.archive.kind, row, name, self.archive.name, layers, files)


def without_bands(where: str, absent: Sequence[str]) -> ArchiveError:
    """The error of a source that lacks bands which were asked for."""
    return ArchiveError(
        f"{where} holds no {', '.join(absent)}; leave that out of --bands, or build what is there with --partial"
    )


def twice(where: str) -> ArchiveError:
    """The error of a file that an archive holds twice with different values."""
    return ArchiveError(f"{where} is in the archive twice, with different values; fetch the archive again")
