"""Tables and confusion counts as what the template of the HTML report shows."""

import math
from typing import NamedTuple

from seg.metrics.ratio import ratio
from seg.metrics.sparse import Counts
from seg.reben.classes import CLASSES, NUM_CLASSES, hexadecimal
from seg.report.formats import UNDEFINED, Column, Estimate, Table, Value, shown

_CLASS_OF_NAME = {c.name: c for c in CLASSES}
_PAST_DARK, _PAST_LIGHT = 0.515, 0.695
"""Shares from which on black digits are easier to read on the dark page, and white ones on the light page."""
_LONG = 24
"""Rows from which on a table scrolls in a box of its own."""


class Heading(NamedTuple):
    """Head of a column; `numeric` columns are sorted as numbers and aligned right."""

    text: str
    numeric: bool


class Cell(NamedTuple):
    """A cell: its text, what it is sorted by, its interval, and of a class the CSS colour and the official name."""

    text: str
    sort: str
    interval: str = ""
    color: str = ""
    full: str = ""


class HtmlTable(NamedTuple):
    """A table of the report; `long` ones scroll in a box of their own."""

    name: str
    title: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    long: bool


class ConfusionCell(NamedTuple):
    """Percent of the true class, empty below half a percent; the same from 0 to 1; in words; and CSS classes."""

    text: str
    share: str
    title: str
    classes: str


class ConfusionRow(NamedTuple):
    """Row of a true class; no cells where the reference does not have it."""

    name: str
    color: str
    pixels: str
    cells: tuple[ConfusionCell, ...]


def html_table(table: Table) -> HtmlTable:
    """A table for the page: short names of classes with their colours, and keys to sort by."""
    rows = tuple(tuple(map(_cell, table.columns, row)) for row in table.rows)
    headings = tuple(Heading(column.heading.replace(" %", "\u00a0%"), not column.left) for column in table.columns)
    return HtmlTable(table.name, table.title, headings, rows, table.all_notes, len(rows) > _LONG)


def _cell(column: Column, value: Value) -> Cell:
    text = shown(column, value)
    if isinstance(value, str):
        known = _CLASS_OF_NAME.get(value) if column.kind == "class" else None
        return Cell(known.short, known.short, "", hexadecimal(known.color), known.name) if known else Cell(text, text)
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
            marks = {"right": right, "past-dark": share > _PAST_DARK, "past-light": share > _PAST_LIGHT}
            classes = " ".join(name for name, applies in marks.items() if applies)
            cells.append(ConfusionCell(f"{100 * share:.0f}" if share >= 0.005 else "", f"{share:.3f}", title, classes))
        rows.append(ConfusionRow(true.short, hexadecimal(true.color), f"{support[true.index]:,}", tuple(cells)))
    return tuple(rows)
