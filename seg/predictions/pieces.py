"""Pieces of a split, scored one by one wherever there is somebody, and kept until all of them are there."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import xxhash

from seg.config.version import VERSION
from seg.metrics.evidence import Evidence, Origin, merge_evidence
from seg.metrics.evidence_file import pack_evidence, unpack_evidence
from seg.predictions.measure import ClassMap, Truth, decided, measure_pixels, measure_reference
from seg.predictions.numbering import Numbering
from seg.predictions.pixels import Source
from seg.predictions.request import Request
from seg.reben.classes import NUM_CLASSES
from seg.reben.patch import PatchId
from seg.reben.reference_map import class_indices
from seg.store.ahead import Stretch
from seg.store.atomic import write_bytes, write_text
from seg.store.open import open_patches
from seg.store.patches import MAP_SUFFIX, PatchReader

PIECE, PIECE_OF_SHARES = 2000, 500
"""Patches that are lost at most when the work is broken off, and fewer of probabilities, 1 MB each."""


@dataclass(frozen=True)
class ScorePiece:
    """Patches that are scored together, by whichever process.

    Attributes:
        name: Of its file.
        folder: Where its evidence is kept.
        what: What was predicted, for messages.
        store: Folder of the data.
        source: What was predicted of them; None: no masks.
        numbering: What the numbers mean.
        names: What the source calls the patches.
        patch_ids, countries: Of the patches.
        labels: Their multi-labels as bits.
        places: Where their maps lie in the LMDB; empty if that is not known.
        origin: What is evaluated.
    """

    name: str
    folder: Path
    what: str
    store: Path
    source: Source | None
    numbering: Numbering | None
    names: tuple[str, ...]
    patch_ids: tuple[str, ...]
    countries: tuple[str, ...]
    labels: tuple[int, ...]
    places: tuple[Stretch, ...]
    origin: Origin

    @property
    def path(self) -> Path:
        """File of its evidence."""
        return self.folder / f"{self.name}.parquet"


def pieces_of(request: Request, folder: Path) -> list[ScorePiece]:
    """The pieces of what is to be scored.

    Args:
        request: All of it.
        folder: Where their evidence is kept.
    """
    store, source, pieces = request.store, request.source, []
    size = PIECE_OF_SHARES if source is not None and source.shares else PIECE
    for number, begin in enumerate(range(0, len(request.rows), size)):
        rows = request.rows[begin : begin + size]
        index = store.index.take(rows)
        names = tuple(source.names[begin : begin + size]) if source is not None else ()
        pieces.append(
            ScorePiece(
                name=f"{number:04d}",
                folder=folder.absolute(),
                what=f"{request.given.predictions} ({source.what})" if source is not None else "",
                store=store.folder.absolute(),
                source=None if source is None else source.only(names),
                numbering=request.numbering,
                names=names,
                patch_ids=tuple(index.patch_ids.to_pylist()),
                countries=tuple(index.countries.to_pylist()),
                labels=tuple(index.label_bits.tolist()),
                places=tuple(place for _, _, place in store.offsets.places(rows)) if store.offsets else (),
                # Scene labels are put to the pixels at the end.
                origin=replace(request.origin, ranked=True),
            )
        )
    return pieces


def score_piece(piece: ScorePiece) -> Path:
    """Score a piece and keep its evidence.

    Raises:
        EvidenceError: If patches of it cannot be scored.
    """
    reader = open_patches(piece.store)
    reader.read_ahead(sorted(piece.places))
    reference = _references(reader, dict(zip(piece.patch_ids, piece.places, strict=False)))
    bits_N1 = np.array(piece.labels, np.uint32)[:, None]
    labels_NK = (bits_N1 >> np.arange(NUM_CLASSES, dtype=np.uint32) & 1).astype(np.bool_)
    truth = Truth(piece.patch_ids, piece.countries, labels_NK, reference)
    digests: dict[str, str] = {}
    if piece.source is None or piece.numbering is None:
        evidence = merge_evidence([measure_reference(truth, piece.origin)])
    else:
        evidence, digests = measure_pixels(piece.source, piece.numbering, piece.names, truth, piece.origin, piece.what)
    content = pack_evidence(evidence)
    write_bytes(piece.path, content)
    # Written last: without it, or of other content, the piece counts for nothing.
    note = {"evidence": xxhash.xxh3_128_hexdigest(content), "digests": digests}
    write_text(piece.path.with_suffix(".json"), json.dumps(note))
    return piece.path


def predicted_maps(request: Request, patch_ids: Sequence[str]) -> dict[str, tuple[ClassMap, ClassMap]]:
    """Reference and predicted map of some patches."""
    source, numbering = request.source, request.numbering
    assert source is not None, "there are no masks to show"
    assert numbering is not None, "was asked for"
    rows = request.store.index.patch_ids.take(request.rows)
    names = {patch_id: source.names[pc.index(rows, patch_id).as_py()] for patch_id in patch_ids}
    reference, maps = _references(request.store.patches, {}), {}
    with source.only(list(names.values())).opened() as read:
        for patch_id, name in names.items():
            target_HW = reference(patch_id)
            maps[patch_id] = target_HW, decided(read(name, PatchId.parse(patch_id)), target_HW, numbering)[0]
    return maps


def _references(reader: PatchReader, places: Mapping[str, Stretch]) -> Callable[[str], ClassMap]:
    return lambda one: class_indices(reader.reference_map(one, places.get(one)), f"{one}{MAP_SUFFIX}")


def kept(piece: ScorePiece) -> tuple[Evidence, dict[str, str]] | None:
    """Evidence of a piece and digests by patch; None if it was not scored, or what is kept is damaged or of others."""
    try:
        content = piece.path.read_bytes()
        note = json.loads(piece.path.with_suffix(".json").read_text(encoding="utf-8"))
        evidence, digests = unpack_evidence(content), dict(note["digests"])
        written = note["evidence"] == xxhash.xxh3_128_hexdigest(content)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = evidence.origin == piece.origin and evidence.patch_ids.to_pylist() == sorted(piece.patch_ids)
    return (evidence, digests) if written and same else None


def plan_of(pieces: Sequence[ScorePiece], request: Request) -> str:
    """Digest of all that the evidence of the pieces depends on."""
    numbers = [] if request.numbering is None else sorted(request.numbering.classes.items())
    stamp = "" if request.source is None else request.source.stamp
    patches = [name for piece in pieces for name in (*piece.patch_ids, *piece.names)]
    text = json.dumps([VERSION, stamp, numbers, repr(request.origin), patches])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
