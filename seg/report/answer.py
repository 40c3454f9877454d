"""What a study found, as files: Markdown, CSV, JSON and a picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seg.figures.dots import Dot, DotRow, dot_picture
from seg.figures.style import write_png
from seg.report.formats import Estimate, Table, document, markdown, tidy_csv
from seg.report.record import run_record, write_json
from seg.store.atomic import write_text

_SYNTHETIC = "SYNTHETIC data, no benchmark result: "


@dataclass(frozen=True)
class Answer:
    """What a study found.

    Attributes:
        name: Of the files.
        question: The title.
        setting: How it was asked, a sentence.
        command: What made it.
        synthetic: Whether the data are; then every title says so.
        tables: The tables.
        shows, does_not: What it shows, and what it does not; a sentence or two each.
        rows: Of the picture: name and estimates of each; none for no picture.
        scores: Names of the one or two estimates.
    """

    name: str
    question: str
    setting: str
    command: str
    synthetic: bool
    tables: Sequence[Table]
    shows: str
    does_not: str
    rows: Mapping[str, Sequence[Estimate | None]]
    scores: Sequence[str]

    @property
    def title(self) -> str:
        """The question; of synthetic data it says so."""
        return self._lead + self.question

    @property
    def titled_tables(self) -> list[Table]:
        """The tables, the titles of which say if the data are synthetic."""
        return [replace(table, title=self._lead + table.title) for table in self.tables]

    @property
    def _lead(self) -> str:
        return _SYNTHETIC if self.synthetic else ""


def answer_files(name: str) -> tuple[str, ...]:
    """All that `write_answer` may write for an answer of that name, the picture last."""
    return tuple(f"{name}.{suffix}" for suffix in ("md", "csv", "json", "png"))


def write_answer(answer: Answer, folder: Path, settings: Mapping[str, Any]) -> list[Path]:
    """Write ``<name>.md``, ``.csv``, ``.json`` and, if there is a picture, ``.png``; returns the files.

    Args:
        answer: What was found.
        folder: Made if need be.
        settings: For the record.
    """
    tables = answer.titled_tables
    folder.mkdir(parents=True, exist_ok=True)
    *files, picture = (folder / name for name in answer_files(answer.name))
    parts = [f"# {answer.title}\n", f"{answer.setting}\n", *map(markdown, tables)]
    parts += [f"**What it shows.** {answer.shows}\n", f"**What it does not show.** {answer.does_not}\n"]
    parts += [f"![{answer.question}]({picture.name})\n"] if answer.rows else []
    write_text(files[0], "\n".join([*parts, f"`{answer.command}`\n"]))
    write_text(files[1], tidy_csv(tables))
    found = {"question": answer.question, "synthetic": answer.synthetic, "settings": dict(settings)}
    found |= {"shows": answer.shows, "does_not_show": answer.does_not, "tables": [document(table) for table in tables]}
    write_json(files[2], run_record(**found))
    if answer.rows:
        dots = [DotRow(name, tuple(map(_dot, estimates))) for name, estimates in answer.rows.items()]
        write_png(picture, dot_picture(dots, answer.scores, "%", answer.title))
        files.append(picture)
    return files


def _dot(estimate: Estimate | None) -> Dot:
    if estimate is None:
        return Dot(math.nan)
    low, high = (math.nan if bound is None else bound for bound in (estimate.low, estimate.high))
    return Dot(estimate.value, low, high)


def points(estimate: Estimate) -> str:
    """A difference in words: ``+3.1 points [1.2, 4.9]``."""
    low, high = (math.nan if bound is None else 100 * bound for bound in (estimate.low, estimate.high))
    return f"{100 * estimate.value:+.1f} points [{low:.1f}, {high:.1f}]"
