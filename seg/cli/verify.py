"""``seg verify``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from seg.cli import console, options
from seg.errors import WrongUseError


def verify(
    submission: Annotated[Path, typer.Argument(help="Folder that 'seg submit' has written, or a zip of it.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Store, to compare labels and class areas with.", show_default="none: digests, where known"),
    ] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option(
            help="What a seed has predicted of pixels, as 'seg score' takes it: scored anew and compared. Repeatable.",
            metavar="SEED=PATH",
            show_default="none",
        ),
    ] = None,
    scene: Annotated[
        list[str] | None,
        typer.Option(help="Its table of scene labels, likewise.", metavar="SEED=TABLE", show_default="none"),
    ] = None,
    classes: options.Numbering = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File for what the predictions gave: in checks/ of a leaderboard, it is shown of the entry.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Compute every number of a submission anew from its evidence; fails with the first thing that is wrong.

    Says what it has found to hold, and what cannot be known, above all without the predictions.
    """
    from seg.benchmark.card import scores_table
    from seg.pipeline.verify import verify as verified
    from seg.report.formats import to_rich

    found = verified(
        submission,
        data=data,
        predictions=_by_seed("--predictions", predictions or ()),
        scene=_by_seed("--scene", scene or ()),
        classes=classes,
        out=out,
        track=console.track,
        notify=console.notify,
    )
    console.out.print(to_rich(scores_table(found.outcome, found.synthetic)))
    console.done(f"{found.name}: {found.answers.name}, track: {found.answers.track.words}")
    for line in found.checked:
        console.wrapped(f"  holds: {line}")
    for line in found.remarks:
        console.wrapped(f"  remark: {line}")
    for line in found.unverified:
        console.wrapped(f"  cannot be verified: {line}")
    if out is not None:
        console.done(f"Check: {out}")
    console.done(f"VERIFIED {found.name}")


def _by_seed(option: str, texts: Sequence[str]) -> dict[str, Path]:
    """What was given for each seed."""
    pairs = [text.partition("=") for text in texts]
    for (seed, sign, path), text in zip(pairs, texts, strict=True):
        if not (seed.isdecimal() and sign and path):
            raise WrongUseError(f"{option} {text} names no seed; write {option} 0={text}")
    by_seed = {seed: Path(path) for seed, _, path in pairs}
    if len(by_seed) < len(pairs):
        raise WrongUseError(f"{option} names a seed twice; give each once")
    return by_seed
