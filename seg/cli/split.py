"""``seg data split``."""

from pathlib import Path
from typing import Annotated

import typer

from seg.cli import console


def split(
    source: Annotated[list[Path], typer.Argument(help="A store, or metadata parquets.")],
    rule: Annotated[
        list[str] | None, typer.Option(help="published, tile, block or random; several for a report.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The new store, or the new metadata parquet.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for tables and a figure on what the splits let through.")
    ] = None,
    shares: Annotated[str, typer.Option(help="Of train, validation and test, for tile, block and random.")] = "2,1,1",
    block: Annotated[float, typer.Option(help="Edge of a block, km.")] = 20.0,
    buffer: Annotated[
        float,
        typer.Option(
            help="Leave out patches nearer than this to another split, km between centres; neighbours are 1.2 apart.",
            min=0,
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random.", min=0)] = 0,
) -> None:
    """Assign train, validation and test, and measure what a split lets through from train to test.

    A new store shares its images with the old one. Without --rule, the split is looked at as it is.
    """
    from seg.pipeline.split import split as run
    from seg.prepare.split import check_split, plans_of

    with console.wrong_use():
        plans = plans_of(rule or [], shares, block, buffer, seed)
        check_split(source, plans, out, report)
    done = run(source, plans, out=out, report=report, track=console.track)
    if done.out:
        left_out = f", {done.left_out} left out" if done.left_out else ""
        console.done(f"{done.out}: " + ", ".join(f"{n} {name}" for name, n in done.patches.items()) + left_out)
    for file in done.report:
        console.done(str(file))
