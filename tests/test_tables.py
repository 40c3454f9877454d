"""Score tables: values, formats, and the files."""

import csv
import io
import json
import math
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from seg.metrics.evidence import Origin, batch_evidence
from seg.metrics.scores import Scores, score_evidence
from seg.reben.classes import CLASS_NAMES, CLASSES, NUM_CLASSES
from seg.reben.patch import Split
from seg.report.formats import FORMATS, Column, Estimate, Table, document, shown, tidy_csv, to_rich
from seg.report.tables import NO_INTERVALS, TABLES, per_class, score_tables

K = NUM_CLASSES
ABSENT = 7
"""A class that is predicted but neither in the reference nor among the labels."""


def some_scores(
    head: bool = True, fitted: bool = True, synthetic: bool = False, split: Split = "test", min_share: float = 0
) -> Scores:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 500, (30, K, K)) * (rng.random((30, K, K)) < 0.1)
    counts[:, ABSENT, :] = 0
    labels = rng.random((30, K)) < 0.2
    labels[:, ABSENT] = False
    probabilities = rng.random((30, K), dtype=np.float32) if head else None
    ids = [f"patch_{i:02d}" for i in range(30)]
    thresholds = tuple(np.linspace(0.3, 0.6, K).tolist()) if fitted else None
    origin = Origin(split, "f-1", synthetic, thresholds=thresholds)
    return score_evidence(batch_evidence(origin, ids, counts, labels, probabilities), min_share)


SCORES = some_scores()
SIMPLE = Table(
    "simple",
    "Title",
    (Column("class", "Class", "class"), Column("iou", "IoU", "percent"), Column("n", "Pixels", "count")),
    (("Urban fabric", 0.123456789, 1234567), ("Pastures", math.nan, 0), ("Arable land", None, 5)),
    ("A note.",),
)


def table(name: str, scores: Scores) -> Table:
    built = TABLES[name](scores, NO_INTERVALS)
    assert built is not None
    return built


def unescaped(text: str, separator: str) -> list[str]:
    return re.split(rf"(?<!\\){re.escape(separator)}", text)


def markdown_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in unescaped(line, "|")[1:-1]] for line in lines]


def latex_rows(text: str) -> list[list[str]]:
    lines = [line.removesuffix(r"\\").strip() for line in text.splitlines() if line.endswith(r"\\")]
    return [[cell.strip() for cell in unescaped(line, "&")] for line in lines]


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_markdown_of_a_simple_table() -> None:
    assert FORMATS["md"](SIMPLE) == (
        "### Title\n\n"
        "| Class        | IoU % |    Pixels |\n"
        "| ------------ | ----: | --------: |\n"
        "| Urban fabric | 12.35 | 1,234,567 |\n"
        "| Pastures     |     – |         0 |\n"
        "| Arable land  |     – |         5 |\n"
        "\nA note.\n"
    )


def test_latex_of_a_simple_table() -> None:
    text = FORMATS["tex"](SIMPLE)
    assert latex_rows(text) == [
        ["Class", r"IoU \%", "Pixels"],
        ["Urban fabric", "12.35", "1,234,567"],
        ["Pastures", "--", "0"],
        ["Arable land", "--", "5"],
    ]
    assert r"\begin{tabular}{lrr}" in text
    assert [text.count(rf"\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == [1, 1, 1]
    assert sorted(re.findall(r"\\begin{(\w+)}", text)) == sorted(re.findall(r"\\end{(\w+)}", text))


def test_csv_of_a_simple_table_is_read_with_empty_numbers() -> None:
    text = FORMATS["csv"](SIMPLE)
    assert text.splitlines()[0] == "title,class,iou,n"
    read = pa.csv.read_csv(io.BytesIO(text.encode()))
    assert read["iou"].to_pylist() == [0.123456789, None, None]
    assert read["n"].to_pylist() == [1234567, 0, 5]


def test_json_of_a_simple_table() -> None:
    document = strict_json(FORMATS["json"](SIMPLE))
    assert document["rows"][:2] == [
        {"class": "Urban fabric", "iou": 0.123456789, "n": 1234567},
        {"class": "Pastures", "iou": None, "n": 0},
    ]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("percent", 1.0, "100.00"),
        ("percent", 0.0, "0.00"),
        ("percent", 1, "100.00"),
        ("percent", 0.76545, "76.55"),
        ("number", 0.5, "0.5000"),
        ("p_value", 0.0001, "0.0001"),
        ("p_value", 0.00006, "<0.0001"),
        ("p_value", 0.0, "<0.0001"),
        ("p_value", math.nan, "–"),
        ("count", 0, "0"),
        ("count", 10**9, "1,000,000,000"),
        ("text", " two\nlines ", "two lines"),
        ("percent", math.nan, "–"),
        ("count", None, "–"),
    ],
)
def test_what_a_reader_sees(kind: Any, value: Any, expected: str) -> None:
    assert shown(Column("x", "X", kind), value) == expected


