"""Areas of the classes of a map, as tables and their files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from seg.config.scope import Scope
from seg.config.synthetic import Synthetic
from seg.config.track import Notify
from seg.errors import EvidenceError, RunError
from seg.metrics.area import adjusted_areas, tile_errors, tile_quantile
from seg.metrics.evidence import Evidence, total_counts
from seg.metrics.ratio import Bools, Floats
from seg.reben.classes import CLASS_NAMES, CLASSES
from seg.report.formats import Column, Table, Value, markdown, titled
from seg.report.plain_csv import column_types, plain_csv
from seg.runs.folder import is_model_folder, read_evidence
from seg.runs.use import is_onnx
from seg.store.atomic import write_text

_COUNTED = (
    "Areas as counted are those of the map's pixels on the ground, that is on the ellipsoid. The errors of a map do "
    "not cancel, so they are biased wherever classes are confused."
)
_ADJUSTED = (
    "Adjusted areas are those of the stratified estimator of Olofsson et al. (2014), equations 9 to 11, with the "
    "confusions of the {patches:,} patches of the {split} as the assessment and the map's classes as strata. They hold "
    "as far as the model confuses classes here as it does there."
)
_ERRORS = (
    "The first standard error takes every assessed pixel as independent, as the formula does, and is far too small; "
    "the second one comes from leaving out each of the {tiles} tiles of the assessment as a whole. The interval is one "
    "of 95 % by the second one and Student's distribution; no area is less than nothing."
)
CLASS_COLUMNS = (Column("value", "Value", "count"), Column("class", "Class", "class"), Column("clc", "CLC", "text"))
"""The value of a class in maps, its name, and its CLC codes."""


def run_assessment(run: Path, notify: Notify) -> Evidence | None:
    """What is known of the errors of a run: its evidence on the test split; None, and a word about it, if none."""
    if is_model_folder(run) or is_onnx(run):
        what = "an ONNX file" if is_onnx(run) else "a model folder"
        notify(f"Areas are not adjusted for confusion: {run} is {what} without evidence; name the run itself.")
        return None
    try:
        return read_evidence(run, Scope("test"))
    except (RunError, EvidenceError) as error:
        notify(f"Areas are not adjusted for confusion: {error}.")
        return None


def area_table(hectares_K: Floats, evidence: Evidence | None, scene: str, synthetic: Synthetic) -> Table:
    """Areas of the classes in hectares, with the adjusted ones if there is an assessment.

    Args:
        hectares_K: As counted in the map.
        evidence: The assessment.
        scene: What was mapped.
        synthetic: What of model and assessment comes from synthetic data.
    """
    columns, rows, notes = _area_rows(hectares_K, evidence)
    return Table("areas", titled("Areas", scene, synthetic), columns, rows, notes, synthetic=synthetic.words)


def zone_table(
    zones: Mapping[str, Floats],
    evidence: Evidence | None,
    scene: str,
    synthetic: Synthetic,
    notes: Sequence[str],
    whole_ha: Mapping[str, float],
) -> Table:
    """The same for each of several zones.

    Args:
        zones: Hectares of each class in each zone, as counted in the map.
        evidence: The assessment.
        scene, synthetic: As of `area_table`.
        notes: What is to be said of the zones.
        whole_ha: Hectares of each zone, mapped or not; NaN where that is not known.
    """
    columns: tuple[Column, ...] = ()
    rows: list[tuple[Value, ...]] = []
    said: dict[str, None] = {}
    for zone, hectares_K in zones.items():
        columns, of_zone, said_of_zone = _area_rows(hectares_K, evidence)
        said |= dict.fromkeys(said_of_zone)
        covered = float(np.minimum(1.0, hectares_K.sum() / whole_ha[zone])) if whole_ha[zone] else np.nan
        rows += [(zone, covered, *row) for row in of_zone]
    first = (Column("zone", "Zone", "text"), Column("zone_mapped", "Zone mapped", "percent"))
    title = titled("Areas by zone", scene, synthetic)
    return Table("areas", title, (*first, *columns), tuple(rows), (*said, *notes), synthetic=synthetic.words)


def _area_rows(
    hectares_K: Floats, evidence: Evidence | None
) -> tuple[tuple[Column, ...], tuple[tuple[Value, ...], ...], tuple[str, ...]]:
    total = float(hectares_K.sum())
    columns = [
        *CLASS_COLUMNS,
        Column("mapped_ha", "As counted", "hectares"),
        Column("mapped_share", "Share", "percent"),
    ]
    cells: list[Floats] = [hectares_K, hectares_K / total if total else np.full(len(hectares_K), np.nan)]
    notes = [_COUNTED]
    if evidence is not None:
        counts_KK = total_counts(evidence)
        adjusted = adjusted_areas(hectares_K, counts_KK)
        by_tiles = tile_errors(hectares_K, evidence)
        columns += [
            Column("adjusted_ha", "Adjusted", "hectares"),
            Column("adjusted_low_ha", "Low", "hectares"),
            Column("adjusted_high_ha", "High", "hectares"),
            Column("adjusted_se_ha", "Standard error, pixels", "hectares"),
            Column("adjusted_se_tiles_ha", "Standard error, tiles", "hectares"),
        ]
        # Of a class that the reference lacks, the formula gives 0 with an error of 0: nothing is known of it. Where the
        # map is believed, its error is unknown.
        absent_K = counts_KK.sum(1) == 0
        areas_K = np.where(absent_K & (adjusted.assessed_K | (hectares_K == 0)), np.nan, adjusted.area_K)
        errors_K, tiles_K = (
            np.where(absent_K, np.nan, error_K)
            for error_K in (adjusted.error_K, np.full(len(hectares_K), np.nan) if by_tiles is None else by_tiles)
        )
        half_K = tile_quantile(evidence) * tiles_K
        cells += [areas_K, np.clip(areas_K - half_K, 0, total), np.clip(areas_K + half_K, 0, total), errors_K, tiles_K]
        notes.append(_ADJUSTED.format(patches=len(evidence), split=evidence.origin.words))
        notes.append(_ERRORS.format(tiles=len(set(evidence.tiles.to_pylist()))))
        if absent := named_classes(np.isnan(areas_K)):
            notes.append(f"The reference of the assessment has no {absent}: nothing is known of their true areas (–).")
        if unknown := named_classes((hectares_K > 0) & ~adjusted.assessed_K):
            notes.append(f"Nothing was assessed of what is mapped as {unknown}: there the map is believed.")
    rows = tuple((*class_cells(k), *(float(column_K[k]) for column_K in cells)) for k in range(len(hectares_K)))
    return tuple(columns), rows, tuple(notes)


def class_cells(k: int) -> tuple[Value, ...]:
    """What `CLASS_COLUMNS` hold of a class."""
    return k, CLASS_NAMES[k], " ".join(map(str, CLASSES[k].codes))


def named_classes(chosen_K: Bools) -> str:
    """Names of the classes that are chosen."""
    return ", ".join(name for name, is_chosen in zip(CLASS_NAMES, chosen_K, strict=True) if is_chosen)


def table_files(stem: Path) -> tuple[Path, ...]:
    """The files of a table: CSV, the types of its columns, and Markdown."""
    return tuple(stem.with_name(f"{stem.name}{suffix}") for suffix in (".csv", ".csvt", ".md"))


def write_table(stem: Path, table: Table) -> tuple[Path, ...]:
    """Write a table as `table_files`.

    Raises:
        OSError: If they cannot be written.
    """
    paths = table_files(stem)
    for path, text in zip(paths, (plain_csv(table), column_types(table), markdown(table)), strict=True):
        write_text(path, text)
    return paths


def write_areas(stem: Path, table: Table) -> tuple[Path, ...]:
    """Write ``<stem>_areas.csv``, ``.csvt`` and ``.md``.

    Raises:
        OSError: If they cannot be written.
    """
    return write_table(stem.with_name(f"{stem.name}_areas"), table)
