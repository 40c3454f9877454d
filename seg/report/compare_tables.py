"""The tables of a comparison of runs, and the files they are written to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg.config.scope import Scope
from seg.config.synthetic import Synthetic
from seg.metrics.jackknife import METHOD
from seg.metrics.scene import DEFAULT_THRESHOLD
from seg.report.anchors import anchors_table
from seg.report.coverage import brackets_note
from seg.report.formats import FORMATS, UNDEFINED, Column, Estimate, Table, Value, document, titled
from seg.report.record import write_json
from seg.store.atomic import write_text

SCORES = {
    "miou": "mIoU",
    "oa": "OA",
    "ap_macro": "AP macro",
    "ap_micro": "AP micro",
    "f1_macro": "F1 macro",
    "f1_micro": "F1 micro",
    "mf1": "mF1",
    "macc": "mAcc",
    "fwiou": "FWIoU",
    "f1_samples": "F1 samples",
}
"""Titles of the scores that runs can be sorted by."""
_ALWAYS = ("miou", "oa", "ap_macro", "ap_micro", "f1_macro", "f1_micro")
TESTED = ("miou", "ap_macro")
"""Scores whose differences are tested."""
FEW_TILES = 10
"""With fewer tiles than this, readers are told to believe no p-value."""


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """A run and its scores.

    Attributes:
        name: The part of its folder's path that tells it from the others.
        configuration: Name of its configuration.
        seed: Seed of the training; None if nobody has told it.
        scores: By name, with an interval; a score that the model does not have is missing.
        parameters: Learned values; None if the record does not say.
        training_speed, evaluation_speed: Patches per second; None if the record does not say.
        cost: What its training took, as ``run.json`` says it; empty if it does not.
    """

    name: str
    configuration: str
    seed: int | None
    scores: Mapping[str, Estimate]
    parameters: float | None
    training_speed: float | None
    evaluation_speed: float | None
    cost: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ComparedConfiguration:
    """The runs of one configuration, which differ in the seed only.

    Attributes:
        name: What tells it from the others.
        runs: In the order of their seeds.
        scores: Means over the runs, with standard deviation (NaN of one run) and interval.
        synthetic: What of them is synthetic.
    """

    name: str
    runs: tuple[ComparedRun, ...]
    scores: Mapping[str, Estimate]
    synthetic: Synthetic = Synthetic.NOTHING


@dataclass(frozen=True, slots=True)
class ComparedPair:
    """The first configuration minus the second on the same patches.

    Attributes:
        first, second: Names of the configurations.
        differences: By score, with an interval; a score that one of them does not have is missing.
        p_values: By score, adjusted for the number of pairs.
    """

    first: str
    second: str
    differences: Mapping[str, Estimate]
    p_values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side.

    Attributes:
        scope: What they were scored on: other data if any of them was not trained on those, and all countries that any
            of them was restricted to.
        synthetic: What of any of them is synthetic.
        official: Whether all of them were scored on reBEN's test split.
        sort: Score that the configurations are sorted by.
        tiles: Numbers of tiles that runs were scored on, each once, the fewest first.
        configurations: The best first.
        pairs: Tested pairs.
        remarks: Sentences about what does not compare well.
    """

    scope: Scope
    synthetic: Synthetic
    official: bool
    sort: str
    tiles: tuple[int, ...]
    configurations: tuple[ComparedConfiguration, ...]
    pairs: tuple[ComparedPair, ...]
    remarks: tuple[str, ...]

    @property
    def differ(self) -> bool:
        """Whether other things are synthetic of one configuration than of another."""
        return any(one.synthetic.words != self.synthetic.words for one in self.configurations)

    @property
    def brackets(self) -> str:
        """What the brackets of tables hold."""
        fewest, most = self.tiles[0], self.tiles[-1]
        note = brackets_note(fewest)
        return (
            note if most == fewest else note.replace(f"the {fewest} S2 tiles", f"a run's {fewest} to {most} S2 tiles")
        )

    def titled(self, what: str) -> str:
        """The title of a table."""
        return ("Partly " if self.differ else "") + titled(what, self.scope.words, self.synthetic)


_SYNTHETIC = Column("synthetic", "Synthetic", "text")
"""Where it is not the same of all: `Synthetic.words`."""


