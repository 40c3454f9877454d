"""Weights & Biases and MLflow, told of every epoch beside the log that each run keeps for itself.

Where they send it, and whether they send it at all, is left to their own environment variables: ``WANDB_MODE=offline``,
``WANDB_PROJECT``, ``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME`` and the others that they document. A tracker that
fails is left out from then on: it must not cost a training.
"""

import importlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from seg.errors import WrongUseError
from seg.store.atomic import write_text

FILE_NAME = "trackers.json"
"""In the run folder: what each tracker calls the run, so that a resumed one goes on there."""
_PROJECT = "seg"
_SYNTHETIC = "SYNTHETIC"

Status = Literal["finished", "interrupted", "failed"]


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run when it begins.

    Attributes:
        folder: The run folder.
        settings: All settings by section, as JSON takes them.
        synthetic: The data are simulated, and the tracker says so.
        known_as: What the tracker called the run in an earlier sitting; None in the first.
    """

    folder: Path
    settings: Mapping[str, Mapping[str, Any]]
    synthetic: bool
    known_as: str | None


class Tracker(NamedTuple):
    """A tracker that has begun: what it calls the run, how it logs the finite numbers of an epoch, and how it ends."""

    run_id: str
    add: Callable[[int, Mapping[str, float]], None]
    close: Callable[[Status], None]


def _wandb(run: TrackedRun, wandb: Any) -> Tracker:
    """Weights & Biases; anything but a finished run is marked as failed."""
    begun = wandb.init(
        project=os.environ.get("WANDB_PROJECT", _PROJECT),
        name=os.environ.get("WANDB_NAME", run.folder.name),
        dir=os.environ.get("WANDB_DIR", str(run.folder)),
        id=run.known_as,
        resume="allow",
        config=dict(run.settings),
        tags=[_SYNTHETIC] if run.synthetic else None,
    )
    return Tracker(
        str(begun.id),
        lambda epoch, values: begun.log({"epoch": epoch, **values}, step=epoch),
        lambda status: begun.finish(exit_code=int(status != "finished")),
    )


def _mlflow(run: TrackedRun, mlflow: Any) -> Tracker:
    """MLflow."""
    first = run.known_as is None
    if first and not {"MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"} & os.environ.keys():
        mlflow.set_experiment(_PROJECT)
    name = os.environ.get("MLFLOW_RUN_NAME", run.folder.name) if first else None
    run_id = str(mlflow.start_run(run_id=run.known_as, run_name=name).info.run_id)
    if first:
        # Parameters never change, and a resumed run has those that it began with.
        flat = {f"{section}.{key}": v for section, keys in run.settings.items() for key, v in keys.items()}
        mlflow.log_params(flat)
        if run.synthetic:
            mlflow.set_tag("data", _SYNTHETIC)
    ends = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
    return Tracker(
        run_id,
        lambda epoch, values: mlflow.log_metrics(dict(values), step=epoch),
        lambda status: mlflow.end_run(status=ends[status]),
    )


TRACKERS: dict[str, Callable[[TrackedRun, Any], Tracker]] = {"wandb": _wandb, "mlflow": _mlflow}
"""Trackers by the name of their package."""


def check_trackers(names: Sequence[str]) -> None:
    """Check that trackers are installed, before anything else is done.

    Raises:
        WrongUseError: If one is not.
    """
    for name in names:
        _load(name)


class Trackers:
    """The trackers of a run; none of them ever raises.

    Args:
        names: Which, from `TRACKERS`.
        folder: The run folder.
        settings: All settings by section, as JSON takes them.
        synthetic: Whether the data are simulated.
        resume: Go on with the runs of an earlier sitting.
        notify: Is told once of each tracker that fails.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        settings: Mapping[str, Mapping[str, Any]],
        *,
        synthetic: bool,
        resume: bool,
        notify: Callable[[str], None],
    ) -> None:
        self._notify = notify
        self._active: dict[str, Tracker] = {}
        if not names:
            return
        known = _read_ids(folder / FILE_NAME) if resume else {}
        for name in names:
            run = TrackedRun(folder, settings, synthetic, known.get(name))
            try:
                self._active[name] = TRACKERS[name](run, _load(name))
            except Exception as error:  # what trackers raise has no common ancestor; the same below
                self._leave_out(name, error)
        known |= {name: tracker.run_id for name, tracker in self._active.items()}
        if known:
            write_text(folder / FILE_NAME, json.dumps(known, indent=2) + "\n")

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log an epoch; what is undefined is left out.

        Args:
            epoch: From 1.
            values: Numbers by name.
        """
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        for name, tracker in list(self._active.items()):
            try:
                tracker.add(epoch, finite)
            except Exception as error:
                self._leave_out(name, error)

    def close(self, status: Status) -> None:
        """End the run everywhere."""
        closing, self._active = self._active, {}
        for name, tracker in closing.items():
            try:
                tracker.close(status)
            except Exception as error:
                self._leave_out(name, error)

    def _leave_out(self, name: str, error: Exception) -> None:
        if tracker := self._active.pop(name, None):
            with suppress(Exception):
                tracker.close("failed")
        reason = " ".join(str(error).split()) or type(error).__name__
        self._notify(f"{name} failed and is left out from here on ({reason}); log.csv and TensorBoard go on.")


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WrongUseError(
            f"train.loggers names {name}, which cannot be imported ({error}); run: pip install {name}"
        ) from None


def _read_ids(path: Path) -> dict[str, str]:
    """What trackers called the run; a damaged file only starts new runs there."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(run_id) for name, run_id in known.items()} if isinstance(known, dict) else {}
