"""Filling the LMDB of a store from trees and archives, from wherever an earlier build stopped."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg.config.track import Track
from seg.errors import ArchiveError, DamagedError
from seg.prepare.archive import Archive
from seg.prepare.encode import Encoded, Part, encode_part
from seg.prepare.layout import EXAMPLE, KINDS, MAP_LAYER, WHAT, Kind, key_of, kind_of_key
from seg.prepare.sources import (
    ArchiveParts,
    Names,
    Opened,
    names_of,
    tree_parts,
    twice,
    wanted_layers,
    without_bands,
)
from seg.prepare.tree import Tree
from seg.prepare.working import Journal
from seg.reben.reference_map import class_indices, implied_bits
from seg.store.index import BoolArray, Index
from seg.store.patches import DATA_FILE, MAP_SUFFIX, MAP_TENSOR, PatchWriter
from seg.store.tensors import checksum, view_tensors

_READ_AT_ONCE = 48
"""Parts that a thread reads before it hands them over."""


@dataclass(frozen=True)
class Order:
    """How a store is filled.

    Attributes:
        opened: Where the patches are taken from.
        bands: Bands to take; empty: all.
        limit: Most patches to take out of an archive of images.
        partial: Leave out what is not whole instead of refusing it.
        compress: Pack the values.
        whole: Every patch of the sources is wanted; archives are read to their ends and their checksums compared.
        in_turn: Read, decode and write in turn, in one thread, instead of at once.
    """

    opened: Opened
    bands: tuple[str, ...]
    limit: int | None
    partial: bool
    compress: bool
    whole: bool
    in_turn: bool

    @property
    def lead(self) -> Kind:
        """The images that decide which patches there are."""
        return "s2" if "s2" in self.opened else "s1"


@dataclass
class Ledger:
    """What the LMDB holds, by row of the index.

    Attributes:
        chosen: The patches that belong to the store.
        checksums: By row and kind, uint64 (row, 3); 0 where there is no value.
        implied: Labels that the map implies, as bits; -1 where there is no map.
        ignored: Members of archives that are no files of patches, or repeat one.
        unlisted: Files in archives of patches that are not in the metadata.
        bands: Bands of the values.
    """

    chosen: BoolArray
    checksums: npt.NDArray[np.uint64]
    implied: npt.NDArray[np.int64]
    ignored: int = 0
    unlisted: int = 0
    bands: set[str] = field(default_factory=set)

    def has(self, kind: Kind) -> BoolArray:
        """The patches of which there is a value."""
        return self.checksums[:, KINDS.index(kind)] != 0  # type: ignore[no-any-return]

    def enter(self, value: Encoded) -> bool:
        """Note a value; whether it is another one than before."""
        place = value.row, KINDS.index(value.kind)
        changed = bool(self.checksums[place] != value.checksum)
        self.checksums[place] = value.checksum
        if value.implied is not None:
            self.implied[value.row] = value.implied
        return changed


def fill(index: Index, chosen: BoolArray, order: Order, folder: Path, journal: Journal, track: Track) -> Ledger:
    """Write the LMDB.

    Args:
        index: All patches of the metadata, sorted by patch id.
        chosen: Those that the store is to hold.
        order: From what, and how.
        folder: Where to write; an LMDB that lies there is continued.
        journal: What is known of the sources from before.
        track: Progress.

    Raises:
        ArchiveError, UnknownCodeError: If a source is damaged. What was read before it is in the LMDB.
        OSError: If the disk is full.
    """
    ledger = Ledger(chosen.copy(), np.zeros((len(index), 3), np.uint64), np.full(len(index), -1, np.int64))
    by_patch, by_s1 = Names(index.patch_ids), Names(index.s1_names)
    names: dict[Kind, Names] = {"s2": by_patch, "s1": by_s1, "maps": by_patch}
    resumed = (folder / DATA_FILE).is_file()
    with PatchWriter(folder, resumed, order.compress, beside=not order.in_turn) as writer:
        _settle(order.opened, journal, writer)
        if resumed:
            _take_stock(ledger, names, writer, track)
        filler = _Filler(index, names, order, ledger, writer, journal, folder, track)
        filler.run()
        ledger.checksums[:, KINDS.index("s1")] = ledger.checksums[by_s1.first, KINDS.index("s1")]
        for kind in order.opened.keys() - {"maps"}:
            if (rows := np.flatnonzero(ledger.has(kind))).size:
                value = writer.get(names[kind].name(int(rows[0])))
                assert value is not None, "the ledger says what there is"
                ledger.bands |= view_tensors(value, kind).keys()
    return ledger


def _settle(opened: Opened, journal: Journal, writer: PatchWriter) -> None:
    """Let go of what was taken out of other sources than these, and note which ones these are.

    Both before anything is taken out of them, so that what the LMDB holds comes from the noted ones at any moment.
    """
    identities = {kind: source.identity for kind, source in opened.items()}
    others = {kind for kind, identity in identities.items() if journal.of(kind).get("identity") != identity}
    if others and len(writer):
        writer.remove([key for key, _ in writer.items() if kind_of_key(key) in others])
    for kind in others:
        journal.note(kind, {"identity": identities[kind]})


def _take_stock(ledger: Ledger, names: dict[Kind, Names], writer: PatchWriter, track: Track) -> None:
    """Enter what an earlier build has written; a damaged value counts as none."""
    for key, value in track(writer.items(), "checking what is there already", len(writer)):
        kind = kind_of_key(key)
        row = names[kind].row(key.removesuffix(MAP_SUFFIX))
        implied = None
        try:
            arrays = view_tensors(value, key)
            if kind == "maps":
                implied = implied_bits(class_indices(arrays[MAP_TENSOR], key))
        except (DamagedError, KeyError, ValueError):
            continue
        ledger.enter(Encoded(kind, row, key, b"", checksum(value), implied))


def _ahead(parts: Iterable[Part]) -> Generator[Part, None, None]:
    """The parts, read by a thread meanwhile: disks, zstd and zlib work without Python's lock.

    If they end in an error, those before it still come.
    """
    rest = iter(parts)

    def some() -> tuple[list[Part], Exception | None]:
        read: list[Part] = []
        try:
            for part in islice(rest, _READ_AT_ONCE):
                read.append(part.read())  # noqa: PERF401
        except (ValueError, OSError) as error:
            return read, error
        return read, None

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(some)
        while True:
            read, failure = coming.result()
            if read and failure is None:
                coming = thread.submit(some)
            yield from read
            if failure is not None:
                raise failure
            if not read:
                return


@dataclass
class _Filler:
    """The passages through trees and archives that fill an LMDB."""

    index: Index
    names: dict[Kind, Names]
    order: Order
    ledger: Ledger
    writer: PatchWriter
    journal: Journal
    folder: Path
    track: Track

    def run(self) -> None:
        """Trees together, patch by patch, so that a patch lies in one place; each archive in its own order."""
        trees = {kind: source for kind, source in self.order.opened.items() if isinstance(source, Tree)}
        walked = False
        for kind in KINDS:
            source = self.order.opened.get(kind)
            if isinstance(source, Archive):
                self.read_archive(source)
            elif source is not None and not walked:
                self.walk(trees)
                walked = True

    def chosen(self, kind: Kind) -> BoolArray:
        """The rows that values of a kind are kept under: where several share one, the first."""
        rows = np.zeros(len(self.index), np.bool_)
        rows[self.names[kind].first[self.ledger.chosen]] = True
        return rows

    def walk(self, trees: dict[Kind, Tree]) -> None:
        needed: dict[Kind, BoolArray] = {}
        for kind, tree in trees.items():
            in_tree = tree.holds(names_of(self.index, kind))
            needed[kind] = self.chosen(kind) & in_tree & ~self.ledger.has(kind)
        total = sum(int(rows.sum()) for rows in needed.values())
        self.write(tree_parts(self.index, trees, needed), "GeoTIFFs to LMDB", total)

    def read_archive(self, archive: Archive) -> None:
        kind, state = archive.kind, self.journal.of(archive.kind)
        # What was let pass by a partial build is looked at again by one that is not.
        if not state.get("finished") or (state.get("partial") and not self.order.partial):
            state |= self.read_through(archive)
            self.journal.note(kind, state)
        self.ledger.ignored += state["ignored"]
        self.ledger.unlisted += state["unlisted"]
        if self.order.limit is not None and kind == self.order.lead:
            self.ledger.chosen &= self.ledger.has(kind)[self.names[kind].first]

    def read_through(self, archive: Archive) -> dict[str, Any]:
        kind, lead = archive.kind, archive.kind == self.order.lead
        chosen = self.chosen(kind)
        stored = self.ledger.has(kind)
        passage = ArchiveParts(
            archive,
            self.folder,
            self.names[kind],
            chosen,
            stored,
            wanted_layers(kind, self.order.bands),
            most=self.order.limit if lead else None,
            known_only=not self.order.partial,
            whole=self.order.whole,
        )
        try:
            self.write(passage.parts(), f"{archive.name} to LMDB", int((chosen & ~stored).sum()))
        except ArchiveError:
            # Nothing that came out of it is trusted: it may be damaged in a way that only its end shows.
            self.journal.note(kind, {"identity": None})
            raise
        if not passage.met and not self.order.partial:
            raise ArchiveError(f"{archive.name} holds no {WHAT[kind]} of the metadata; expected {EXAMPLE[kind]}")
        if self.order.bands and passage.absent and not self.order.partial:
            raise without_bands(archive.name, passage.absent)
        self.check_whole(archive, passage)
        self.check_repeated(archive, passage)
        self.writer.flush()
        met = passage.passage
        return {
            "finished": True, "partial": self.order.partial, "ignored": met.ignored, "unlisted": met.unlisted,
        }  # fmt: skip

    def write(self, parts: Generator[Part, None, None], description: str, total: int) -> None:
        # After an error, nothing is to be read on behind the back of who handles it.
        with closing(parts if self.order.in_turn else _ahead(parts)) as read:
            for value in self.track(map(encode_part, read), description, total):
                if self.ledger.enter(value):
                    self.writer.put(value.key, value.value)

    def check_whole(self, archive: Archive, passage: ArchiveParts) -> None:
        if passage.lacking and not self.order.partial:
            row, layer = next(iter(passage.lacking.items()))
            raise ArchiveError(
                f"{archive.name}: the file {self.names[archive.kind].name(row)}_{layer}.tif is missing, though others "
                f"have it (missing for {len(passage.lacking)} of them); leave such patches out with --partial"
            )

    def check_repeated(self, archive: Archive, passage: ArchiveParts) -> None:
        for row, layer, expected in passage.repeated:
            name = self.names[archive.kind].name(row)
            value = self.writer.get(key_of(archive.kind, name))
            if value is not None:
                array = view_tensors(value, name)[MAP_TENSOR if layer == MAP_LAYER else layer]
                if checksum(array.tobytes()) != expected:
                    raise twice(f"{archive.name}/{name}_{layer}.tif")
