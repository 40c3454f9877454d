"""Reading damaged values of a store anew from its source."""

import tempfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from seg.config.track import Track, silent
from seg.errors import ArchiveError, UnknownCodeError
from seg.prepare.archive import Archive
from seg.prepare.audit import Audit
from seg.prepare.encode import Part, encode_part
from seg.prepare.layout import KINDS, Kind
from seg.prepare.sources import ArchiveParts, Names, Opened, names_of, tree_parts, wanted_layers
from seg.prepare.tree import Tree
from seg.store.index import BoolArray, Index
from seg.store.offsets import write_offsets
from seg.store.open import read_info
from seg.store.patches import PatchWriter


def source_parts(index: Index, opened: Opened, bands: Collection[str], needed: dict[Kind, BoolArray]) -> Iterator[Part]:
    """Some parts of the sources of a store.

    Args:
        index: The index of the store.
        opened: Its sources.
        bands: Bands of the store.
        needed: The rows that are needed, by kind.

    Raises:
        ArchiveError: If an archive is damaged.
    """
    trees = {kind: source for kind, source in opened.items() if isinstance(source, Tree)}
    layers = {kind: wanted_layers(kind, tuple(bands)) for kind in KINDS}
    if trees:
        there = {kind: needed[kind] & tree.holds(names_of(index, kind)) for kind, tree in trees.items()}
        for part in tree_parts(index, trees, there):
            yield replace(part, layers=layers[part.kind])
    for kind, source in opened.items():
        if isinstance(source, Archive) and needed[kind].any():
            names = Names(names_of(index, kind))
            chosen = np.zeros(len(index), np.bool_)
            chosen[names.first[needed[kind]]] = True
            nothing = np.zeros_like(chosen)
            with tempfile.TemporaryDirectory() as scratch:
                yield from ArchiveParts(source, Path(scratch), names, chosen, nothing, layers[kind]).parts()


def repair_store(
    folder: Path, index: Index, bands: Collection[str], opened: Opened, audit: Audit, track: Track = silent
) -> int:
    """Write the values that an audit found bad anew, out of the sources, in one commit.

    Only what has the checksum that the index keeps is written: another source cannot slip in. Nobody else may have the
    store open meanwhile.

    Args:
        folder: The store.
        index: Its index.
        bands: Its bands.
        opened: Its sources.
        audit: What was found.
        track: Progress.

    Returns:
        Number of values that were written.

    Raises:
        ArchiveError: If an archive is damaged.
        OSError: If the disk is full.
    """
    bad = audit.bad_values()
    needed: dict[Kind, BoolArray] = {}
    for kind in KINDS:
        names = names_of(index, kind).to_pylist()
        needed[kind] = np.array([(kind, name) in bad for name in names], np.bool_)
    written = 0
    with PatchWriter(folder, replace=True, compact=read_info(folder).compression is not None) as writer:
        for part in track(source_parts(index, opened, bands, needed), "reading anew", len(bad)):
            try:
                value = encode_part(part)
            except (ArchiveError, UnknownCodeError):
                continue
            if value.checksum == int(index.checksums[part.row, KINDS.index(part.kind)]):
                writer.put(value.key, value.value)
                written += 1
    if written:
        # Values have moved.
        write_offsets(index, folder)
    return written
