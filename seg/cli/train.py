"""``seg train``."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seg.cli import console, options
from seg.config.wording import counted
from seg.runs.cores import spin_on_idle_cores

if TYPE_CHECKING:
    from seg.engine.events import Epoch, Step
    from seg.runs.dry_run import DryRun
    from seg.runs.plan import TrainPlan


def train(
    arch: options.Arch = None,
    model: options.Model = None,
    modality: Annotated[
        str | None, typer.Option(help="s1, s2, s1s2, rgb, s2-10m or s2-10m-20m.", show_default="{data.bands}")
    ] = None,
    bands: Annotated[str | None, typer.Option(help="Bands by name instead: VV,VH,B02,B03,B04,B08.")] = None,
    encoder: options.Encoder = None,
    weights: options.Weights = None,
    fusion: options.Fusion = None,
    scene_head: options.SceneHead = None,
    data: options.Data = None,
    metadata: options.Metadata = None,
    config: Annotated[Path | None, typer.Option(help="YAML configuration.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting: train.lr=1e-3. May be repeated.")
    ] = None,
    modality_dropout: options.ModalityDropout = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the train split, at most.", show_default="{train.epochs}")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Patches per step.", show_default="{train.batch_size}")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", show_default="{train.seed}")] = None,
    device: options.Device = None,
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="runs/<arch>-<modality>")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")] = False,
    allow: Annotated[
        list[str] | None, typer.Option(help="With --resume: a setting that may be another one. May be repeated.")
    ] = None,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Run a step or two; show memory and time. Nothing is written.")
    ] = False,
) -> None:
    """Train a network that gives a pixel mask and a multi-label."""
    if modality and bands:
        raise typer.BadParameter("give either --modality or --bands, not both")
    if model and (arch or encoder):
        raise typer.BadParameter("give either --model or --arch and --encoder, not both")
    if allow and not resume:
        raise typer.BadParameter("--allow goes with --resume")
    spin_on_idle_cores()
    from seg.runs.plan import plan

    task = plan(
        config,
        set_ or [],
        out,
        resume,
        allow or [],
        model__arch=model or arch,
        model__encoder=encoder,
        model__weights=weights,
        model__fusion=fusion,
        model__scene_head=scene_head,
        data__bands=modality or bands,
        data__store=data,
        data__metadata=metadata,
        train__epochs=epochs,
        train__batch_size=batch_size,
        train__seed=seed,
        train__device=device,
        train__modality_dropout=modality_dropout,
    )
    if dry:
        from seg.runs.dry_run import dry_run

        show_dry_run(dry_run(task, console.track, console.notify))
    else:
        run_and_show(task)


def run_and_show(task: "TrainPlan") -> None:
    """Train, and show how it goes and how it ends."""
    from seg.engine.stopping import Interrupted
    from seg.pipeline.train import train as run

    try:
        with training_progress(task.config.train.epochs, task.config.train.monitor) as observe:
            result = run(task, observe=observe, track=console.track, notify=console.notify)
    except Interrupted as reason:
        console.notify(f"Training {reason}. Continue with: seg train --out {shlex.quote(str(task.folder))} --resume")
        sys.exit(1)
    if result.epochs < task.config.train.epochs and not task.config.train.max_steps:
        console.done(f"Stopped after epoch {result.epochs}: no better score for {task.config.train.patience} epochs.")
    kept = task.config.train.keep.capitalize()
    console.done(
        f"{kept} {result.monitor} on validation: {result.best_score:.4f} in epoch {result.best_epoch + 1}. "
        f"Weights, log and settings: {result.folder}"
    )
    console.done(f"Next: seg eval {shlex.quote(str(result.folder))}")


def show_dry_run(result: "DryRun") -> None:
    """Show what a run will need."""
    from seg.runs.cost import cost_in_words
    from seg.runs.expectation import duration, rehearsed_epoch_hours

    need, batch = result.rehearsal, result.record["batch"]
    memory = "unknown" if need.memory_bytes is None else f"{need.memory_bytes / 2**30:.2f} GiB"
    if need.memory_total:
        memory += f" of {need.memory_total / 2**30:.1f} GiB on the GPU"
    console.done(
        f"Batch: {batch['effective_batch']} patches a step ({batch['batch_size']} x {batch['accumulate']} accumulated "
        f"x {batch['processes']} processes), learning rate {batch['lr']:g}"
    )
    console.done(f"Memory: {memory}" + ("" if need.whole else ", scaled up from a part of a batch"))
    speed = batch["effective_batch"] / need.step_seconds
    console.done(f"Step: {need.step_seconds:.3f} s, {speed:.0f} patches/s; {need.steps} steps an epoch")
    console.done(f"Epoch: {_time(need.epoch_seconds)}, validation included")
    early = "" if need.epochs == 1 else ", unless it stops early"
    console.done(f"Run: {_time(need.run_seconds)} for {counted(need.epochs, 'epoch', 'epochs')}{early}")
    console.done(f"Cost: {cost_in_words(result.record)}")
    if hours := rehearsed_epoch_hours(need, result.record):
        compute = result.record["compute"]
        where = compute["cpu_instructions"] if compute["device"] == "cpu" else compute["device"]
        console.done(
            f"On all of reBEN: {duration(3600 * hours)} an epoch here, by the same steps ({compute['dtype']}, {where})"
        )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


class TrainingProgress:
    """Shows a bar for the epoch under way and a line for each one done.

    Args:
        progress: The bar.
        epochs: Epochs at most.
        monitor: The score that decides which epoch is best.
    """

    def __init__(self, progress: Progress, epochs: int, monitor: str) -> None:
        self._progress = progress
        self._epochs = epochs
        self._monitor = monitor
        self._task = progress.add_task("epoch 1", total=None, detail="")

    def __call__(self, event: "Step | Epoch") -> None:
        """Show a step or an epoch."""
        from seg.engine.events import Step

        if isinstance(event, Step):
            detail = f"loss {event.loss:.3f} · {event.patches_per_second:.0f} patches/s"
            label = f"epoch {event.epoch + 1}/{self._epochs}"
            self._progress.update(
                self._task, description=label, completed=event.batch, total=event.batches, detail=detail
            )
            return
        scores = {self._monitor: event.scores[self._monitor]}
        scores |= {name: event.scores[name] for name in ("miou", "oa", "ap_macro") if name in event.scores}
        listed = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        mark = "  [green]best[/]" if event.best else ""
        self._progress.console.print(
            f"epoch {event.epoch + 1:>3}/{self._epochs}  loss {event.losses['loss']:.3f}  {listed}  "
            f"{event.patches_per_second:.0f} patches/s  {event.seconds:.0f} s{mark}",
            soft_wrap=True,
        )


@contextmanager
def training_progress(epochs: int, monitor: str) -> Iterator[TrainingProgress]:
    """A progress display for the training loop."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console.err, transient=True, disable=not console.err.is_terminal) as progress:
        yield TrainingProgress(progress, epochs, monitor)