ESTIMATES = Table(
    "estimates",
    "Title",
    (
        Column("run", "Run", "text"),
        Column("miou", "mIoU", "percent"),
        Column("ece", "ECE", "number"),
        Column("n", "Patches", "count"),
    ),
    (
        ("a", Estimate(0.297123, 0.00412, 0.27149, 0.32001), Estimate(0.0512, None, 0.0401, 0.0633), 5),
        ("[b]", Estimate(0.25, math.nan, 0.24, 0.26), Estimate(math.nan, None, math.nan, math.nan), 6),
        ("c", None, 0.25, None),
    ),
)


@pytest.mark.parametrize(
    ("kind", "estimate", "expected"),
    [
        ("percent", Estimate(0.297, 0.004, 0.271, 0.32), "29.7 ± 0.4 [27.1, 32.0]"),
        ("percent", Estimate(0.297, None, 0.271, 0.32), "29.7 [27.1, 32.0]"),
        ("percent", Estimate(0.297, math.nan, 0.271, 0.32), "29.7 [27.1, 32.0]"),
        ("percent", Estimate(0.297, 0.0), "29.7 ± 0.0"),
        ("percent", Estimate(0.297, 0.004, math.nan, math.nan), "29.7 ± 0.4"),
        ("percent", Estimate(0.297, None, 0.271, math.nan), "29.7"),
        ("percent", Estimate(0.0, 0.0, 0.0, 0.0), "0.0 ± 0.0 [0.0, 0.0]"),
        ("percent", Estimate(-0.0001, None, -0.012, 0.01), "0.0 [-1.2, 1.0]"),
        ("percent", Estimate(1, None, 1, 1), "100.0 [100.0, 100.0]"),
        ("percent", Estimate(math.nan, 0.1, 0.2, 0.3), "–"),
        ("number", Estimate(0.05124, 0.0012, 0.0401, 0.06331), "0.051 ± 0.001 [0.040, 0.063]"),
    ],
)
def test_what_a_reader_sees_of_an_estimate(kind: Any, estimate: Estimate, expected: str) -> None:
    assert shown(Column("x", "X", kind), estimate) == expected


@pytest.mark.parametrize("kind", ["class", "text", "count"])
def test_an_estimate_of_what_is_no_score_is_a_bug(kind: Any) -> None:
    with pytest.raises(AssertionError, match="estimates are percent or number"):
        shown(Column("x", "X", kind), Estimate(3))


def test_estimates_for_readers() -> None:
    assert markdown_rows(FORMATS["md"](ESTIMATES))[2:] == [
        ["a", "29.7 ± 0.4 [27.1, 32.0]", "0.051 [0.040, 0.063]", "5"],
        ["[b]", "25.0 [24.0, 26.0]", "–", "6"],
        ["c", "–", "0.2500", "–"],
    ]
    assert latex_rows(FORMATS["tex"](ESTIMATES))[1:] == [
        ["a", r"29.7 $\pm$ 0.4 [27.1, 32.0]", "0.051 [0.040, 0.063]", "5"],
        ["{}[b]", "25.0 [24.0, 26.0]", "--", "6"],
        ["c", "--", "0.2500", "--"],
    ]
    text = printed(ESTIMATES)
    assert "29.7 ± 0.4 [27.1, 32.0]" in text
    assert "0.051 [0.040, 0.063]" in text


def test_estimates_for_machines_are_columns_in_full_precision() -> None:
    keys = ["run", "miou", "miou_sd", "miou_low", "miou_high", "ece", "ece_low", "ece_high", "n"]
    rows = [
        ["a", 0.297123, 0.00412, 0.27149, 0.32001, 0.0512, 0.0401, 0.0633, 5],
        ["[b]", 0.25, None, 0.24, 0.26, None, None, None, 6],
        ["c", None, None, None, None, 0.25, None, None, None],
    ]
    assert strict_json(FORMATS["json"](ESTIMATES)) == document(ESTIMATES)
    assert document(ESTIMATES)["rows"] == [dict(zip(keys, row, strict=True)) for row in rows]
    read = pa.csv.read_csv(io.BytesIO(FORMATS["csv"](ESTIMATES).encode()))
    assert read.column_names == ["title", *keys]
    assert [list(row.values())[1:] for row in read.to_pylist()] == rows
    lines = [
        (line["row"], line["column"], line["value"]) for line in csv.DictReader(io.StringIO(tidy_csv([ESTIMATES])))
    ]
    assert lines == [
        (str(row[0]), key, "" if value is None else str(value))
        for row in rows
        for key, value in zip(keys[1:], row[1:], strict=True)
    ]


