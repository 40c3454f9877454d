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
        bool, typer.Option("--probabilities", help="Also write a file of 19 probability bands per patch.")
    ] = False,
    reference: Annotated[bool, typer.Option("--reference", help="Also write the reference map of each patch.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = None,
) -> None:
    """Write the predicted map of every patch of a split as GeoTIFF."""
    from seg.pipeline.export import export as write

    result = write(
        run,
        out,
        split=split,
        data=data,
        metadata=metadata,
        probabilities=probabilities,
        reference=reference,
        device=device,
        track=console.track,
        notify=console.notify,
    )
    console.done(f"{result.patches} maps in {out}")
    if result.overview:
        console.done(f"A picture of one product: {result.overview}")
