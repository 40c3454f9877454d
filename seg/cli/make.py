"""``seg data make``."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seg.cli import console, options
from seg.cli.command import Command
from seg.config.wording import counted

if TYPE_CHECKING:
    from seg.region.making import Made

_MANY = ("--s2", "--s1")


class Gathering(Command):
    """A command whose ``--s2`` and ``--s1`` take several values in a row, as a shell makes them of ``*.SAFE``."""

    gathers = _MANY

    def arranged(self, args: list[str]) -> list[str]:
        """Repeat the option before each of its values."""
        with_value = {name for option in self.params if not getattr(option, "is_flag", True) for name in option.opts}
        return spread(args, with_value)


def spread(args: Sequence[str], with_value: set[str]) -> list[str]:
    """The arguments with ``--s2 A B`` as ``--s2 A --s2 B``.

    The last argument is the folder to make where nothing else can be.

    Args:
        args: As typed.
        with_value: Options that take a value.
    """
    spread_out: list[str] = []
    option, values, others = "", 0, 0
    for arg in args:
        if arg.startswith("-") and arg != "-":
            option, values = arg, 0
            spread_out.append(arg)
            continue
        values += 1
        takes = option in _MANY or (option in with_value and values == 1)
        spread_out += [option, arg] if takes and values > 1 else [arg]
        others += not takes
    if not others and option in _MANY and values > 1:
        del spread_out[-2]
    return spread_out


def make(
    out: Annotated[Path, typer.Argument(help="Folder to make: the published tree, or with --store a store.")],
    s2: options.Products,
    clc: Annotated[
        Path, typer.Option(help="CORINE Land Cover: a GeoPackage or other vector file, or a raster of codes.")
    ],
    s1: Annotated[
        list[str] | None,
        typer.Option(help="Sentinel-1 rasters in dB, whose names begin with that of their scene.", metavar="RASTER..."),
    ] = None,
    store: Annotated[bool, typer.Option("--store", help="Make a store instead of a tree of GeoTIFFs.")] = False,
    column: Annotated[
        str | None, typer.Option(help="Column with the codes.", show_default="{seg.region.clc.COLUMN}")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer of the vector file, if several have the column.")] = None,
    numbering: Annotated[
        Literal["clc", "grid"] | None,
        typer.Option(
            help="Numbers of the land cover, if it does not say: codes 111 to 523 (clc) or 1 to 44 (grid).",
            show_default="what it says",
        ),
    ] = None,
    countries: Annotated[Path | None, typer.Option(help="Polygons of countries, by which patches get theirs.")] = None,
    country_column: Annotated[
        str | None, typer.Option(help="Column with their names.", show_default="country, name, NAME_ENGL or ADMIN")
    ] = None,
    bands: options.StackBands = None,
    offset: options.Offset = None,
    product: Annotated[
        str | None, typer.Option(help="Name of the product, if that of the file does not begin with it.")
    ] = None,
    require_s1: Annotated[bool, typer.Option("--require-s1", help="Leave out patches without Sentinel-1.")] = False,
    cloud_mask: options.CloudMask = False,
    workers: options.Processes = None,
    executor: options.Executor = "local",
    slurm: options.Slurm = None,
) -> None:
    """Cut your own Sentinel-2 products and CORINE Land Cover into patches as those of reBEN.

    Names, layout, labels, splits and what is left out follow the published set. The same command does what is left.
    """
    from seg.pipeline.make import make as run
    from seg.region.request import request

    with console.wrong_use():
        asked = request(
            s2,
            clc,
            s1=s1 or (),
            column=column,
            layer=layer,
            bands=bands,
            product=product,
            countries=countries,
            country_column=country_column,
            require_s1=require_s1,
            numbering=numbering,
            offset=offset,
            cloud_mask=cloud_mask,
        )
    with console.stoppable("Nothing has been kept yet; the same command starts anew."):
        made = run(
            asked,
            out,
            store=store,
            workers=workers,
            executor=executor,
            slurm=slurm or (),
            track=console.track,
            notify=console.notify,
        )
    _tell(out, made)


def _tell(out: Path, made: "Made") -> None:
    """What was made, and what comes next."""
    patches = sum(made.patches.values())
    synthetic = "SYNTHETIC; " if made.synthetic else ""
    console.done(
        f"{out}: {synthetic}{counted(patches, 'patch', 'patches')} of {counted(len(made.tiles), 'tile', 'tiles')}, "
        f"{made.with_s1:,} with Sentinel-1: " + ", ".join(f"{n:,} {split}" for split, n in made.patches.items())
    )
    if made.dropped:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in made.dropped.items())
        left_out = counted(sum(made.dropped.values()), "patch", "patches")
        console.done(f"Left out: {left_out} ({reasons}); see {out / 'dropped.csv'}")
    if made.fingerprint:
        console.done(f"Fingerprint {made.fingerprint}")
        return
    console.done(next_step(out, with_s1=bool(made.with_s1)))


def next_step(out: Path, *, with_s1: bool) -> str:
    """The command that builds a store of a tree."""
    command = ["seg", "data", "build", "--s2", str(out / "BigEarthNet-S2")]
    command += ["--s1", str(out / "BigEarthNet-S1")] if with_s1 else []
    command += ["--maps", str(out / "Reference_Maps")]
    for name in ("metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet"):
        command += ["--metadata", str(out / name)]
    return f"Next: {shlex.join(command)} STORE"
