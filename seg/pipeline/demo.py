"""The demo: the whole way on synthetic data, from nothing to tables and maps."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from seg.config.paths import AnyPath
from seg.config.track import Notify, Track, ignore, silent
from seg.engine.events import Epoch, Step
from seg.errors import WrongUseError
from seg.pipeline.evaluate import evaluate
from seg.pipeline.export import export
from seg.pipeline.report import REPORT_FILE
from seg.pipeline.synthesise import synthesise
from seg.pipeline.train import Observe, train
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.report.formats import Table
from seg.runs.data import DEMO_PATCHES, DEMO_SEED
from seg.runs.plan import TrainPlan, plan
from seg.store.targets import LOCK_FILE, claimed_folder

_TRAIN_SHARE, _HELD_OUT_SHARE = 0.44, 0.21
"""Of the synthetic patches, those that are trained on, and those of validation and test each: without flagged ones."""
_TEST_PASSES = 2
"""How often the test split goes through the network after training: for its scores and for its maps."""
_REST_SECONDS = 13.0
"""What a demo of the usual size takes beside the network: drawing, building, scores, pictures, files."""
_OFF = 1.4
"""Factor by which the first epoch has to differ from what was said before it is said anew."""


@dataclass(frozen=True)
class DemoSettings:
    """Size of the demo.

    Attributes:
        patches: Synthetic patches.
        epochs: Epochs of training.
    """

    patches: int = DEMO_PATCHES
    epochs: int = 14

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
            raise WrongUseError(f"{out} is there already; choose another folder with --out")
        return _walk(out, settings, observe, track, notify)


def _walk(out: Path, settings: DemoSettings, observe: Observe, track: Track, notify: Notify) -> DemoResult:
    notify("The demo runs on SYNTHETIC data: its scores say nothing about reBEN.")
    tree, store, run, maps = out / "reben", out / "store", out / "run", out / "maps"
    job = demo_plan(run, store, settings)
    outlook = Outlook(job, settings, observe, notify)
    synthesise(tree, settings.patches, DEMO_SEED, track)
    build_store(published_sources(tree), store, track=track)
    train(job, outlook, track, notify)
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


def demo_plan(run: Path, store: Path, settings: DemoSettings = DEMO) -> TrainPlan:
    """The training run of the demo.

    The smallest SegFormer: a processor without bfloat16 trains it twice as fast as a U-Net with ResNet-18, and it
    learns in fewer epochs, which faster networks of separable convolutions do not. Small batches make few epochs do.
    `scripts/bench_demo.py` times it.

    Args:
        run: Its folder.
        store: What it trains on; need not be there yet.
        settings: Size.
    """
    return plan(
        out=run,
        model__arch="segformer",
        model__encoder="mit_b0",
        data__bands="s1s2",
        data__store=store,
        train__epochs=settings.epochs,
        train__batch_size=8,
        train__patience=0,
    )


class Outlook:
    """Says how long the demo will take on this machine, and once more if it turns out otherwise.

    Args:
        job: The training run, whose first steps are timed on random patches.
        settings: Size of the demo.
        observe: Is told of steps and epochs too.
        notify: Is told how long it will take.
        clock: Seconds.
    """

    def __init__(
        self,
        job: TrainPlan,
        settings: DemoSettings,
        observe: Observe,
        notify: Notify,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        from seg.engine.device import choose_compute
        from seg.engine.speed import measure_speed
        from seg.runs.expectation import duration, in_words

        self._began, self._clock = clock(), clock
        self._observe, self._notify = observe, notify
        self._epochs = settings.epochs
        compute = choose_compute(job.config.train)
        speed = measure_speed(job.config, compute)
        train, held_out = (round(share * settings.patches) for share in (_TRAIN_SHARE, _HELD_OUT_SHARE))
        # The test split is run twice: for its scores and for its maps.
        self._after = _REST_SECONDS / 2 + speed.seconds(0, _TEST_PASSES * held_out)
        self._said = _REST_SECONDS / 2 + settings.epochs * speed.seconds(train, held_out) + self._after
        notify(f"It takes about {duration(self._said)} on this machine ({in_words(compute)}).")

    def __call__(self, event: Step | Epoch) -> None:
        """Compare with the first epoch what was said."""
        if isinstance(event, Epoch) and event.epoch == 0:
            from seg.runs.expectation import duration

            whole = self._clock() - self._began + (self._epochs - 1) * event.seconds + self._after
            if not 1 / _OFF < whole / self._said < _OFF:
                left = whole - (self._clock() - self._began)
                self._notify(f"It takes another {duration(left)}, by the first epoch.")
        self._observe(event)
