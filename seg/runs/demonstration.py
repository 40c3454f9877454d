"""The run of the demo: how large it is, and how long it will take on this machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from seg.config.track import Notify
from seg.engine.events import Epoch, Step
from seg.runs.data import DEMO_PATCHES
from seg.runs.plan import TrainPlan, plan

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
    epochs: int = 12

    def changed(self, **settings: int | None) -> "DemoSettings":
        """The settings with those replaced that are not None."""
        return replace(self, **{name: value for name, value in settings.items() if value is not None})


DEMO = DemoSettings()
RUN_PLACE = "run"
"""Where the run lies in the folder of the demo."""


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
        task: The training run, whose first steps are timed on random patches.
        settings: Size of the demo.
        observe: Is told of steps and epochs too.
        notify: Is told how long it will take.
        clock: Seconds.
    """

    def __init__(
        self,
        task: TrainPlan,
        settings: DemoSettings,
        observe: Callable[[Step | Epoch], None],
        notify: Notify,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        from seg.engine.device import choose_compute
        from seg.engine.speed import measure_speed
        from seg.runs.expectation import duration, in_words

        self._began, self._clock = clock(), clock
        self._observe, self._notify = observe, notify
        self._epochs = settings.epochs
        compute = choose_compute(task.config.train)
        speed = measure_speed(task.config, compute)
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
