"""Report a folder of runs that form series: label budgets, and countries that were left out."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seg.config.paths import AnyPath
from seg.config.synthetic import Synthetic
from seg.config.track import Track, silent
from seg.errors import RunError
from seg.metrics.evidence import Evidence, take_patches
from seg.reben.patch import Split
from seg.report.formats import FORMATS, Table
from seg.report.outcomes import Outcome, outcome_of
from seg.report.series_tables import BudgetOutcome, CountryOutcome, SeriesOutcome, series_tables, write_series_figure
from seg.runs.entry import Entry, entry_of
from seg.runs.folder import CONFIG_FILE, RECORD_FILE, RunFiles, read_evidence, read_run, section
from seg.runs.names import configuration_names
from seg.runs.scopes import named_scope
from seg.store.atomic import write_text
from seg.store.targets import claimed_folder

_OF_SERIES = ("data.fraction", "data.fraction_seed", "data.except_countries")
"""Settings that differ within a series."""
_TABLE_FORMATS = ("md", "tex", "csv", "json")
SERIES_FILES = tuple(f"{name}.{suffix}" for name in ("budgets", "countries") for suffix in (*_TABLE_FORMATS, "png"))
"""All that `report_series` may write."""


@dataclass(frozen=True)
class SeriesResult:
    """Outcome of the report of a series.

    Attributes:
        folder: Where tables and figures are.
        outcome: What was computed.
        tables: The same as tables.
    """

    folder: Path
    outcome: SeriesOutcome
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class _Run:
    files: RunFiles
    entry: Entry

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """What the runs of one configuration have in common, whatever they learn from."""
        return tuple((name, value) for name, value in self.entry.settings.items() if name not in _OF_SERIES)


def holds_series(folder: Path) -> bool:
    """Whether a folder is none of a run but holds some, as that of a sweep does."""
    return not (folder / CONFIG_FILE).is_file() and any(folder.glob(f"*/{RECORD_FILE}"))


def report_series(folder: AnyPath, *, split: Split = "test", track: Track = silent) -> SeriesResult:
    """Tables and curves of the series that the runs of a folder form, from their evidence alone.

    Writes ``budgets`` or ``countries``, or both, as ``.md``, ``.tex``, ``.csv``, ``.json`` and ``.png``.

    Args:
        folder: The folder of a sweep, with run folders.
        split: The split that they were scored on.
        track: Progress.

    Raises:
        RunError: If the runs form no series or none of them was scored.
        EvidenceError: If evidence is damaged.
    """
    folder = Path(folder)
    with claimed_folder(folder, SERIES_FILES):
        outcome = _outcome(folder, split, track)
        tables = series_tables(outcome)
        for table in tables:
            for suffix in _TABLE_FORMATS:
                write_text(folder / f"{table.name}.{suffix}", FORMATS[suffix](table))
            write_series_figure(folder / f"{table.name}.png", table.name, outcome)
    return SeriesResult(folder, outcome, tables)


def _outcome(folder: Path, split: Split, track: Track) -> SeriesOutcome:
    """What the runs of a folder came to."""
    by_key: dict[tuple[tuple[str, str], ...], list[_Run]] = {}
    for files in map(read_run, _run_folders(folder)):
        run = _Run(files, entry_of(files))
        by_key.setdefault(run.key, []).append(run)
    first = [group[0] for group in by_key.values()]
    names = configuration_names(
        [run.entry for run in first], [dict(key) for key in by_key], [run.files.folder.name for run in first]
    )
    reader = _Reader(split)
    groups = list(track(list(zip(names, by_key.values(), strict=True)), "configurations", len(by_key)))
    budgets = [one for name, group in groups for one in _budgets(name, group, reader)]
    countries = [one for name, group in groups for one in _countries(name, group, reader)]
    if not budgets and not countries:
        runs = [shlex.quote(str(run.files.folder)) for group in by_key.values() for run in group]
        meant = f"did you mean {runs[0]}?" if len(runs) == 1 else f"to report one of them, name it, as in {runs[0]}."
        missing = f" that was scored on the {split} split" if reader.remarks else ""
        raise RunError(
            f"the runs in {folder} form no series{missing}; {meant} To make a series: seg sweep CONFIG.yaml --protocol "
            "budgets --out FOLDER",
            wrong_use=True,
        )
    return SeriesOutcome(split, reader.synthetic, tuple(budgets), tuple(countries), tuple(reader.remarks))


def _run_folders(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{RECORD_FILE}") if (path.parent / CONFIG_FILE).is_file())


class _Reader:
    """Reads evidence, and remembers what of it was synthetic and what was missing."""

    def __init__(self, split: Split) -> None:
        self.synthetic = Synthetic(0)
        self.remarks: list[str] = []
        self._split = split

    def outcome(self, name: str, runs: Sequence[_Run], part: Callable[[Evidence], Evidence]) -> Outcome | None:
        """What runs came to that differ in the seed alone; None if none was scored."""
        evidences, used = [], []
        for run in sorted(runs, key=lambda run: run.files.config.train.seed):
            try:
                evidence = part(read_evidence(run.files.folder, named_scope(run.entry, self._split)))
            except RunError as error:
                if (remark := f"Left out: {error}.") not in self.remarks:
                    self.remarks.append(remark)
                continue
            if len(evidence):
                self.synthetic |= evidence.origin.simulated
                # Neither details nor fitted thresholds are shown, and resampling them takes time.
                origin = replace(evidence.origin, thresholds=None, temperature=None)
                evidences.append(replace(evidence, origin=origin, details=None))
                used.append(run.files.folder)
        return replace(outcome_of(name, evidences), runs=tuple(used)) if evidences else None


def _budgets(name: str, group: Sequence[_Run], reader: _Reader) -> list[BudgetOutcome]:
    """What a configuration came to with each share of the labels; nothing if there is one share only."""
    by_fraction: dict[float, list[_Run]] = {}
    for run in group:
        if not run.files.config.data.except_countries:
            by_fraction.setdefault(run.files.config.data.fraction, []).append(run)
    found = []
    for fraction, runs in sorted(by_fraction.items()) if len(by_fraction) > 1 else ():
        outcome = reader.outcome(name, runs, lambda evidence: evidence)
        if outcome is not None:
            patches = section(section(runs[0].entry.record, "data"), "patches").get("train")
            seeds = tuple(sorted(run.files.config.train.seed for run in runs if run.files.folder in outcome.runs))
            found.append(BudgetOutcome(name, fraction, patches, seeds, outcome))
    return found


def _countries(name: str, group: Sequence[_Run], reader: _Reader) -> list[CountryOutcome]:
    """What a configuration came to in each country that some of its runs have not seen."""
    whole = [run for run in group if run.files.config.data.fraction == 1]
    all_seen = [run for run in whole if not run.files.config.data.except_countries]
    by_country: dict[str, list[_Run]] = {}
    for run in whole:
        scored = run.entry.countries
        out = {country.casefold() for country in run.files.config.data.except_countries}
        if len(scored) == 1 and scored[0].casefold() in out:
            by_country.setdefault(scored[0], []).append(run)
    found = []
    for country, runs in sorted(by_country.items()):
        left_out = reader.outcome(name, runs, lambda evidence: evidence)
        if left_out is not None:

            def here(evidence: Evidence, country: str = country) -> Evidence:
                names = pc.utf8_lower(evidence.countries.cast(pa.string()))
                inside = pc.equal(names, country.lower()).to_numpy(zero_copy_only=False)
                return take_patches(evidence, np.flatnonzero(inside))

            found.append(CountryOutcome(name, country, left_out, reader.outcome(name, all_seen, here)))
    return found
