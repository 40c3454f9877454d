"""The files of an evaluation: complete, in every format, and checked against the evidence."""

import csv
import io
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pytest
from made_up import made_up_evidence

from seg.metrics.assess import Assessment, assess
from seg.metrics.evidence import Origin, take_patches
from seg.metrics.scores import DEFINITIONS
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.report.coverage import brackets_note
from seg.report.formats import FORMATS, Estimate, tidy_csv
from seg.report.results import (
    detail_tables,
    differing_results,
    result_files,
    summary_tables,
    write_results,
)

K = NUM_CLASSES
FILES = {"scores.json", "per_class.csv", "tables.md", "tables.tex", "tables.csv"}
EVIDENCE = made_up_evidence(60, 5)
WHOLE = assess(EVIDENCE)
BARE = assess(made_up_evidence(30, 3, head=False, details=False))


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_document_is_complete_json() -> None:
    found = strict_json(result_files(WHOLE)["scores.json"])
    scores = WHOLE.scores
    assert (found["definitions"], found["split"], found["patches"]) == (DEFINITIONS, "test", 60)
    assert (found["fingerprint"], found["synthetic"], found["weights"]) == ("made-up", False, "00ff")
    for part, values in (
        (found["pixel"], scores.pixel),
        (found["scene"], scores.scene),
        (found["scene_fitted"], scores.scene_fitted),
        (found["joint"]["mask"], scores.joint.mask),
        (found["joint"]["reference"], scores.joint.reference),
    ):
        assert values is not None
        for field in fields(values):
            value = getattr(values, field.name)
            if isinstance(value, np.ndarray):
                written = [part["per_class"][name][field.name] for name in CLASS_NAMES]
                np.testing.assert_array_equal(np.array(written, dtype=float), value)
            else:
                assert part[field.name] == value
    assert found["intervals"]["miou"] == {"low": WHOLE.intervals["miou"].low, "high": WHOLE.intervals["miou"].high}
    assert found["intervals"]["iou"]["per_class"]["Pastures"]["low"] == WHOLE.intervals["iou"].low[4]
    assert found["confusion"] == WHOLE.counts_KK.tolist()
    assert len(found["slices"]) == len(WHOLE.slices)
    assert strict_json(result_files(BARE)["scores.json"])["scene"] is None
    assert strict_json(result_files(BARE)["scores.json"])["boundary"] is None


def test_per_class_csv_is_wide_and_complete() -> None:
    read = pyarrow.csv.read_csv(io.BytesIO(result_files(WHOLE)["per_class.csv"].encode()))
    names = ["iou", "f1", "precision", "recall", "ap", "scene_f1", "scene_f1_fitted"]
    wanted = [key for name in names for key in (name, f"{name}_low", f"{name}_high")]
    assert read.column_names == ["title", "class_index", "class", *wanted[:12], "pixels", *wanted[12:], "positives"]
    assert read["class_index"].to_pylist() == list(range(K))
    assert read["class"].to_pylist() == list(CLASS_NAMES)
    assert WHOLE.scores.scene is not None
    for name, values in (("iou", WHOLE.scores.pixel.iou), ("ap", WHOLE.scores.scene.ap)):
        np.testing.assert_array_equal(np.array(read[name].to_pylist(), dtype=float), values)
        np.testing.assert_array_equal(np.array(read[f"{name}_low"].to_pylist(), dtype=float), WHOLE.intervals[name].low)


def test_tables_csv_holds_every_value_once() -> None:
    lines = list(csv.DictReader(io.StringIO(result_files(WHOLE)["tables.csv"])))
    found = {(line["table"], line["row"], line["column"]): line["value"] for line in lines}
    assert len(found) == len(lines)
    assert float(found["pixel_summary", "test", "miou"]) == WHOLE.scores.pixel.miou
    assert float(found["pixel_summary", "test", "miou_low"]) == WHOLE.intervals["miou"].low
    assert float(found["pixel_per_class", "Pastures", "iou"]) == WHOLE.scores.pixel.iou[4]
    assert tidy_csv([]) == "title,table,row,column,value\n"


