"""``seg areas``."""

from pathlib import Path
from typing import Annotated

import typer

from seg.cli import console, options


def areas(
    class_map: Annotated[
        Path, typer.Argument(metavar="MAP", help="Class map of 'seg predict', or a mosaic of 'seg export'.")
    ],
    out: Annotated[Path, typer.Option(help="The table, NAME.csv.")],
    sample: Annotated[
        Path | None,
        typer.Argument(help="Sample of 'seg sample', labelled: areas and accuracies are estimated from it."),
    ] = None,
    zones: options.Zones = None,
    zone_column: options.ZoneColumn = None,
    run: Annotated[
        Path | None, typer.Option(help="The run that made the map, to adjust areas by its confusions.")
    ] = None,
) -> None:
    """Areas of the classes of a map: as counted, by zones, or estimated from a labelled sample."""
    from seg.areas.estimate import summary
    from seg.pipeline.areas import map_areas
    from seg.report.formats import to_rich

    found = map_areas(class_map, sample, out=out, zones=zones, zone_column=zone_column, run=run, notify=console.notify)
    if sample is not None:
        console.out.print(to_rich(summary(found.tables)))
    for path in found.files:
        console.done(f"  {path}")
