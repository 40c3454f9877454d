"""Comparing runs: what is shown of them, what is tested, and what is refused."""

import csv
import io
import itertools
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from commands import typed
from hypothesis import given
from hypothesis import strategies as st
from made_up import made_up_evidence
from sklearn.metrics import average_precision_score, f1_score, jaccard_score

import seg
from seg.config.identity import settings_of_experiment, settings_of_run
from seg.config.load import dump_config, load_config
from seg.config.scope import Scope
from seg.errors import EvidenceError, RunError
from seg.metrics.evidence import Evidence, Origin, batch_evidence, take_patches, total_counts
from seg.metrics.evidence_file import load_origin, save_evidence
from seg.metrics.holm import holm
from seg.metrics.jackknife import intervals, jackknife, mean_of, paired_test
from seg.models.weights_file import weights_digest
from seg.pipeline import compare as compare_module
from seg.pipeline.compare import compare
from seg.reben.official import OFFICIAL, OfficialPart, ids_digest
from seg.report.anchors import ANCHORS, anchors_table, on_official_test
from seg.report.formats import FORMATS, Estimate
from seg.runs.folder import check_evidence, read_run, section
from seg.runs.names import short_names
from seg.store import written

RECORD: dict[str, Any] = {
    "status": "finished",
    "synthetic": False,
    "data": {"fingerprint": "made-up"},
    "parameters": 14_328_209,
    "throughput": {"patches_per_second": 812.34},
    "hardware": {"cpu": "Some CPU", "gpus": ["Some GPU"]},
    "compute": {"device": "cuda"},
}


def evidence_of(skill: float = 0.7, patches: int = 120, origin: Origin | None = None, head: bool = True) -> Evidence:
    """Evidence on the same patches and against the same reference for every skill."""
    return made_up_evidence(patches, 6, seed=1, skill=skill, origin=origin, head=head)


def origin(**changes: Any) -> Origin:
    return replace(Origin("test", "made-up", False), **changes)


def write_run(
    folder: Path, evidence: Evidence | None = None, record: dict[str, Any] | None = None, **settings: Any
) -> Path:
    """A run folder as `seg train` and `seg eval` leave it behind, without weights."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(load_config(**settings)))
    (folder / "run.json").write_text(json.dumps(RECORD | (record or {})))
    if evidence is not None:
        save_evidence(folder / "eval" / evidence.origin.split / "evidence", evidence)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Three seeds of one configuration, one of another, one without a scene head."""
    base = tmp_path_factory.mktemp("runs")
    made = {
        f"s2-{seed}": write_run(base / f"s2-{seed}", evidence_of(skill), train__seed=seed, data__bands="s2")
        for seed, skill in ((0, 0.7), (1, 0.72), (2, 0.67))
    }
    made["s1"] = write_run(base / "s1", evidence_of(0.4), data__bands="s1")
    made["bare"] = write_run(base / "bare", evidence_of(0.8, head=False), model__scene_head="none")
    return made


