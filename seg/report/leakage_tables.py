"""Tables on what splits let through from train to test, and the files they are written to."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg.figures.leakage import leakage_figure
from seg.figures.style import write_png
from seg.metrics.leakage import LEAST_PAIRS, NEXT_DOOR, Correlogram, Leakage
from seg.reben.bands import PATCH_METRES
from seg.reben.classes import CLASS_NAMES
from seg.reben.patch import SPLITS
from seg.report.formats import Column, Table, Value, document, markdown, percent_columns, tidy_csv
from seg.report.record import write_json
from seg.store.atomic import write_text

DISTANCES = {
    "same_cell": ("same cell, another date", 0.0),
    "next_door": ("next door", NEXT_DOOR),
    **{f"within_{km}_km": (f"within {km} km", 1000.0 * km) for km in (3, 6, 10, 20)},
}
"""Distances at which nearness is shown: title and metres between centres."""
_SHOWN_LAGS = (1, 2, 3, 5, 8, 10, 15, 20, 30, 40, 50)
"""Of the correlogram, in patches."""


LEAKAGE_FILES = tuple(f"leakage.{suffix}" for suffix in ("md", "csv", "json", "png"))
"""What `write_leakage` writes."""


def leakage_tables(found: Sequence[Leakage], alike: Correlogram, synthetic: bool) -> list[Table]:
    """Sizes, nearness, seen ground and labels of some splits, and how alike neighbours are."""
    lead = "SYNTHETIC data, no benchmark result: " if synthetic else ""
    tables = [_sizes(found), _nearness(found), _ground(found), _labels(found), _alike(alike)]
    return [Table(t.name, lead + t.title, t.columns, t.rows, t.notes) for t in tables]


def write_leakage(folder: Path, found: Sequence[Leakage], alike: Correlogram, synthetic: bool) -> list[Path]:
    """Write ``leakage.md``, ``.csv``, ``.json`` and ``.png``; returns the files.

    Raises:
        OSError: If one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = leakage_tables(found, alike, synthetic)
    files = [folder / name for name in LEAKAGE_FILES]
    write_text(files[0], "\n".join(markdown(table) for table in tables))
    write_text(files[1], tidy_csv(tables))
    write_json(files[2], {"synthetic": synthetic, "tables": [document(table) for table in tables]})
    write_png(files[3], leakage_figure(found, alike, synthetic))
    return files


def _sizes(found: Sequence[Leakage]) -> Table:
    names = (*SPLITS, "in none")
    columns = (Column("split", "Split", "text"), *(Column(n.replace(" ", "_"), n.capitalize(), "count") for n in names))
    return Table("sizes", "Patches of each split", columns, tuple((one.name, *one.patches) for one in found))


def _nearness(found: Sequence[Leakage]) -> Table:
    columns = [Column("split", "Split", "text"), Column("where", "Training patches", "text")]
    columns += percent_columns(*((key, title) for key, (title, _) in DISTANCES.items()))
    rows: list[tuple[Value, ...]] = []
    for one in found:
        shares = one.within([metres for _, metres in DISTANCES.values()])
        rows.append((one.name, "of the same tile", *(share for share, _ in shares)))
        rows.append((one.name, "of any tile", *(share for _, share in shares)))
    notes = (
        "Share of the test patches that have a training patch at this distance or nearer, between centres; neighbours, "
        "corner to corner included, are at most 1.7 km apart.",
    )
    return Table("nearness", "Test patches with a training patch nearby", tuple(columns), tuple(rows), notes)


def _ground(found: Sequence[Leakage]) -> Table:
    columns = (
        Column("split", "Split", "text"),
        *percent_columns(
            ("patches", "Patches with seen ground"), ("area", "Seen area"), ("other_tiles", "Seen in another tile")
        ),
    )
    rows = tuple((one.name, *_seen(one)) for one in found)
    notes = (
        "Ground that a training patch shows too: at another date, or as part of a neighbouring tile, which overlaps by "
        "9.8 km and more.",
    )
    return Table("ground", "Ground of the test patches that was trained on", columns, rows, notes)


def _seen(one: Leakage) -> tuple[float, float, float]:
    seen = one.seen
    return float((seen.any_N > 0).mean()), float(seen.any_N.mean()), float(seen.other_tiles_N.mean())


def _labels(found: Sequence[Leakage]) -> Table:
    columns = [Column("class", "Class", "class")]
    columns += [
        Column(f"{i}_{split}", f"{one.name}: {split}", "percent") for i, one in enumerate(found) for split in SPLITS
    ]
    rows: list[tuple[Value, ...]] = [
        (name, *(float(one.shares_SK[split, position]) for one in found for split in range(len(SPLITS))))
        for position, name in enumerate(CLASS_NAMES)
    ]
    notes = tuple(
        f"{one.name}: Jensen-Shannon divergence from the labels of train {_bits(one, 1)} bits for validation, "
        f"{_bits(one, 2)} bits for test."
        for one in found
    )
    return Table("labels", "Patches that have each class", tuple(columns), tuple(rows), notes)


def _bits(one: Leakage, split: int) -> str:
    return f"{one.label_divergence(split):.4f}"


def _alike(alike: Correlogram) -> Table:
    columns = (
        Column("distance", "Distance", "text"),
        Column("pairs", "Pairs", "count"),
        Column("mean", "Moran's I, mean", "number"),
        Column("least", "Least class", "number"),
        Column("most", "Most class", "number"),
    )
    rows: list[tuple[Value, ...]] = []
    for lag in _SHOWN_LAGS:
        if lag > len(alike.distance_L) or alike.pairs_L[lag - 1] < LEAST_PAIRS:
            continue
        moran_K = alike.moran_LK[lag - 1]
        kilometres = f"{lag * PATCH_METRES / 1000:g} km"
        # The extremes of the classes that are defined; NaN if none is.
        mean, least, most = alike.mean_moran[lag - 1], np.fmin.reduce(moran_K), np.fmax.reduce(moran_K)
        rows.append((kilometres, int(alike.pairs_L[lag - 1]), float(mean), float(least), float(most)))
    notes = (
        "Moran's I of each class among all pairs of patches of one product at that distance: 1 for labels that always "
        "agree, 0 for labels that know nothing of each other. Regions differ, so it stays above 0 within a tile.",
    )
    return Table("alike", "How alike the labels of patches are by their distance", columns, tuple(rows), notes)
