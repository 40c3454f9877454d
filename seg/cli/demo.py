"""``seg demo``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from seg.cli import console
from seg.runs.cores import spin_on_idle_cores


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("seg-demo"),
    patches: Annotated[
        int | None,
        typer.Option(help="Synthetic patches.", min=100, show_default="{seg.runs.demonstration.DemoSettings.patches}"),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Epochs of training.", min=1, show_default="{seg.runs.demonstration.DemoSettings.epochs}"),
    ] = None,
) -> None:
    """The whole way on synthetic data: make it, build a store, train, evaluate, export maps. Minutes on a laptop."""
    spin_on_idle_cores()
    from seg.cli.train import training_progress
    from seg.engine.stopping import Interrupted
    from seg.pipeline.demo import demo as run
    from seg.report.formats import to_rich
    from seg.runs.demonstration import DEMO, RUN_PLACE

    settings = DEMO.changed(patches=patches, epochs=epochs)
    with console.stoppable(f"Remove {shlex.quote(str(out))}, and the same command starts anew."):
        try:
            with training_progress(settings.epochs, "miou") as observe:
                result = run(out, settings, observe=observe, track=console.track, notify=console.notify)
        except Interrupted as reason:
            begun = shlex.quote(str(out / RUN_PLACE))
            reason.add_note(f"Its training goes on with: seg train --out {begun} --resume")
            raise
        except KeyboardInterrupt as reason:
            # The steps of the demo go on by commands of their own, but not by that of the demo.
            reason.__notes__ = []
            raise
    for table in result.tables:
        console.out.print(to_rich(table))
    for what, where in result.places.items():
        console.done(f"{what:<28} {where}")