def test_table_without_rows() -> None:
    empty = Table("empty", "Title", SIMPLE.columns, ())
    assert FORMATS["csv"](empty) == "title,class,iou,n\n"
    assert strict_json(FORMATS["json"](empty))["rows"] == []
    assert "Title" in FORMATS["md"](empty) + FORMATS["tex"](empty)


def test_row_that_does_not_fit_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="simple"):
        Table("simple", "Title", SIMPLE.columns, (("Pastures", 0.5),))


PRINTABLE = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20)


def text_table(cell: str) -> Table:
    columns = (Column("a", "A", "text"), Column("b", "B", "text"))
    return Table("texts", cell, columns, ((cell, "next"),), (cell,))


@given(PRINTABLE)
def test_markdown_keeps_any_text_in_its_cell(cell: str) -> None:
    (row,) = markdown_rows(FORMATS["md"](text_table(cell)).split("\n\n", 1)[1].split("\n\n")[0])[2:]
    assert re.sub(r"\\(.)", r"\1", row[0]) == " ".join(cell.split())
    assert row[1] == "next"


@given(PRINTABLE)
def test_csv_keeps_any_text(cell: str) -> None:
    _, row = csv.reader(io.StringIO(FORMATS["csv"](text_table(cell)), newline=""))
    assert [text[text[:1] == "'" and text[1:].lstrip()[:1] in "=+-@＝＋－＠" :] for text in row] == [cell, cell, "next"]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-cmd|' /C calc'!A0", "@SUM(1)", " =1", "\t=1", "\r\n@x", "＝1"])
def test_no_program_computes_a_cell_of_text(cell: str) -> None:
    _, row = csv.reader(io.StringIO(FORMATS["csv"](text_table(cell)), newline=""))
    assert row[1] == f"'{cell}"
    values = Table("numbers", "Title", (Column("a", "A", "text"), Column("x", "X", "number")), (("a", -0.5),))
    assert FORMATS["csv"](values).splitlines()[1] == "Title,a,-0.5"


def test_markdown_pipes_do_not_part_cells() -> None:
    assert r"| a\|b \*c\* \`d\` \<e> |" in FORMATS["md"](text_table("a|b *c* `d` <e>"))


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("[x](javascript:alert(1))", r"[x]\(javascript:alert(1))"),
        ("![x](https://x.org/a.png)", r"![x]\(https\://x.org/a.png)"),
        ("__bold__ ~~gone~~ $x$ &lt;", r"\__bold_\_ \~\~gone\~\~ \$x\$ \&lt;"),
        ("www.x.org a_b 29.7 [27.1, 32.0]", r"www\.x.org a_b 29.7 [27.1, 32.0]"),
    ],
)
def test_markdown_of_names_is_no_link_and_no_formula(cell: str, shown: str) -> None:
    assert f"| {shown} |" in FORMATS["md"](text_table(cell))


def test_latex_specials_are_escaped() -> None:
    (_, row) = latex_rows(FORMATS["tex"](text_table(r"a & b_c 100% #1 $x$ {y} ~ ^ \z – <|>")))
    assert row == [
        r"a \& b\_c 100\% \#1 \$x\$ \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z -- "
        r"\textless{}\textbar{}\textgreater{}",
        "next",
    ]


@given(st.text(st.sampled_from(r"&%$#_{}~^\ab"), max_size=12))
def test_latex_holds_no_bare_special(cell: str) -> None:
    text = FORMATS["tex"](text_table(cell))
    (caption,) = re.findall(r"\\caption{(.*)}\n", text)
    bare = re.sub(r"\\text\w+{}|\\[&%$#_{}]", "", caption)
    assert not set(bare) & set(r"&%$#_{}~^\\")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("build", TABLES.values(), ids=TABLES)
def test_every_table_in_every_format(name: str, build: Any) -> None:
    built = build(SCORES, NO_INTERVALS)
    text = FORMATS[name](built)
    assert built.title in text
    assert text.endswith("\n")
    assert "nan" not in text.lower()
    rows = {"md": lambda: markdown_rows(text)[2:], "tex": lambda: latex_rows(text)[1:]}
    rows |= {"csv": lambda: list(csv.reader(io.StringIO(text)))[1:], "json": lambda: strict_json(text)["rows"]}
    found = rows[name]()
    assert len(found) == len(built.rows)
    assert all(len(row) == len(built.columns) + (name == "csv") for row in found)


