"""``seg score``: predictions made elsewhere come to what their definitions say, whatever file they are in."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from predicted import CONTAINERS, Made, N, folder_of
from safetensors.numpy import save_file
from sklearn.metrics import confusion_matrix, f1_score

import seg
from seg.errors import RunError
from seg.metrics.evidence import total_counts
from seg.metrics.evidence_file import load_evidence
from seg.pipeline.score import Scored, score
from seg.runs.entry import read_entry


def shuffled(made: Made) -> np.ndarray:
    return np.random.default_rng(1).permutation(len(made.ids))


def same_evidence(first: Path, second: Path) -> bool:
    one, two = (load_evidence(path / "evidence") for path in (first, second))
    counts = [(e.confusion, e.details.zones, e.details.bands) for e in (one, two)]
    return one.patch_ids.equals(two.patch_ids) and all(
        np.array_equal(a.keys, b.keys) and np.array_equal(a.counts, b.counts) for a, b in zip(*counts, strict=True)
    )


@pytest.fixture(scope="module")
def reference(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluation of the class maps as one plain file."""
    place = tmp_path_factory.mktemp("reference")
    np.savez(place / "a.npz", ids=np.array(made.ids), masks=made.masks)
    done = score(place / "a.npz", name="a", out=place / "a", classes="reben", data=made.store.folder)
    return done.evaluation


def test_counts_and_scores_are_those_of_scikit_learn(made: Made, scored: Callable[..., Scored], tmp_path: Path):
    np.savez(tmp_path / "a.npz", ids=np.array(made.ids), masks=made.masks)
    pq.write_table(made.table(), tmp_path / "scene.parquet")
    done = scored(tmp_path / "a.npz", scene=tmp_path / "scene.parquet")
    evidence = load_evidence(done.evaluation / "evidence")
    inside = made.truth != 255
    expected = confusion_matrix(made.truth[inside], made.masks[inside], labels=range(N))
    np.testing.assert_array_equal(total_counts(evidence), expected)
    present = made.labels.any(0)
    f1 = f1_score(made.labels, made.probabilities > 0.5, average=None, zero_division=0)
    assert done.scores.scene.f1_macro == pytest.approx(f1[present].mean(), abs=1e-12)
    assert done.assessment.boundary is not None
    assert done.assessment.pixel_calibration is None


@pytest.mark.parametrize("kind", ["png", "npy", "tif", "s1"])
def test_a_folder_of_class_maps_at_any_depth(kind: str, made: Made, scored: Any, reference: Path, tmp_path: Path):
    assert same_evidence(scored(folder_of(kind, made, tmp_path / kind)).evaluation, reference)


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("by_patch", [False, True])
def test_a_file_of_arrays(suffix: str, by_patch: bool, made: Made, scored: Any, reference: Path, tmp_path: Path):
    order = shuffled(made)
    path = tmp_path / f"a{suffix}"
    if by_patch:
        arrays = {f"{made.ids[row]}": made.masks[row].astype(np.uint16) for row in order}
        if suffix == ".safetensors":
            save_file(arrays, path)
        else:
            CONTAINERS[suffix](path, arrays)
    else:
        CONTAINERS[suffix](path, {"ids": np.array(made.ids)[order], "masks": made.masks[order]})
    assert same_evidence(scored(path).evaluation, reference)


def test_a_scored_folder_that_cannot_be_read(made: Made, scored: Any, tmp_path: Path, capfd: Any):
    np.savez(tmp_path / "a.npz", ids=np.array(made.ids), masks=made.masks)
    done = scored(tmp_path / "a.npz")
    record = json.loads((done.folder / "scored.json").read_text())
    for change, sentence in (
        ({"format": 9}, "has format 9"),
        ({"name": 3}, "is damaged"),
        ({"seed": "a"}, "is damaged"),
        ({"data": None}, "is damaged"),
    ):
        (done.folder / "scored.json").write_text(json.dumps(record | change))
        with pytest.raises(RunError, match=f"{sentence}.*again with 'seg score'"):
            read_entry(done.folder)
    (done.folder / "scored.json").write_text(json.dumps(record))
    shutil.rmtree(done.evaluation / "evidence")
    with pytest.raises(RunError, match="score the predictions again with 'seg score'"):
        seg.report_run(done.folder)
    again = scored(tmp_path / "a.npz")
    assert seg.report_run(again.folder, check=True).assessment.scores.pixel.miou == done.scores.pixel.miou
