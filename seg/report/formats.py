"""The table model, and its rendering as Markdown, LaTeX, CSV, JSON and on a terminal."""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Literal

from rich.table import Table as RichTable
from rich.text import Text

from seg.config.synthetic import Synthetic
from seg.metrics.evidence import Origin
from seg.reben.classes import CLASSES

Kind = Literal["class", "text", "percent", "number", "count", "millions", "hectares", "p_value"]

UNDEFINED = "–"
"""What a reader sees where a score is undefined."""

_SHORT = {c.name: c.short for c in CLASSES}
_DECIMALS = {"percent": 2, "number": 4, "hectares": 2, "p_value": 4}
_LEAST_P = 0.0001
"""No p-value is shown as zero, which none is."""
_UNITS = {"percent": " %", "millions": " (millions)", "hectares": " (ha)"}
_PARTS = ("sd", "low", "high")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "±": r"$\pm$",
} | {character: "\\" + character for character in "&%$#_{}"}
_LATEX_SPECIAL = re.compile("|".join(map(re.escape, _LATEX)))
_MARKDOWN_SPECIAL = re.compile(r"[\\|`*<~$&]|(?<!\w)_|_(?!\w)|\((?<=\]\()|:(?=//)|(?<=\bwww)\.")
"""What makes something else of text: not brackets alone, which stand around intervals, but what makes links of them."""
_FORMULA = tuple("=+-@＝＋－＠")
"""What makes a formula of a cell of CSV in programs that compute tables."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score in a cell, with how much it varies; NaN where something is undefined, None where it was not asked for.

    Readers see ``29.7 ± 0.4 [27.1, 32.0]``, one decimal less than a bare score has; machines see a column ``<key>``
    and beside it ``<key>_sd``, ``<key>_low`` and ``<key>_high``, as far as any row of the column was asked for them.

    Attributes:
        value: The score, or its mean over some seeds.
        sd: Standard deviation over the seeds.
        low, high: Interval of the value.
    """

    value: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None


Scalar = str | float | int | None
Value = Scalar | Estimate


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        key: Name for machines: CSV header and JSON key.
        title: Name for readers.
        kind: What its values are: the official name of a ``class``, ``text``, a fraction shown as ``percent``, a
            ``number``, a ``p_value``, a ``count`` shown whole or in ``millions``, an area in ``hectares``. Text is
            aligned left, all else right.
    """

    key: str
    title: str
    kind: Kind

    @property
    def left(self) -> bool:
        """True if the column is aligned left."""
        return self.kind in ("class", "text")

    @property
    def heading(self) -> str:
        """The title with the unit."""
        return self.title + _UNITS.get(self.kind, "")


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        name: Name for machines.
        title: Caption.
        columns: The columns.
        rows: One value per column; None and NaN stand for "undefined".
        notes: Sentences below the table.
        brackets: A sentence on what the brackets of estimates hold, for wherever they are shown.
        synthetic: What of it is simulated, in words, for files without a title; empty: nothing.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()
    brackets: str = ""
    synthetic: str = ""

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The notes and what the brackets hold."""
        return (*self.notes, self.brackets) if self.brackets else self.notes

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), f"{self.name}: a row does not fit the columns"


def percent_columns(*names: tuple[str, str]) -> tuple[Column, ...]:
    """Columns of fractions shown as percentages, each given by key and title."""
    return tuple(Column(key, title, "percent") for key, title in names)


def origin_table(
    name: str,
    origin: Origin,
    what: str,
    columns: Iterable[Column],
    rows: Iterable[Sequence[Value]],
    *notes: str,
) -> Table:
    """A table of one origin, which its title names; see `table_title`."""
    return Table(name, table_title(origin, what), tuple(columns), tuple(map(tuple, rows)), notes)


def table_title(origin: Origin, what: str) -> str:
    """Title of a table: what it shows, of which split, and a warning in front if data or model are synthetic."""
    return titled(what, origin.words, origin.simulated)


def titled(what: str, of_which: str, synthetic: Synthetic) -> str:
    """The same for what comes from several origins; ``test split``."""
    return f"{synthetic.warning}{what}, {of_which}"