@pytest.mark.parametrize("build", TABLES.values(), ids=TABLES)
def test_table_names_are_their_keys(build: Any) -> None:
    assert TABLES[build(SCORES, NO_INTERVALS).name] is build


def test_pixel_tables_hold_the_scores() -> None:
    pixel = SCORES.pixel
    (summary,) = table("pixel_summary", SCORES).rows
    means = (pixel.miou, pixel.mf1, pixel.macc, pixel.oa, pixel.fwiou)
    assert summary == ("test", 30, int(pixel.support.sum()), 18, *means)
    assert "18 of 19" in table("pixel_summary", SCORES).notes[0]
    by_class = table("pixel_per_class", SCORES)
    assert [row[0] for row in by_class.rows] == list(CLASS_NAMES)
    assert by_class.rows[3][1:] == (
        *(a[3] for a in (pixel.iou, pixel.f1, pixel.precision, pixel.recall)),
        pixel.support[3],
    )
    row = next(row for row in markdown_rows(FORMATS["md"](by_class)) if row[0] == CLASS_NAMES[ABSENT])
    assert row[1:] == ["–", "–", "–", "–", "0"]


def test_scene_tables_hold_the_scores_at_both_thresholds() -> None:
    scene, fitted = SCORES.scene, SCORES.scene_fitted
    assert scene is not None
    assert fitted is not None
    rows = table("scene_summary", SCORES).rows
    assert [row[0] for row in rows] == ["at 0.5", "at thresholds fitted on validation"]
    for row, scores in zip(rows, (scene, fitted), strict=True):
        values = (scores.ap_macro, scores.ap_micro, scores.f1_macro, scores.f1_micro, scores.f1_samples)
        assert row[1:] == (18, *values)
    assert rows[0] != rows[1]
    assert table("scene_per_class", SCORES).rows[2] == (
        CLASS_NAMES[2],
        scene.ap[2],
        scene.f1[2],
        fitted.f1[2],
        scene.support[2],
    )


def test_joint_table_holds_mask_head_and_ceiling() -> None:
    joint = SCORES.joint
    rows = table("joint_summary", SCORES).rows
    assert [row[-1] for row in rows] == [None, joint.agreement, joint.agreement_fitted, None]
    assert rows[0][1:4] == (joint.mask.f1_macro, joint.mask.f1_micro, joint.mask.f1_samples)
    assert rows[3][1:4] == (joint.reference.f1_macro, joint.reference.f1_micro, joint.reference.f1_samples)
    assert "area" not in " ".join(table("joint_summary", SCORES).notes)
    assert "from 5 %" in table("joint_summary", some_scores(min_share=0.05)).notes[-1]


def test_tables_of_a_model_without_scene_head_and_without_fitted_thresholds() -> None:
    bare = some_scores(head=False)
    assert [t.name for t in score_tables(bare)] == ["pixel_summary", "pixel_per_class", "joint_summary"]
    assert len(table("joint_summary", bare).rows) == 2
    assert "ap" not in [column.key for column in per_class(bare).columns]
    unfitted = some_scores(fitted=False)
    assert len(table("scene_summary", unfitted).rows) == 1
    assert "scene_f1_fitted" not in [column.key for column in per_class(unfitted).columns]


def test_thresholds_scored_on_their_own_split_carry_a_warning() -> None:
    assert "optimistic" in table("scene_summary", some_scores(split="validation")).notes[-1]
    assert not any("optimistic" in note for note in table("scene_summary", SCORES).notes)


@pytest.mark.parametrize("build", TABLES.values(), ids=TABLES)
def test_synthetic_data_is_named_in_every_title(build: Any) -> None:
    assert "SYNTHETIC" in build(some_scores(synthetic=True), NO_INTERVALS).title


def printed(built: Table) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(to_rich(built))
    return console.export_text()


def test_terminal_shows_short_names_and_dashes() -> None:
    text = printed(table("pixel_per_class", SCORES))
    for c in CLASSES:
        assert c.short in text
    assert CLASS_NAMES[6] not in text
    assert "–" in text
    assert f"{100 * SCORES.pixel.iou[4]:.2f}" in text
    assert "Pixel scores by class, test split" in text


def test_terminal_shows_square_brackets_as_they_are() -> None:
    assert "[bold]run[/bold]" in printed(text_table("[bold]run[/bold]"))


def test_tables_need_no_torch() -> None:
    code = "import sys, seg.report.tables; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", TABLES)
def test_every_table_fits_a_terminal_of_80_columns(name: str) -> None:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(to_rich(table(name, some_scores(synthetic=True))))
    text = console.export_text()
    assert "…" not in text
    for column in table(name, SCORES).columns:
        assert column.title.split()[0] in text
