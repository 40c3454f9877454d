"""``seg data check``: audit and repair a store."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from seg.cli import console, options
from seg.config.wording import counted


def check(
    store: Annotated[Path, typer.Argument(help="A store, or a bare LMDB written by rico-hdl.")],
    metadata: Annotated[list[Path] | None, typer.Option(help="Metadata parquet, for a bare LMDB.")] = None,
    s2: Annotated[Path | None, typer.Option(help="Sentinel-2 tree or archive to compare with or repair from.")] = None,
    s1: Annotated[Path | None, typer.Option(help="Sentinel-1 tree or archive to compare with or repair from.")] = None,
    maps: Annotated[Path | None, typer.Option(help="Reference maps to compare with or repair from.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Read bad values anew; nobody else may have the store open.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    workers: options.Processes = None,
) -> None:
    """Check every value of a store: format, checksums, codes, labels; with the source, georeference and pixels.

    Ends with exit code 1 if something is wrong. Gaps, labels that differ from the map, nodata and saturated pixels are
    shown but not wrong.
    """
    if repair and not (s2 or s1 or maps):
        raise typer.BadParameter(
            "a repair reads what is bad from what the store was built from: name it with --s2, --s1 and --maps"
        )
    from seg.pipeline.audit import check_store
    from seg.prepare.audit import CHECKS

    audit = check_store(
        store, metadata=metadata or [], s2=s2, s1=s1, maps=maps, repair=repair, workers=workers, track=console.track
    )
    if as_json:
        document = {"sound": audit.sound, "counts": audit.count(), **asdict(audit)}
        document["unchecked"] = sorted(audit.unchecked)
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        raise typer.Exit(0 if audit.sound else 1)
    first = {finding.check: finding for finding in reversed(audit.findings)}
    table = Table("check", "found", "for example", title=_extent(audit.patches, audit.values))
    table.columns[1].justify = "right"
    for name, count in audit.count().items():
        example = f"{first[name].name} {first[name].what}".strip() if count else ""
        style = "bold red" if count and CHECKS[name] else None
        table.add_row(name, "not checked" if count is None else f"{count:,}", escape(example), style=style)
    console.out.print(table)
    if audit.count()["LMDB"]:
        console.notify("The LMDB could not be read to its end, so there may be more.")
    elif not audit.checksums:
        console.notify("This LMDB keeps no checksums, so changed pixels cannot be found.")
    if repair:
        console.done(f"{counted(len(audit.repaired), 'finding was', 'findings were')} repaired.")
    console.done("Nothing is wrong." if audit.sound else "The store is damaged; see the lines in red.")
    if not audit.sound:
        raise typer.Exit(1)


def _extent(patches: int, values: int) -> str:
    return f"{counted(patches, 'patch', 'patches')}, {counted(values, 'value', 'values')}"
