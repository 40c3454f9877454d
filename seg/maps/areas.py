"""Areas of the classes of a map, as a table."""

from pathlib import Path

import numpy as np

from seg.config.scope import Scope
from seg.config.synthetic import Synthetic
from seg.config.track import Notify
from seg.errors import EvidenceError, RunError
from seg.metrics.area import adjusted_areas, tile_errors
from seg.metrics.evidence import Evidence, total_counts
from seg.metrics.ratio import Bools, Floats
from seg.reben.classes import CLASS_NAMES
from seg.report.formats import Column, Table, Value, comma_separated, markdown, titled
from seg.runs.folder import is_model_folder, read_evidence
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
    "the second one comes from leaving out each of the {tiles} tiles of the assessment as a whole."
)


def run_assessment(run: Path, notify: Notify) -> Evidence | None:
    """What is known of the errors of a run: its evidence on the test split; None, and a word about it, if none."""
    if is_model_folder(run):
        notify(f"Areas are not adjusted for confusion: {run} is a model folder without evidence; name the run itself.")
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
    total = float(hectares_K.sum())
    columns = [
        Column("class", "Class", "class"),
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
            Column("adjusted_se_ha", "Standard error, pixels", "hectares"),
            Column("adjusted_se_tiles_ha", "Standard error, tiles", "hectares"),
        ]
        missing = np.full(len(hectares_K), np.nan)
        # Of a class that the reference lacks, the formula gives 0 with an error of 0: nothing is known of it. Where the
        # map is believed, its error is unknown.
        absent_K = counts_KK.sum(1) == 0
        areas_K = np.where(absent_K & (adjusted.assessed_K | (hectares_K == 0)), np.nan, adjusted.area_K)
        errors = (adjusted.error_K, missing if by_tiles is None else by_tiles)
        cells += [areas_K, *(np.where(absent_K, np.nan, errors_K) for errors_K in errors)]
        notes.append(_ADJUSTED.format(patches=len(evidence), split=evidence.origin.words))
        notes.append(_ERRORS.format(tiles=len(set(evidence.tiles.to_pylist()))))
        if absent := _named(np.isnan(areas_K)):
            notes.append(f"The reference of the assessment has no {absent}: nothing is known of their true areas (–).")
        if unknown := _named((hectares_K > 0) & ~adjusted.assessed_K):
            notes.append(f"Nothing was assessed of what is mapped as {unknown}: there the map is believed.")
    rows: list[tuple[Value, ...]] = [
        (name, *(float(column_K[k]) for column_K in cells)) for k, name in enumerate(CLASS_NAMES)
    ]
    return Table("areas", titled("Areas", scene, synthetic), tuple(columns), tuple(rows), tuple(notes))


def _named(chosen_K: Bools) -> str:
    return ", ".join(name for name, is_chosen in zip(CLASS_NAMES, chosen_K, strict=True) if is_chosen)


def write_areas(stem: Path, table: Table) -> tuple[Path, ...]:
    """Write ``<stem>_areas.csv`` and ``<stem>_areas.md``.

    Raises:
        OSError: If they cannot be written.
    """
    texts = {".csv": comma_separated(table), ".md": markdown(table)}
    paths = tuple(stem.with_name(f"{stem.name}_areas{suffix}") for suffix in texts)
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    return paths
