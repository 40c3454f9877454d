"""Tables for spreadsheets, R and GIS: one CSV with a header and numbers, and beside it what type each column has."""

from seg.report.formats import Column, Scalar, Table, csv_text, machine_cells

_DECIMALS = {"hectares": 4, "percent": 6, "number": 6, "p_value": 6}
"""A square metre; a millionth."""
_MARK = "synthetic"
_TYPES = {"class": "String", "text": "String", "count": "Integer"}


def plain_csv(table: Table) -> str:
    """CSV with the keys of the columns as header, fractions and hectares as plain numbers, undefined values empty.

    What is simulated says so in a last column.
    """
    keys, rows = machine_cells(table)
    mark = [table.synthetic] if table.synthetic else []
    kinds = {column.key: column.kind for column in table.columns}
    return csv_text(
        [
            [*keys, *([_MARK] if mark else [])],
            *([*(_rounded(cell, kinds[key]) for cell, key in zip(row, keys, strict=True)), *mark] for row in rows),
        ]
    )


def column_types(table: Table) -> str:
    """The text of the ``.csvt`` beside a CSV, by which GDAL and QGIS know the types: of tables without estimates."""
    types = [_type(column) for column in table.columns] + ["String"] * bool(table.synthetic)
    return ",".join(f'"{name}"' for name in types) + "\n"


def _type(column: Column) -> str:
    return _TYPES.get(column.kind, "Real")


def _rounded(cell: Scalar, kind: str) -> Scalar:
    return round(cell, _DECIMALS[kind]) if isinstance(cell, float) and kind in _DECIMALS else cell