def plain(value: Scalar) -> Scalar:
    """The value with None for NaN, which JSON does not know."""
    return None if isinstance(value, float) and math.isnan(value) else value


def shown(column: Column, value: Value) -> str:
    """A value as a reader sees it: percentages with 2 decimals, counts with separators, undefined ones as a dash."""
    if isinstance(value, Estimate):
        return _shown_estimate(column, value)
    value = plain(value)
    if value is None:
        return UNDEFINED
    if isinstance(value, str):
        return " ".join(value.split())
    if column.kind == "p_value" and value < _LEAST_P:
        return f"<{_LEAST_P}"
    if column.kind in _DECIMALS:
        return _shown_number(column, value, _DECIMALS[column.kind])
    return f"{round(value):,}" if column.kind == "count" else f"{value / 1e6:,.2f}"


def _shown_estimate(column: Column, estimate: Estimate) -> str:
    assert column.kind in _DECIMALS, f"{column.key}: estimates are percent or number, not {column.kind}"

    def text(part: float | None) -> str:
        if part is None or math.isnan(part):
            return ""
        return _shown_number(column, part, _DECIMALS[column.kind] - 1)

    value, sd, low, high = map(text, (estimate.value, estimate.sd, estimate.low, estimate.high))
    if not value:
        return UNDEFINED
    return value + (f" ± {sd}" if sd else "") + (f" [{low}, {high}]" if low and high else "")


def _shown_number(column: Column, value: float, decimals: int) -> str:
    text = f"{100 * value if column.kind == 'percent' else value:.{decimals}f}"
    return text.removeprefix("-") if not float(text) else text


def markdown(table: Table) -> str:
    """GitHub-flavoured Markdown, padded so that it reads well as plain text too."""
    lines = [[markdown_text(column.heading) for column in table.columns]]
    lines += [[markdown_text(cell) for cell in row] for row in _shown_rows(table)]
    widths = [max(3, *map(len, cells)) for cells in zip(*lines, strict=True)]
    rules = ["-" * w if c.left else "-" * (w - 1) + ":" for c, w in zip(table.columns, widths, strict=True)]
    lines.insert(1, rules)
    padded = [
        [cell.ljust(w) if c.left else cell.rjust(w) for cell, c, w in zip(line, table.columns, widths, strict=True)]
        for line in lines
    ]
    body = "\n".join(f"| {' | '.join(line)} |" for line in padded)
    notes = "".join(f"\n{markdown_text(note)}\n" for note in table.all_notes)
    return f"### {markdown_text(table.title)}\n\n{body}\n{notes}"


def latex(table: Table) -> str:
    """A LaTeX ``table`` that needs the package booktabs."""
    lines = [[_latex_text(column.heading) for column in table.columns]]
    lines += [[_latex_text(cell) for cell in row] for row in _shown_rows(table)]
    # A bracket that follows the end of a row or a rule would be read as its option.
    header, *body = [f"    {'{}' * line[0].startswith('[')}{' & '.join(line)} \\\\" for line in lines]
    notes = [f"  \\par\\smallskip\\footnotesize {_latex_text(note)}" for note in table.all_notes]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            f"  \\caption{{{_latex_text(table.title)}}}",
            f"  \\begin{{tabular}}{{{''.join('l' if column.left else 'r' for column in table.columns)}}}",
            r"    \toprule",
            header,
            r"    \midrule",
            *body,
            r"    \bottomrule",
            r"  \end{tabular}",
            *notes,
            r"\end{table}",
            "",
        ]
    )


def comma_separated(table: Table) -> str:
    """CSV with fractions in full precision; undefined values are empty. The first column repeats the title."""
    keys, rows = machine_cells(table)
    return csv_text([["title", *keys], *([table.title, *row] for row in rows)])


