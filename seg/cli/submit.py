"""``seg submit``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from seg.cli import console


def submit(
    runs: Annotated[list[Path], typer.Argument(help="Scored run folders: the seeds of one configuration.")],
    out: Annotated[Path, typer.Option(help="The submission to write.")],
    answers: Annotated[
        Path | None,
        typer.Option(help="The form, filled in.", show_default="none: it is written beside --out, to be filled in"),
    ] = None,
    on: Annotated[
        str, typer.Option(help="Data that were scored, if not those of the training: see 'seg report --on'.")
    ] = "",
) -> None:
    """Pack an entry to the benchmark: evidence, page, answers, citation and hashes. Needs no weights.

    Without --answers, the form that docs/protocol.md asks for is written, with what the records know.
    """
    from seg.pipeline.submit import submit as pack

    done = pack(runs, out, answers=answers, on=on, track=console.track)
    for remark in done.remarks:
        console.notify(f"Remark: {remark}.")
    if done.folder is None:
        console.done(f"Form: {done.form}")
        console.done(f"Lines left to be answered: {', '.join(done.left) or 'none'}")
        words = [*map(str, runs), "--out", str(out), "--answers", str(done.form)]
        console.done(f"Then: seg submit {shlex.join(words)}")
        return
    console.done(f"Submission: {done.folder}")
    console.done(f"Verify it as others do: seg verify {shlex.quote(str(done.folder))}")
