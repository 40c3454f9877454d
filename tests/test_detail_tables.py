"""Tables of slices, confusions, mask against scene head, boundaries, CLC groups and calibration."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import astuple, replace

import numpy as np
import pytest
from made_up import made_up_evidence
from rich.console import Console

from seg.metrics.boundary import boundary_scores
from seg.metrics.calibration import pixel_calibration, scene_calibration
from seg.metrics.confusion import most_confused
from seg.metrics.evidence import Evidence, Origin, take_patches, total_counts
from seg.metrics.hierarchy import hierarchy_scores
from seg.metrics.joint import joint_details
from seg.metrics.slices import slice_scores
from seg.reben.classes import CLASS_NAMES, CLASSES, NUM_CLASSES
from seg.report.detail_tables import (
    ALL_CLASSES,
    boundary_table,
    calibration_per_class,
    calibration_table,
    confused_table,
    disagreement_table,
    hierarchy_table,
    implied_table,
    pooled_per_class,
    pooled_table,
    slices_table,
)
from seg.report.formats import FORMATS, Table, tidy_csv, to_rich

K = NUM_CLASSES
ABSENT = 11
"""A class that is neither in the reference nor among the labels of `EVIDENCE`."""


def without_class(evidence: Evidence, absent: int) -> Evidence:
    return take_patches(evidence, np.flatnonzero(~evidence.labels[:, absent]))


EVIDENCE = without_class(made_up_evidence(300, 7, 1), ABSENT)
BARE = made_up_evidence(40, 3, 2, head=False, details=False)


def detail_tables(evidence: Evidence) -> dict[str, Table]:
    """All tables that apply, by their names."""
    origin, joint, counts = evidence.origin, joint_details(evidence), total_counts(evidence)
    scene = scene_calibration(evidence)
    tables = (
        slices_table(slice_scores(evidence), origin),
        confused_table(most_confused(counts), origin),
        implied_table(joint, origin),
        pooled_table(joint, origin),
        pooled_per_class(joint, origin),
        disagreement_table(joint, origin),
        hierarchy_table(hierarchy_scores(counts), origin),
        boundary_table(boundary_scores(evidence), origin),
        calibration_table(pixel_calibration(evidence), scene, origin),
        calibration_per_class(scene, origin),
    )
    return {table.name: table for table in tables if table is not None}


TABLES = detail_tables(EVIDENCE)
NAMES = [
    "slices",
    "confused",
    "implied",
    "pooled",
    "pooled_per_class",
    "disagreement",
    "hierarchy",
    "boundary",
    "calibration",
    "calibration_per_class",
]


def test_all_tables_of_a_whole_evaluation() -> None:
    assert list(TABLES) == NAMES


@pytest.mark.parametrize("evidence", [EVIDENCE, BARE, take_patches(EVIDENCE, np.array([], np.int64))])
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_table_in_every_format(evidence: Evidence, suffix: str) -> None:
    for table in detail_tables(evidence).values():
        text = FORMATS[suffix](table)
        assert table.title in text or not table.rows
        assert "nan" not in text.lower()
        if suffix == "json":
            assert len(json.loads(text)["rows"]) == len(table.rows)
        if suffix == "csv":
            assert len(list(csv.reader(io.StringIO(text)))) == len(table.rows) + 1


@pytest.mark.parametrize("name", NAMES)
def test_titles_say_what_data_it_was(name: str) -> None:
    assert "test split" in TABLES[name].title
    assert "SYNTHETIC" not in TABLES[name].title
    synthetic = replace(EVIDENCE, origin=replace(EVIDENCE.origin, synthetic=True, split="validation"))
    title = detail_tables(synthetic)[name].title
    assert title.startswith("SYNTHETIC")
    assert "validation split" in title


@pytest.mark.parametrize("name", [name for name in NAMES if name != "slices"])
def test_every_table_but_that_of_slices_fits_a_terminal_of_80_columns(name: str) -> None:
    assert "…" not in printed(TABLES[name], 80)


def printed(table: Table, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(to_rich(table))
    return console.export_text()


def test_a_long_table_without_classes_is_not_turned_on_its_side() -> None:
    lines = printed(TABLES["slices"], 200).splitlines()
    (july,) = [line for line in lines if "July" in line]
    assert "month" in july


def test_csv_of_all_tables_names_every_value_once() -> None:
    lines = list(csv.DictReader(io.StringIO(tidy_csv(list(TABLES.values())))))
    found = {(line["table"], line["row"], line["column"]): line["value"] for line in lines}
    names = {"slices": 2, "confused": 2, "hierarchy": 2}
    assert len(found) == len(lines)
    assert len(found) == sum(len(t.rows) * (len(t.columns) - names.get(n, 1)) for n, t in TABLES.items())
    (tile,) = [s for s in slice_scores(EVIDENCE) if s.name == "31UCP"]
    assert float(found["slices", "tile / 31UCP", "miou"]) == tile.miou
    worst = most_confused(total_counts(EVIDENCE))[0]
    row = f"{CLASS_NAMES[worst.true]} / {CLASS_NAMES[worst.predicted]}"
    assert int(found["confused", row, "pixels"]) == worst.pixels


def by_key(name: str) -> list[dict[str, object]]:
    keys = [column.key for column in TABLES[name].columns]
    return [dict(zip(keys, row, strict=True)) for row in TABLES[name].rows]


def test_slices_hold_the_scores_and_their_support() -> None:
    slices = slice_scores(EVIDENCE)
    rows = by_key("slices")
    assert len(rows) == len(slices)
    for row, one in zip(rows, slices, strict=True):
        assert set(row) == set(type(one).__dataclass_fields__)
        np.testing.assert_equal(row, {key: getattr(one, key) for key in row})


def test_slices_without_scene_head_have_no_scene_columns() -> None:
    table = detail_tables(BARE)["slices"]
    assert [c.key for c in table.columns][-3:] == ["miou", "mf1", "oa"]
    assert not any("F1 macro" in note or "distance" in note for note in table.notes)
    assert any("distance" in note for note in TABLES["slices"].notes)


def test_confused_classes_go_by_their_names() -> None:
    for row, pair in zip(TABLES["confused"].rows, most_confused(total_counts(EVIDENCE)), strict=True):
        true, predicted, *rest = astuple(pair)
        assert row == (CLASSES[true].name, CLASSES[predicted].name, *rest)


def test_implied_and_pooled_hold_every_rule() -> None:
    joint = joint_details(EVIDENCE)
    *implied, ceiling = TABLES["implied"].rows
    for row, scores in zip(implied, joint.implied, strict=True):
        labels = scores.labels
        assert row == (
            f"predicted mask, {scores.rule}",
            labels.classes_averaged,
            labels.f1_macro,
            labels.f1_micro,
            labels.f1_samples,
        )
    assert ceiling[1:] == (18, joint.ceiling.f1_macro, joint.ceiling.f1_micro, joint.ceiling.f1_samples)
    expected = tuple((p.rule, 18, p.ap_macro, p.ap_micro) for p in joint.pooled)
    assert TABLES["pooled"].rows == expected
    for c, row in enumerate(by_key("pooled_per_class")):
        keys = ("class", "ap_area_share", "ap_max", "ap_log_sum_exp", "ap_scene_head")
        values = (CLASS_NAMES[c], *(pooled.ap[c] for pooled in joint.pooled))
        np.testing.assert_equal(row, dict(zip(keys, values, strict=True)))
    assert len(detail_tables(BARE)["pooled"].rows) == 1


def test_disagreement_of_each_class_and_of_all() -> None:
    found = joint_details(EVIDENCE).disagreement
    assert found is not None
    rows = by_key("disagreement")
    for c, row in enumerate(rows[:-1]):
        expected = {"class": CLASS_NAMES[c]}
        keys = ("agreement", "disagreements", "mask_right", "head_right")
        np.testing.assert_equal(row, expected | {key: getattr(found, key)[c] for key in keys})
    assert rows[-1] == {
        "class": ALL_CLASSES,
        "agreement": found.overall_agreement,
        "disagreements": found.overall_disagreements,
        "mask_right": found.overall_mask_right,
        "head_right": found.overall_head_right,
    }
    assert "fitted" in TABLES["disagreement"].notes[0]
    unfitted = replace(EVIDENCE, origin=Origin("test", "f", False))
    assert "at 0.5" in detail_tables(unfitted)["disagreement"].notes[0]


def test_groups_of_both_levels() -> None:
    scores = hierarchy_scores(total_counts(EVIDENCE))
    rows = by_key("hierarchy")
    assert len(rows) == sum(len(level.names) for level in scores.levels)
    second = scores.levels[1]
    last = {"level": "level 1", "group": second.names[-1], "iou": second.iou[-1], "pixels": second.support[-1]}
    assert rows[-1] == last
    notes = TABLES["hierarchy"].notes
    for level, note in zip(scores.levels, notes, strict=False):
        assert f"Level {level.level}: mIoU {100 * level.miou:.2f} %" in note
        assert f"over {level.classes_averaged} of {len(level.names)} groups, OA {100 * level.oa:.2f} %" in note
    assert f"costs {scores.mean_cost:.4f}" in notes[-1]


def test_boundary_of_each_class_and_the_mean() -> None:
    scores = boundary_scores(EVIDENCE)
    assert scores is not None
    *rows, mean = TABLES["boundary"].rows
    np.testing.assert_equal(rows, list(zip(CLASS_NAMES, scores.iou.tolist(), strict=True)))
    assert mean == (ALL_CLASSES, scores.miou)
    assert f"{scores.classes_averaged} of 19" in TABLES["boundary"].notes[0]
    assert "20 m" in TABLES["boundary"].notes[0]


def test_calibration_before_and_after_the_temperature_and_of_the_scene_head() -> None:
    pixel, scene = pixel_calibration(EVIDENCE), scene_calibration(EVIDENCE)
    assert pixel is not None
    assert pixel.after is not None
    assert scene is not None
    parts = (pixel.before, pixel.after, scene.overall)
    rows = TABLES["calibration"].rows
    assert [row[0] for row in rows] == ["pixels", "pixels at temperature 1.300", "scene head"]
    for row, part in zip(rows, parts, strict=True):
        assert row[1:] == (part.count.sum(), part.ece, part.mce, part.brier, part.nll)
    for c, row in enumerate(TABLES["calibration_per_class"].rows):
        np.testing.assert_equal(row, (CLASS_NAMES[c], scene.ece_per_class[c], scene.brier_per_class[c]))


def test_a_temperature_scored_on_its_own_split_carries_a_warning() -> None:
    validation = replace(EVIDENCE, origin=replace(EVIDENCE.origin, split="validation"))
    assert any("optimistic" in note for note in detail_tables(validation)["calibration"].notes)
    assert not any("optimistic" in note for note in TABLES["calibration"].notes)
    without = replace(validation, origin=replace(validation.origin, temperature=None))
    table = detail_tables(without)["calibration"]
    assert not any("optimistic" in note for note in table.notes)
    assert [row[0] for row in table.rows] == ["pixels", "scene head"]


def test_what_was_not_measured_has_no_table() -> None:
    assert list(detail_tables(BARE)) == ["slices", "confused", "implied", "pooled", "pooled_per_class", "hierarchy"]
    pixels_only = detail_tables(made_up_evidence(20, 2, head=False))
    assert "calibration" in pixels_only
    assert "calibration_per_class" not in pixels_only
    head_only = detail_tables(made_up_evidence(20, 2, details=False))
    assert [row[0] for row in head_only["calibration"].rows] == ["scene head"]


@pytest.mark.parametrize("name", ["pooled_per_class", "boundary", "calibration_per_class"])
def test_an_absent_class_has_dashes(name: str) -> None:
    table = TABLES[name]
    assert [row[0] for row in table.rows][ABSENT] == CLASS_NAMES[ABSENT]
    lines = [line for line in FORMATS["md"](table).splitlines() if line.startswith(f"| {CLASS_NAMES[ABSENT]} ")]
    assert lines[0].count("–") == len(table.columns) - 1


def test_tables_need_no_torch() -> None:
    code = "import sys, seg.report.detail_tables; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