def as_json(table: Table) -> str:
    """JSON with fractions in full precision; undefined values are null."""
    return json.dumps(document(table), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(table: Table) -> dict[str, Any]:
    """The table for JSON: ``name``, ``title``, ``rows`` by the keys of the columns, ``notes``; None for undefined."""
    keys, rows = machine_cells(table)
    return {
        "name": table.name,
        "title": table.title,
        "rows": [dict(zip(keys, row, strict=True)) for row in rows],
        "notes": list(table.all_notes),
    }


FORMATS: dict[str, Callable[[Table], str]] = {
    "md": markdown,
    "tex": latex,
    "csv": comma_separated,
    "json": as_json,
}
"""How a table becomes the text of a file, by file suffix."""


def tidy_csv(tables: Sequence[Table]) -> str:
    """Several tables as one CSV with a value per line: title, table, row, column, value.

    A row is named by its first value, or by all the names that it begins with, such as a true and a predicted class.
    """
    lines: list[list[Scalar]] = [["title", "table", "row", "column", "value"]]
    for table in tables:
        keys, rows = machine_cells(table)
        names = max(1, len(list(takewhile(lambda column: column.left, table.columns))))
        for row in rows:
            name = row[0] if names == 1 else " / ".join(map(str, row[:names]))
            for key, value in zip(keys[names:], row[names:], strict=True):
                lines.append([table.title, table.name, name, key, value])
    return csv_text(lines)


def to_rich(table: Table) -> RichTable:
    """The table for a terminal of 80 columns, with short class names.

    A summary without classes that has fewer rows than columns is turned on its side; any other table stands as it is. A
    table of one row per class has no room for intervals.
    """
    by_class = any(column.kind == "class" for column in table.columns)
    if by_class:
        rows = tuple(tuple(cell.value if isinstance(cell, Estimate) else cell for cell in row) for row in table.rows)
        table = replace(table, rows=rows, brackets="")
    caption = Text("\n".join(table.all_notes)) if table.all_notes else None
    rendered = RichTable(title=Text(table.title), caption=caption)
    lines = [[column.heading for column in table.columns], *_shown_rows(table)]
    if not by_class and len(table.rows) < len(table.columns):
        lines = [list(line) for line in zip(*lines, strict=True)]
        left = [True] + [False] * len(table.rows)
    else:
        left = [column.left for column in table.columns]
    # Text keeps rich from reading square brackets in names as markup.
    for heading, is_left in zip(lines[0], left, strict=True):
        rendered.add_column(Text(heading), justify="left" if is_left else "right", overflow="fold")
    for line in lines[1:]:
        rendered.add_row(*(Text(_SHORT.get(cell, cell)) for cell in line))
    return rendered


def _shown_rows(table: Table) -> list[list[str]]:
    return [[shown(column, value) for column, value in zip(table.columns, row, strict=True)] for row in table.rows]


def machine_cells(table: Table) -> tuple[list[str], list[list[Scalar]]]:
    """Keys and rows for machines: an estimate takes a column for its value and one for each part asked for."""
    keys: list[str] = []
    columns: list[list[Scalar]] = []
    for position, column in enumerate(table.columns):
        cells = [row[position] for row in table.rows]
        estimates = [cell for cell in cells if isinstance(cell, Estimate)]
        keys.append(column.key)
        columns.append([plain(cell.value if isinstance(cell, Estimate) else cell) for cell in cells])
        for part in _PARTS:
            if any(getattr(estimate, part) is not None for estimate in estimates):
                keys.append(f"{column.key}_{part}")
                columns.append([plain(getattr(cell, part)) if isinstance(cell, Estimate) else None for cell in cells])
    return keys, [list(row) for row in zip(*columns, strict=True)]


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is: names come from anybody."""
    return _MARKDOWN_SPECIAL.sub(r"\\\g<0>", text)


def _latex_text(text: str) -> str:
    return _LATEX_SPECIAL.sub(lambda match: _LATEX[match[0]], text)


def csv_text(lines: Sequence[Sequence[Scalar]]) -> str:
    """Lines of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_harmless(cell) for cell in line] for line in lines)
    return text.getvalue()


def _harmless(cell: Scalar) -> Scalar:
    """A cell that no program computes: text like a formula begins with an apostrophe, as such programs write it."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip().startswith(_FORMULA) else cell
