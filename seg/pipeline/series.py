"""Report a folder of runs that form series: label budgets, and countries that were left out."""

from dataclasses import dataclass
from pathlib import Path

from seg.config.paths import AnyPath
from seg.config.track import Track, silent
from seg.reben.patch import Split
from seg.report.formats import FORMATS, Table
from seg.report.series_tables import SeriesOutcome, series_tables, write_series_figure
from seg.runs.series_outcome import series_outcome
from seg.store.atomic import write_text
from seg.store.targets import claimed_folder

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
        outcome = series_outcome(folder, split, track)
        tables = series_tables(outcome)
        for table in tables:
            for suffix in _TABLE_FORMATS:
                write_text(folder / f"{table.name}.{suffix}", FORMATS[suffix](table))
            write_series_figure(folder / f"{table.name}.png", table.name, outcome)
    return SeriesResult(folder, outcome, tables)