def test_every_score_that_is_asked_for_has_an_interval() -> None:
    by_name = {table.name: table for table in summary_tables(WHOLE)}
    for name, keys in {
        "pixel_summary": ("miou", "oa"),
        "pixel_per_class": ("iou", "f1", "precision", "recall"),
        "scene_summary": ("ap_macro", "ap_micro", "f1_macro", "f1_micro"),
        "scene_per_class": ("ap", "scene_f1", "scene_f1_fitted"),
    }.items():
        table = by_name[name]
        positions = [i for i, column in enumerate(table.columns) if column.key in keys]
        assert len(positions) == len(keys)
        cells = [row[i] for row in table.rows for i in positions]
        assert all(isinstance(cell, Estimate) and cell.low is not None for cell in cells)
        assert table.brackets.startswith(
            "Brackets hold 95 % intervals from leaving out each of the 5 S2 tiles in turn; "
        )
    for first, second in zip(by_name["scene_summary"].rows[0], by_name["scene_summary"].rows[1], strict=True):
        if isinstance(first, Estimate) and isinstance(second, Estimate) and first.value != second.value:
            assert first.low != second.low


def test_one_tile_has_no_interval() -> None:
    alone = assess(made_up_evidence(12, 1))
    assert "no intervals" in brackets_note(alone.tiles)
    assert "[" not in FORMATS["md"](summary_tables(alone)[0])


def test_files_are_written_and_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "eval" / "test"
    write_results(folder, BARE)
    write_results(folder, WHOLE)
    assert {path.name for path in folder.iterdir()} == FILES
    markdown = (folder / "tables.md").read_text(encoding="utf-8")
    latex = (folder / "tables.tex").read_text(encoding="utf-8")
    for built in (*summary_tables(WHOLE), *detail_tables(WHOLE)):
        assert FORMATS["md"](built) in markdown
        assert FORMATS["tex"](built) in latex


@pytest.mark.parametrize("name", sorted(FILES))
def test_synthetic_data_is_named_in_every_file(name: str) -> None:
    synthetic = assess(replace(EVIDENCE, origin=replace(EVIDENCE.origin, synthetic=True)))
    assert "SYNTHETIC" in result_files(synthetic)[name]
    assert "SYNTHETIC" not in result_files(WHOLE)[name]


def test_what_the_evidence_gives_passes_the_check(tmp_path: Path) -> None:
    write_results(tmp_path, WHOLE)
    assert differing_results(tmp_path, WHOLE) == []
    assert differing_results(tmp_path, assess(EVIDENCE)) == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_digit_that_was_changed_is_found(tmp_path: Path, name: str) -> None:
    write_results(tmp_path, WHOLE)
    shown = dict.fromkeys(("tables.md", "tables.tex"), f"{100 * WHOLE.scores.pixel.miou:.1f}")
    value = shown.get(
        name, repr(float(WHOLE.scores.pixel.iou[4] if name == "per_class.csv" else WHOLE.scores.pixel.oa))
    )
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert value in text
    raised = value[:3] + str((int(value[3]) + 1) % 10) + value[4:]
    (tmp_path / name).write_text(text.replace(value, raised, 1), encoding="utf-8")
    (found,) = differing_results(tmp_path, WHOLE)
    assert name in found
    assert raised in found


def test_the_last_digits_may_differ(tmp_path: Path) -> None:
    write_results(tmp_path, WHOLE)
    value = WHOLE.scores.pixel.oa
    text = (tmp_path / "scores.json").read_text(encoding="utf-8")
    (tmp_path / "scores.json").write_text(text.replace(repr(value), repr(value * (1 + 1e-14))), encoding="utf-8")
    assert differing_results(tmp_path, WHOLE) == []


def test_missing_and_shortened_files_are_found(tmp_path: Path) -> None:
    write_results(tmp_path, WHOLE)
    (tmp_path / "tables.md").unlink()
    lines = (tmp_path / "tables.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "tables.csv").write_text("".join(lines[:-3]), encoding="utf-8")
    found = differing_results(tmp_path, WHOLE)
    assert len(found) == 2
    assert any("tables.md is missing" in line for line in found)
    assert any("lines, but the evidence gives" in line for line in found)


def test_evidence_of_one_patch_and_of_none_labelled() -> None:
    one = assess(take_patches(EVIDENCE, np.array([0])))
    assert isinstance(one, Assessment)
    assert strict_json(result_files(one)["scores.json"])["intervals"]["miou"] == {"low": None, "high": None}
    blank = made_up_evidence(4, 2, head=False, details=False, origin=Origin("test", "f", False))
    blank = replace(blank, confusion=take_patches(blank, np.arange(0)).confusion, labels=blank.labels & False)
    empty = replace(blank.confusion, offsets=np.zeros(5, np.int64))
    assert np.isnan(assess(replace(blank, confusion=empty)).scores.pixel.miou)
