"""``seg pretrain``."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from seg.cli import console, options


def pretrain(
    store: Annotated[Path, typer.Argument(help="The store whose images are learned from.")],
    out: Annotated[Path, typer.Option(help="Folder for the encoder.")],
    encoder: options.Encoder = None,
    arch: options.Arch = None,
    modality: Annotated[
        str | None, typer.Option(help="s1, s2, s1s2, rgb, s2-10m or s2-10m-20m.", show_default="{data.bands}")
    ] = None,
    bands: Annotated[str | None, typer.Option(help="Bands by name instead: VV,VH,B02,B03,B04,B08.")] = None,
    weights: options.Weights = None,
    metadata: options.Metadata = None,
    images: Annotated[
        Literal["train", "all"], typer.Option(help="Images of the train split, or of all splits.")
    ] = "train",
    hidden: Annotated[float, typer.Option(help="Share of each image that is hidden.")] = 0.6,
    cell: Annotated[int, typer.Option(help="Edge of the hidden squares, pixels.")] = 8,
    config: Annotated[Path | None, typer.Option(help="YAML configuration.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting: train.lr=1e-3. May be repeated.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images.", show_default="{train.epochs}")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.", show_default="{train.batch_size}")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", show_default="{train.seed}")] = None,
    device: options.Device = None,
) -> None:
    """Pretrain an encoder without labels: parts of images are hidden, and it learns to say what was there.

    `seg train --weights OUT` begins with it. What was broken off goes on when the same command is run again.
    """
    from seg.pipeline.pretrain import pretrain as run

    if modality and bands:
        raise typer.BadParameter("give either --modality or --bands, not both")
    with console.stoppable("The same command goes on after the last epoch that was done."):
        done = run(
            store,
            out,
            images=images,
            hidden=hidden,
            cell=cell,
            config=config,
            overrides=set_ or [],
            track=console.track,
            notify=console.notify,
            model__arch=arch,
            model__encoder=encoder,
            model__weights=weights,
            data__bands=modality or bands,
            data__metadata=metadata,
            train__epochs=epochs,
            train__batch_size=batch_size,
            train__seed=seed,
            train__device=device,
        )
    console.done(
        f"Encoder pretrained on {done.patches} images, error {done.errors[0]:.3f} in the first epoch and "
        f"{done.errors[-1]:.3f} in the last, in variances of the bands: {done.folder}"
    )
    console.done(f"Next: seg train --weights {shlex.quote(str(done.folder))}, with the same encoder and bands")