def configurations_table(comparison: Comparison) -> Table:
    """A row per configuration, the best first: scores, size and throughput."""
    columns = [Column("configuration", "Configuration", "text"), Column("seeds", "Seeds", "text")]
    columns += [_SYNTHETIC] * comparison.differ
    columns += [*_score_columns(comparison), Column("parameters", "Parameters", "millions")]
    speeds = {"training_speed": "Training patches/s", "evaluation_speed": "Evaluation patches/s"}
    known = [run for configuration in comparison.configurations for run in configuration.runs]
    shown_speeds = [key for key in speeds if key == "training_speed" or any(getattr(run, key) for run in known)]
    columns += [Column(key, speeds[key], "count") for key in shown_speeds]
    rows: list[tuple[Value, ...]] = []
    for configuration in comparison.configurations:
        runs = configuration.runs
        rows.append(
            (
                configuration.name,
                ", ".join(UNDEFINED if run.seed is None else str(run.seed) for run in runs),
                *([configuration.synthetic.words or None] * comparison.differ),
                *(configuration.scores.get(key) for key in _score_keys(comparison)),
                next((run.parameters for run in runs if run.parameters is not None), None),
                *(_mean_of_known([getattr(run, key) for run in runs]) for key in shown_speeds),
            )
        )
    notes = [
        f"Sorted by {SCORES[comparison.sort]}. F1 is that at {DEFAULT_THRESHOLD}.",
        comparison.brackets,
    ]
    if any(len(configuration.runs) > 1 for configuration in comparison.configurations):
        notes.append(
            "Where there are several seeds, scores are means over them, ± is the standard deviation over them, and the "
            "interval is that of the mean."
        )
    title = comparison.titled("Comparison")
    return Table("compare", title, tuple(columns), tuple(rows), (*notes, *comparison.remarks))


_COSTS = {
    "trials": (Column("trials", "Trials", "count"), 1.0),
    "patches_seen": (Column("patches_seen", "Patches seen", "count"), 1.0),
    "wall_seconds": (Column("wall_hours", "Hours", "number"), 3600.0),
    "device_seconds": (Column("device_hours", "Device hours", "number"), 3600.0),
    "peak_memory_bytes": (Column("memory_gib", "Memory GiB", "number"), 2.0**30),
    "peak_device_memory_bytes": (Column("device_memory_gib", "GPU memory GiB", "number"), 2.0**30),
    "energy_joules": (Column("energy_kwh", "Energy kWh", "number"), 3.6e6),
}
"""By what ``run.json`` calls them: what the table of costs shows, and in which unit."""


def costs_table(comparison: Comparison) -> Table | None:
    """A row per configuration: what training it took, a run on average; None if no run says."""
    if not any(run.cost for configuration in comparison.configurations for run in configuration.runs):
        return None
    columns = (
        Column("configuration", "Configuration", "text"),
        *(column for column, _ in _COSTS.values()),
        Column("energy_by", "Energy by", "text"),
        Column("device", "Device", "text"),
    )
    rows: list[tuple[Value, ...]] = []
    for configuration in comparison.configurations:
        costs = [run.cost for run in configuration.runs]
        means = {key: _mean_of_known([_number(cost.get(key)) for cost in costs]) for key in _COSTS}
        told = [
            ", ".join(sorted({str(cost[key]) for cost in costs if cost.get(key)})) for key in ("energy_by", "device")
        ]
        numbers = (None if (mean := means[key]) is None else mean / unit for key, (_, unit) in _COSTS.items())
        rows.append((configuration.name, *numbers, *(text or None for text in told)))
    notes = (
        "What a training took, on average over the seeds: all its sittings, validation included, evaluation not. "
        "Device hours are processes x hours; memory is the most that a process used.",
        "Trials are the configurations that were tried in the same sweep to come to this one. Energy is what the "
        "hardware has counted; where nothing counts, it is undefined.",
    )
    return Table("costs", comparison.titled("Costs"), columns, tuple(rows), notes)


