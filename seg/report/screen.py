"""Tables of many columns on a terminal: upright, a row for each configuration, in parts that fit its lines."""

from collections.abc import Sequence
from itertools import takewhile

from rich.table import Table as RichTable
from rich.text import Text

from seg.report.formats import Column, Table, shown

_FRAME = 3
"""Characters that a column takes beside its text; the table takes one more."""


def in_parts(table: Table, width: int) -> list[RichTable]:
    """The table in as few parts as fit, each with the columns that name the rows.

    Where one part is enough, cells stand on one line; else an interval stands below its value. Lines end between words;
    a single word that is longer than the terminal is the only one that is broken.

    Args:
        table: The table.
        width: Characters in a line of the terminal.
    """
    cells = [[shown(column, row[i]) for row in table.rows] for i, column in enumerate(table.columns)]
    names = len(list(takewhile(lambda column: column.left, table.columns))) or 1
    wide = [max(map(len, [column.heading, *lines])) for column, lines in zip(table.columns, cells, strict=True)]
    if sum(wide) + _FRAME * len(wide) + 1 <= width:
        return [_part(table, cells, wide, range(len(wide)), first=True, last=True)]
    cells = [lines if i < names else [line.replace(" [", "\n[") for line in lines] for i, lines in enumerate(cells)]
    widths = _widths(table.columns, cells, names, width)
    room = width - 1 - sum(widths[:names]) - _FRAME * names
    parts: list[list[int]] = [[]]
    for i in range(names, len(widths)):
        taken = sum(widths[j] + _FRAME for j in parts[-1])
        if parts[-1] and taken + widths[i] + _FRAME > room:
            parts.append([])
        parts[-1].append(i)
    return [
        _part(table, cells, widths, [*range(names), *part], first=part is parts[0], last=part is parts[-1])
        for part in parts
    ]


def _widths(columns: Sequence[Column], cells: list[list[str]], names: int, width: int) -> list[int]:
    """Characters of each column: whole lines where there are values, words where there are names."""
    widths = []
    for i, (column, texts) in enumerate(zip(columns, cells, strict=True)):
        words = max((len(word) for text in [column.heading, *texts] for word in text.split()), default=1)
        lines = max((len(line) for text in texts for line in text.splitlines()), default=1)
        if i < names:
            room = max(words, (width // 2) // names)
            widths.append(min(max(lines, words, len(column.heading)), room))
        else:
            widths.append(max(words, lines))
    # One name may be longer than all there is; the values need theirs.
    least = max(widths[names:], default=0) + _FRAME + 1
    for i in range(names):
        widths[i] = max(1, min(widths[i], (width - least) // names - _FRAME))
    return widths


def _part(
    table: Table, cells: list[list[str]], widths: Sequence[int], chosen: Sequence[int], *, first: bool, last: bool
) -> RichTable:
    title = table.title if first else f"{table.title} (continued)"
    caption = Text("\n".join(table.all_notes)) if last and table.all_notes else None
    part = RichTable(title=Text(title), caption=caption)
    for i in chosen:
        justify = "left" if table.columns[i].left else "right"
        part.add_column(Text(table.columns[i].heading), justify=justify, width=widths[i], overflow="fold")  # type: ignore[arg-type]
    for row in range(len(table.rows)):
        # Text keeps rich from reading square brackets in names as markup.
        part.add_row(*(Text(cells[i][row]) for i in chosen))
    return part
