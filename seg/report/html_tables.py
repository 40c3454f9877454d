"""Tables and confusion counts as what the template of the HTML report shows."""

import math
from dataclasses import dataclass

from seg.metrics.ratio import ratio
from seg.metrics.sparse import Counts
from seg.reben.classes import CLASSES, NUM_CLASSES
from seg.report.formats import UNDEFINED, Estimate, Table, Value, shown

_CLASS_OF_NAME = {c.name: c for c in CLASSES}
_LONG = 24
"""Rows from which on a table scrolls in a box of its own."""


@dataclass(frozen=True)
class Heading:
    """Head of a column; `numeric` columns are sorted as numbers and aligned right."""

    text: str
    numeric: bool


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What is shown.
        sort: What the column is sorted by, in full precision; empty where undefined.
        interval: The interval or deviation after the value; empty without.
        color: CSS colour of a swatch before the text; empty without.
        full: The official name, where the text is a short one.
    """

    text: str
    sort: str
    interval: str = ""
    color: str = ""
    full: str = ""


@dataclass(frozen=True)
class HtmlTable:
    """A table of the report; `long` ones scroll in a box of their own."""

    name: str
    title: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    long: bool


@dataclass(frozen=True)
class ConfusionCell:
    """A cell of the confusion matrix.

    Attributes:
        text: Percent of the true class, without decimals; empty below half a percent.
        share: The same from 0 to 1, with 3 decimals, for the colour.
        title: Classes, share and count in words.
    """

    text: str
    share: str
    title: str
    right: bool


@dataclass(frozen=True)
class ConfusionRow:
    """Row of a true class; no cells where the reference does not have it."""

    name: str
    color: str
    pixels: str
    cells: tuple[ConfusionCell, ...]


def html_table(table: Table) -> HtmlTable:
    """A table for the page: short names of classes with their colours, and keys to sort by."""
    rows = tuple(tuple(_cell(table, position, value) for position, value in enumerate(row)) for row in table.rows)
    headings = tuple(Heading(column.heading.replace(" %", "\u00a0%"), not column.left) for column in table.columns)
    return HtmlTable(table.name, table.title, headings, rows, table.all_notes, len(rows) > _LONG)


def _cell(table: Table, position: int, value: Value) -> Cell:
    column = table.columns[position]
    text = shown(column, value)
    if isinstance(value, str):
        known = _CLASS_OF_NAME.get(value) if column.kind == "class" else None
        if known is None:
            return Cell(text, text)
        return Cell(known.short, known.short, color=css_color(known.color), full=known.name)
    number = value.value if isinstance(value, Estimate) else value
    if number is None or math.isnan(number):
        return Cell(UNDEFINED, "")
    number_text, separator, interval = text.partition(" ")
    return Cell(number_text, repr(number), separator + interval)


def confusion_rows(counts_KK: Counts) -> tuple[ConfusionRow, ...]:
    """Confusion counts, int64 true x predicted, as shares of each true class."""
    support = counts_KK.sum(axis=1)
    share_KK = ratio(counts_KK, support[:, None].repeat(NUM_CLASSES, axis=1), counts_KK >= 0)
    rows = []
    for true in CLASSES:
        cells = []
        for predicted in CLASSES if support[true.index] else ():
            share, pixels = float(share_KK[true.index, predicted.index]), int(counts_KK[true.index, predicted.index])
            right = true is predicted
            what = "predicted right" if right else f"predicted as {predicted.name}"
            title = f"{true.name}, {what}: {100 * share:.2f} % ({pixels:,} of {support[true.index]:,} pixels)"
            text = f"{100 * share:.0f}" if share >= 0.005 else ""
            cells.append(ConfusionCell(text, f"{share:.3f}", title, right))
        rows.append(ConfusionRow(true.short, css_color(true.color), f"{support[true.index]:,}", tuple(cells)))
    return tuple(rows)


def css_color(color: tuple[int, int, int]) -> str:
    """Red, green, blue (0-255) for CSS."""
    return "#{:02x}{:02x}{:02x}".format(*color)
