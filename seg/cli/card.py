"""``seg card``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from seg.cli import console, options


def card(
    run: Annotated[Path, typer.Argument(help="Run folder of 'seg train', or one of 'seg score'.")],
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the model.", show_default="that of the run's folder")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, as the Hugging Face hub names it.")] = "mit",
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write model.onnx, and compare it with torch.")] = False,
    onnx_values: Annotated[
        Literal["stored", "normalised", "share16"] | None,
        typer.Option(
            help="What model.onnx takes: DN and dB, normalised values, or DN / 65,535.", show_default="stored"
        ),
    ] = None,
    onnx_tile: Annotated[
        int | None,
        typer.Option(
            help="Edge of the only tiles that model.onnx takes, pixels, for Deepness and GeoDeep.",
            show_default="any size",
            min=1,
        ),
    ] = None,
    onnx_quantise: Annotated[
        bool, typer.Option("--onnx-quantise", help="Round the weights of model.onnx to 8 bits, and measure the loss.")
    ] = False,
    split: options.OfRunSplit = None,
    on: Annotated[
        str, typer.Option(help="Scores on other data than those of the training: see 'seg report --on'.")
    ] = "",
    countries: options.Countries = None,
) -> None:
    """Write a model folder to share: weights, card, a page with scores, limits, licence and citation."""
    from seg.runs.folder import best_checkpoint, is_scored

    if not is_scored(run):
        best_checkpoint(run)
    from seg.models.onnx_file import OnnxOptions
    from seg.pipeline.card import write_card

    # Whoever says how it is to be written wants it.
    wanted = onnx or onnx_values is not None or onnx_tile is not None or onnx_quantise
    asked = OnnxOptions(onnx_values or "stored", onnx_tile, onnx_quantise) if wanted else False
    done = write_card(
        run,
        out,
        name=name,
        licence=licence,
        onnx=asked,
        split=split,
        on=on,
        countries=countries,
        track=console.track,
        notify=console.notify,
    )
    if done.weights:
        console.done(f"{done.folder}: seg.load_model('{done.folder}') reads it; its page is README.md")
    else:
        console.done(f"The page of these predictions, which come without weights: {done.folder / 'README.md'}")
    if done.onnx is not None:
        console.done(done.onnx.summary)
