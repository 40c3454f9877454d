"""``seg score``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from seg.cli import console, options


def score(
    name: Annotated[str, typer.Option(help="What tables call them; seeds of one name are one row.")],
    out: Annotated[Path, typer.Option(help="The scored folder to write.")],
    predictions: Annotated[
        Path | None,
        typer.Argument(
            help="Class maps or probabilities: a folder of files named by patch, arrays with ids, or mosaics.",
            show_default="none, only --scene",
        ),
    ] = None,
    classes: options.Numbering = None,
    scene: Annotated[
        Path | None, typer.Option(help="Parquet or CSV with probabilities or labels of patches by class name.")
    ] = None,
    data: options.Data = None,
    metadata: options.Metadata = None,
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="Split that was predicted.")] = "test",
    seed: Annotated[
        int | None, typer.Option(help="Seed of the training that they come from.", show_default="not told")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Score what is there of the split; stands in no ranking.")
    ] = False,
    executor: options.Executor = "local",
    slurm: options.Slurm = None,
) -> None:
    """Score predictions made elsewhere, by the definitions and with the evidence of 'seg eval'.

    'seg report', 'seg compare' and 'seg card' take the scored folder like a run.
    """
    from seg.pipeline.score import score as score_predictions
    from seg.report.formats import to_rich
    from seg.report.tables import headline_lines
    from seg.runs.evaluation import REPORT_FILE

    with console.stoppable("The same command goes on with what is not scored yet."):
        result = score_predictions(
            predictions,
            name=name,
            out=out,
            classes=classes,
            scene=scene,
            data=data,
            metadata=metadata,
            split=split,
            seed=seed,
            partial=partial,
            executor=executor,
            slurm=slurm or (),
            track=console.track,
            notify=console.notify,
        )
    for table in result.tables:
        console.out.print(to_rich(table))
    console.done(f"Tables, scores and evidence: {result.evaluation}")
    for remark in result.remarks:
        console.notify(remark)
    for line in headline_lines(result.scores, result.assessment.intervals):
        console.done(line)
    console.done(f"Report: {result.evaluation / REPORT_FILE}")
