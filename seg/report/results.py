"""The files of an evaluation: ``scores.json``, ``per_class.csv`` and the tables; writing them, and checking them."""

import math
import re
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from seg.metrics.assess import Assessment
from seg.metrics.jackknife import LEVEL, METHOD
from seg.metrics.scores import DEFINITIONS
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.report import detail_tables as details
from seg.report.coverage import brackets_note
from seg.report.formats import FORMATS, Estimate, Table, table_title, tidy_csv
from seg.report.record import json_text
from seg.report.tables import per_class, score_tables
from seg.store.atomic import write_text

SCORES_FILE = "scores.json"
RESULT_FILES = (SCORES_FILE, "per_class.csv", "tables.md", "tables.tex", "tables.csv")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_UNCHECKED = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]*|<title>.*?</title>|<h1\b.*?</h1>")
"""What of a page does not follow from the evidence: images, and the name of the run, whose folder may be renamed."""
_EXCERPT = 60
"""Characters that are shown of a line that differs."""
_TOLERANCE = 1e-9
"""Relative difference that another processor may make in the last digits of a sum."""


@lru_cache(maxsize=1)
def summary_tables(assessment: Assessment) -> tuple[Table, ...]:
    """The tables that a user sees first: the scores with their intervals."""
    tables = score_tables(assessment.scores, assessment.intervals)
    note = brackets_note(assessment.tiles)
    return tuple(replace(table, brackets=note) if _has_interval(table) else table for table in tables)


@lru_cache(maxsize=1)
def detail_tables(assessment: Assessment) -> tuple[Table, ...]:
    """The tables beyond the scores, those that apply to the model."""
    origin, joint = assessment.scores.origin, assessment.joint
    tables = (
        details.slices_table(assessment.slices, origin),
        details.confused_table(assessment.confused, origin),
        details.hierarchy_table(assessment.hierarchy, origin),
        details.boundary_table(assessment.boundary, origin),
        details.calibration_table(assessment.pixel_calibration, assessment.scene_calibration, origin),
        details.calibration_per_class(assessment.scene_calibration, origin),
        details.implied_table(joint, origin),
        details.pooled_table(joint, origin),
        details.pooled_per_class(joint, origin),
        details.disagreement_table(joint, origin),
    )
    return tuple(table for table in tables if table is not None)


def result_files(assessment: Assessment) -> dict[str, str]:
    """The content of the files of an evaluation by name."""
    tables = (*summary_tables(assessment), *detail_tables(assessment))
    return {
        SCORES_FILE: json_text(document(assessment)),
        "per_class.csv": FORMATS["csv"](per_class(assessment.scores, assessment.intervals)),
        "tables.md": "\n".join(map(FORMATS["md"], tables)),
        "tables.tex": "% needs \\usepackage{booktabs}\n\n" + "\n".join(map(FORMATS["tex"], tables)),
        "tables.csv": tidy_csv(tables),
    }


def write_results(folder: Path, assessment: Assessment) -> None:
    """Write the files of an evaluation into a folder, which is made if need be. Each appears complete or not at all.

    Raises:
        OSError: If a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in result_files(assessment).items():
        write_text(folder / name, text)


def differing_results(folder: Path, assessment: Assessment) -> list[str]:
    """Where the files of an evaluation say something else than its evidence; a sentence each.

    Numbers may differ by a billionth, as another processor may add them up in another order.
    """
    found = []
    for name, expected in result_files(assessment).items():
        if (sentence := difference(folder / name, expected)) is not None:
            found.append(sentence)
    return found


def difference(path: Path, expected: str) -> str | None:
    """Where a file says something else than expected, in a sentence; None if it does not.

    Of a page, images and the name of the run are not compared.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return f"{path} is missing or cannot be read"
    return text_difference(str(path), _UNCHECKED.sub("", text), _UNCHECKED.sub("", expected))


