"""Areas of the classes of a map: as counted, by zones, or as estimated from a labelled sample."""

from dataclasses import dataclass
from pathlib import Path

from seg.areas.class_map import ClassMap, open_class_map, strata_of
from seg.areas.estimate import estimates
from seg.areas.sample_file import read_labelled
from seg.areas.table import area_table, run_assessment, table_files, write_table
from seg.areas.zones import areas_by_zone, check_zones, open_zones
from seg.config.paths import AnyPath, path_or_none
from seg.config.synthetic import Synthetic
from seg.config.track import Notify, ignore
from seg.errors import WrongUseError
from seg.maps.targets import require_inputs
from seg.models.weights_file import weights_digest
from seg.report.formats import Table
from seg.runs.folder import best_checkpoint
from seg.store.atomic import remove_file
from seg.store.targets import claimed_files

_ENDINGS = ("", "_accuracy", "_matrix")


@dataclass(frozen=True)
class Areas:
    """Outcome of `map_areas`.

    Attributes:
        files: What was written.
        tables: What is in them, by the end of their names; the first one has the areas.
    """

    files: tuple[Path, ...]
    tables: dict[str, Table]


def map_areas(
    class_map: AnyPath,
    sample: AnyPath | None = None,
    *,
    out: AnyPath,
    zones: AnyPath | None = None,
    zone_column: str | None = None,
    run: AnyPath | None = None,
    notify: Notify = ignore,
) -> Areas:
    """Write the areas of the classes of a map.

    Args:
        class_map: Class map of `predict`, or a mosaic of `export`.
        sample: Sample of `seg.pipeline.sample.draw_sample` with its column ``reference`` filled in: areas and
            accuracies are estimated from it.
        out: ``<name>.csv``; beside it ``.csvt`` and ``.md``, and with a sample ``<name>_accuracy`` and
            ``<name>_matrix``.
        zones: Vector file: areas within each of its polygons.
        zone_column: Where it has their names; None: the first of the usual ones.
        run: The run that made the map, whose confusions on the test split areas are adjusted by.
        notify: Is told what the user must not miss.

    Raises:
        SegError: One of its kinds, for anything wrong with map, sample or zones.
        OSError: If a file cannot be read or written.
    """
    path, out, sample = Path(class_map), Path(out), path_or_none(sample)
    zones, run = path_or_none(zones), path_or_none(run)
    _check(out, sample, zones, zone_column, run)
    of = open_class_map(path)
    file = open_zones(zones, zone_column) if zones else None
    # What a sample that is missing asks for is told where it is read.
    there = [sample] if sample and sample.exists() else []
    require_inputs([out], [path, *there, *([zones] if zones else [])])
    stem = out.with_suffix("")
    files = [file for ending in _ENDINGS for file in table_files(stem.with_name(stem.name + ending))]
    with claimed_files(files):
        if sample:
            strata = strata_of(of)
            labelled = read_labelled(sample, of, strata)
            tables = estimates(of, strata, labelled)
        else:
            if run:
                _require_maker(run, of)
            evidence = run_assessment(run, notify) if run else None
            synthetic = Synthetic.in_tags(of.tags)
            synthetic |= Synthetic.of(model=evidence is not None and bool(evidence.origin.simulated))
            if file is None:
                tables = {"": area_table(strata_of(of).hectares_K, evidence, of.name, synthetic)}
            else:
                tables = {"": areas_by_zone(of, file, evidence, synthetic, notify)}
        for ending in _ENDINGS:
            if ending not in tables:
                for old in table_files(stem.with_name(stem.name + ending)):
                    remove_file(old)
        written = [write_table(stem.with_name(stem.name + ending), table) for ending, table in tables.items()]
    return Areas(tuple(path for paths in written for path in paths), tables)


def _require_maker(run: Path, of: ClassMap) -> None:
    """Refuse a run that has not made a map: its confusions say nothing of it."""
    made_by = of.tags.get("MODEL_WEIGHTS")
    if made_by and made_by != weights_digest(best_checkpoint(run)):
        raise WrongUseError(f"{run} has not made {of.path}; name the run that has, or leave out --run")


def _check(out: Path, sample: Path | None, zones: Path | None, zone_column: str | None, run: Path | None) -> None:
    if out.suffix.lower() != ".csv":
        raise WrongUseError(f"{out} is no CSV; name one, such as {out.with_suffix('.csv').name}")
    if sample and (zones or run):
        raise WrongUseError("a sample says of the map as a whole what its classes are; leave out --zones and --run")
    check_zones(zones, zone_column)
