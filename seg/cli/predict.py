"""``seg predict``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seg.cli import console, options

if TYPE_CHECKING:
    from seg.maps.mapping import SceneMap


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder of 'seg train', or model.onnx of 'seg card'.")],
    out: Annotated[Path, typer.Option(help="The map, NAME.tif; for several scenes a folder.")],
    scenes: options.Scenes = None,
    s1: options.Sentinel1 = None,
    bands: options.StackBands = None,
    offset: options.Offset = None,
    bbox: options.BoundingBox = None,
    geometry: Annotated[Path | None, typer.Option(help="Map inside the polygons of this vector file only.")] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write 19 probability bands.")] = False,
    confidence: Annotated[bool, typer.Option("--confidence", help="Also write confidence and entropy.")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="Also write multi-labels of 1.2 km cells.")] = False,
    areas: options.Areas = False,
    zones: options.Zones = None,
    zone_column: options.ZoneColumn = None,
    quicklook: Annotated[bool, typer.Option("--quicklook", help="Also write a picture.")] = False,
    tta: Annotated[bool, typer.Option("--tta", help="Mean over 8 flips and turns; takes 8 times as long.")] = False,
    mmu: options.MapUnit = 0.0,
    cloud_mask: options.CloudMask = False,
    stac: options.Stac = False,
    stac_api: options.StacApi = None,
    collection: options.StacCollection = None,
    date: options.Dates = None,
    polygons: options.Polygons = False,
    min_area: options.MinArea = 0.0,
    simplify: options.Simplify = 0.0,
    vector_format: options.VectorFormat = "parquet",
    web: options.Web = False,
    window: options.Window = None,
    overlap: options.Overlap = None,
    batch_size: options.WindowBatch = None,
    device: options.OfRunDevice = None,
    executor: options.Executor = "local",
    slurm: options.Slurm = None,
) -> None:
    """Map a whole scene: a GeoTIFF with a QGIS style. The same command goes on where it was broken off."""
    from seg.catalogue.search import searched
    from seg.maps.part import read_box
    from seg.pipeline.predict import predict as predict_scenes
    from seg.vectors.polygons import polygon_options

    with console.wrong_use():
        box, search = None if bbox is None else read_box(bbox), searched(stac_api, collection, date)
    with console.stoppable("The same command goes on from the last strip that was finished, if there is one."):
        maps = predict_scenes(
            run, scenes or (), out,
            bands=None if bands is None else [name.strip() for name in bands.split(",")],
            s1=s1 or (), offset=offset, box=box, geometry=geometry, cloud_mask=cloud_mask, search=search,
            probabilities=probabilities, confidence=confidence, labels=labels, quicklook=quicklook, web=web,
            areas=areas, zones=zones, zone_column=zone_column, tta=tta, mmu=mmu, stac=stac,
            polygons=polygon_options(polygons, min_area, simplify), vector_format=vector_format,
            window=window, overlap=overlap, batch_size=batch_size, device=device,
            executor=executor, slurm=slurm or (), track=console.track, notify=console.notify,
        )  # fmt: skip
    _show(maps, out)


def _show(maps: "tuple[SceneMap, ...]", out: Path) -> None:
    """Show what was mapped, and every file of it."""
    from seg.maps.map_files import joint_files

    for line in (line for one in maps for line in (one.summary, *(f"  {path}" for path in one.files))):
        console.done(line)
    for path in joint_files([one.path for one in maps]) if maps[0].path != out else ():
        console.done(f"  {path}")
