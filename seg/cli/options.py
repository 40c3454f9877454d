"""Options that several commands take, or that are too long for the list of a command's own."""

from pathlib import Path
from typing import Annotated, Literal

import typer

OfRunSplit = Annotated[
    Literal["train", "validation", "test"] | None,
    typer.Option(help="Split of the data.", show_default="that of the run; {eval.split}"),
]
Data = Annotated[
    Path | None, typer.Option(help="Store.", show_default="that of SEG_DATA, else the synthetic demo store")
]
Metadata = Annotated[Path | None, typer.Option(help="Metadata parquet, for a bare LMDB.")]
Countries = Annotated[
    str | None,
    typer.Option(
        help="Of the evaluation: of these countries only, comma-separated, or all.",
        show_default="those of the run; all",
    ),
]
Mmu = Annotated[
    float,
    typer.Option(
        "--mmu",
        help="Of the evaluation: of maps brought to this minimum mapping unit, ha.",
        min=0,
        show_default="of maps as predicted",
    ),
]
MapUnit = Annotated[
    float,
    typer.Option(
        "--mmu", help="Bring maps to this minimum mapping unit, ha; CORINE has 25.", min=0, show_default="none"
    ),
]
Sentinel1 = Annotated[
    list[str] | None, typer.Option(help="Sentinel-1 raster in dB, for models that see it; may be given twice.")
]
Areas = Annotated[bool, typer.Option("--areas", help="Also write a table of areas, adjusted for confusion.")]
Zones = Annotated[Path | None, typer.Option(help="Areas within each polygon of this vector file, in any CRS.")]
ZoneColumn = Annotated[str | None, typer.Option(help="Its column of names.", show_default="country, name and the like")]
Polygons = Annotated[bool, typer.Option("--polygons", help="Also write polygons of the land cover as a GeoPackage.")]
Web = Annotated[bool, typer.Option("--web", help="Also write a page that shows the map in a browser.")]
MinArea = Annotated[
    float,
    typer.Option(help="Of polygons: merge smaller ones, ha, as --mmu does.", min=0, show_default="none"),
]
Simplify = Annotated[
    float,
    typer.Option(
        help="Of polygons: simplify their borders by about so many metres; neighbours keep the same.",
        min=0,
        show_default="none",
    ),
]
VectorFormat = Annotated[
    Literal["parquet", "gpkg"], typer.Option(help="Of footprints and labels: GeoParquet or GeoPackage.")
]
OfRunDevice = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", show_default="that of the run; {train.device}")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", show_default="{train.device}")]
Processes = Annotated[
    int | None, typer.Option(help="Processes.", min=1, show_default="one per core, up to {seg.prepare.processes._MOST}")
]

Arch = Annotated[str | None, typer.Option(help="Architecture, such as deeplabv3plus.", show_default="{model.arch}")]
Model = Annotated[
    str | None, typer.Option(help="A network of your own instead: NAME in FILE.py builds it.", metavar="FILE.py:NAME")
]
Encoder = Annotated[
    str | None,
    typer.Option(help="Encoder, such as resnet50, tu-convnext_tiny or fm-dofa-base.", show_default="{model.encoder}"),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="What the network starts from: none, imagenet, published (for fm- encoders), reben[:<hub id or file>], "
        "ssl4eo[:<method or file>], a file, or the folder of a run.",
        show_default="{model.weights}",
    ),
]
Fusion = Annotated[
    Literal["stack", "dual"] | None,
    typer.Option(help="One encoder for all bands, or one for each sensor.", show_default="{model.fusion}"),
]
SceneHead = Annotated[
    Literal["masked", "derived", "learned", "none"] | None,
    typer.Option(help="Where the multi-label comes from.", show_default="{model.scene_head}"),
]
ModalityDropout = Annotated[
    float | None,
    typer.Option(help="Probability that a training patch loses one sensor.", show_default="{train.modality_dropout}"),
]

Scenes = Annotated[
    list[str] | None,
    typer.Argument(
        help="Sentinel-2 L2A product (SAFE folder or zip), stack, folder of bands or STAC item; or its URL."
    ),
]
Products = Annotated[
    list[str],
    typer.Option(
        help="Sentinel-2 L2A products: SAFE folder or zip, stack, folder of bands or STAC item; or their URLs.",
        metavar="PRODUCT...",
    ),
]
BoundingBox = Annotated[
    str | None,
    typer.Option(help="Map this box only: west,south,east,north in degrees.", show_default="the whole scene"),
]
CloudMask = Annotated[
    bool, typer.Option("--cloud-mask", help="Leave clouds and their shadows, as the product's SCL has them, out.")
]
StacApi = Annotated[
    str | None, typer.Option(help="Search this STAC API for the scenes of --bbox and --date with the fewest clouds.")
]
StacCollection = Annotated[
    str | None, typer.Option(help="Collection to search in.", show_default="{seg.catalogue.search.COLLECTION}")
]
Dates = Annotated[
    str | None, typer.Option(help="Dates to search in: FROM/TO, or a day, month or year.", metavar="DATES")
]
Stac = Annotated[
    bool, typer.Option("--stac", help="Also write STAC: an item for each map and its model, a collection over several.")
]
StackBands = Annotated[str | None, typer.Option(help="Bands of a stack in order, such as B02,B03,B04; - skips one.")]
Offset = Annotated[
    int | None,
    typer.Option(
        help="What DN of files without metadata are too high by, 0 or 1000; products say it themselves.",
        show_default="asked for where it matters",
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        help="Edge of the windows, pixels.",
        min=1,
        show_default="about {seg.inference.windows.WINDOW}, as the network takes it",
    ),
]
Overlap = Annotated[
    int | None,
    typer.Option(
        help="Pixels that windows share.",
        min=0,
        show_default="about {seg.inference.windows.OVERLAP}, as the network takes it",
    ),
]
WindowBatch = Annotated[
    int | None,
    typer.Option(help="Windows at a time.", min=1, show_default="1 on a CPU; on a GPU as 'seg eval' has pixels"),
]

Executor = Annotated[
    str,
    typer.Option(
        help="Who does independent pieces of the work: local, dask:ADDRESS of a scheduler, slurm, or slurm-local to "
        "try jobs here.",
        metavar="WHO",
    ),
]
Numbering = Annotated[
    str | None,
    typer.Option(
        help="What the numbers mean: reben, clc, alphabetical, or a JSON file with the class of each.",
        metavar="NAME|FILE.json",
        show_default="none; needed for pixels",
    ),
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(
        help="With --executor slurm, an option of sbatch: gpus_per_node=1. May be repeated.", metavar="KEY=VALUE"
    ),
]
