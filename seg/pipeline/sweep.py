"""The runs of a sweep: configurations x settings x seeds, and what is left to do for each."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seg.config.identity import settings_of_run
from seg.config.load import load_config
from seg.config.sections import Config
from seg.errors import RunError, WrongUseError
from seg.models.weights_file import BEST, LAST, weights_digest
from seg.reben.patch import Split
from seg.runs.data import store_of_environment
from seg.runs.folder import CHECKPOINTS, CONFIG_FILE, RunFiles, read_evaluation, read_run
from seg.runs.plan import with_whole_weights
from seg.store.open import INFO_FILE, read_info

Todo = Literal["train", "resume", "restart", "score", "finished", "blocked"]
"""What is left to do: all of it; the rest of a training; all of it once more, because there is nothing to resume from;
the scoring; nothing; nothing that may be done, because the folder holds something else."""


@dataclass(frozen=True)
class Sweep:
    """Configurations x settings x seeds.

    Attributes:
        configs: YAML configurations.
        out: The folder for the run folders.
        seeds: Comma-separated.
        grid: Settings with their values, ``train.lr=1e-3,3e-4``.
        overrides: Settings of every run, ``section.key=value``.
        data, metadata: The store, as of ``seg train``.
        split: The split to score; None: train only.
    """

    configs: tuple[Path, ...]
    out: Path
    seeds: str = "0"
    grid: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    data: Path | None = None
    metadata: Path | None = None
    split: Split | None = "test"

    @property
    def places(self) -> tuple[str, ...]:
        """Where the data are, as options of ``seg``."""
        given = {"--data": self.data, "--metadata": self.metadata}
        return tuple(word for option, path in given.items() if path for word in (option, str(path)))


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep.

    Attributes:
        name: Name of its folder.
        folder: The run folder.
        config: Its settings.
        options: The settings as options of ``seg train``.
    """

    name: str
    folder: Path
    config: Config
    options: tuple[str, ...]


@dataclass(frozen=True)
class State:
    """What there is of a run.

    Attributes:
        todo: What is left to do.
        why: A few words on it; a sentence with the cure if it is blocked.
    """

    todo: Todo
    why: str = ""


def sweep_runs(sweep: Sweep) -> list[SweepRun]:
    """Every run of a sweep; all their settings are checked here, before anything is started.

    Raises:
        WrongUseError: If the grid or the seeds cannot be read, or two runs would share a folder.
        WrongUseError: If settings are wrong.
    """
    axes = [_axis(text) for text in sweep.grid]
    jobs: dict[str, SweepRun] = {}
    for path, seed in itertools.product(sweep.configs, _seeds(sweep.seeds)):
        for choices in itertools.product(*axes):
            overrides = (*sweep.overrides, *choices)
            name = "-".join((path.stem, *map(_label, choices), f"seed{seed}"))
            if name in jobs:
                raise WrongUseError(
                    f"two runs would be called {name}; give configurations other names, and values once"
                )
            config = load_config(
                path, overrides, train__seed=seed, data__store=sweep.data, data__metadata=sweep.metadata
            )
            options = ["--config", str(path), "--seed", str(seed)]
            options += [word for override in overrides for word in ("--set", override)]
            jobs[name] = SweepRun(name, sweep.out / name, config, tuple(options))
    return list(jobs.values())


def look(job: SweepRun, split: Split | None) -> State:
    """What is left to do for a run.

    Args:
        job: The run.
        split: The split that it is to be scored on; None: none.
    """
    if not job.folder.is_dir() or not any(job.folder.iterdir()):
        return State("train")
    checkpoints = job.folder / CHECKPOINTS
    nothing = State("restart", "it ended before its first checkpoint")
    try:
        run = read_run(job.folder)
    except ValueError as error:
        is_start = (job.folder / CONFIG_FILE).is_file() and not checkpoints.is_dir()
        return nothing if is_start else State("blocked", str(error))
    if difference := _difference(job, run):
        return State("blocked", f"{job.folder} holds another run ({difference}); choose another --out or move it away")
    status = run.record.get("status")
    if status != "finished":
        return State("resume", f"its status is {status}") if (checkpoints / LAST).is_dir() else nothing
    if split and not is_scored(job, split):
        return State("score", f"it is not scored on {split} yet")
    return State("finished")


def set_aside(folder: Path) -> Path:
    """Rename a run without a checkpoint, which can neither be resumed nor written over."""
    names = (folder.with_name(f"{folder.name}.unfinished-{number}") for number in itertools.count(1))
    return folder.rename(next(name for name in names if not name.exists()))


def is_scored(job: SweepRun, split: Split, on: str = "") -> bool:
    """Whether a run's best weights were scored on a split (`on` other data); a damaged record counts as none."""
    try:
        record = read_evaluation(job.folder, split, on=on)
    except RunError:
        return False
    return bool(record) and record.get("weights") == weights_digest(job.folder / CHECKPOINTS / BEST)


def _axis(text: str) -> list[str]:
    """``train.lr=1e-3,3e-4`` as overrides; commas within brackets belong to a value."""
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise WrongUseError(f"'--grid {text}' names no values; write it as --grid train.lr=1e-3,3e-4")
    return [f"{key}={value}" for value in re.split(r",(?![^\[{]*[\]}])", values)]


def _label(override: str) -> str:
    key, _, value = override.partition("=")
    short = re.sub(r"[^\w.+-]+", "_", Path(value).name).strip("_")
    return f"{key.rpartition('.')[2].strip()}_{short}"


def _seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise WrongUseError(f"'--seeds {text}' is no list of whole numbers; write it as --seeds 0,1,2") from None


def _difference(job: SweepRun, run: RunFiles) -> str:
    """What differs between a run that is there and the one that is planned; empty if nothing does."""
    there, planned = (settings_of_run(with_whole_weights(config)) for config in (run.config, job.config))
    changed = [name for name in planned | there if there.get(name) != planned.get(name)]
    if changed:
        name = changed[0]
        return f"{name} is {there.get(name)} there and {planned.get(name)} here"
    store = job.config.data.store or store_of_environment()
    if store and (Path(store) / INFO_FILE).is_file():
        fingerprint = read_info(Path(store)).fingerprint
        if run.fingerprint and fingerprint != run.fingerprint:
            return f"data {run.fingerprint} there and {fingerprint} here"
    return ""
