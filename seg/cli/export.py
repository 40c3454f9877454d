"""``seg export``."""

from pathlib import Path
from typing import Annotated

import typer

from seg.cli import console, options
from seg.config.wording import counted


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of 'seg train'.")],
    out: Annotated[Path, typer.Option(help="Folder for the maps; made if need be.")],
    split: options.OfRunSplit = None,
    data: Annotated[Path | None, typer.Option(help="Store.", show_default="that of the run")] = None,
    metadata: options.Metadata = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write files of 19 probability bands.")
    ] = False,
    reference: Annotated[bool, typer.Option("--reference", help="Also write the reference maps.")] = False,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Also write where the map is right, wrong or the reference unlabelled.")
    ] = False,
    mosaic: Annotated[
        bool, typer.Option("--mosaic", help="One Cloud-Optimized GeoTIFF per Sentinel-2 product, instead of patches.")
    ] = False,
    patches: Annotated[
        bool | None, typer.Option("--patches/--no-patches", help="Patch maps.", show_default="on; with --mosaic off")
    ] = None,
    mmu: options.MapUnit = 0.0,
    stac: options.Stac = False,
    polygons: options.Polygons = False,
    min_area: options.MinArea = 0.0,
    simplify: options.Simplify = 0.0,
    vector_format: options.VectorFormat = "parquet",
    web: options.Web = False,
    device: options.OfRunDevice = None,
) -> None:
    """Write the predicted maps of a split as GeoTIFF, of patches or as mosaics, and their footprints as GeoParquet."""
    from seg.pipeline.export import export as write
    from seg.vectors.polygons import polygon_options

    result = write(
        run,
        out,
        split=split,
        data=data,
        metadata=metadata,
        probabilities=probabilities,
        reference=reference,
        agreement=agreement,
        mosaic=mosaic,
        patches=patches,
        mmu=mmu,
        stac=stac,
        polygons=polygon_options(polygons, min_area, simplify),
        vector_format=vector_format,
        web=web,
        device=device,
        track=console.track,
        notify=console.notify,
    )
    console.done(
        f"{counted(result.patches, 'patch', 'patches')} in {counted(len(result.mosaics), 'mosaic', 'mosaics')} in {out}"
        if mosaic
        else f"{counted(result.patches, 'map', 'maps')} in {out}"
    )
    console.done(f"Over all of them: {', '.join(path.name for path in result.others)}")
    if result.overview:
        console.done(f"A picture of one product: {result.overview}")