@pytest.fixture(scope="module")
def compared(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "new" / "folder"
    return compare([runs["s1"], *list(runs.values())[:3], runs["bare"]], out=out), out


def rows_of(result, name: str) -> list[dict[str, Any]]:
    (table,) = (table for table in result.tables if table.name == name)
    return [dict(zip((column.key for column in table.columns), row, strict=True)) for row in table.rows]


def notes_of(result, name: str = "compare") -> str:
    (table,) = (table for table in result.tables if table.name == name)
    return " ".join(table.notes)


def pixels(evidence: Evidence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True class, predicted class and number of pixels of every confusion cell."""
    counts = total_counts(evidence)
    true, predicted = np.nonzero(counts)
    return true, predicted, counts[true, predicted]


def sklearn_scores(evidence: Evidence) -> dict[str, float]:
    true, predicted, weights = pixels(evidence)
    assert evidence.probabilities is not None
    labels, probabilities = evidence.labels, evidence.probabilities
    decided = probabilities > 0.5
    return {
        "miou": jaccard_score(true, predicted, sample_weight=weights, average="macro", labels=np.unique(true)),
        "oa": float(weights[true == predicted].sum() / weights.sum()),
        "ap_macro": average_precision_score(labels, probabilities, average="macro"),
        "ap_micro": average_precision_score(labels, probabilities, average="micro"),
        "f1_macro": f1_score(labels, decided, average="macro", zero_division=0),
        "f1_micro": f1_score(labels, decided, average="micro"),
    }


def test_scores_of_a_run_are_those_of_its_evidence(compared):
    (row,) = (row for row in rows_of(compared[0], "runs") if row["run"] == "s2-1")
    assert (row["seed"], row["configuration"]) == (1, "unet resnet18 s2 masked")
    evidence = evidence_of(0.72)
    assert evidence.labels.any(axis=0).all(), "scikit-learn warns of absent classes"
    expected = intervals(jackknife(evidence))
    for name, value in sklearn_scores(evidence).items():
        assert row[name].value == pytest.approx(value, abs=1e-9)
        assert (row[name].low, row[name].high) == (expected[name].low, expected[name].high)
        assert row[name].low < row[name].high
        assert row[name].sd is None


def test_a_configuration_shows_mean_deviation_and_interval_of_the_mean_over_its_seeds(compared):
    row = rows_of(compared[0], "compare")[1]
    assert (row["configuration"], row["seeds"]) == ("unet resnet18 s2 masked", "0, 1, 2")
    seeds = [evidence_of(skill) for skill in (0.7, 0.72, 0.67)]
    scores = [sklearn_scores(evidence) for evidence in seeds]
    bounds = intervals(mean_of([jackknife(evidence) for evidence in seeds]))
    for name in scores[0]:
        values = [score[name] for score in scores]
        assert row[name].value == pytest.approx(statistics.mean(values), abs=1e-9)
        assert row[name].sd == pytest.approx(statistics.stdev(values), abs=1e-9)
        assert (row[name].low, row[name].high) == (bounds[name].low, bounds[name].high)
    assert (row["parameters"], row["training_speed"]) == (14_328_209, pytest.approx(812.34))
    assert "evaluation_speed" not in row
    assert "standard deviation" in notes_of(compared[0])


def test_one_seed_has_no_deviation_and_a_model_without_head_no_scene_scores(compared):
    first, _, last = rows_of(compared[0], "compare")
    assert first["configuration"] == "unet resnet18 s2 no scene head"
    assert first["ap_macro"] is None
    assert first["miou"].value > last["miou"].value
    assert math.isnan(last["miou"].sd)
    assert (last["configuration"], last["seeds"]) == ("unet resnet18 s1 masked", "0")
    text = FORMATS["md"](compared[0].tables[0])
    line = next(line for line in text.splitlines() if "no scene head" in line)
    assert [cell.strip() for cell in line.split("|")[5:9]] == ["–"] * 4


@pytest.mark.parametrize(
    ("sort", "title"), [("miou", "mIoU"), ("oa", "OA"), ("ap_macro", "AP macro"), ("f1_samples", "F1 samples")]
)
def test_rows_are_sorted_with_undefined_scores_last(runs, sort, title):
    result = compare(list(runs.values()), sort=sort)
    shown = [row[sort] for row in rows_of(result, "compare")]
    values = [-math.inf if score is None else score.value for score in shown]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 3
    assert (shown[-1] is None) == (sort in ("ap_macro", "f1_samples"))
    assert f"Sorted by {title}." in notes_of(result)


def test_pairs_are_tested_without_the_same_tiles_and_adjusted(compared):
    pairs = rows_of(compared[0], "pairs")
    bare, s2, s1 = (row["configuration"] for row in rows_of(compared[0], "compare"))
    assert [(pair["first"], pair["second"]) for pair in pairs] == [(bare, s2), (bare, s1), (s2, s1)]
    groups = {bare: [evidence_of(0.8, head=False)], s1: [evidence_of(0.4)]}
    groups[s2] = [evidence_of(skill) for skill in (0.7, 0.72, 0.67)]
    replicates = {name: [jackknife(evidence) for evidence in group] for name, group in groups.items()}
    tests = [
        paired_test(replicates[first], replicates[second], "miou")
        for first, second in itertools.combinations((bare, s2, s1), 2)
    ]
    for pair, test, p in zip(pairs, tests, holm([test.p_value for test in tests]), strict=True):
        assert pair["miou_difference"] == Estimate(test.difference, None, test.low, test.high)
        assert pair["miou_p"] == p
    assert pairs[1]["miou_p"] < 0.1
    assert pairs[1]["miou_difference"].low > 0.01
    assert [pair["ap_macro_p"] is None for pair in pairs] == [True, True, False]
    # A test that stands alone is not adjusted for those that there are of another score.
    lone = paired_test(replicates[s2], replicates[s1], "ap_macro")
    assert pairs[2]["ap_macro_p"] == lone.p_value
    assert "Holm" in notes_of(compared[0], "pairs")


@pytest.mark.parametrize(("number", "pairs"), [(6, 15), (7, 6)])
def test_of_many_configurations_only_the_best_is_tested_against_the_others(tmp_path, number, pairs):
    folders = [
        write_run(tmp_path / f"run{i}", evidence_of(0.5 + i / 20, patches=48), train__lr=float(f"{i + 1}e-4"))
        for i in range(number)
    ]
    result = compare(folders)
    tested = rows_of(result, "pairs")
    assert len(tested) == pairs
    best = rows_of(result, "compare")[0]["configuration"]
    assert best.endswith(f"train.lr=0.000{number}")
    if number == 7:
        assert {pair["first"] for pair in tested} == {best}
        assert {pair["second"] for pair in tested} == {row["configuration"] for row in rows_of(result, "compare")[1:]}


def test_a_single_run_is_shown_without_tests(runs):
    result = compare([runs["s1"]])
    assert [table.name for table in result.tables] == ["compare", "runs", "anchors"]
    assert [t.name for t in compare([runs["s1"]], anchors=False).tables] == ["compare", "runs"]


def test_few_tiles_are_said_to_say_little(runs):
    result = compare([runs["s1"], runs["s2-0"]])
    for table in ("compare", "pairs", "runs"):
        assert "leaving out each of the 6 S2 tiles in turn" in notes_of(result, table)
        assert "In simulated splits of 5 tiles they held the truth in" in notes_of(result, table)
    assert "All of this rests on 6 tiles" in notes_of(result, "pairs")


def test_one_tile_has_no_interval(tmp_path):
    one_tile = made_up_evidence(40, 1, seed=1)
    other = made_up_evidence(40, 1, seed=1, skill=0.5)
    folders = [write_run(tmp_path / "a", one_tile), write_run(tmp_path / "b", other, data__bands="s1")]
    result = compare(folders)
    row = rows_of(result, "compare")[0]
    assert math.isnan(row["miou"].low)
    assert "no intervals" in notes_of(result)
    assert math.isnan(rows_of(result, "pairs")[0]["miou_p"])
    assert "nan" not in FORMATS["md"](result.tables[1]).lower()


def test_settings_that_change_nothing_do_not_part_configurations(tmp_path):
    elsewhere = {
        "data__store": "other.store",
        "data__metadata": "other.parquet",
        "data__workers": 3,
        "eval__batch_size": 7,
        "train__device": "cpu",
        "train__channels_last": True,
        "train__seed": 5,
    }
    folders = [write_run(tmp_path / "a", evidence_of()), write_run(tmp_path / "b", evidence_of(0.6), **elsewhere)]
    (row,) = rows_of(compare(folders), "compare")
    assert row["seeds"] == "0, 5"


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("train__lr", 0.01, "train.lr=0.01"),
        ("train__precision", "float32", "train.precision=float32"),
        ("model__weights", "imagenet", "model.weights=imagenet"),
        ("data__countries", ["Finland"], 'data.countries=["Finland"]'),
        ("data__flagged", True, "data.flagged=true"),
        ("train__patience", 1, "train.patience=1"),
        ("data__augment", [{"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": {"p": 0.125}}], "(runs-b)"),
    ],
)
def test_other_settings_part_configurations_and_tell_their_names_apart(tmp_path, setting, value, told):
    folders = [write_run(tmp_path / "runs-a", evidence_of())]
    folders.append(write_run(tmp_path / "runs-b", evidence_of(0.6), train__seed=1, **{setting: value}))
    names = [row["configuration"] for row in rows_of(compare(folders), "compare")]
    assert len(set(names)) == 2
    assert names[1] == f"unet resnet18 s2 masked {told}"


def test_identity_of_a_run_and_of_an_experiment_differ_in_seed_and_machine():
    config = load_config()
    run, shared = settings_of_run(config), settings_of_experiment(config)
    flat = {f"{section}.{name}": value for section, settings in shared.items() for name, value in settings.items()}
    machine = {"train.seed", "train.device", "train.channels_last", "train.compile", "data.preprocess"}
    assert run.keys() - flat.keys() == machine
    assert {name: value for name, value in run.items() if name not in machine} == flat
    where = {"data.store", "data.metadata", "data.workers", "train.loggers", "train.save_every"}
    assert not where & run.keys()
    assert not any(name.startswith("eval") for name in run)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["x/a/run", "x/b/run"], ["a/run", "b/run"]),
        (["x/a/run", "y/a/run", "z"], ["x/a/run", "y/a/run", None]),
        (["runs/a/"], ["a"]),
    ],
)
def test_folders_are_named_by_what_differs(tmp_path, monkeypatch, folders, expected):
    monkeypatch.chdir(tmp_path)
    names = short_names([Path(folder) for folder in folders])
    assert [e if e is None else name for name, e in zip(names, expected, strict=True)] == expected
    assert len(set(names)) == len(names)


def closed_test(p_values: list[float]) -> list[float]:
    """Holm by the definition of closed testing: the largest Bonferroni p of any set that holds the test."""
    tests = range(len(p_values))
    sets = [s for size in range(1, len(p_values) + 1) for s in itertools.combinations(tests, size)]
    return [max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets if test in s) for test in tests]


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.02, 0.5]), max_size=6))
def test_holm_is_the_closed_test(p_values):
    assert holm(p_values) == pytest.approx(closed_test(p_values))


def test_holm_leaves_out_what_is_no_test():
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    assert holm([]) == []


def on_disk(folder: Path) -> Path:
    return folder / "eval" / "test" / "evidence" / "patches.parquet"


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "config.yaml").unlink(), r"second is no run folder of 'seg train': it has no config\.yaml"),
        (lambda run: (run / "run.json").unlink(), r"second is no run folder of 'seg train': it has no run\.json"),
        (lambda run: (run / "run.json").write_text("{"), r"run\.json is damaged"),
        (lambda run: (run / "run.json").write_text("[]"), r"run\.json is no record of a run"),
        (lambda run: (run / "config.yaml").write_text("model: {archh: x}"), "did you mean 'model.arch'"),
        (
            lambda run: shutil.rmtree(run / "eval"),
            r"was not scored on the test split yet; run: seg eval \S*second --spl",
        ),
        (lambda run: damage(on_disk(run)), "cut off or damaged"),
        (
            lambda run: save_evidence(on_disk(run).parent, evidence_of(origin=origin(split="validation"))),
            r"holds evidence of the validation split; run: seg eval \S*second --split test",
        ),
        (
            lambda run: save_evidence(on_disk(run).parent, evidence_of(0.5, origin=origin(fingerprint="beef"))),
            r"^first and second were scored on different data \(made-up and beef\).*--allow-different-data$",
        ),
        (
            lambda run: (run / "run.json").write_text(json.dumps(RECORD | {"data": {"fingerprint": "beef"}})),
            r"^first and second were trained on different data \(made-up and beef\).*--allow-different-data$",
        ),
        (
            lambda run: (run / "run.json").write_text(json.dumps(RECORD | {"data": None})),
            r"trained on different data \(made-up and unknown\)",
        ),
        (
            lambda run: save_evidence(on_disk(run).parent, evidence_of(0.5, patches=118)),
            r"^first and second were scored on different patches or references \(120 and 118 patches\).*--allow",
        ),
        (
            lambda run: save_evidence(on_disk(run).parent, made_up_evidence(120, 6, seed=2)),
            r"different patches or references \(120 and 120 patches\)",
        ),
        (lambda run: save_evidence(on_disk(run).parent, evidence_of()), "first and second are the same run; leave one"),
    ],
)
def test_refusals(tmp_path, spoil, message):
    first = write_run(tmp_path / "first", evidence_of())
    second = write_run(tmp_path / "second", evidence_of(0.6))
    spoil(second)
    with pytest.raises(ValueError, match=message) as refusal:
        compare([first, second], out=tmp_path / "out")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_refusals_of_what_is_asked(runs, tmp_path):
    with pytest.raises(RunError, match="there is no run to compare"):
        compare([])
    with pytest.raises(RunError, match="is named twice"):
        compare([runs["s1"], runs["s1"].parent / "." / "s2-0" / ".." / "s1"])
    with pytest.raises(RunError, match="cannot be sorted by 'iou'; choose one of miou, oa"):
        compare([runs["s1"]], sort="iou")
    with pytest.raises(RunError, match=r"there is no folder .*nowhere"):
        compare([tmp_path / "nowhere"])


def test_what_else_a_folder_holds_is_said_and_stays(runs, tmp_path):
    (tmp_path / "src").mkdir()
    for name in ("paper.tex", ".hidden", "src/code.py"):
        (tmp_path / name).write_text("mine")
    for _ in range(2):
        said = []
        compare([runs["s1"]], out=tmp_path, notify=said.append)
        assert said == [f"What else {tmp_path} holds stays as it is: paper.tex, src."]
    assert (tmp_path / "compare.md").is_file()
    said.clear()
    compare([runs["s1"]], out=tmp_path / "new", notify=said.append)
    compare([runs["s1"]], out=tmp_path / "new", notify=said.append)
    compare([runs["s1"]], notify=said.append)
    assert not said


def test_what_can_be_known_at_once_is_checked_before_any_run_is_scored(runs, tmp_path, monkeypatch):
    def never(*_arguments: Any) -> None:
        raise AssertionError("a run was scored")

    monkeypatch.setattr(compare_module, "score_run", never)
    unscored = write_run(tmp_path / "unscored")
    other = write_run(tmp_path / "other", evidence_of(origin=origin(fingerprint="beef")))
    for bad, message in ((unscored, "was not scored"), (other, "different data")):
        with pytest.raises(RunError, match=message):
            compare([*runs.values(), bad])


def test_evidence_of_other_weights_is_refused(tmp_path):
    run = write_run(tmp_path / "run")
    best = run / "checkpoints" / "best"
    best.mkdir(parents=True)
    assert weights_digest(best) is None
    (best / "model.safetensors").write_bytes(b"weights")
    digest = weights_digest(best)
    assert digest is not None
    for weights, sound in ((digest, True), ("", True), ("00ff", False)):
        save_evidence(on_disk(run).parent, evidence_of(origin=origin(weights=weights)))
        if sound:
            assert check_evidence(run, Scope("test")).weights == weights
        else:
            with pytest.raises(RunError, match=r"other weights than those that were scored; run: seg eval \S*run"):
                compare([run])
    (best / "model.safetensors").write_bytes(b"weightt")
    assert weights_digest(best) != digest
    shutil.rmtree(run / "checkpoints")
    assert check_evidence(run, Scope("test")).weights == "00ff"


def test_origin_alone_is_read_from_the_evidence_file(tmp_path):
    evidence = evidence_of()
    save_evidence(tmp_path, evidence)
    assert load_origin(tmp_path) == evidence.origin
    damage(tmp_path / "patches.parquet")
    with pytest.raises(EvidenceError, match="cut off or damaged"):
        load_origin(tmp_path)
    with pytest.raises(EvidenceError, match="no evidence at"):
        load_origin(tmp_path / "nowhere")


def test_different_data_side_by_side_if_told(tmp_path):
    folders = [
        write_run(tmp_path / "a", evidence_of()),
        write_run(tmp_path / "b", evidence_of(0.6), train__lr=0.01),
        write_run(tmp_path / "c", evidence_of(0.5, patches=118, origin=origin(fingerprint="beef"))),
        write_run(tmp_path / "d", evidence_of(0.4), {"data": {"fingerprint": "cafe"}}),
    ]
    result = compare(folders, allow_different_data=True)
    rows = rows_of(result, "compare")
    assert len({row["configuration"] for row in rows}) == 4
    names = {run["run"]: run["configuration"] for run in rows_of(result, "runs")}
    assert "scored_on=beef patches=118" in names["c"]
    assert "trained_on=cafe" in names["d"]
    tested = [{pair["first"], pair["second"]} for pair in rows_of(result, "pairs")]
    assert tested == [{names["a"], names["b"]}, {names["a"], names["d"]}, {names["b"], names["d"]}]
    assert "trained on different data" in notes_of(result)
    assert "not tested against each other" in notes_of(result)


def counted(cells: dict[tuple[int, int], int]) -> Evidence:
    """Evidence without scene scores on four patches in two tiles, each with these confusion counts and label 2."""
    counts = np.zeros((4, 19, 19), np.int64)
    for (true, predicted), pixels in cells.items():
        counts[:, true, predicted] = pixels
    ids = made_up_evidence(4, 2).patch_ids.to_pylist()
    return batch_evidence(origin(), ids, counts, np.eye(19, dtype=bool)[np.full(4, 2)], None)


def other_label(evidence: Evidence) -> Evidence:
    labels = evidence.labels.copy()
    labels[1, 3] = True
    return replace(evidence, labels=labels)


@pytest.mark.parametrize("other", [other_label(counted({(2, 2): 5, (2, 3): 1})), counted({(2, 2): 5, (3, 3): 1})])
def test_other_references_of_the_same_patches_are_not_tested(tmp_path, other):
    folders = [
        write_run(tmp_path / "a", counted({(2, 2): 5, (2, 3): 1})),
        write_run(tmp_path / "b", other, train__lr=0.01),
    ]
    with pytest.raises(RunError, match="different patches or references"):
        compare(folders)
    result = compare(folders, allow_different_data=True)
    assert "pairs" not in [table.name for table in result.tables]


@pytest.mark.parametrize(
    ("cells", "settings"), [({(2, 2): 5, (2, 3): 1}, {"train__seed": 1}), ({(2, 2): 4, (2, 3): 2}, {"train__seed": 0})]
)
def test_runs_that_happen_to_agree_are_no_copies(tmp_path, cells, settings):
    folders = [
        write_run(tmp_path / "a", counted({(2, 2): 5, (2, 3): 1})),
        write_run(tmp_path / "b", counted(cells), **settings),
    ]
    rows = rows_of(compare(folders), "compare")
    # Two seeds are one configuration; one seed that gave other numbers is not.
    assert [row["seeds"] for row in rows] == (["0, 1"] if settings["train__seed"] else ["0", "0"])
    assert (rows[0]["miou"].sd == 0) == (settings["train__seed"] == 1)


@pytest.mark.parametrize("how", ["scored", "trained"])
def test_synthetic_data_is_named_in_every_title(tmp_path, how):
    made = evidence_of(0.6, origin=origin(synthetic=how == "scored"))
    folders = [
        write_run(tmp_path / "a", evidence_of()),
        write_run(tmp_path / "b", made, {"synthetic": how == "trained"}, train__lr=0.01),
    ]
    result = compare(folders, out=tmp_path / "out")
    assert all("SYNTHETIC" in table.title for table in result.tables if table.name != "anchors")
    assert not any("SYNTHETIC" in table.title for table in compare(folders[:1]).tables)
    for path in (tmp_path / "out").glob("compare*"):
        assert ("SYNTHETIC" in path.read_text()) == (path.name != "compare_anchors.csv")


def test_a_seed_that_was_trained_twice_is_no_second_seed(tmp_path):
    """Other weights under one seed are kept apart; a mean over seeds takes each of them once."""
    folders = [
        write_run(tmp_path / "a", evidence_of(0.5)),
        write_run(tmp_path / "b", evidence_of(0.7, origin=origin(weights="0b"))),
        write_run(tmp_path / "c", evidence_of(0.6), train__seed=1),
    ]
    result = compare(folders)
    rows = {row["configuration"]: row for row in rows_of(result, "compare")}
    assert sorted(row["seeds"] for row in rows.values()) == ["0", "0", "1"]
    assert [one for one in "abc" if not any(f"({one})" in name for name in rows)] == []
    assert all(np.isnan(row["miou"].sd) for row in rows.values())
    assert "a and b have the same seed and settings but other weights; runs of these settings are" in notes_of(result)
    for order in itertools.permutations(folders):
        again = {row["configuration"]: row for row in rows_of(compare(order), "compare")}
        assert {name: row["miou"].value for name, row in again.items()} == {
            name: row["miou"].value for name, row in rows.items()
        }


def test_what_is_synthetic_of_some_stands_beside_them(tmp_path):
    folders = [
        write_run(tmp_path / "real", evidence_of(0.5)),
        write_run(tmp_path / "made", evidence_of(0.6, origin=origin(synthetic=True, fingerprint="5e"))),
    ]
    result = compare(folders, allow_different_data=True)
    for table in result.tables:
        if table.name != "anchors":
            assert table.title.startswith("Partly SYNTHETIC data, no benchmark result: ")
    assert {row["run"]: row["synthetic"] for row in rows_of(result, "runs")} == {"real": None, "made": "SYNTHETIC data"}
    assert [row["synthetic"] for row in rows_of(result, "compare")] == ["SYNTHETIC data", None], "the better one first"
    # Of some models it is recorded that they learned from simulated images, of others nothing is.
    told = origin(synthetic=True, synthetic_model=True, fingerprint="5e", weights="0b")
    both = write_run(tmp_path / "both", evidence_of(0.7, origin=told), train__lr=0.01)
    mixed = compare([folders[1], both])
    assert len(rows_of(mixed, "compare")) == 2
    alike = compare(folders[1:])
    for result in (mixed, alike):
        assert not any("Partly" in table.title for table in result.tables)
        assert "synthetic" not in rows_of(result, "compare")[0]


def test_the_same_weights_are_the_same_run(tmp_path):
    """Also where another machine gave slightly other numbers."""
    folders = [
        write_run(tmp_path / name, evidence_of(skill, origin=origin(weights="00ff")))
        for name, skill in (("a", 0.5), ("b", 0.501))
    ]
    with pytest.raises(RunError, match="a and b are the same run; leave one of them out"):
        compare(folders)


@pytest.mark.parametrize(
    ("made", "words"),
    [({"synthetic": True}, "SYNTHETIC data"), ({"synthetic_model": True}, "SYNTHETIC model")],
)
def test_titles_say_what_is_synthetic(tmp_path, made, words):
    result = compare([write_run(tmp_path / "a", evidence_of(origin=origin(**made)))])
    assert all(table.title.startswith(words) for table in result.tables if table.name != "anchors")


def test_remarks_on_what_does_not_compare_well(tmp_path):
    folders = [
        write_run(tmp_path / "a", evidence_of(), {"status": "interrupted"}),
        write_run(tmp_path / "b", evidence_of(0.6, origin=origin(weights="0b"))),
        write_run(tmp_path / "c", evidence_of(0.5), {"compute": {"device": "cpu"}}, train__seed=1),
    ]
    notes = notes_of(compare(folders))
    assert "The training of a did not finish (interrupted)." in notes
    assert "a and b have the same seed" in notes
    assert "Training throughput was measured on different machines: Some CPU; Some GPU." in notes
    plain = notes_of(compare(folders[1:2]))
    assert not re.search("finish|same seed|machines|different", plain)


def test_records_that_lack_numbers_leave_gaps(tmp_path):
    folder = write_run(tmp_path / "a", evidence_of(), {"parameters": "many", "throughput": None, "hardware": None})
    (row,) = rows_of(compare([folder]), "compare")
    assert (row["parameters"], row["training_speed"]) == (None, None)
    assert section(read_run(folder).record, "nonsense") == {}


def test_evaluation_speed_is_shown_where_it_is_known(tmp_path):
    folders = [write_run(tmp_path / "a", evidence_of()), write_run(tmp_path / "b", evidence_of(0.6), train__seed=1)]
    record = folders[0] / "eval" / "test" / "eval.json"
    record.write_text(json.dumps({"throughput": {"patches_per_second": 30}, "hardware": {"cpu": "Slow CPU"}}))
    result = compare(folders)
    (row,) = rows_of(result, "compare")
    assert (row["training_speed"], row["evaluation_speed"]) == (pytest.approx(812.34), 30)
    assert "machines" not in notes_of(result)
    other = {"throughput": {"patches_per_second": 50}, "hardware": {"cpu": "Fast CPU"}}
    (folders[1] / "eval" / "test" / "eval.json").write_text(json.dumps(other))
    result = compare(folders)
    assert rows_of(result, "compare")[0]["evaluation_speed"] == 40
    assert "Evaluation throughput was measured on different machines: Fast CPU; Slow CPU." in notes_of(result)
    record.write_text("{")
    with pytest.raises(RunError, match=r"eval\.json is damaged"):
        compare(folders)


def official(patches: int = 30, **changes: Any) -> Evidence:
    ids = [f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_{45 + i % 3:02d}_{40 + i // 3:02d}" for i in range(patches)]
    blank = np.zeros((patches, 19, 19), np.int64)
    blank[:, 2, 2] = 5
    return batch_evidence(origin(**changes), ids, blank, np.eye(19, dtype=bool)[np.full(patches, 2)], None)


def as_official(monkeypatch: pytest.MonkeyPatch, evidence: Evidence) -> None:
    """Let the test split be the patches of some evidence."""
    known = OfficialPart(ids_digest(evidence.patch_ids.to_pylist()), "")
    monkeypatch.setitem(OFFICIAL, "test", known)


def test_what_counts_as_the_official_test_split(monkeypatch):
    assert not on_official_test(official())
    as_official(monkeypatch, official())
    assert on_official_test(official())
    assert not on_official_test(official(29))
    assert not on_official_test(official(synthetic=True))
    assert not on_official_test(official(split="validation"))
    evidence = official()
    for name in ("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_00_40", "some_patch"):
        ids = pa.array([name, *evidence.patch_ids.to_pylist()[1:]])
        assert not on_official_test(replace(evidence, patch_ids=ids))


def test_published_results_are_comparable_only_on_the_official_test_split(tmp_path, monkeypatch, compared):
    assert "Not comparable: these runs are not on reBEN's test split." in notes_of(compared[0], "anchors")
    as_official(monkeypatch, official())
    whole = write_run(tmp_path / "whole", official())
    part = write_run(tmp_path / "part", take_patches(official(), np.arange(29)), train__lr=0.01)
    result = compare([whole])
    assert result.comparison.official
    assert "omparable" not in notes_of(result, "anchors")
    assert "Published; full reBEN test set, no pixel head; uploads were picked by test AP" in notes_of(
        result, "anchors"
    )
    result = compare([whole, part], allow_different_data=True)
    assert "Not comparable" in notes_of(result, "anchors")


def test_published_results_are_those_of_the_model_cards(real):
    """Against the list of facts that the project was begun with."""
    facts = (real.parent / "facts.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\S+-v0\.\d\.\d) \| (\.\d+) / (\.\d+) \| (\.\d+) / (\.\d+) \|$", facts, re.MULTILINE)
    assert len(listed) == 7
    expected = {card: tuple(map(float, scores)) for card, *scores in listed}
    assert {a.card: (a.ap_macro, a.ap_micro, a.f1_macro, a.f1_micro) for a in ANCHORS} == expected
    shown = [row[1] for row in anchors_table(True).rows]
    assert shown == sorted(shown, reverse=True)


def test_files(compared):
    result, out = compared
    tables = {table.name: table for table in result.tables}
    csvs = {"compare.csv", "compare_pairs.csv", "compare_runs.csv", "compare_anchors.csv"}
    others = {"compare.md", "compare.tex", "compare.json", written.FILE_NAME}
    assert {path.name for path in out.iterdir()} == others | csvs
    for suffix in ("md", "tex"):
        text = (out / f"compare.{suffix}").read_text()
        assert all(FORMATS[suffix](table) in text for table in result.tables)
        assert "nan" not in text.lower()
    assert r"\usepackage{booktabs}" in (out / "compare.tex").read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads((out / "compare.json").read_text(), parse_constant=refuse)
    assert (document["split"], document["sort"], document["method"]) == ("test", "miou", "jackknife over tiles")
    s2 = document["compare"]["rows"][1]
    expected = rows_of(result, "compare")[1]["miou"]
    assert [s2[key] for key in ("miou", "miou_sd", "miou_low", "miou_high")] == [
        expected.value,
        expected.sd,
        expected.low,
        expected.high,
    ]
    assert document["compare"]["rows"][0]["miou_sd"] is None
    assert document["compare"]["rows"][0]["ap_macro"] is None
    read = pa.csv.read_csv(out / "compare.csv").to_pylist()
    assert [row["miou_sd"] for row in read] == [None, expected.sd, None]
    assert [row["parameters"] for row in read] == [14_328_209] * 3
    runs = list(csv.DictReader(io.StringIO((out / "compare_runs.csv").read_text())))
    assert len(runs) == len(tables["runs"].rows) == 5
    assert "miou_sd" not in runs[0]


def test_one_evidence_at_a_time_is_in_memory(runs, monkeypatch):
    read = compare_module.read_evidence
    earlier: list[weakref.ref[Any]] = []

    def reading(run: Path, scope: Scope) -> Evidence:
        assert all(labels() is None for labels in earlier)
        evidence = read(run, scope)
        earlier.append(weakref.ref(evidence.labels))
        return evidence

    monkeypatch.setattr(compare_module, "read_evidence", reading)
    compare(list(runs.values()))
    assert len(earlier) == 5


def test_a_record_from_the_public_api(runs):
    assert seg.compare is compare


@pytest.fixture
def cli(capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, width=80):
        monkeypatch.setenv("COLUMNS", str(width))
        return typed(capfd, monkeypatch, "compare", *arguments)

    return run


def test_on_the_command_line(cli, runs, tmp_path):
    code, out, err = cli(*runs.values(), "--out", "table", "--sort", "ap_macro")
    assert code == 0, err
    assert "Tables: table" in out
    assert (tmp_path / "table" / "compare.md").is_file()
    for word in ("Comparison, test split", "Paired tests", "Runs one by one", "Not comparable", "Sorted by AP macro"):
        assert word in " ".join(out.split())
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 80
    for name in runs:
        assert name in out
    # The scores of a run do not fit beside each other into 80 columns: each part of the table has a row for each run.
    part = out[out.index("Runs one by one") :].partition("Published scene scores")[0]
    parts = part.count("Runs one by one")
    assert parts > 1
    for name in runs:
        rows = [line for line in part.splitlines() if line.replace("│", " ").split()[:1] == [name]]
        assert len(rows) == parts


def test_runs_are_not_shown_twice_where_every_configuration_has_one(cli, runs):
    code, out, _ = cli(runs["s1"], runs["bare"], "--no-anchors")
    assert code == 0
    assert "Runs one by one" not in out
    assert "resnet50" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "missing argument"),
        (("a", "--sort", "iou"), 2, "iou"),
        (("a", "--split", "dev"), 2, "dev"),
        (("nowhere",), 2, "there is no folder nowhere"),
    ],
)
def test_mistakes_on_the_command_line(cli, arguments, code, message):
    got, out, err = cli(*arguments)
    assert got == code
    assert message in err
    assert "Traceback" not in err
    assert out == ""


def test_comparing_needs_no_torch_no_images_and_no_other_split(runs):
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        assert name.split('.')[0] not in ('torch', 'lmdb', 'rasterio', 'albumentations', 'timm'), name\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from seg.cli.main import main\n"
        f"sys.argv = ['seg', 'compare', {str(runs['s1'])!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Comparison, test split" in done.stdout
