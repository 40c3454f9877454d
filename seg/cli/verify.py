"""``seg verify``."""

from pathlib import Path
from typing import Annotated

import typer

from seg.cli import console


def verify(
    submission: Annotated[Path, typer.Argument(help="Folder that 'seg submit' has written, or a zip of it.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Store, to compare labels and class areas with.", show_default="none: digests, where known"),
    ] = None,
) -> None:
    """Compute every number of a submission anew from its evidence; fails with the first thing that is wrong.

    Says what it has found to hold, and what cannot be known without the predictions.
    """
    from seg.benchmark.card import scores_table
    from seg.pipeline.verify import verify as verified
    from seg.report.formats import to_rich

    found = verified(submission, data=data, track=console.track)
    console.out.print(to_rich(scores_table(found.outcome, found.synthetic)))
    console.done(f"{found.name}: {found.answers.name}, track: {found.answers.track.words}")
    for line in found.checked:
        console.wrapped(f"  holds: {line}")
    for line in found.remarks:
        console.wrapped(f"  remark: {line}")
    for line in found.unverified:
        console.wrapped(f"  cannot be verified: {line}")
    console.done(f"VERIFIED {found.name}")
