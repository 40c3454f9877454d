"""What a labelled sample says of a map: unbiased areas and accuracies, as tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from seg.areas.class_map import ClassMap, Strata
from seg.areas.sample_file import Labelled
from seg.areas.table import CLASS_COLUMNS, class_cells
from seg.config.synthetic import Synthetic
from seg.metrics.area import adjusted_areas, stratified_accuracies
from seg.metrics.ratio import Floats
from seg.reben.classes import CLASS_NAMES
from seg.report.formats import Column, Table, Value, titled

NORMAL = 1.96
"""Standard errors on either side of a 95 % interval, as in the paper."""
_AREAS = (
    "Estimated areas are those of the stratified estimator of Olofsson et al. (2014), equations 9 to 11, of "
    "{labelled:,} labelled points drawn at random within each class of the map. Intervals are 1.96 standard errors to "
    "either side, as far as there is area; of classes with few points they are rough."
)
_ACCURACIES = (
    "Accuracies are of the mapped area, by equations 1 to 7: user's of what is mapped as a class, producer's of "
    "what is one."
)
_UNLABELLED = (
    "{count:,} of {points:,} points have no reference class and are left out, as if it were chance which ones: where "
    "they were hard to tell, accuracies are too high."
)
_MISSED = "No point is of a class that is missing here, which does not mean that there is none in the mapped area."


def estimates(of: ClassMap, strata: Strata, labelled: Labelled) -> dict[str, Table]:
    """Tables of areas, accuracies and the error matrix, by the end of their files' names."""
    synthetic = Synthetic.in_tags(of.tags)
    notes = [_AREAS.format(labelled=labelled.points - labelled.unlabelled)]
    if labelled.unlabelled:
        notes.append(_UNLABELLED.format(count=labelled.unlabelled, points=labelled.points))
    return {
        "": _areas(of, strata, labelled, synthetic, tuple(notes)),
        "_accuracy": _accuracy(of, strata, labelled, synthetic, (_ACCURACIES, *notes[1:])),
        "_matrix": _matrix(of, labelled, synthetic),
    }


def summary(tables: Mapping[str, Table]) -> Table:
    """Of the tables of `estimates` what a terminal has room for."""
    areas, accuracy = tables[""], tables["_accuracy"]
    chosen = [
        Column("class", "Class", "class"),
        Column("area_ha", "Estimated", "hectares"),
        Column("area_low_ha", "Low", "hectares"),
        Column("area_high_ha", "High", "hectares"),
        Column("users", "User's", "percent"),
        Column("producers", "Producer's", "percent"),
    ]
    found = {row["class"]: row for row in _by_key(accuracy)}
    rows = [row | found.get(row["class"], {}) for row in _by_key(areas)]
    overall = found["Overall"]
    note = f"Overall accuracy: {100 * overall['users']:.1f} % with a standard error of {100 * overall['users_se']:.1f}."
    cells = tuple(tuple(row.get(column.key) for column in chosen) for row in rows)
    return Table("summary", areas.title, tuple(chosen), cells, (note, *areas.notes[1:-1]))


def _by_key(table: Table) -> list[dict[str, Any]]:
    keys = [column.key for column in table.columns]
    return [dict(zip(keys, row, strict=True)) for row in table.rows]


def _areas(of: ClassMap, strata: Strata, labelled: Labelled, synthetic: Synthetic, notes: tuple[str, ...]) -> Table:
    hectares_K, total = strata.hectares_K, float(strata.hectares_K.sum())
    found = adjusted_areas(hectares_K, labelled.confusion_KK, _sampled(strata, labelled))
    # Of a class that nobody has seen, 0 with an error of 0 would say too much.
    seen_K = labelled.confusion_KK.sum(1) > 0
    area_K, error_K = (np.where(seen_K, values_K, np.nan) for values_K in (found.area_K, found.error_K))
    half_K = NORMAL * error_K
    columns = (
        *CLASS_COLUMNS,
        Column("mapped_ha", "As counted", "hectares"),
        Column("area_ha", "Estimated", "hectares"),
        Column("area_se_ha", "Standard error", "hectares"),
        Column("area_low_ha", "Low", "hectares"),
        Column("area_high_ha", "High", "hectares"),
        Column("share", "Share", "percent"),
        Column("share_se", "Its standard error", "percent"),
    )
    cells = (
        hectares_K, area_K, error_K, np.clip(area_K - half_K, 0, total), np.clip(area_K + half_K, 0, total),
        area_K / total, error_K / total,
    )  # fmt: skip
    rows = tuple(
        (*class_cells(k), *(float(column_K[k]) for column_K in cells))
        for k in np.flatnonzero(seen_K | (hectares_K > 0)).tolist()
    )
    return Table(
        "areas",
        titled("Estimated areas", of.name, synthetic),
        columns,
        rows,
        (*notes, _MISSED),
        synthetic=synthetic.words,
    )


def _accuracy(of: ClassMap, strata: Strata, labelled: Labelled, synthetic: Synthetic, notes: tuple[str, ...]) -> Table:
    found = stratified_accuracies(strata.hectares_K, labelled.confusion_KK, _sampled(strata, labelled))
    columns = (
        *CLASS_COLUMNS,
        Column("points", "Points mapped", "count"),
        *(
            Column(f"{key}{part}", f"{title}{words}", "percent")
            for key, title in (("users", "User's"), ("producers", "Producer's"))
            for part, words in (("", ""), ("_se", ", standard error"), ("_low", ", low"), ("_high", ", high"))
        ),
    )
    mapped_K = labelled.confusion_KK.sum(0)
    users_4K = _with_interval(found.users_K, found.users_error_K)
    producers_4K = _with_interval(found.producers_K, found.producers_error_K)
    rows: list[tuple[Value, ...]] = [
        (*class_cells(k), int(mapped_K[k]), *users_4K[:, k].tolist(), *producers_4K[:, k].tolist())
        for k in np.flatnonzero(labelled.confusion_KK.sum(1) + mapped_K).tolist()
    ]
    # Overall accuracy is user's and producer's alike.
    overall = _with_interval(np.array([found.overall]), np.array([found.overall_error]))[:, 0].tolist()
    rows.append((None, "Overall", "", int(mapped_K.sum()), *overall, *overall))
    return Table(
        "accuracy", titled("Accuracy", of.name, synthetic), columns, tuple(rows), notes, synthetic=synthetic.words
    )


def _with_interval(value_X: Floats, error_X: Floats) -> Floats:
    """Value, standard error, low and high, (4, X)."""
    half_X = NORMAL * error_X
    return np.stack([value_X, error_X, np.clip(value_X - half_X, 0, 1), np.clip(value_X + half_X, 0, 1)])


def _matrix(of: ClassMap, labelled: Labelled, synthetic: Synthetic) -> Table:
    there = np.flatnonzero(labelled.confusion_KK.sum(0) + labelled.confusion_KK.sum(1)).tolist()
    columns = (
        Column("map_value", "Value", "count"),
        Column("map_class", "Mapped as", "class"),
        *(Column(f"reference_{k}", CLASS_NAMES[k], "count") for k in there),
    )
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (k, CLASS_NAMES[k], *(int(labelled.confusion_KK[j, k]) for j in there)) for k in there
    )
    title = titled("Labelled points, map class by reference class", of.name, synthetic)
    return Table("matrix", title, columns, rows, synthetic=synthetic.words)


def _sampled(strata: Strata, labelled: Labelled) -> Floats:
    sampled_K: Floats = labelled.confusion_KK.sum(0) / np.maximum(strata.pixels_K, 1)
    return sampled_K
