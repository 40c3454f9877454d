"""The demo: the whole way on synthetic data, from nothing to tables and maps."""

from dataclasses import dataclass
from pathlib import Path

from seg.config.paths import AnyPath
from seg.config.track import Notify, Track, ignore, silent
from seg.errors import WrongUseError
from seg.pipeline.evaluate import evaluate
from seg.pipeline.export import export
from seg.pipeline.synthesise import synthesise
from seg.pipeline.train import Observe, train
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.report.formats import Table
from seg.runs.data import DEMO_SEED
from seg.runs.demonstration import DEMO, RUN_PLACE, DemoSettings, Outlook, demo_plan
from seg.runs.evaluation import REPORT_FILE
from seg.store.targets import LOCK_FILE, claimed_folder


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
    out: AnyPath,
    settings: DemoSettings = DEMO,
    observe: Observe = lambda _: None,
    track: Track = silent,
    notify: Notify = ignore,
) -> DemoResult:
    """Synthesise a reBEN, build a store, train on Sentinel-1 and Sentinel-2, evaluate and export maps.

    Args:
        out: Folder for everything; must not hold anything yet.
        settings: Size.
        observe: Is told of training steps and epochs.
        track: Progress.
        notify: Is told what the user must not miss.

    Raises:
        WrongUseError: If the folder is in use.
    """
    out = Path(out)
    with claimed_folder(out, ()):
        if any(path.name != LOCK_FILE for path in out.iterdir()):
            raise WrongUseError(f"{out} is there already; choose another folder with --out, or move it away")
        return _walk(out, settings, observe, track, notify)


def _walk(out: Path, settings: DemoSettings, observe: Observe, track: Track, notify: Notify) -> DemoResult:
    notify("The demo runs on SYNTHETIC data: its scores say nothing about reBEN.")
    tree, store, run, maps = out / "reben", out / "store", out / RUN_PLACE, out / "maps"
    task = demo_plan(run, store, settings)
    outlook = Outlook(task, settings, observe, notify)
    synthesise(tree, settings.patches, DEMO_SEED, track)
    build_store(published_sources(tree), store, track=track)
    train(task, outlook, track, notify)
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
