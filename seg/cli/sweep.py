"""``seg sweep``."""

import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from seg.cli import console, options
from seg.cli.train import TrainingProgress, training_progress
from seg.config.wording import clipped
from seg.errors import BusyError, SegError

if TYPE_CHECKING:
    from seg.runs.sweep import State, SweepRun


def sweep(
    configs: Annotated[list[Path], typer.Argument(help="YAML configurations, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the run folders.")],
    seeds: Annotated[
        str | None, typer.Option(help="Seeds, comma-separated.", show_default="0; with --protocol v1 0,1,2")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="A setting and its values: train.lr=1e-3,3e-4. May be repeated.", metavar="KEY=A,B"),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of every run: train.epochs=10. May be repeated.")
    ] = None,
    protocol: Annotated[
        Literal["budgets", "countries", "v1"] | None,
        typer.Option(
            help="budgets: 1, 10 and 100 % of the labels. countries: each left out. v1: recipes, packed as entries.",
            show_default="none of them",
        ),
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
    dry: Annotated[bool, typer.Option("--dry-run", help="Only show what is left; with --protocol, its cost.")] = False,
) -> None:
    """Train and score every combination of configurations, settings and seeds, here or on many machines.

    Each run has a folder of its own below --out. What is finished there with the same settings and data is left alone,
    what was broken off is resumed, and a run that fails does not stop the others: the same command does what is left.
    """
    from seg.pipeline.sweep import sweep as run
    from seg.runs.sweep import sweep_runs

    recipes = _recipes(configs, set_, no_eval or bool(grid) or split != "test") if protocol == "v1" else []
    runs = sweep_runs(
        configs,
        out,
        seeds=seeds or ("0,1,2" if recipes else "0"),
        grid=grid or (),
        overrides=set_ or (),
        data=data,
        metadata=metadata,
        split=None if no_eval else split,
        series=None if protocol == "v1" else protocol,
        track=console.track,
        notify=console.notify,
    )
    states = _shown_states(runs, executor, slurm or (), planned=dry)
    series = bool(protocol) and not recipes
    if dry:
        _show_cost([one for one, state in zip(runs, states, strict=True) if protocol and state.todo == "train"])
        console.done(f"Then: {_next(runs, out, split, series).partition(': ')[2]}")
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
    console.done(_next([one for one in runs if one.name not in failed] or runs, out, split, series))
    if failed:
        sys.exit(1)
    _enter(recipes, runs, out)


def _next(runs: Sequence["SweepRun"], out: Path, split: str, series: bool) -> str:
    """What shows how the runs did."""
    if series:
        return f"Report: seg report {shlex.quote(str(out))} --split {split}"
    return f"Compare: seg compare {shlex.join(str(one.folder) for one in runs)} --split {split}"


def _shown_states(runs: Sequence["SweepRun"], executor: str, slurm: Sequence[str], planned: bool) -> list["State"]:
    """What is left to do for each run, shown if there is somebody to do it."""
    from seg.prepare.executors import require_executor
    from seg.runs.sweep import look

    require_executor(executor, slurm, planned)
    states = [look(one) for one in runs]
    for one, state in zip(runs, states, strict=True):
        console.done(f"{state.todo:<9} {one.folder}" + (f"  ({state.why})" if state.why else ""))
    return states


def _enter(recipes: Sequence[Path], runs: Sequence["SweepRun"], out: Path) -> None:
    """Pack the runs of recipes, if they were asked for as such."""
    from seg.benchmark.entering import enter

    for submission in enter(recipes, runs, out, console.track):
        console.done(f"Entry: {submission}; verify it with: seg verify {shlex.quote(str(submission))}")


def _recipes(configs: list[Path], overrides: list[str] | None, misfit: bool) -> list[Path]:
    """Recipes of entries, none of which was changed and all of which have answers."""
    from seg.benchmark.recipes import check_recipe, stated_of
    from seg.runs.sweep import configurations

    if misfit:
        raise typer.BadParameter(
            "an entry is scored on test, with the settings of its recipe: leave the other options out"
        )
    recipes = configurations(configs)
    for recipe in recipes:
        check_recipe(recipe)
        stated_of(recipe)
    if overrides:
        console.notify(f"With --set {overrides[0]} these are other entries than those of the recipes.")
    return recipes


def _show_cost(runs: list["SweepRun"]) -> None:
    """Show what the trainings of a protocol will take, those that differ in the seed together, and all of them."""
    from seg.runs.dry_run import foreseen
    from seg.runs.expectation import duration

    total = 0.0
    for name, tried in foreseen(runs, console.track, console.notify).items():
        need, series = tried.rehearsal, name.rpartition("-seed")[0]
        number = sum(one.name.rpartition("-seed")[0] == series for one in runs)
        total += number * need.run_seconds
        memory = "" if need.memory_bytes is None else f", {need.memory_bytes / 2**30:.1f} GiB"
        console.done(f"{series}: {number} x {duration(need.run_seconds)}, unless they stop early{memory}")
    if runs:
        console.done(f"All trainings: {duration(total)} on this machine, one after the other")


def _say_how_it_went(runs: int, before: int, failed: dict[str, BaseException]) -> None:
    """Say how many runs are finished, what failed, and at what another process is."""
    now = runs - before - len(failed)
    busy = sum(isinstance(error, BusyError) for error in failed.values())
    elsewhere = f"{busy} left to another process, " if busy else ""
    wrong = f"{len(failed) - busy} failed; the same command tries them again." if len(failed) > busy else "none failed."
    console.done(f"{before} finished before, {now} now, {elsewhere}{wrong}")
    for name, error in failed.items():
        if not isinstance(error, (SegError, OSError, MemoryError)):
            console.err.print(escape("".join(traceback.format_exception(error))), soft_wrap=True)
        said = str(error) if isinstance(error, SegError) else clipped(str(error))
        console.done(f"{'BUSY' if isinstance(error, BusyError) else 'FAILED'} {name}: {said or type(error).__name__}")


@contextmanager
def _shown(run: "SweepRun") -> Iterator[TrainingProgress]:
    with training_progress(run.config.train.epochs, run.config.train.monitor) as observe:
        yield observe
