"""What was to be predicted, as evidence holds it: countries, labels, class areas, boundaries, which no model moves."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seg.config.track import Track, silent
from seg.errors import SubmissionError
from seg.metrics.boundary import boundary_counts
from seg.metrics.evidence import BAND_PARTS, CELLS, ZONES, Evidence, reference_areas
from seg.metrics.ratio import Bools
from seg.metrics.sparse import Counts
from seg.reben.classes import CLASS_NAMES, IGNORE_INDEX, NUM_CLASSES
from seg.reben.official import reference_digest
from seg.reben.reference_map import class_indices
from seg.store.open import Store
from seg.store.patches import MAP_SUFFIX

_CHUNK = 64
_NEAR = len(ZONES) - 1
_NAMES = np.array(CLASS_NAMES, dtype=object)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What is true of the patches of an evaluation.

    Attributes:
        patch_ids: Arrow strings (N,).
        countries: Of the patches, Arrow strings (N,).
        labels: Multi-labels, bool (N, K).
        areas: Labelled pixels by class, int64 (N, K).
        near: Those within 30 m of a boundary, from there to 100 m, and in the bands along boundaries, int64 (N, 3, K);
            None where they were not measured.
    """

    patch_ids: pa.StringArray
    countries: pa.StringArray
    labels: Bools
    areas: Counts
    near: Counts | None

    @property
    def digest(self) -> str:
        """Of ids, labels and areas, see `seg.reben.official.reference_digest`."""
        return reference_digest(self.patch_ids.to_pylist(), self.label_names, self.areas.tolist())

    @property
    def label_names(self) -> Iterator[list[str]]:
        """Names of the classes of each patch."""
        return (_NAMES[row].tolist() for row in self.labels)


def reference_of(evidence: Evidence) -> Reference:
    """What evidence says is true."""
    near = None
    if (details := evidence.details) is not None:
        rows = np.arange(_NEAR * CELLS) // NUM_CLASSES
        zones_NZK = details.zones.by_patch(rows, _NEAR * NUM_CLASSES).reshape(-1, _NEAR, NUM_CLASSES)
        bands_NPK = details.bands.dense().reshape(-1, len(BAND_PARTS), NUM_CLASSES)
        near = np.concatenate([zones_NZK, bands_NPK[:, [BAND_PARTS.index("reference")]]], axis=1)
    countries = evidence.countries.cast(pa.string())
    return Reference(evidence.patch_ids, countries, evidence.labels, reference_areas(evidence), near)


def check_same_reference(told: Reference, known: Reference, whose: str) -> None:
    """Refuse evidence in which something else is true than in what is known.

    Args:
        told: Of the evidence.
        known: The same patches, as somebody else says them.
        whose: Who: ``the store``, ``seed 0``.

    Raises:
        SubmissionError: Naming a patch.
    """
    assert told.patch_ids.equals(known.patch_ids), "the same patches in the same order"
    countries = (one.countries.to_numpy(zero_copy_only=False) for one in (told, known))
    parts = [("countries", *countries), ("labels", told.labels, known.labels), ("class areas", told.areas, known.areas)]
    if told.near is not None and known.near is not None:
        parts.append(("boundaries", told.near, known.near))
    for what, one, other in parts:
        differs_N = (one != other).reshape(len(one), -1).any(1)
        if differs_N.any():
            patch = told.patch_ids[int(np.argmax(differs_N))].as_py()
            raise SubmissionError(
                f"the {what} of {int(differs_N.sum()):,} patches are not those of {whose}, of {patch} for one; the "
                "evidence was edited or made on other data"
            )


def reference_in(store: Store, patch_ids: pa.StringArray, track: Track = silent) -> Reference:
    """What a store says is true of some patches.

    Args:
        store: The store.
        patch_ids: The patches.
        track: Progress.

    Raises:
        SubmissionError: If it lacks one of them.
        StoreError, DamagedError, UnknownCodeError: If a map is missing or damaged.
    """
    rows = pc.index_in(patch_ids, store.index.patch_ids)
    if rows.null_count:
        lacking = patch_ids.filter(pc.is_null(rows))
        raise SubmissionError(
            f"the store {store.folder.name} lacks {len(lacking):,} of its patches, {lacking[0].as_py()} for one; name "
            "the store that it was scored on",
            wrong_use=True,
        )
    near: list[Counts] = []
    areas: list[Counts] = []
    begins = range(0, len(patch_ids), _CHUNK)
    for begin in track(begins, "maps compared", len(begins)):
        ids = patch_ids[begin : begin + _CHUNK].to_pylist()
        places = store.map_places(rows[begin : begin + _CHUNK].to_numpy())
        found = zip(ids, places, strict=True)
        maps = [class_indices(store.patches.reference_map(one, place), one + MAP_SUFFIX) for one, place in found]
        target_BHW: npt.NDArray[np.uint8] = np.stack(maps)
        right_BHW = np.where(target_BHW == IGNORE_INDEX, 0, target_BHW)
        zones, bands = boundary_counts(target_BHW, right_BHW)
        # Of a prediction that is right everywhere, whatever is counted lies on the diagonal.
        zones_BZK = np.diagonal(zones.reshape(-1, _NEAR, NUM_CLASSES, NUM_CLASSES), axis1=2, axis2=3)
        bands_BPK = bands.reshape(-1, len(BAND_PARTS), NUM_CLASSES)[:, [BAND_PARTS.index("reference")]]
        near.append(np.concatenate([zones_BZK, bands_BPK], axis=1))
        counts = [np.bincount(one.ravel(), minlength=IGNORE_INDEX + 1)[:NUM_CLASSES] for one in maps]
        areas.append(np.stack(counts).astype(np.int64))
    labels = store.index.labels(rows.to_numpy())
    countries = store.index.countries.take(rows).cast(pa.string())
    return Reference(patch_ids, countries, labels, np.concatenate(areas), np.concatenate(near))
