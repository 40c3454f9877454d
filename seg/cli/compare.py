"""``seg compare``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from seg.cli import console, options

Score = Literal["miou", "mf1", "macc", "oa", "fwiou", "ap_macro", "ap_micro", "f1_macro", "f1_micro", "f1_samples"]


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders that 'seg eval' has scored, or of 'seg score'.")],
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="Split that was scored.")] = "test",
    on: Annotated[
        str, typer.Option(help="Data that were scored, if not those of the training: see 'seg report --on'.")
    ] = "",
    countries: options.Countries = None,
    mmu: options.Mmu = 0.0,
    sort: Annotated[Score, typer.Option(help="Score to sort by.")] = "miou",
    out: Annotated[Path | None, typer.Option(help="Folder for compare.md, .tex, .csv and .json.")] = None,
    allow_different_data: Annotated[
        bool, typer.Option("--allow-different-data", help="Show runs of different data or patches side by side.")
    ] = False,
    anchors: Annotated[bool, typer.Option("--anchors/--no-anchors", help="Show published results too.")] = True,
) -> None:
    """Put runs side by side: a table over configurations and seeds, paired tests, published results.

    Needs neither a GPU nor the images: everything comes from the evidence of 'seg eval'.
    """
    from seg.pipeline.compare import compare as put_side_by_side
    from seg.report.screen import in_parts

    result = put_side_by_side(
        runs,
        split=split,
        on=on,
        countries=countries,
        mmu=mmu,
        sort=sort,
        out=out,
        allow_different_data=allow_different_data,
        anchors=anchors,
        track=console.track,
        notify=console.notify,
    )
    several = any(len(configuration.runs) > 1 for configuration in result.comparison.configurations)
    for table in result.tables:
        # Where every configuration has one run, the table of runs says the same again; the files have it all the same.
        if several or table.name != "runs":
            for part in in_parts(table, console.out.width):
                console.out.print(part)
    if out is not None:
        console.done(f"Tables: {out}")
