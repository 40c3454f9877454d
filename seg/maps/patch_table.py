"""What a model says of each patch of a split, as a table: labels, probabilities and scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seg.maps.patches import map_tags
from seg.metrics.pixel import confusion_counts, pixel_values
from seg.metrics.scene import DEFAULT_THRESHOLD, decide
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.reben.patch import PatchId
from seg.store.atomic import remove_file
from seg.vectors.footprints import VECTOR_ENDINGS, VectorFormat, write_footprints

if TYPE_CHECKING:
    from seg.engine.evaluate import Prediction
    from seg.runs.session import Session

FOOTPRINTS: Mapping[VectorFormat, str] = MappingProxyType(
    {kind: f"footprints{ending}" for kind, ending in VECTOR_ENDINGS.items()}
)
"""The file, by its format."""
_SCHEMA = pa.schema(
    {
        "patch_id": pa.string(),
        "product": pa.string(),
        "tile": pa.string(),
        "split": pa.string(),
        "country": pa.string(),
        "labels": pa.list_(pa.string()),
        "predicted_labels": pa.list_(pa.string()),
        "map_labels": pa.list_(pa.string()),
        "pixel_accuracy": pa.float64(),
        "miou": pa.float64(),
        "labelled_share": pa.float64(),
        **{f"probability: {name}": pa.float32() for name in CLASS_NAMES},
    }
)


def patch_rows(session: Session, prediction: Prediction, alone: bool = True) -> pa.Table:
    """Rows of `write_patch_table` for a batch.

    `predicted_labels` are those of the scene head at the thresholds fitted on validation, or at 0.5 without such;
    `map_labels` are the classes of the predicted map. Scores are null where a patch has no labelled pixel, and
    `labelled_share` too where no reference maps are read. What depends on the predicted map is null if that is not made
    of the patch `alone`.
    """
    batch = prediction.batch
    predicted_BHW = prediction.classes(session.scope.unit if alone else 0, session.card.calibration)
    values = pixel_values(confusion_counts(batch.masks_BHW, predicted_BHW).cpu().numpy())
    shares_B = (batch.masks_BHW < NUM_CLASSES).float().mean((1, 2)).cpu().numpy()
    classes_BP = predicted_BHW.reshape(len(batch), -1).cpu().numpy()
    areas_BK = np.stack([np.bincount(classes_P, minlength=NUM_CLASSES) for classes_P in classes_BP])
    labels_BK = batch.labels_BK.cpu().numpy() > 0
    probabilities_BK = decided_BK = None
    if prediction.scene_probabilities_BK is not None:
        thresholds = DEFAULT_THRESHOLD if session.card.thresholds is None else np.array(session.card.thresholds)
        probabilities_BK = prediction.scene_probabilities_BK.cpu().numpy()
        decided_BK = decide(probabilities_BK, thresholds)
    rows = batch.rows_B.cpu().numpy()
    names, countries = session.dataset.patch_ids(rows), session.dataset.countries(rows)
    table = []
    for i, patch in enumerate(map(PatchId.parse, names)):
        row: dict[str, Any] = {
            "patch_id": str(patch),
            "product": patch.product,
            "tile": patch.tile,
            "split": session.scope.split,
            "country": countries[i],
            "labels": _names(labels_BK[i]),
            "predicted_labels": None if decided_BK is None else _names(decided_BK[i]),
            "map_labels": _names(areas_BK[i] > 0) if alone else None,
            "pixel_accuracy": _number(values["oa"][i]) if alone else None,
            "miou": _number(values["miou"][i]) if alone else None,
            "labelled_share": float(shares_B[i]) if session.dataset.with_maps else None,
        }
        if probabilities_BK is not None:
            row |= {f"probability: {name}": float(probabilities_BK[i, k]) for k, name in enumerate(CLASS_NAMES)}
        table.append(row)
    return pa.Table.from_pylist(table, _SCHEMA)


def write_patch_table(session: Session, rows: list[pa.Table], path: Path) -> list[PatchId]:
    """Write footprints with the rows of all processes, sorted by patch id.

    Args:
        session: The run.
        rows: Those of this process.
        path: One of `FOOTPRINTS`. Those in another format, of an earlier export, are removed.

    Returns:
        The patches of all processes, on each of them.

    Raises:
        OSError: If the file cannot be written.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA) as stream:
        for table in rows:
            stream.write_table(table)
    parts = session.ranks.gather(sink.getvalue().to_pybytes())
    table = pa.concat_tables([pa.ipc.open_stream(part).read_all() for part in parts]).sort_by("patch_id")
    if session.ranks.first:
        for name in FOOTPRINTS.values():
            if name != path.name:
                remove_file(path.with_name(name))
        write_footprints(path, table, map_tags(session))
    return [PatchId.parse(name) for name in table["patch_id"].to_pylist()]


def _names(present_K: npt.NDArray[np.bool_]) -> list[str]:
    return [CLASS_NAMES[k] for k in np.flatnonzero(present_K)]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
