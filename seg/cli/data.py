"""``seg data``: make, convert, split and describe data."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from seg.cli import check, console, make, options, split
from seg.cli.command import Command, Group
from seg.config.wording import counted
from seg.errors import WrongUseError

if TYPE_CHECKING:
    from seg.pipeline.describe import Description
    from seg.prepare.download import Fetched
    from seg.store.open import StoreInfo

app = typer.Typer(cls=Group, help="Get, make, convert, audit and describe data.", no_args_is_help=True)
app.command("check", cls=Command)(check.check)
app.command("split", cls=Command)(split.split)
app.command("make", cls=make.Gathering)(make.make)


@app.command(cls=Command)
def fetch(
    out: Annotated[Path, typer.Argument(help="Folder to put the files in.")],
    only: Annotated[
        str | None, typer.Option(help="Fetch some parts only, comma-separated.", show_default="metadata,maps,s2,s1")
    ] = None,
    mirror: Annotated[
        str | None, typer.Option(help="Address of a folder with the same files, or with split archives.")
    ] = None,
) -> None:
    """Fetch the published record of reBEN (Sentinel-2 alone: 62 GB), with checksums; run it again to continue.

    The parts of a split archive on a mirror have no published checksum.
    """
    from seg.cli.requests import record_parts
    from seg.pipeline.fetch import fetch as run

    with console.wrong_use():
        parts = record_parts(only, mirror)
    with console.stoppable("What has arrived is kept; the same command goes on from there."):
        files = run(out, parts, mirror, console.track)
    for file in files:
        console.done(f"{file.path}: {'fetched' if file.new else 'was there already'}, {_md5_state(file)}")
    console.done(_next_step(out, mirror))


def _md5_state(file: "Fetched") -> str:
    if not file.checked:
        return "without a published md5 sum"
    return "unchanged since its md5 sum was checked" if file.earlier else "md5 sum checked"


def _next_step(out: Path, mirror: str | None) -> str:
    """The command that builds a store of what a folder holds, or the one that fetches what a store needs besides."""
    from seg.prepare.download import held_parts

    held = held_parts(out)
    lacking = [] if "metadata" in held else ["metadata"]
    lacking += [] if held.keys() & {"s2", "s1"} else ["s2"]
    if lacking:
        fetch_more = ["seg", "data", "fetch", str(out), "--only", ",".join(lacking)]
        fetch_more += ["--mirror", mirror] if mirror else []
        what = {"metadata": "the metadata", "s2": "images"}
        return f"Next: {shlex.join(fetch_more)} (a store needs {' and '.join(what[part] for part in lacking)} too)"
    command = ["seg", "data", "build"]
    for part in ("s2", "s1", "maps", "metadata"):
        for path in held.get(part, ()):
            command += [f"--{part}", str(path)]
    return f"Next: {shlex.join(command)} STORE"


@app.command(cls=Command)
def synth(
    out: Annotated[Path, typer.Argument(help="Folder to make; the published tree is written into it.")],
    patches: Annotated[
        int | None, typer.Option(help="Number of patches.", min=12, show_default="{seg.runs.data.DEMO_PATCHES}")
    ] = None,
    scene: Annotated[
        int | None, typer.Option(help="Write a scene of SIZE x SIZE pixels instead of patches.", metavar="SIZE")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.", min=0)] = 0,
    workers: options.Processes = None,
) -> None:
    """Write a synthetic reBEN, or a whole Sentinel scene: the published names and formats, simulated landscapes."""
    from seg.pipeline.synthesise import synthesise
    from seg.runs.data import DEMO_PATCHES
    from seg.synthetic.tree import check_synthesis

    if scene is not None:
        with console.wrong_use():
            if patches is not None:
                raise WrongUseError("--patches and --scene are two different things to write; give one of them")
        _synthesise_scene(out, scene, seed)
        return
    patches = DEMO_PATCHES if patches is None else patches
    with console.wrong_use():
        check_synthesis(patches, seed)
    report = synthesise(out, patches, seed, console.track, workers)
    console.done(f"{patches} synthetic patches in {out}: " + ", ".join(f"{n} {s}" for s, n in report.per_split.items()))
    console.done(make.next_step(out, with_s1=True))


def _synthesise_scene(out: Path, size: int, seed: int) -> None:
    from seg.synthetic.scene import check_scene, synthesise_scene

    with console.wrong_use():
        check_scene(size, seed)
    scene = synthesise_scene(out, size, seed, track=console.track)
    console.done(f"A synthetic scene of {size} x {size} pixels in {out}:")
    for what, path in (
        ("Sentinel-2 product", scene.product),
        ("its bands in one file", scene.stack),
        ("Sentinel-1", scene.s1),
        ("CLC codes", scene.codes),
    ):
        console.done(f"  {what}: {path.name}")
    command = ["seg", "predict", "RUN", str(scene.product), "--s1", str(scene.s1), "--out", "MAP.tif"]
    console.done(f"Next: {shlex.join(command)} (--s1 if the run sees it)")


@app.command(cls=Command)
def build(
    out: Annotated[Path, typer.Argument(help="The store to make.")],
    metadata: Annotated[list[Path], typer.Option(help="Metadata parquet; may be given more than once.")],
    s2: Annotated[Path | None, typer.Option(help="Sentinel-2 archive, or its unpacked folder BigEarthNet-S2.")] = None,
    s1: Annotated[Path | None, typer.Option(help="Sentinel-1 archive, or its unpacked folder BigEarthNet-S1.")] = None,
    maps: Annotated[Path | None, typer.Option(help="Archive of the reference maps, or Reference_Maps.")] = None,
    only_split: Annotated[
        Literal["train", "validation", "test"] | None, typer.Option(help="Build one split only.", show_default="all")
    ] = None,
    countries: Annotated[
        str | None, typer.Option(help="Build these countries only, comma-separated.", show_default="all")
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="Store these bands only: a modality, or bands by name.", show_default="all")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Build so many patches only.", min=1, show_default="all")] = None,
    resplit: Annotated[
        Literal["tile"] | None,
        typer.Option(help="Assign the splits anew by whole MGRS tiles, for small sets."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Build what is both in the metadata and on disk instead of refusing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the store if it is there.")] = False,
    compress: Annotated[
        bool, typer.Option("--compress", help="Pack the values without loss: less to read, but for seg alone.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="1: read and write in turn instead of at once.", min=1, show_default="at once")
    ] = None,
) -> None:
    """Convert the published archives into a store: an LMDB in rico-hdl's layout, an index and a description.

    Archives (.tar, .tar.zst, .tar.gz, also split: name the first part) are read as they are; nothing is unpacked.
    A build that was interrupted goes on when the same command is run again.
    """
    from seg.cli.requests import subset
    from seg.pipeline.build import build as run
    from seg.prepare.build import check_build
    from seg.prepare.sources import Sources

    with console.wrong_use():
        asked = subset(only_split, countries, bands, limit)
        check_build(Sources(s2=s2, s1=s1, maps=maps, metadata=()), asked, partial)
    with console.stoppable("Nothing has been kept yet; the same command starts anew."):
        info = run(
            out,
            s2=s2,
            s1=s1,
            maps=maps,
            metadata=metadata,
            subset=asked,
            resplit=resplit,
            partial=partial,
            force=force,
            compress=compress,
            workers=workers,
            track=console.track,
        )
    console.done(f"{out}: {counted(info.patches, 'patch', 'patches')}, bands {' '.join(info.bands)}")
    console.done(
        ", ".join(f"{count} {split}" for split, count in info.splits.items()) + f"; fingerprint {info.fingerprint}"
    )
    if info.ignored:
        members = counted(info.ignored, "member of the archives is no file", "members of the archives are no files")
        console.done(f"{members} of a patch, or a repeated one: ignored.")
    if info.unlisted:
        files = counted(info.unlisted, "file of a patch that is", "files of patches that are")
        console.done(f"{files} not in the metadata: left out.")
    if absent := [band for band in asked.bands if band not in info.bands]:
        console.notify(f"No source holds {', '.join(absent)}: left out.")
    for gap in gaps(info):
        console.notify(gap)


def gaps(info: "StoreInfo") -> list[str]:
    """What a store lacks, a sentence each."""
    missing = {
        "Sentinel-2": info.s2_missing,
        "Sentinel-1": info.s1_missing,
        "a reference map": info.maps_missing,
    }
    sentences = [
        f"{count} of {counted(info.patches, 'patch', 'patches')} {_have(count)} no {what.removeprefix('a ')}."
        for what, count in missing.items()
        if count
    ]
    if info.label_mismatches:
        sentences.append(
            f"{info.label_mismatches} of {counted(info.patches - info.maps_missing, 'patch', 'patches')} "
            f"{_have(info.label_mismatches)} labels that differ from the classes in the reference map."
        )
    return sentences


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


@app.command(cls=Command)
def info(
    store: Annotated[Path, typer.Argument(help="A store, or a bare LMDB written by rico-hdl.")],
    metadata: Annotated[list[Path] | None, typer.Option(help="Metadata parquet, for a bare LMDB.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Describe a store: bands, splits, countries, classes, and what is missing."""
    from seg.pipeline.describe import describe_store

    description = describe_store(store, metadata or [])
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(description), indent=2, ensure_ascii=False))
        return
    _show(store, description)


def _show(store: Path, description: "Description") -> None:
    info = description.info
    synthetic = " · [bold yellow]SYNTHETIC[/]" if info.synthetic else ""
    console.out.print(f"[bold]{escape(str(store))}[/]{synthetic}")
    tiles = counted(description.tiles, "tile", "tiles")
    rows = {
        "patches": f"{info.patches:,} in {tiles}, {description.bytes / 1e6:,.0f} MB"
        + (f" (compressed, {info.compression})" if info.compression else ""),
        "bands": " ".join(info.bands) or "none",
        "splits": ", ".join(f"{count} {split}" for split, count in info.splits.items())
        + (f" (by {info.resplit})" if info.resplit else ""),
        "countries": ", ".join(f"{name} {count}" for name, count in description.countries.items()),
        "snow, cloud, shadow": str(description.flagged),
        "fingerprint": info.fingerprint,
    }
    grid = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        grid.add_row(name, escape(value))
    console.out.print(grid)
    table = Table("class", "train", "validation", "test", title="patches with each class")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, *counts in description.classes:
        table.add_row(name, *map(str, counts))
    console.out.print(table)
    for gap in gaps(info):
        console.notify(gap)
