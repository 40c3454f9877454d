"""``seg sample``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from seg.cli import console


def sample(
    class_map: Annotated[
        Path, typer.Argument(metavar="MAP", help="Class map of 'seg predict', or a mosaic of 'seg export'.")
    ],
    out: Annotated[Path, typer.Option(help="The sample, NAME.gpkg.")],
    per_class: Annotated[int, typer.Option(help="Points of each class of the map.", min=2)] = 50,
    seed: Annotated[int, typer.Option(help="The same seed draws the same points.", min=0)] = 0,
) -> None:
    """Draw points of each class of a map at random, to be labelled by hand and given to 'seg areas'."""
    from seg.pipeline.sample import draw_sample

    drawn = draw_sample(class_map, out, per_class=per_class, seed=seed)
    console.done(f"{drawn.points:,} points of {drawn.classes} mapped classes: {drawn.path}")
    console.done(
        "Fill in the column 'reference' of the layer 'sample' with names, values or CLC codes of classes, without a "
        "look at the map."
    )
    console.done(f"Then: seg areas {shlex.quote(str(class_map))} {shlex.quote(str(drawn.path))} --out areas.csv")
