"""The demo: the whole way on synthetic data, from nothing to tables and maps."""

from dataclasses import dataclass, replace
from pathlib import Path

from seg.config.track import Track, silent
from seg.pipeline.data import DEMO_PATCHES, DEMO_SEED, Notify, ignore, synthesise
from seg.pipeline.evaluate import evaluate
from seg.pipeline.export import export
from seg.pipeline.job import plan
from seg.pipeline.report import REPORT_FILE
from seg.pipeline.train import Observe, train
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.report.formats import Table


class DemoError(ValueError):
    """A demo that cannot run as asked."""


@dataclass(frozen=True)
class DemoSettings:
    """Size of the demo.

    Attributes:
        patches: Synthetic patches.
        epochs: Epochs of training.
    """

    patches: int = DEMO_PATCHES
    epochs: int = 16

    def changed(self, **settings: int | None) -> "DemoSettings":
        """The settings with those replaced that are not None."""
        return replace(self, **{name: value for name, value in settings.items() if value is not None})


DEMO = DemoSettings()


@dataclass(frozen=True)
class DemoResult:
    """Outcome of the demo.

    Attributes:
        tables: Score tables of the test split.
        places: What was made, and where it is.
    """

    tables: tuple[Table, ...]
    places: dict[str, Path]


def demo(
    out: Path,
    settings: DemoSettings = DEMO,
    observe: Observe = lambda _: None,
    track: Track = silent,
    notify: Notify = ignore,
) -> DemoResult:
    """Synthesise a reBEN, build a store, train a U-Net on Sentinel-1 and Sentinel-2, evaluate it and export its maps.

    Args:
        out: Folder for everything; must not hold anything yet.
        settings: Size.
        observe: Is told of training steps and epochs.
        track: Progress.
        notify: Is told what the user must not miss.

    Raises:
        DemoError: If the folder is in use.
    """
    if out.exists() and any(out.iterdir()):
        raise DemoError(f"{out} is there already; remove it or choose another folder with --out")
    notify("The demo runs on SYNTHETIC data: its scores say nothing about reBEN.")
    tree, store, run, maps = out / "reben", out / "store", out / "run", out / "maps"
    out.mkdir(parents=True, exist_ok=True)
    synthesise(tree, settings.patches, DEMO_SEED, track)
    build_store(published_sources(tree), store, track=track)
    job = plan(
        out=run,
        model__arch="unet",
        data__bands="s1s2",
        data__store=store,
        train__epochs=settings.epochs,
        train__batch_size=16,
        train__patience=0,
    )
    train(job, observe, track, notify)
    result = evaluate(run, track=track, notify=notify)
    exported = export(run, maps, reference=True, track=track, notify=notify)
    places = {
        "synthetic reBEN": tree,
        "store (LMDB and index)": store,
        "run (weights, log, settings)": run,
        "report (open in a browser)": result.folder / REPORT_FILE,
        "tables and evidence": result.folder,
        "maps (GeoTIFF)": maps,
    }
    if exported.overview:
        places["picture of a map"] = exported.overview
    return DemoResult(result.tables, places)
