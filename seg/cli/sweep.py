"""``seg sweep``."""

import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from seg.cli import console, options
from seg.cli.train import TrainingProgress, training_progress
from seg.config.wording import clipped
from seg.errors import SegError

if TYPE_CHECKING:
    from seg.runs.sweep import SweepRun


def sweep(
    configs: Annotated[list[Path], typer.Argument(help="YAML configurations.")],
    out: Annotated[Path, typer.Option(help="Folder for the run folders.")],
    seeds: Annotated[str, typer.Option(help="Seeds, comma-separated.")] = "0",
    grid: Annotated[
        list[str] | None,
        typer.Option(help="A setting and its values: train.lr=1e-3,3e-4. May be repeated.", metavar="KEY=A,B"),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of every run: train.epochs=10. May be repeated.")
    ] = None,
    protocol: Annotated[
        Literal["budgets", "countries"] | None,
        typer.Option(help="Also 1, 10 and 100 % of the labels, or each country left out.", show_default="neither"),
    ] = None,
    data: options.Data = None,
    metadata: options.Metadata = None,
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="Split to score.")] = "test",
    no_eval: Annotated[bool, typer.Option("--no-eval", help="Train only.")] = False,
    seg: Annotated[
        str | None,
        typer.Option(help="What starts seg for each run, such as 'torchrun ... -m seg'.", show_default="itself"),
    ] = None,
    executor: options.Executor = "local",
    slurm: options.Slurm = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Show what is left to do. Nothing is started.")] = False,
) -> None:
    """Train and score every combination of configurations, settings and seeds, here or on many machines.

    Each run has a folder of its own below --out. What is finished there with the same settings and data is left alone,
    what was broken off is resumed, and a run that fails does not stop the others: the same command does what is left.
    """
    from seg.pipeline.sweep import sweep as run
    from seg.runs.sweep import look, sweep_runs

    runs = sweep_runs(
        configs,
        out,
        seeds=seeds,
        grid=grid or (),
        overrides=set_ or (),
        data=data,
        metadata=metadata,
        split=None if no_eval else split,
        series=protocol,
        track=console.track,
        notify=console.notify,
    )
    states = [look(one) for one in runs]
    for one, state in zip(runs, states, strict=True):
        console.done(f"{state.todo:<9} {one.folder}" + (f"  ({state.why})" if state.why else ""))
    then = f"Compare: seg compare {shlex.join(str(one.folder) for one in runs)} --split {split}"
    if protocol:
        then = f"Report: seg report {shlex.quote(str(out))} --split {split}"
    if dry:
        console.done(f"Then: {then.partition(': ')[2]}")
        return
    with console.stoppable("The same command does what is left."):
        failed = run(
            runs,
            executor=executor,
            slurm=slurm or (),
            seg=shlex.split(seg or ""),
            follow=_shown,
            track=console.track,
            notify=console.notify,
        )
    _say_how_it_went(len(runs), sum(state.todo == "finished" for state in states), failed)
    console.done(then)
    if failed:
        sys.exit(1)


def _say_how_it_went(runs: int, before: int, failed: dict[str, BaseException]) -> None:
    """Say how many runs are finished, and what failed."""
    now = runs - before - len(failed)
    console.done(
        f"{before} finished before, {now} now, "
        + (f"{len(failed)} failed; the same command tries them again." if failed else "none failed.")
    )
    for name, error in failed.items():
        if not isinstance(error, (SegError, OSError, MemoryError)):
            console.err.print(escape("".join(traceback.format_exception(error))), soft_wrap=True)
        console.done(f"FAILED {name}: {clipped(str(error)) if str(error) else type(error).__name__}")


@contextmanager
def _shown(run: "SweepRun") -> Iterator[TrainingProgress]:
    with training_progress(run.config.train.epochs, run.config.train.monitor) as observe:
        yield observe
