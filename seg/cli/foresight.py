"""What is wrong with a request as far as it shows without torch, which takes seconds to load: said before that.

What passes here is checked again where it is used, by whoever calls the Python API too.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg.config.load import load_config
from seg.config.sections import DataConfig
from seg.errors import SceneError, WrongUseError
from seg.maps.targets import map_targets, require_apart
from seg.models.weights_file import CARD_FILE
from seg.reben.patch import Split
from seg.report.trackers import check_trackers
from seg.runs.data import open_named_store, split_rows, store_of_environment
from seg.runs.folder import CONFIG_FILE, best_checkpoint, is_model_folder
from seg.runs.plan import TrainPlan

_DEVICE = re.compile(r"auto|[a-z]+(:\d+)?")
_DEVICES = ("auto", "cpu", "cuda", "mps")


def foresee_training(job: TrainPlan) -> None:
    """Look at what a training run needs: device, folder, trackers and data.

    Raises:
        SegError: One of its kinds, as `seg.pipeline.train.train` would raise it.
        OSError: If the run folder cannot be made.
    """
    _check_device(job.config.train.device)
    check_trackers(job.config.train.loggers)
    check_place(job.folder)
    _check_data(job.config.data, ("train", "validation"), need_map=True)


def foresee_use(
    run: Path,
    *,
    split: Split | None = None,
    data: Path | None = None,
    metadata: Path | None = None,
    device: str | None = None,
    need_map: bool = True,
) -> None:
    """Look at what is needed to use a run on a split: the run, its settings, device and data.

    Raises:
        SegError: One of its kinds, as `seg.runs.session.open_run` would raise it.
    """
    bands = _bands_of(run)
    config = load_config(None if is_model_folder(run) else run / CONFIG_FILE, train__device=device, eval__split=split)
    _check_device(config.train.device)
    changes: dict[str, Any] = {"bands": bands or config.data.bands}
    if data is not None or metadata is not None:
        changes |= {"store": data or config.data.store, "metadata": metadata}
    _check_data(config.data.model_copy(update=changes), (config.eval.split,), need_map)


def foresee_maps(
    run: Path, scenes: Sequence[Path], out: Path, s1: Sequence[Path], geometry: Path | None, device: str | None
) -> None:
    """Look at what a map of a scene needs: names, files, the run and the device.

    Raises:
        SegError: One of its kinds, as `seg.pipeline.predict.predict` would raise it.
        OSError: If the map's folder cannot be written to.
    """
    others = [*s1, *([geometry] if geometry else [])]
    require_apart(map_targets(scenes, out), [*scenes, *others])
    for path in (*scenes, *others):
        if not path.exists():
            raise SceneError(f"{path} does not exist; name a file or folder that does")
    check_place(out)
    _bands_of(run)
    config = load_config(None if is_model_folder(run) else run / CONFIG_FILE, train__device=device)
    _check_device(config.train.device)


def check_place(path: Path) -> None:
    """Make sure that something can be written at a path: what is there of it is a folder that may be written to.

    Raises:
        OSError: If not.
    """
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir() and there != path:
        raise NotADirectoryError(20, "Not a directory", str(there))
    if not os.access(there, os.W_OK):
        raise PermissionError(13, "Permission denied", str(there))


def _check_device(name: str) -> None:
    if not _DEVICE.fullmatch(name) or name.partition(":")[0] not in _DEVICES:
        raise WrongUseError(f"'{name}' is no device; use auto, cpu, cuda, cuda:<number> or mps")


def _bands_of(run: Path) -> tuple[str, ...]:
    """The bands that the weights of a run see; empty where their card is for others to judge."""
    checkpoint = best_checkpoint(run)
    try:
        return tuple(json.loads((checkpoint / CARD_FILE).read_text(encoding="utf-8"))["bands"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _check_data(data: DataConfig, splits: Sequence[Split], need_map: bool) -> None:
    """Look for the splits in the store that is named; the demo store is complete, and made when it is needed."""
    named = data.store or store_of_environment()
    if named is None:
        return
    store = open_named_store(named, data.metadata, of_environment=not data.store)
    for split in splits:
        split_rows(store, data, split, need_map)
