"""What follows from the evidence and the answers of an entry: its page, its scores as JSON, its citation."""

from seg.benchmark.form import SPDX, Answers
from seg.benchmark.outcome import Outcome
from seg.benchmark.protocol import PROTOCOL
from seg.config.synthetic import Synthetic
from seg.config.yaml_text import dump
from seg.metrics.jackknife import LEVEL
from seg.reben.classes import CLASS_NAMES
from seg.report.compare_tables import SCORES
from seg.report.formats import Column, Table, Value, document, markdown, markdown_text, percent_columns
from seg.report.record import json_text

PAGE_FILE, SCORES_FILE, CITATION_FILE = "README.md", "scores.json", "CITATION.cff"


def derived_files(answers: Answers, outcome: Outcome, synthetic: Synthetic, patches: int) -> dict[str, str]:
    """The files of a submission that follow from the others, by name.

    Args:
        answers: Its answers.
        outcome: What its evidence comes to.
        synthetic: Which of data and model is simulated.
        patches: Patches that it was scored on.
    """
    tables = (scores_table(outcome, synthetic), classes_table(outcome, synthetic))
    head = {"protocol": PROTOCOL, "name": answers.name, "track": answers.track.name, "synthetic": bool(synthetic)}
    head |= {"patches": patches, "tiles": outcome.seeds[0].replicates.tiles}
    return {
        PAGE_FILE: _page(answers, tables, synthetic, patches),
        SCORES_FILE: json_text(head | {table.name: document(table) for table in tables}),
        CITATION_FILE: _citation(answers),
    }


def scores_table(outcome: Outcome, synthetic: Synthetic) -> Table:
    """A row per seed, and their mean."""
    keys = [key for key in SCORES if key in outcome.keys]
    rows: list[tuple[Value, ...]] = []
    if len(outcome.seeds) > 1:
        rows = [(f"seed {one.seed}", *(one.estimates[key] for key in keys)) for one in outcome.seeds]
    means = outcome.estimates
    rows.append((f"mean of {len(outcome.seeds)}" if rows else "once", *(means[key] for key in keys)))
    columns = (Column("seed", "Seed", "text"), *percent_columns(*((key, SCORES[key]) for key in keys)))
    note = "± is the standard deviation over the seeds. F1 is that at 0.5."
    # What such intervals cover is for tables of today; a page that is verified for years says what they are.
    tiles = outcome.seeds[0].replicates.tiles
    brackets = f"Brackets hold {100 * LEVEL:g} % intervals from leaving out each of the {tiles} S2 tiles in turn."
    return Table("scores", f"{synthetic.warning}Scores, test split", columns, tuple(rows), (note,), brackets)


def classes_table(outcome: Outcome, synthetic: Synthetic) -> Table:
    """A row per class, means over the seeds."""
    titles = {"iou": "IoU", "ap": "AP"}
    values = outcome.per_class
    columns = (Column("class", "Class", "class"), *percent_columns(*((name, titles[name]) for name in values)))
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (name, *(float(values[key][k]) for key in values)) for k, name in enumerate(CLASS_NAMES)
    )
    return Table("classes", f"{synthetic.warning}Scores by class, means over the seeds, test split", columns, rows)


def statements_table(answers: Answers) -> Table:
    """What the authors state, an answer per row."""
    columns = (Column("statement", "Statement", "text"), Column("answer", "Answer", "text"))
    rows = tuple((name.replace("_", " "), _answer(value)) for name, value in answers.model_dump().items())
    return Table("statements", "What the authors state", columns, rows)


def _answer(value: object) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _page(answers: Answers, tables: tuple[Table, ...], synthetic: Synthetic, patches: int) -> str:
    authors = markdown_text(", ".join(answers.authors))
    return "\n".join(
        [
            f"# {markdown_text(answers.name)}",
            "",
            *([f"**{synthetic.words.upper()}.** {synthetic.sentence}", ""] if synthetic else []),
            f"In a sentence: {markdown_text(answers.summary)}",
            "",
            f"An entry to the benchmark of land-cover segmentation on reBEN, protocol {PROTOCOL}, scored on",
            f"{patches:,} patches. Track: {answers.track.words}.",
            "",
            *map(markdown, (*tables, statements_table(answers))),
            "Every score follows from the evidence in `seeds/`; verifying computes all of them anew.",
            "",
            f"By {authors}. Licence of these files: {SPDX[answers.licence]}. To cite, see `{CITATION_FILE}`, and cite",
            "reBEN itself (Clasen et al., IGARSS 2025), whose data are published under CDLA-Permissive-1.0.",
            "",
        ]
    )


def _citation(answers: Answers) -> str:
    document: dict[str, object] = {
        "cff-version": "1.2.0",
        "message": "If you use these results, please cite them, and cite reBEN itself.",
        "title": answers.name,
        "abstract": answers.summary,
        "type": "dataset",
        "authors": [{"name": name} for name in answers.authors],
        "license": SPDX[answers.licence],
    }
    return dump(document | ({"url": answers.url} if answers.url != "none" else {}))