def runs_table(comparison: Comparison) -> Table:
    """A row per run, in the order of the configurations."""
    columns = (
        Column("run", "Run", "text"),
        Column("configuration", "Configuration", "text"),
        Column("seed", "Seed", "count"),
        *([_SYNTHETIC] * comparison.differ),
        *_score_columns(comparison),
    )
    rows = tuple(
        (
            run.name,
            run.configuration,
            run.seed,
            *([configuration.synthetic.words or None] * comparison.differ),
            *(run.scores.get(key) for key in _score_keys(comparison)),
        )
        for configuration in comparison.configurations
        for run in configuration.runs
    )
    title = comparison.titled("Runs one by one")
    return Table("runs", title, columns, rows, (comparison.brackets,))


def pairs_table(comparison: Comparison) -> Table | None:
    """A row per tested pair of configurations; None if there is none."""
    if not comparison.pairs:
        return None
    columns = [Column("first", "First", "text"), Column("second", "Second", "text")]
    for key in TESTED:
        columns += [
            Column(f"{key}_difference", f"{SCORES[key]} difference", "percent"),
            Column(f"{key}_p", f"p of {SCORES[key]}", "p_value"),
        ]
    rows = tuple(
        (
            pair.first,
            pair.second,
            *(cell for key in TESTED for cell in (pair.differences.get(key), pair.p_values.get(key))),
        )
        for pair in comparison.pairs
    )
    few = (
        f"All of this rests on {comparison.tiles[0]} tiles: so few say little of others, however small a p-value is.",
    ) * (comparison.tiles[0] < FEW_TILES)
    notes = (
        "Differences are the first minus the second in percentage points, means over the seeds of each. Both are "
        "scored without the same S2 tile in turn, so that what both find easy or hard does not count.",
        "p-values are two-sided and adjusted by Holm over the pairs of a score; the intervals are not adjusted.",
        comparison.brackets,
        *few,
    )
    title = comparison.titled("Paired tests")
    return Table("pairs", title, tuple(columns), rows, notes)


def comparison_tables(comparison: Comparison, anchors: bool = True) -> tuple[Table, ...]:
    """The tables of a comparison: configurations, pairs, runs, and published results if wanted."""
    tables = [
        configurations_table(comparison),
        pairs_table(comparison),
        runs_table(comparison),
        costs_table(comparison),
    ]
    if anchors:
        tables.append(anchors_table(comparison.official))
    return tuple(table for table in tables if table is not None)


COMPARISON_FILES = (
    *(f"compare.{suffix}" for suffix in ("json", "md", "tex", "csv")),
    *(f"compare_{name}.csv" for name in ("pairs", "runs", "costs", "anchors")),
)
"""All that `write_comparison` may write."""


def write_comparison(folder: Path, comparison: Comparison, tables: tuple[Table, ...]) -> None:
    """Write ``compare.md``, ``.tex`` and ``.json`` with all tables, and a CSV for each of them.

    The CSV of the configurations is ``compare.csv``, the others are ``compare_<table>.csv``. The folder is made if need
    be. Each file appears complete or not at all.

    Raises:
        OSError: If a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scope = comparison.scope
    record = {"split": scope.split, "on": scope.on, "countries": scope.countries, "mmu": scope.unit}
    record |= {"synthetic": bool(comparison.synthetic), "official": comparison.official, "sort": comparison.sort}
    record |= {"tiles": comparison.tiles[0], "method": METHOD}
    write_json(folder / "compare.json", record | {table.name: document(table) for table in tables})
    write_text(folder / "compare.md", "\n".join(map(FORMATS["md"], tables)))
    header = "% needs \\usepackage{booktabs}; a table that is too wide fits within \\resizebox of graphicx\n\n"
    write_text(folder / "compare.tex", header + "\n".join(map(FORMATS["tex"], tables)))
    for table in tables:
        name = "compare" if table.name == "compare" else f"compare_{table.name}"
        write_text(folder / f"{name}.csv", FORMATS["csv"](table))


def _score_keys(comparison: Comparison) -> tuple[str, ...]:
    return _ALWAYS if comparison.sort in _ALWAYS else (*_ALWAYS, comparison.sort)


def _score_columns(comparison: Comparison) -> list[Column]:
    return [Column(key, SCORES[key], "percent") for key in _score_keys(comparison)]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _mean_of_known(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
