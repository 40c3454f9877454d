"""The runs of a sweep: configurations x settings x seeds, and what is left to do for each."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from seg.config.identity import settings_of_run
from seg.config.load import load_config
from seg.config.paths import AnyPath, AnyPaths, path_list, path_or_none
from seg.config.scope import Scope, scored_on
from seg.config.sections import Config
from seg.config.track import Notify, Track, ignore, silent
from seg.errors import RunError, WrongUseError
from seg.models.weights_file import BEST, CHECKPOINTS, LAST, weights_digest
from seg.reben.bands import Sensor
from seg.reben.patch import Split
from seg.runs.folder import CONFIG_FILE, RECORD_FILE, RunFiles, read_evaluation, read_run
from seg.runs.plan import with_whole_paths
from seg.runs.scopes import countries_of
from seg.runs.series import Parts, Series, check_asked
from seg.store.open import INFO_FILE, read_info

Todo = Literal["train", "resume", "restart", "score", "finished", "blocked"]
"""What is left to do: all of it; the rest of a training; all of it once more, because there is nothing to resume from;
the scoring; nothing; nothing that may be done, because the folder holds something else."""


@dataclass(frozen=True)
class Scoring:
    """What a run is scored on.

    Attributes:
        split: The split.
        data: Another store than that of the training.
        drop: The sensor that the network is not shown.
    """

    split: Split = "test"
    data: Path | None = None
    drop: Sensor | None = None

    def scope(self, trained_on: str, countries: tuple[str, ...] = ()) -> Scope:
        """The evaluation that this makes.

        Args:
            trained_on: Fingerprint of the data of the training.
            countries: What the run is scored in.
        """
        on = scored_on(read_info(self.data).fingerprint, trained_on) if self.data else ""
        return Scope(self.split, self.drop, on, countries)


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep.

    Attributes:
        folder: The run folder.
        config: Its settings, with whole paths.
        options: The settings as options of ``seg train``.
        scorings: What it is to be scored on.
    """

    folder: Path
    config: Config
    options: tuple[str, ...]
    scorings: tuple[Scoring, ...]

    @property
    def name(self) -> str:
        """Name of its folder, which no other run of the sweep has."""
        return self.folder.name


@dataclass(frozen=True)
class State:
    """What there is of a run.

    Attributes:
        todo: What is left to do.
        why: A few words on it; a sentence with the cure if it is blocked.
    """

    todo: Todo
    why: str = ""


def sweep_runs(
    configs: AnyPaths,
    out: AnyPath,
    *,
    seeds: str = "0",
    grid: Sequence[str] = (),
    overrides: Sequence[str] = (),
    data: AnyPath | None = None,
    metadata: AnyPath | None = None,
    split: Split | None = "test",
    series: Series | None = None,
    track: Track = silent,
    notify: Notify = ignore,
) -> list[SweepRun]:
    """Every run of a sweep; all their settings are checked here, before anything is started.

    Args:
        configs: YAML configurations, or folders of them.
        out: The folder for the run folders.
        seeds: Comma-separated.
        grid: Settings with their values, ``train.lr=1e-3,3e-4``.
        overrides: Settings of every run, ``section.key=value``.
        data, metadata: The store, as of ``seg train``.
        split: The split to score; None: train only.
        series: Also every label budget, or every country left out.
        track: Progress of making the demo store, where it is needed to know the patches.
        notify: Is told what label budgets are too small for.

    Raises:
        WrongUseError: If the grid, the seeds or settings are wrong, two runs would share a folder, or `out` is none.
        EmptySelectionError: If a budget or a country that is left out leaves no patches.
    """
    data, metadata, out = path_or_none(data), path_or_none(metadata), Path(out)
    if out.exists() and not out.is_dir():
        raise WrongUseError(f"{out} is a file; name a folder for the runs")
    if any((out / name).is_file() for name in (INFO_FILE, RECORD_FILE)):
        raise WrongUseError(f"{out} is a store or a run itself; name another folder for the runs")
    axes = [_axis(text) for text in grid]
    _check_once(grid, overrides)
    parts = Parts(track, notify)
    runs: dict[str, SweepRun] = {}
    for path, seed in itertools.product(configurations(configs), _seeds(seeds)):
        for choices in itertools.product(*axes):
            asked = (*overrides, *choices)
            check_asked(series, asked)
            settings: dict[str, Any] = {"train__seed": seed, "data__store": data, "data__metadata": metadata}
            for label, more in parts.of(series, partial(load_config, path, asked, **settings)):
                name = "-".join((path.stem, *map(_label, choices), *label, f"seed{seed}"))
                if name in runs:
                    raise WrongUseError(
                        f"two runs would be called {name}; give configurations other names, and values once"
                    )
                config = load_config(path, (*asked, *more), **settings)
                whole = with_whole_paths(config)
                if twin := next((other for other, run in runs.items() if run.config == whole), None):
                    raise WrongUseError(f"{twin} and {name} would be the same run; give values and settings once")
                parts.check(config, split)
                words = ["--config", str(path.absolute()), "--seed", str(seed)]
                words += [word for override in (*asked, *more) for word in ("--set", override)]
                scorings = (Scoring(split),) if split else ()
                runs[name] = SweepRun(Path(out) / name, whole, tuple(words), scorings)
    return list(runs.values())


