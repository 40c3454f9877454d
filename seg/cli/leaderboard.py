"""``seg leaderboard``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from seg.cli import console


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="Folder with submissions/, such as a git repository.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the leaderboard.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Store, to compare labels and class areas with.", show_default="none: digests, where known"),
    ] = None,
    sort: Annotated[
        Literal["miou", "ap_macro"], typer.Option(help="Score to sort the entries of a track by.")
    ] = "miou",
    only: Annotated[str, typer.Option("--track", help="Show one track only, such as s2-scratch-100.")] = "",
    init: Annotated[
        bool, typer.Option("--init", help="Make the folder one, with a workflow that verifies pull requests.")
    ] = False,
) -> None:
    """Verify and rank every submission of a folder: a page, Markdown, CSV and JSON, by track.

    Entries that paired tests over tiles do not tell apart share ranks.
    """
    from seg.benchmark.board import PAGE_FILE, UNCOMPARED
    from seg.pipeline.leaderboard import leaderboard as ranked

    board = ranked(folder, out=out, data=data, sort=sort, only=only, init=init, track=console.track)
    for name, why in board.refused:
        console.notify(f"{name} is not ranked: {why}")
    for group in board.groups:
        console.done(f"{group[0].verified.synthetic.warning}{group[0].track.words}:")
        for entry in group:
            rank = entry.ranks[sort].words if sort in entry.ranks else "–"
            console.done(f"  {rank:>5}  {entry.name}")
            for remark in entry.verified.remarks:
                console.notify(f"{entry.name}: {remark}")
    if not board.referenced:
        console.notify(UNCOMPARED)
    if init:
        console.done(f"Leaderboard to be filled: {folder}")
    if out is not None:
        console.done(f"Leaderboard: {out / PAGE_FILE}")