def text_difference(name: str, text: str, expected: str) -> str | None:
    """Where a text says something else than expected, in a sentence; None if it does not.

    Args:
        name: Of its file.
        text, expected: Compared line by line; numbers may differ by a billionth.
    """
    # Other characters that end lines for some are part of them for others.
    lines, wanted = (one.removesuffix("\n").split("\n") for one in (text, expected))
    for number, (line, want) in enumerate(zip(lines, wanted, strict=False), 1):
        if line == f"{want}\r":
            return f"{name}, line {number} ends with a carriage return, which some programs add to every line"
        if not _same(line, want):
            here, there = _excerpts(line, want)
            return f"{name}, line {number}: '{here}', but the evidence gives '{there}'"
    if len(lines) != len(wanted):
        return f"{name} has {len(lines)} lines, but the evidence gives {len(wanted)}"
    return None


def _excerpts(line: str, want: str) -> tuple[str, str]:
    """Two lines around the place where they begin to differ."""
    pairs = enumerate(zip(line, want, strict=False))
    place = next((i for i, (a, b) in pairs if a != b), min(len(line), len(want)))
    begin = max(0, place - _EXCERPT // 2)
    return line[begin : begin + _EXCERPT].strip(), want[begin : begin + _EXCERPT].strip()


def _same(line: str, want: str) -> bool:
    if line == want:
        return True
    numbers, wanted = _NUMBER.findall(line), _NUMBER.findall(want)
    return _NUMBER.split(line) == _NUMBER.split(want) and all(
        math.isclose(float(a), float(b), rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        for a, b in zip(numbers, wanted, strict=True)
    )


def document(assessment: Assessment) -> dict[str, Any]:
    """Everything in an assessment for ``scores.json``: fractions in full precision, None where a score is undefined.

    Scores per class stand under ``per_class`` by official class name.
    """
    scores, origin = assessment.scores, assessment.scores.origin
    return {
        "title": table_title(origin, "Scores"),
        "definitions": DEFINITIONS,
        "split": origin.split,
        "without": origin.without,
        **({"countries": list(origin.countries)} if origin.countries else {}),
        **({"mmu": origin.unit} if origin.unit else {}),
        **({"context": origin.context, "context_split": origin.context_split} if origin.context else {}),
        **({"left_out": origin.left_out} if origin.left_out else {}),
        "patches": scores.patches,
        "fingerprint": origin.fingerprint,
        "synthetic": bool(origin.simulated),
        "synthetic_data": origin.synthetic,
        "synthetic_model": origin.synthetic_model,
        "weights": origin.weights,
        "classes": list(CLASS_NAMES),
        "pixel": _section(scores.pixel) if origin.masks else None,
        "scene": _section(scores.scene),
        "scene_fitted": _section(scores.scene_fitted),
        "joint": _section(scores.joint) if origin.masks else None,
        "intervals": {
            "method": METHOD,
            "level": LEVEL,
            "tiles": assessment.tiles,
            **{name: _section(interval) for name, interval in assessment.intervals.items()},
        },
        "boundary": _section(assessment.boundary),
        "hierarchy": _section(assessment.hierarchy) if origin.masks else None,
        "pixel_calibration": _section(assessment.pixel_calibration),
        "scene_calibration": _section(assessment.scene_calibration),
        "joint_details": _section(assessment.joint),
        "slices": _section(assessment.slices),
        "confusion": assessment.counts_KK.tolist() if origin.masks else None,
    }


def _section(part: Any) -> Any:
    """A value for JSON; of a dataclass, arrays over the classes are spread by class name."""
    if isinstance(part, tuple | list):
        return [_section(item) for item in part]
    if isinstance(part, np.ndarray):
        return part.tolist()
    if not is_dataclass(part):
        return part
    values: dict[str, Any] = {}
    by_class: dict[str, dict[str, Any]] = {name: {} for name in CLASS_NAMES}
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, np.ndarray) and value.shape == (NUM_CLASSES,):
            for name, entry in zip(CLASS_NAMES, value.tolist(), strict=True):
                by_class[name][field.name] = entry
        else:
            values[field.name] = _section(value)
    return values | ({"per_class": by_class} if by_class[CLASS_NAMES[0]] else {})


def _has_interval(table: Table) -> bool:
    return any(isinstance(cell, Estimate) for row in table.rows for cell in row)