def configurations(paths: AnyPaths) -> list[Path]:
    """Configurations that were named; of a folder all, by name.

    Raises:
        WrongUseError: If a folder holds none.
    """
    found: list[Path] = []
    for path in path_list(paths):
        inside = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not inside:
            raise WrongUseError(f"{path} holds no configuration, NAME.yaml; name files or a folder of them")
        found += inside
    return found


def look(run: SweepRun) -> State:
    """What is left to do for a run."""
    if not run.folder.is_dir() or not any(run.folder.iterdir()):
        return State("train")
    checkpoints = run.folder / CHECKPOINTS
    nothing = State("restart", "it ended before its first checkpoint")
    try:
        there = read_run(run.folder)
    except ValueError as error:
        is_start = (run.folder / CONFIG_FILE).is_file() and not checkpoints.is_dir()
        return nothing if is_start else State("blocked", str(error))
    if difference := _difference(run, there):
        return State("blocked", f"{run.folder} holds another run ({difference}); choose another --out or move it away")
    status = there.record.get("status")
    if status != "finished":
        return State("resume", f"its status is {status}") if (checkpoints / LAST).is_dir() else nothing
    if left := left_to_score(run):
        return State("score", f"it is not scored on {left[0].split} yet")
    return State("finished")


def left_to_score(run: SweepRun) -> list[Scoring]:
    """What a trained run was not scored on yet, with its best weights; a damaged record counts as none."""
    weights = weights_digest(run.folder / CHECKPOINTS / BEST)
    trained_on = read_run(run.folder).fingerprint

    def is_there(scoring: Scoring) -> bool:
        try:
            scope = scoring.scope(trained_on, countries_of(run.folder, run.config.eval.countries))
            record = read_evaluation(run.folder, scope)
        except RunError:
            return False
        return bool(record) and record.get("weights") == weights

    return [scoring for scoring in run.scorings if not is_there(scoring)]


def set_aside(folder: Path) -> Path:
    """Rename a run without a checkpoint, which can neither be resumed nor written over."""
    names = (folder.with_name(f"{folder.name}.unfinished-{number}") for number in itertools.count(1))
    return folder.rename(next(name for name in names if not name.exists()))


def _axis(text: str) -> list[str]:
    """``train.lr=1e-3,3e-4`` as overrides; commas within brackets belong to a value."""
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise WrongUseError(f"'--grid {text}' names no values; write it as --grid train.lr=1e-3,3e-4")
    # Each comma with how many brackets are open before it.
    depths = itertools.accumulate((1 if sign in "[{" else -1 if sign in "]}" else 0) for sign in values)
    cuts = [place for place, (sign, depth) in enumerate(zip(values, depths, strict=True)) if (sign, depth) == (",", 0)]
    return [f"{key}={values[start + 1 : end]}" for start, end in itertools.pairwise((-1, *cuts, len(values)))]


def _check_once(grid: Sequence[str], overrides: Sequence[str]) -> None:
    """Refuse settings of which one would silently take the place of another."""
    keys = [text.partition("=")[0].strip() for text in grid]
    others = {text.partition("=")[0].strip() for text in overrides}
    if "train.seed" in others.union(keys):
        raise WrongUseError("train.seed is what --seeds names, for every run; write it as --seeds 0,1,2")
    for key in keys:
        if key in others or keys.count(key) > 1:
            raise WrongUseError(f"{key} has its values from --grid and is given again; give all of them in one --grid")


def _label(override: str) -> str:
    key, _, value = override.partition("=")
    short = re.sub(r"[^\w.+-]+", "_", Path(value).name).strip("_")
    return f"{key.rpartition('.')[2].strip()}_{short}"


def _seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise WrongUseError(f"'--seeds {text}' is no list of whole numbers; write it as --seeds 0,1,2") from None


def _difference(run: SweepRun, there: RunFiles) -> str:
    """What differs between a run that is there and the one that is planned; empty if nothing does."""
    old, new = (settings_of_run(with_whole_paths(config)) for config in (there.config, run.config))
    changed = [name for name in new | old if old.get(name) != new.get(name)]
    if changed:
        name = changed[0]
        return f"{name} is {old.get(name)} there and {new.get(name)} here"
    store = run.config.data.store
    if store and (store / INFO_FILE).is_file():
        fingerprint = read_info(store).fingerprint
        if there.fingerprint and fingerprint != there.fingerprint:
            return f"data {there.fingerprint} there and {fingerprint} here"
    return ""
