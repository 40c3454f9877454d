"""Pictures of a few patches for the report: the image, Sentinel-1, the reference and what was predicted."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seg.figures.pictures import backscatter, true_colour
from seg.metrics.evidence import Evidence
from seg.metrics.patch import patch_accuracy
from seg.metrics.scene import DEFAULT_THRESHOLD, decide
from seg.reben.classes import CLASS_NAMES
from seg.report.gallery import Picture, choose_pictures
from seg.store.open import Store
from seg.store.tensors import Array

if TYPE_CHECKING:
    from seg.runs.session import Session

_Image = npt.NDArray[np.uint8]


Maps = Callable[[Sequence[str]], Mapping[str, tuple[_Image, _Image]]]
"""Reference and predicted map of patches."""


def draw_pictures(session: "Session", evidence: Evidence) -> tuple[Picture, ...]:
    """Pictures of the patches that tell most: the best, the median, the worst and the most disagreeing ones.

    Args:
        session: The run on the split that the evidence is of.
        evidence: What it did there.
    """
    return pictures_of(session.store, evidence, lambda patch_ids: _predicted(session, patch_ids))


def pictures_of(store: Store, evidence: Evidence, maps_of: Maps) -> tuple[Picture, ...]:
    """The same of whatever has predicted.

    Args:
        store: The patches.
        evidence: What was predicted of them.
        maps_of: Gives reference and predicted map of some of them.
    """
    chosen = choose_pictures(evidence)
    if not chosen:
        return ()
    ids = [evidence.patch_ids[row].as_py() for row, _ in chosen]
    maps = maps_of(ids)
    accuracy = patch_accuracy(evidence)
    pictures = []
    for (row, why), patch_id in zip(chosen, ids, strict=True):
        reference_HW, predicted_HW = maps[patch_id]
        rgb_HW3, s1_HW = _looks(store, patch_id)
        pictures.append(
            Picture(
                patch_id=patch_id,
                why=why,
                rgb_HW3=rgb_HW3,
                s1_HW=s1_HW,
                reference_HW=reference_HW,
                predicted_HW=predicted_HW,
                score=float(accuracy[row]),
                labels=_names(evidence.labels[row]),
                decided=_decided(evidence, row),
            )
        )
    return tuple(pictures)


def _predicted(session: "Session", patch_ids: Sequence[str]) -> dict[str, tuple[_Image, _Image]]:
    """Reference and predicted map by patch id."""
    from seg.engine.evaluate import Pass, predict

    own = session.store.index.patch_ids.take(session.dataset.rows)
    positions = pc.index_in(pa.array(patch_ids, pa.string()), value_set=own).to_numpy().astype(np.int64)
    dataset = session.dataset.take(positions)
    maps: dict[str, tuple[_Image, _Image]] = {}
    for prediction in predict(session.model, dataset, Pass(session.compute, len(positions))):
        predicted_BHW = prediction.classes(session.scope.unit, session.card.temperature).byte().cpu().numpy()
        reference_BHW = prediction.batch.masks_BHW.cpu().numpy()
        names = dataset.patch_ids(prediction.batch.rows_B.cpu().numpy())
        maps |= {
            name: (reference_HW.copy(), predicted_HW)
            for name, reference_HW, predicted_HW in zip(names, reference_BHW, predicted_BHW, strict=True)
        }
    return maps


def _looks(store: Store, patch_id: str) -> tuple[_Image | None, _Image | None]:
    """True-colour image and backscatter of a patch, as far as the store has them."""
    row = pc.index(store.index.patch_ids, patch_id).as_py()
    s2: dict[str, Array] = store.patches.tensors(patch_id) if store.index.has_s2[row] else {}
    s1: dict[str, Array] = store.patches.tensors(store.index.s1_name(row)) if store.index.has_s1[row] else {}
    return true_colour(s2), backscatter(s1)


def _names(labels_K: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(CLASS_NAMES[k] for k in np.flatnonzero(labels_K))


def _decided(evidence: Evidence, row: int) -> tuple[str, ...]:
    """Labels that the scene head decides; none without one."""
    if evidence.probabilities is None:
        return ()
    fitted = evidence.origin.thresholds
    thresholds = DEFAULT_THRESHOLD if fitted is None else np.array(fitted)
    return _names(decide(evidence.probabilities[[row]], thresholds)[0])
