"""``seg export``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from seg.cli import console


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of 'seg train'.")],
    out: Annotated[Path, typer.Option(help="Folder for the maps; made if need be.")],
    split: Annotated[Literal["train", "validation", "test"] | None, typer.Option(help="Split to export.")] = None,
    data: Annotated[Path | None, typer.Option(help="Store, if not the one of the run.")] = None,
    metadata: Annotated[Path | None, typer.Option(help="Metadata parquet, for a bare LMDB.")] = None,
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
        bool | None, typer.Option("--patches/--no-patches", help="Patch maps; with --mosaic only if asked for.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = None,
) -> None:
    """Write the predicted maps of a split as GeoTIFF, of patches or as mosaics, and their footprints as GeoParquet."""
    from seg.pipeline.export import export as write

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
        device=device,
        track=console.track,
        notify=console.notify,
    )
    console.done(
        f"{result.patches} patches in {len(result.mosaics)} mosaics in {out}"
        if mosaic
        else f"{result.patches} maps in {out}"
    )
    if result.overview:
        console.done(f"A picture of one product: {result.overview}")
