"""What series of runs came to: scores by label budget, and in countries that were left out of the training."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seg.config.synthetic import Synthetic
from seg.reben.patch import Split
from seg.report.coverage import brackets_note
from seg.report.formats import Column, Estimate, Table, Value, titled
from seg.report.outcomes import SCORES, Outcome, difference

if TYPE_CHECKING:
    from seg.figures.dots import Dot

DRAWN = ("miou", "ap_macro")
"""Scores of the figures, and those that are told by country."""
_MEANS = "Scores are means over the seeds ± their standard deviation."


@dataclass(frozen=True, eq=False)
class BudgetOutcome:
    """What a configuration came to with a label budget.

    Attributes:
        configuration: Its name.
        fraction: The budget, a share of the train split.
        patches: Patches that it was trained on; None if the records do not say.
        seeds: Seeds of the training.
        outcome: Scores, all seeds together.
    """

    configuration: str
    fraction: float
    patches: int | None
    seeds: tuple[int, ...]
    outcome: Outcome


@dataclass(frozen=True, eq=False)
class CountryOutcome:
    """What a configuration came to in a country.

    Attributes:
        configuration: Its name.
        country: Where it was scored.
        left_out: Scores of the models that have not seen the country.
        seen: Scores of those that have; None if none was trained.
    """

    configuration: str
    country: str
    left_out: Outcome
    seen: Outcome | None


@dataclass(frozen=True, eq=False)
class SeriesOutcome:
    """What the runs of a folder came to.

    Attributes:
        split: The split that was scored.
        synthetic: What of the data is synthetic.
        budgets: By configuration, the smallest budget first.
        countries: By configuration, in alphabetical order.
        remarks: Sentences on what is missing.
    """

    split: Split
    synthetic: Synthetic
    budgets: tuple[BudgetOutcome, ...]
    countries: tuple[CountryOutcome, ...]
    remarks: tuple[str, ...]


def budgets_table(series: SeriesOutcome) -> Table:
    """A row per configuration and budget."""
    keys = [key for key in SCORES if any(key in one.outcome.scores for one in series.budgets)]
    columns = (
        Column("configuration", "Configuration", "text"),
        Column("budget", "Labels", "percent"),
        Column("train_patches", "Train patches", "count"),
        Column("seeds", "Seeds", "text"),
        *(Column(key, SCORES[key], "percent") for key in keys),
    )
    rows: list[tuple[Value, ...]] = [
        (
            one.configuration,
            one.fraction,
            one.patches,
            ", ".join(map(str, one.seeds)),
            *(one.outcome.scores.get(key) for key in keys),
        )
        for one in series.budgets
    ]
    notes = (
        "Labels are the share of the train split that was learned from: few places with every class, and a smaller "
        "share lies within a larger one (data.fraction). All models of a row had the same share.",
        _MEANS,
        *series.remarks,
    )
    title = titled("Scores by label budget", f"{series.split} split", series.synthetic)
    tiles = min(one.outcome.replicates[0].tiles for one in series.budgets)
    return Table("budgets", title, columns, tuple(rows), notes, brackets_note(tiles, "intervals of the mean"))


def countries_table(series: SeriesOutcome) -> Table:
    """A row per configuration and country that was left out."""
    keys = [key for key in DRAWN if any(key in one.left_out.scores for one in series.countries)]
    columns = [
        Column("configuration", "Configuration", "text"),
        Column("country", "Country", "text"),
        Column("patches", "Patches", "count"),
        Column("tiles", "Tiles", "count"),
    ]
    for key in keys:
        columns += [
            Column(f"{key}_left_out", f"{SCORES[key]} left out", "percent"),
            Column(f"{key}_seen", f"{SCORES[key]} seen", "percent"),
            Column(f"{key}_difference", f"{SCORES[key]} difference", "percent"),
        ]
    rows = []
    for one in series.countries:
        row: list[Value] = [one.configuration, one.country, one.left_out.patches, one.left_out.replicates[0].tiles]
        for key in keys:
            row.append(one.left_out.scores.get(key))
            if one.seen is not None and key in one.seen.scores and key in one.left_out.scores:
                row += [one.seen.scores[key], difference(one.left_out, one.seen, key)]
            else:
                row += [None, None]
        rows.append(tuple(row))
    notes = (
        "Left out: the models saw no patch of the country, in training or validation. Seen: models of all countries, "
        "on the same test patches. Differences are left out minus seen, paired by tile.",
        _MEANS,
        "Means are over the classes of a country, which differ from country to country.",
        *series.remarks,
    )
    title = titled("Scores in countries left out of the training", f"{series.split} split", series.synthetic)
    tiles = [one.left_out.replicates[0].tiles for one in series.countries]
    fewest = min((number for number in tiles if number > 1), default=1)
    return Table("countries", title, tuple(columns), tuple(rows), notes, brackets_note(fewest, "intervals of the mean"))


def series_tables(series: SeriesOutcome) -> tuple[Table, ...]:
    """The tables of what there is."""
    tables = ((series.budgets, budgets_table), (series.countries, countries_table))
    return tuple(table(series) for outcomes, table in tables if outcomes)


def write_series_figure(path: Path, name: str, series: SeriesOutcome) -> None:
    """Write the figure that goes with a table, as PNG.

    Args:
        path: The file.
        name: Of the table.
        series: What is shown.

    Raises:
        OSError: If it cannot be written.
    """
    from seg.figures.dots import DotRow, dot_picture
    from seg.figures.series import BudgetPoint, budgets_figure
    from seg.figures.style import write_png

    if name == "budgets":
        drawn = [key for key in DRAWN if any(key in one.outcome.scores for one in series.budgets)]
        curves: dict[str, list[BudgetPoint]] = {}
        for one in series.budgets:
            scores = {SCORES[key]: _dot(one.outcome.scores.get(key)) for key in drawn}
            curves.setdefault(one.configuration, []).append(BudgetPoint(one.fraction, scores))
        title = f"Scores by label budget, {series.split} split"
        figure = budgets_figure(curves, [SCORES[key] for key in drawn], title=title, synthetic=series.synthetic)
        write_png(path, figure)
        return
    key, several = DRAWN[0], len({one.configuration for one in series.countries}) > 1
    rows = [
        DotRow(
            one.country,
            (_dot(one.left_out.scores.get(key)), _dot(one.seen.scores.get(key) if one.seen else None)),
            note=one.configuration if several else "",
        )
        for one in series.countries
    ]
    title = f"{series.synthetic.mark}Countries left out of the training, {series.split} split"
    write_png(path, dot_picture(rows, ("left out", "seen"), f"{SCORES[key]} %", title))


def _dot(estimate: Estimate | None) -> "Dot":
    from seg.figures.dots import Dot

    if estimate is None:
        return Dot(math.nan)
    return Dot(estimate.value, *(math.nan if end is None else end for end in (estimate.low, estimate.high)))
