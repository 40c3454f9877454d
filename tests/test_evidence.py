"""Evidence: batches, merging, counting, the file, and what it refuses."""

import json
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import dense_counts, made_up_evidence

from seg.errors import EvidenceError
from seg.metrics.evidence import (
    Details,
    Evidence,
    Origin,
    batch_evidence,
    merge_evidence,
    predicted_areas,
    reference_areas,
    take_patches,
    total_counts,
)
from seg.metrics.evidence_file import FILE_NAME, load_evidence, save_evidence
from seg.metrics.evidence_header import sealed
from seg.metrics.joint import implied_labels
from seg.metrics.pixel import pixel_scores
from seg.metrics.scene import fit_thresholds, scene_scores
from seg.metrics.scores import headline, score_evidence, validation_thresholds
from seg.metrics.sparse import PatchCounts
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES

K = NUM_CLASSES
ORIGIN = Origin("test", "fingerprint-1", synthetic=False)
PRODUCT = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"


def some_counts(seed: int, patches: int) -> np.ndarray:
    """Counts of patches, some with every cell, some with few, some without a labelled pixel."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 14400, (patches, K, K))
    return counts * (rng.random((patches, K, K)) < rng.choice([0, 0.01, 0.1, 1], (patches, 1, 1)))


def some_evidence(seed: int = 0, patches: int = 7, head: bool = True, origin: Origin = ORIGIN) -> Evidence:
    rng = np.random.default_rng(seed)
    ids = [f"{PRODUCT}_{i // 91:02d}_{i % 91:02d}" for i in range(patches)]
    probabilities = rng.random((patches, K), dtype=np.float32) if head else None
    return batch_evidence(origin, ids, some_counts(seed, patches), rng.random((patches, K)) < 0.2, probabilities)


def probabilities_of(evidence: Evidence) -> npt.NDArray[np.float32]:
    assert evidence.probabilities is not None
    return evidence.probabilities


def assert_same(first: Evidence, second: Evidence) -> None:
    assert first.origin == second.origin
    assert first.patch_ids.to_pylist() == second.patch_ids.to_pylist()
    assert (first.probabilities is None) == (second.probabilities is None)
    assert first.countries.to_pylist() == second.countries.to_pylist()
    assert (first.details is None) == (second.details is None)
    pairs = [(getattr(first, name), getattr(second, name)) for name in ("labels", "probabilities", "confusion")]
    if first.details is not None:
        pairs += [(getattr(first.details, f.name), getattr(second.details, f.name)) for f in fields(Details)]
    for left, right in pairs:
        if isinstance(left, PatchCounts):
            assert left.size == right.size
            pairs += [(getattr(left, name), getattr(right, name)) for name in ("offsets", "keys", "counts")]
        elif left is not None:
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)


@given(st.integers(0, 1000), st.integers(0, 6))
def test_batch_keeps_every_count(seed: int, patches: int) -> None:
    counts = some_counts(seed, patches)
    evidence = some_evidence(seed, patches)
    np.testing.assert_array_equal(total_counts(evidence), counts.sum(axis=0))
    np.testing.assert_array_equal(dense_counts(evidence, np.arange(patches)), counts)
    np.testing.assert_array_equal(reference_areas(evidence), counts.sum(axis=2))
    np.testing.assert_array_equal(predicted_areas(evidence), counts.sum(axis=1))
    rows = np.random.default_rng(seed).integers(0, max(patches, 1), 4 if patches else 0)
    np.testing.assert_array_equal(dense_counts(evidence, rows), counts[rows])


def test_sums_are_exact_beyond_what_a_cell_of_a_patch_holds() -> None:
    counts = np.zeros((3, K, K), dtype=np.int64)
    counts[:, 4, 5] = 2**32 - 1
    evidence = batch_evidence(ORIGIN, list("abc"), counts, np.zeros((3, K), dtype=bool), None)
    assert total_counts(evidence)[4, 5] == 3 * (2**32 - 1)
    with pytest.raises(AssertionError, match="uint32"):
        batch_evidence(ORIGIN, list("abc"), counts + 1, np.zeros((3, K), dtype=bool), None)


@given(st.integers(0, 1000), st.booleans(), st.lists(st.integers(1, 8), max_size=3))
def test_merged_evidence_does_not_depend_on_batches_and_order(seed: int, head: bool, cuts: list[int]) -> None:
    whole = some_evidence(seed, 9, head)
    rows = np.random.default_rng(seed + 1).permutation(9)
    parts = [take_patches(whole, part) for part in np.split(rows, sorted(cuts))]
    assert_same(merge_evidence(parts), whole)
    assert_same(merge_evidence([whole]), whole)


def test_taken_patches_keep_what_belongs_to_them() -> None:
    whole = some_evidence(3, 6)
    rows = np.array([5, 0, 3])
    part = take_patches(whole, rows)
    assert part.patch_ids.to_pylist() == [whole.patch_ids.to_pylist()[row] for row in rows]
    np.testing.assert_array_equal(dense_counts(part, np.arange(3)), dense_counts(whole, rows))
    np.testing.assert_array_equal(part.labels, whole.labels[rows])
    np.testing.assert_array_equal(part.probabilities, probabilities_of(whole)[rows])
    assert len(take_patches(whole, rows[:0])) == 0


def test_patch_that_is_counted_twice_is_refused_by_name() -> None:
    evidence = some_evidence()
    twice = take_patches(evidence, np.array([2]))
    with pytest.raises(EvidenceError, match=f"{PRODUCT}_00_02 more than once"):
        merge_evidence([evidence, twice])


def test_parts_that_do_not_belong_together_are_a_bug() -> None:
    evidence = some_evidence()
    with pytest.raises(AssertionError, match="origin"):
        merge_evidence([evidence, replace(evidence, origin=Origin("train", "fingerprint-1", False))])
    with pytest.raises(AssertionError, match="scene"):
        merge_evidence([evidence, some_evidence(head=False)])
    with pytest.raises(AssertionError):
        merge_evidence([])


def test_evidence_travels_between_processes() -> None:
    evidence = some_evidence()
    assert_same(pickle.loads(pickle.dumps(evidence)), evidence)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 8), st.booleans(), st.booleans())
def test_file_gives_back_what_was_written(seed: int, patches: int, head: bool, synthetic: bool) -> None:
    evidence = some_evidence(seed, patches, head, Origin("validation", "f", synthetic))
    with tempfile.TemporaryDirectory() as folder:
        path = save_evidence(Path(folder) / "deep" / "er", evidence)
        assert path.name == FILE_NAME
        assert_same(load_evidence(path.parent), evidence)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30), st.booleans(), st.booleans())
def test_details_survive_batches_and_the_file(seed: int, patches: int, head: bool, scaled: bool) -> None:
    origin = Origin("test", "f", False, "ab", tuple([0.4] * K) if head else None, 1.5 if scaled else None)
    evidence = made_up_evidence(patches, 3, seed, head=head, origin=origin)
    rows = np.random.default_rng(seed).permutation(patches)
    merged = merge_evidence([take_patches(evidence, part) for part in np.array_split(rows, 3) if len(part)])
    assert_same(merged, evidence)
    with tempfile.TemporaryDirectory() as folder:
        save_evidence(Path(folder), evidence)
        assert_same(load_evidence(Path(folder)), evidence)


def test_details_that_contradict_the_confusion_counts_are_refused(tmp_path: Path) -> None:
    evidence = made_up_evidence(20)
    other = made_up_evidence(20, seed=1).details
    save_evidence(tmp_path, replace(evidence, details=other))
    assert "contradict each other" in refused(tmp_path)


def test_patches_without_labelled_pixels_survive(tmp_path: Path) -> None:
    counts = np.zeros((3, K, K), dtype=np.int64)
    counts[1, 18, 18] = 14400
    evidence = batch_evidence(ORIGIN, list("abc"), counts, np.zeros((3, K), dtype=bool), None)
    save_evidence(tmp_path, evidence)
    np.testing.assert_array_equal(dense_counts(load_evidence(tmp_path), np.arange(3)), counts)


def test_file_is_readable_without_seg(tmp_path: Path) -> None:
    evidence = some_evidence(1, 3)
    table = pq.read_table(save_evidence(tmp_path, evidence))
    for n, row in enumerate(table.to_pylist()):
        assert row["patch_id"] == f"{PRODUCT}_00_{n:02d}"
        assert row["labels"] == sorted(CLASS_NAMES[c] for c in np.flatnonzero(evidence.labels[n]))
        np.testing.assert_array_equal(np.float32(row["probabilities"]), probabilities_of(evidence)[n])
        counts = np.zeros(K * K, dtype=np.int64)
        counts[row["confusion_keys"]] = row["confusion_counts"]
        np.testing.assert_array_equal(counts.reshape(K, K), dense_counts(evidence, np.array([n]))[0])
    header = json.loads(table.schema.metadata[b"seg.evidence"])
    assert len(header.pop("checksum")) == 16
    assert header == {
        "format": 3,
        "classes": list(CLASS_NAMES),
        "patches": 3,
        "split": "test",
        "fingerprint": "fingerprint-1",
        "synthetic": False,
        "weights": "",
        "thresholds": None,
        "temperature": None,
        "without": None,
        "on": "",
        "synthetic_model": False,
        "left_out": 0,
        "unit": 0.0,
        "masks": True,
        "ranked": True,
        "countries": [],
    }


def test_file_is_small(tmp_path: Path) -> None:
    # 150 MB for the 119,825 patches of the official test split are 1,250 bytes per patch.
    path = save_evidence(tmp_path, made_up_evidence(patches := 4000, 40))
    assert path.stat().st_size < 1100 * patches


def test_failed_write_leaves_the_file_before_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = some_evidence(0)
    save_evidence(tmp_path, before)

    def fails(table: pa.Table, file: pa.NativeFile, **options: object) -> None:
        file.write(b"PAR1 half a file")
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pq, "write_table", fails)
        with pytest.raises(OSError, match="no space left"):
            save_evidence(tmp_path, some_evidence(1))
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert_same(load_evidence(tmp_path), before)
    save_evidence(tmp_path, some_evidence(1))
    assert_same(load_evidence(tmp_path), some_evidence(1))


def refused(folder: Path) -> str:
    with pytest.raises(EvidenceError) as caught:
        load_evidence(folder)
    return str(caught.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert "there is no evidence at" in refused(tmp_path)
    assert "seg eval" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, 0.999])
def test_file_that_is_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    path = save_evidence(tmp_path, some_evidence())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "run 'seg eval' again" in refused(tmp_path)


@pytest.mark.parametrize("column", range(5))
def test_flipped_bit_is_refused(tmp_path: Path, column: int) -> None:
    path = save_evidence(tmp_path, some_evidence(patches=50))
    chunk = pq.read_metadata(path).row_group(0).column(column)
    content = bytearray(path.read_bytes())
    first = chunk.dictionary_page_offset or chunk.data_page_offset
    content[first + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    assert "cut off or damaged" in refused(tmp_path)


def rewritten(folder: Path, change: Callable[[pa.Table], pa.Table], **header: object) -> None:
    """Write the file anew with another table or header, as another writer would."""
    path = save_evidence(folder, some_evidence(patches=4))
    table = pq.read_table(path)
    old = json.loads(table.schema.metadata[b"seg.evidence"])
    table = change(table)
    pq.write_table(table.replace_schema_metadata({"seg.evidence": json.dumps(sealed(old | header))}), path)


def column_set(name: str, values: list[Any], kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(name)
        return table.set_column(at, name, pa.array(values, kind or table.schema.field(name).type))

    return change


def beyond_the_last_cell(table: pa.Table) -> pa.Table:
    return column_set("confusion_keys", [[K * K for _ in counts] for counts in table["confusion_counts"].to_pylist()])(
        table
    )


def same(table: pa.Table) -> pa.Table:
    return table


NAN = [[0.5] * K, [0.5] * K, [float("nan")] + [0.5] * (K - 1), [0.5] * K]


@pytest.mark.parametrize(
    ("change", "header", "sentence"),
    [
        (same, {"format": 1}, "has format 1 and this seg reads 2 and 3"),
        (same, {"classes": sorted(CLASS_NAMES)}, "in another order"),
        (same, {"classes": ["Water"]}, "has other classes"),
        (same, {"patches": 5}, "patches or values are missing"),
        (same, {"split": "holdout"}, "its split"),
        (column_set("probabilities", NAN), {}, "scene probabilities are NaN"),
        (column_set("probabilities", [[2.0] * K] * 4), {}, "between 0 and 1"),
        (column_set("patch_id", ["a", "b", "a", "c"]), {}, "patch a more than once"),
        (column_set("patch_id", ["a", "b", None, "c"]), {}, "patches or values are missing"),
        (column_set("confusion_counts", [None, [], [], []]), {}, "patches or values are missing"),
        (column_set("confusion_counts", [[None], [], [], []]), {}, "patches or values are missing"),
        (column_set("labels", [["Pastures"], [], ["Meadows"], []]), {}, "a label is none of the 19"),
        (beyond_the_last_cell, {}, "counts make no sense"),
        (column_set("confusion_keys", [[1], [], [], []]), {}, "counts make no sense"),
        (column_set("confusion_keys", [[1.5]] * 4, pa.list_(pa.float32())), {}, "not those that seg writes"),
        (lambda table: table.drop_columns(["confusion_counts"]), {}, "not those that seg writes"),
        (lambda table: table.slice(1), {}, "patches or values are missing"),
    ],
)
def test_file_that_is_not_ours_is_refused(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], header: dict[str, object], sentence: str
) -> None:
    rewritten(tmp_path, change, **header)
    assert sentence in refused(tmp_path)


def test_a_header_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = save_evidence(tmp_path, some_evidence(patches=4))
    table = pq.read_table(path)
    header = json.loads(table.schema.metadata[b"seg.evidence"]) | {"synthetic": True}
    pq.write_table(table.replace_schema_metadata({"seg.evidence": json.dumps(header)}), path)
    assert "its header is not the one that was written" in refused(tmp_path)


@pytest.mark.parametrize("metadata", [{}, {"seg.evidence": "no json"}, {"seg.evidence": "[]"}, {"seg.evidence": "{}"}])
def test_any_other_parquet_is_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    pq.write_table(pa.table({"patch_id": ["a"]}).replace_schema_metadata(metadata), tmp_path / FILE_NAME)
    assert "is no evidence of seg" in refused(tmp_path)


def test_rewritten_but_equal_file_is_accepted(tmp_path: Path) -> None:
    rewritten(tmp_path, same)
    assert_same(load_evidence(tmp_path), some_evidence(patches=4))


def test_nan_is_refused_before_it_is_written() -> None:
    probabilities = np.full((1, K), np.nan, dtype=np.float32)
    with pytest.raises(EvidenceError, match="diverged"):
        batch_evidence(ORIGIN, ["a"], np.zeros((1, K, K), np.int64), np.zeros((1, K), dtype=bool), probabilities)


def test_all_scores_come_from_the_file_alone(tmp_path: Path) -> None:
    evidence = some_evidence(5, 40)
    thresholds = np.linspace(0.1, 0.9, K)
    origin = replace(ORIGIN, thresholds=tuple(thresholds.tolist()))
    save_evidence(tmp_path, replace(evidence, origin=origin))
    scores = score_evidence(load_evidence(tmp_path))
    counts, probabilities = some_counts(5, 40), probabilities_of(evidence)
    assert (scores.origin, scores.patches) == (origin, 40)
    assert scores.pixel.miou == pixel_scores(counts.sum(axis=0)).miou
    assert scores.scene is not None
    assert scores.scene_fitted is not None
    assert scores.scene.f1_macro == scene_scores(probabilities, evidence.labels).f1_macro
    assert scores.scene_fitted.f1_macro == scene_scores(probabilities, evidence.labels, thresholds).f1_macro
    implied = implied_labels(counts.sum(axis=1))
    assert scores.joint.agreement == (implied == (probabilities > 0.5)).mean()
    assert scores.joint.agreement_fitted == (implied == (probabilities > thresholds)).mean()
    assert scores.joint.reference_exact == (implied_labels(counts.sum(axis=2)) == evidence.labels).all(axis=1).mean()
    assert score_evidence(evidence, min_share=0.3).joint.min_share == 0.3


def test_without_scene_head_only_the_mask_is_scored() -> None:
    scores = score_evidence(some_evidence(head=False, origin=replace(ORIGIN, thresholds=(0.5,) * K)))
    assert scores.scene is None
    assert scores.scene_fitted is None
    assert set(headline(scores)) == {"miou", "mf1", "macc", "oa", "fwiou"}
    assert validation_thresholds(some_evidence(head=False, origin=Origin("validation", "f", False))) is None


def test_headline_holds_the_scores_at_a_half() -> None:
    scores = score_evidence(some_evidence(origin=replace(ORIGIN, thresholds=(0.2,) * K)))
    values = headline(scores)
    assert scores.scene is not None
    assert (values["miou"], values["oa"]) == (scores.pixel.miou, scores.pixel.oa)
    assert (values["ap_macro"], values["f1_samples"]) == (scores.scene.ap_macro, scores.scene.f1_samples)


def test_thresholds_are_fitted_on_validation_only() -> None:
    evidence = some_evidence(origin=Origin("validation", "f", False))
    np.testing.assert_array_equal(
        validation_thresholds(evidence), fit_thresholds(probabilities_of(evidence), evidence.labels)
    )
    for split in ("train", "test"):
        with pytest.raises(EvidenceError, match=f"never on {split}"):
            validation_thresholds(replace(evidence, origin=Origin(split, "f", False)))
