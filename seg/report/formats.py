"""The table model, and its rendering as Markdown, LaTeX, CSV, JSON and on a terminal."""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

from rich.table import Table as RichTable
from rich.text import Text

from seg.metrics.evidence import Origin
from seg.reben.classes import CLASSES

Kind = Literal["class", "text", "percent", "number", "count"]
Value = str | float | int | None

UNDEFINED = "–"
"""What a reader sees where a score is undefined."""

_SHORT = {c.name: c.short for c in CLASSES}
_DECIMALS = {"percent": 2, "number": 4}
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
} | {character: "\\" + character for character in "&%$#_{}"}
_LATEX_SPECIAL = re.compile("|".join(map(re.escape, _LATEX)))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        key: Name for machines: CSV header and JSON key.
        title: Name for readers.
        kind: What its values are: the official name of a ``class``, ``text``, a fraction shown as ``percent``, a
            ``number``, a whole ``count``. Text is aligned left, all else right.
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
        return f"{self.title} %" if self.kind == "percent" else self.title


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        name: Name for machines.
        title: Caption.
        columns: The columns.
        rows: One value per column; None and NaN stand for "undefined".
        notes: Sentences below the table.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), f"{self.name}: a row does not fit the columns"


def percent_columns(*names: tuple[str, str]) -> tuple[Column, ...]:
    """Columns of fractions shown as percentages, each given by key and title."""
    return tuple(Column(key, title, "percent") for key, title in names)


def table_title(origin: Origin, what: str) -> str:
    """Title of a table: what it shows, of which split, and a warning in front if the data are synthetic."""
    warning = "SYNTHETIC data, no benchmark result: " if origin.synthetic else ""
    return f"{warning}{what}, {origin.split} split"


def plain(value: Value) -> Value:
    """The value with None for NaN, which JSON does not know."""
    return None if isinstance(value, float) and math.isnan(value) else value


def shown(column: Column, value: Value) -> str:
    """A value as a reader sees it: percentages with 2 decimals, counts with separators, undefined ones as a dash."""
    value = plain(value)
    if value is None:
        return UNDEFINED
    if isinstance(value, str):
        return " ".join(value.split())
    if column.kind == "count":
        return f"{value:,}"
    return f"{100 * value if column.kind == 'percent' else value:.{_DECIMALS[column.kind]}f}"


def markdown(table: Table) -> str:
    """GitHub-flavoured Markdown, padded so that it reads well as plain text too."""
    lines = [[_markdown_text(column.heading) for column in table.columns]]
    lines += [[_markdown_text(cell) for cell in row] for row in _shown_rows(table)]
    widths = [max(3, *map(len, cells)) for cells in zip(*lines, strict=True)]
    rules = ["-" * w if c.left else "-" * (w - 1) + ":" for c, w in zip(table.columns, widths, strict=True)]
    lines.insert(1, rules)
    padded = [
        [cell.ljust(w) if c.left else cell.rjust(w) for cell, c, w in zip(line, table.columns, widths, strict=True)]
        for line in lines
    ]
    body = "\n".join(f"| {' | '.join(line)} |" for line in padded)
    notes = "".join(f"\n{_markdown_text(note)}\n" for note in table.notes)
    return f"### {_markdown_text(table.title)}\n\n{body}\n{notes}"


def latex(table: Table) -> str:
    """A LaTeX ``table`` that needs the package booktabs."""
    lines = [[_latex_text(column.heading) for column in table.columns]]
    lines += [[_latex_text(cell) for cell in row] for row in _shown_rows(table)]
    header, *body = [f"    {' & '.join(line)} \\\\" for line in lines]
    notes = [f"  \\par\\smallskip\\footnotesize {_latex_text(note)}" for note in table.notes]
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
    header = ["title", *(column.key for column in table.columns)]
    return _csv([header, *([table.title, *map(plain, row)] for row in table.rows)])


def as_json(table: Table) -> str:
    """JSON with fractions in full precision; undefined values are null."""
    keys = [column.key for column in table.columns]
    document: dict[str, Any] = {
        "name": table.name,
        "title": table.title,
        "rows": [dict(zip(keys, map(plain, row), strict=True)) for row in table.rows],
        "notes": list(table.notes),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


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
    lines: list[list[Value]] = [["title", "table", "row", "column", "value"]]
    for table in tables:
        names = max(1, len(list(takewhile(lambda column: column.left, table.columns))))
        for row in table.rows:
            name = row[0] if names == 1 else " / ".join(map(str, row[:names]))
            for column, value in zip(table.columns[names:], row[names:], strict=True):
                lines.append([table.title, table.name, name, column.key, plain(value)])
    return _csv(lines)


def to_rich(table: Table) -> RichTable:
    """The table for a terminal of 80 columns, with short class names.

    A summary without classes that has fewer rows than columns is turned on its side; any other table stands as it is.
    """
    rendered = RichTable(title=Text(table.title), caption=Text("\n".join(table.notes)) if table.notes else None)
    lines = [[column.heading for column in table.columns], *_shown_rows(table)]
    if len(table.rows) < len(table.columns) and all(column.kind != "class" for column in table.columns):
        lines = [list(line) for line in zip(*lines, strict=True)]
        left = [True] + [False] * len(table.rows)
    else:
        left = [column.left for column in table.columns]
    # Text keeps rich from reading square brackets in names as markup.
    for heading, is_left in zip(lines[0], left, strict=True):
        rendered.add_column(Text(heading), justify="left" if is_left else "right")
    for line in lines[1:]:
        rendered.add_row(*(Text(_SHORT.get(cell, cell)) for cell in line))
    return rendered


def _shown_rows(table: Table) -> list[list[str]]:
    return [[shown(column, value) for column, value in zip(table.columns, row, strict=True)] for row in table.rows]


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\|`*<])", r"\\\1", text)


def _latex_text(text: str) -> str:
    return _LATEX_SPECIAL.sub(lambda match: _LATEX[match[0]], text)


def _csv(lines: Sequence[Sequence[Value]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
