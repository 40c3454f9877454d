"""``seg report``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from seg.cli import console, options
from seg.errors import WrongUseError
from seg.reben.patch import Split


def report(
    run: Annotated[
        Path, typer.Argument(help="Run folder that 'seg eval' has scored, or that of a sweep by --protocol.")
    ],
    split: options.OfRunSplit = None,
    drop: Annotated[Literal["s1", "s2"] | None, typer.Option(help="Report the evaluation without this sensor.")] = None,
    on: Annotated[
        str, typer.Option(help="Report the evaluation on other data: what stands in its folder's name.")
    ] = "",
    countries: options.Countries = None,
    mmu: options.Mmu = 0.0,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a table differs from what its evidence gives.")
    ] = False,
) -> None:
    """Compute all scores anew from the evidence; tables and report.html. Needs neither data, model nor GPU."""
    from seg.pipeline.report import report_run
    from seg.report.formats import to_rich
    from seg.runs.evaluation import REPORT_FILE
    from seg.runs.series_report import holds_series

    if holds_series(run):
        _series(run, split, alone=not (drop or on or countries or mmu or check))
        return
    result = report_run(
        run,
        split=split,
        without=drop,
        on=on,
        countries=countries,
        mmu=mmu,
        check=check,
        track=console.track,
        notify=console.notify,
    )
    if check:
        console.done(f"The tables in {result.folder} are what the evidence gives.")
        return
    for table in result.tables:
        console.out.print(to_rich(table))
    console.done(f"Report: {result.folder / REPORT_FILE}")


def _series(folder: Path, split: Split | None, alone: bool) -> None:
    """Report the series of a sweep, each run as it is."""
    from seg.report.screen import in_parts
    from seg.runs.series_report import report_series

    if not alone:
        of_one = "--drop, --on, --countries, --mmu and --check"
        raise WrongUseError(f"{folder} holds runs, and {of_one} are of one; name that run")
    result = report_series(folder, split=split or "test", track=console.track)
    for table in result.tables:
        for part in in_parts(table, console.out.width):
            console.out.print(part)
        console.done(f"Figure: {folder / table.name}.png; tables beside it")
