"""``seg eval``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from seg.cli import console, options


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder of 'seg train'.")],
    split: options.OfRunSplit = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Store; results on other data go to <split>-on-<fingerprint>.", show_default="that of the run"
        ),
    ] = None,
    metadata: options.Metadata = None,
    device: options.OfRunDevice = None,
    drop: Annotated[
        Literal["s1", "s2"] | None, typer.Option(help="Do without this sensor; results go to <split>-without-<sensor>.")
    ] = None,
    countries: Annotated[
        str | None,
        typer.Option(
            help="Score these countries only, comma-separated, or all; results go to <split>-in-<countries>.",
            show_default="those of the run; all",
        ),
    ] = None,
    mmu: Annotated[
        float,
        typer.Option(
            help="Bring the maps to this minimum mapping unit, ha; results go to <split>-mmu-<ha>.",
            min=0,
            show_default="none",
        ),
    ] = 0.0,
    batch_size: Annotated[
        int | None, typer.Option(help="Patches per step.", min=1, show_default="that of the run; {eval.batch_size}")
    ] = None,
) -> None:
    """Score a run: pixel and scene tables on the screen and as files, with the evidence behind them."""
    from seg.pipeline.evaluate import evaluate as score
    from seg.report.formats import to_rich
    from seg.report.tables import headline_lines
    from seg.runs.evaluation import REPORT_FILE
    from seg.runs.scopes import named_countries

    result = score(
        run,
        split=split,
        data=data,
        metadata=metadata,
        device=device,
        batch_size=batch_size,
        drop=drop,
        countries=named_countries(countries),
        mmu=mmu,
        track=console.track,
        notify=console.notify,
    )
    for table in result.tables:
        console.out.print(to_rich(table))
    console.done(f"Tables, scores and evidence: {result.folder}")
    for line in headline_lines(result.scores, result.assessment.intervals):
        console.done(line)
    console.done(f"Report: {result.folder / REPORT_FILE}")
