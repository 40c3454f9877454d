"""``seg report``: everything anew from the evidence of a real run, and what it refuses."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import made_up_evidence
from scipy.ndimage import distance_transform_edt

import seg
from seg.engine.evaluate import Pass, predict
from seg.errors import ForeignFileError, RunError
from seg.metrics import collection
from seg.metrics.evidence import CELLS, CONFIDENCE_UNIT
from seg.metrics.evidence_file import FILE_NAME, load_evidence, save_evidence
from seg.metrics.scores import score_evidence
from seg.metrics.second_opinion import disputed
from seg.models.checkpoint import read_checkpoint
from seg.pipeline.report import report_run
from seg.reben.classes import CLASS_NAMES
from seg.report.gallery import load_gallery
from seg.runs.session import open_session
from seg.runs.use import plan_use
from seg.store import written

K = len(CLASS_NAMES)
RESULTS = {"scores.json", "per_class.csv", "tables.md", "tables.tex", "tables.csv", "report.html"}


@pytest.fixture(scope="module")
def run(real_run):
    return real_run


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


@pytest.fixture(scope="module")
def predictions(run):
    """Logits, probabilities of the network in float64, and reference of every test patch, by patch id."""
    session = open_session(plan_use(run))
    found = {}
    for prediction in predict(session.model, session.dataset, Pass(session.compute, 4)):
        for i, name in enumerate(session.dataset.patch_ids(prediction.batch.rows_B.numpy())):
            logits = prediction.pixel_logits_BKHW[i].double().numpy()
            found[name] = (logits, prediction.batch.masks_BHW[i].numpy().copy())
    return found


def softmax(logits):
    shifted = np.exp(logits - logits.max(0))
    return shifted / shifted.sum(0)


def test_an_evaluation_holds_everything(run):
    folder = run / "eval" / "test"
    others = {"evidence", "gallery.safetensors", "eval.json", written.FILE_NAME}
    assert {path.name for path in folder.iterdir()} == RESULTS | others
    record = json.loads((folder / "eval.json").read_text())
    assert record["throughput"]["patches_per_second"] > 0
    evidence = load_evidence(folder / "evidence")
    card = read_checkpoint(run / "checkpoints" / "best")[0]
    assert evidence.origin.thresholds == card.thresholds
    assert evidence.origin.temperature == card.temperature
    assert len(evidence.origin.weights) == 32
    assert set(evidence.countries.to_pylist()) <= {"Austria", "Belgium", "Finland", "Ireland", "Kosovo", "Lithuania",
        "Luxembourg", "Portugal", "Serbia", "Switzerland"}  # fmt: skip


def test_details_are_those_of_the_pixels(run, predictions):
    """Zones, calibration and pooled scores against a computation patch by patch with SciPy and NumPy."""
    evidence = load_evidence(run / "eval" / "test" / "evidence")
    details, temperature = evidence.details, evidence.origin.temperature
    zones = details.zones.dense().reshape(-1, 2, CELLS)
    reliability = details.reliability.dense().reshape(-1, 2, 15, 3)
    for n, name in enumerate(evidence.patch_ids.to_pylist()):
        logits, truth = predictions[name]
        labelled, guess = truth != 255, logits.argmax(0)
        distance = np.full(truth.shape, np.inf)
        for k in np.unique(truth[labelled]):
            others = labelled & (truth != k)
            if others.any():
                distance[truth == k] = 10 * distance_transform_edt(~others)[truth == k]
        cells = truth.astype(int) * K + guess
        for zone, inside in enumerate((distance <= 30, (distance > 30) & (distance <= 100))):
            np.testing.assert_array_equal(zones[n, zone], np.bincount(cells[labelled & inside], minlength=CELLS))
        for scaled, divisor in enumerate((1.0, temperature)):
            shares = softmax(logits / divisor)
            sure = shares.max(0)[labelled]
            right = (guess == truth)[labelled]
            pixels, hits, confidence = reliability[n, scaled].T
            # A confidence on the edge of a bin may fall on either side, as the engine computes in float32.
            edges = np.histogram(sure, np.linspace(0, 1, 16))[0]
            assert np.abs(pixels - edges).sum() <= 4
            assert (pixels.sum(), hits.sum()) == (labelled.sum(), right.sum())
            assert confidence.sum() * CONFIDENCE_UNIT == pytest.approx(sure.sum(), rel=1e-4, abs=1e-4)
            true = np.take_along_axis(shares, np.where(labelled, truth, 0)[None].astype(int), 0)[0][labelled]
            brier = (shares**2).sum(0)[labelled] - 2 * true + 1
            assert details.losses_NSL[n, scaled] == pytest.approx(
                [brier.sum(), -np.log(true).sum()], rel=1e-4, abs=1e-3
            )
        top = softmax(logits).max((1, 2))
        np.testing.assert_allclose(details.pooled_NPK[n, 0] / 65535, top, atol=1e-4)


def test_the_report_repeats_the_evaluation_without_data_model_or_torch(run, tmp_path):
    """In a process that cannot import torch, on a copy that has neither weights nor store."""
    before = {name: (run / "eval" / "test" / name).read_bytes() for name in RESULTS}
    bare = shutil.copytree(run, tmp_path / run.name, ignore=shutil.ignore_patterns("checkpoints", *RESULTS))
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\nfrom seg.pipeline.report import report_run\n"
        "report_run(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(bare)], check=True)
    for name in RESULTS:
        assert (bare / "eval" / "test" / name).read_bytes() == before[name], name


def test_check_passes_and_finds_what_was_changed(copied):
    report_run(copied, check=True)
    tables = copied / "eval" / "test" / "tables.md"
    text = tables.read_text()
    tables.write_text(text.replace("| test ", "| tset ", 1))
    with pytest.raises(RunError, match=r"tables\.md, line \d+: .*but the evidence gives"):
        report_run(copied, check=True)
    with pytest.raises(ForeignFileError, match=r"holds tables\.md, which .* somebody has changed"):
        report_run(copied)
    assert "| tset " in tables.read_text()
    tables.unlink()
    report_run(copied)
    assert tables.read_text() == text


def test_check_asks_for_a_second_opinion(copied, monkeypatch):
    """What torchmetrics makes of the evidence, which does not use the code of seg."""
    monkeypatch.setitem(collection._SCENE, "f1_micro", lambda _, labels: torch.tensor(len(labels) / 7))
    with pytest.raises(RunError, match=r"seg computes f1_micro as 0\.\d+ and torchmetrics as \d+\.\d+ from the same"):
        report_run(copied, check=True)


@pytest.mark.parametrize(("off", "found"), [(1e-10, False), (2e-9, True), (np.nan, True)])
def test_the_second_opinion_allows_a_billionth(off, found):
    evidence = made_up_evidence(40, 3)
    scores = score_evidence(evidence)
    wrong = replace(scores, pixel=replace(scores.pixel, fwiou=scores.pixel.fwiou + off))
    assert ("computes fwiou" in (disputed(evidence, wrong) or "")) == found


def test_check_finds_a_page_that_was_changed_but_takes_tables_without_one(copied):
    page = copied / "eval" / "test" / "report.html"
    text = page.read_text()
    page.write_text(text.replace("mIoU", "mIOU", 1))
    with pytest.raises(RunError, match=r"report\.html, line \d+"):
        report_run(copied, check=True)
    page.unlink()
    report_run(copied, check=True)


def test_a_damaged_gallery_costs_the_pictures_only(copied):
    gallery = copied / "eval" / "test" / "gallery.safetensors"
    gallery.write_bytes(gallery.read_bytes()[:-10])
    told = []
    report_run(copied, notify=told.append)
    assert len(told) == 1
    assert "no pictures" in told[0]


def test_evidence_of_another_run_is_refused_without_the_weights_too(copied):
    shutil.rmtree(copied / "checkpoints")
    evidence = load_evidence(copied / "eval" / "test" / "evidence")
    other = replace(evidence, origin=replace(evidence.origin, weights="0" * 32))
    save_evidence(copied / "eval" / "test" / "evidence", other)
    with pytest.raises(RunError, match=r"evidence of other weights than eval\.json"):
        report_run(copied)


def test_a_synthetic_run_stays_synthetic(copied):
    record = json.loads((copied / "run.json").read_text()) | {"synthetic": True}
    (copied / "run.json").write_text(json.dumps(record))
    report_run(copied)
    assert "SYNTHETIC" in (copied / "eval" / "test" / "tables.md").read_text()


def test_pictures_are_of_the_patches_that_they_name(run, predictions):
    pictures = load_gallery(run / "eval" / "test")
    assert {picture.why for picture in pictures} >= {"best", "median", "worst"}
    for picture in pictures:
        logits, truth = predictions[picture.patch_id]
        np.testing.assert_array_equal(picture.reference_HW, truth)
        assert (picture.predicted_HW == logits.argmax(0)).mean() > 0.999
        labelled = truth != 255
        assert picture.score == pytest.approx((logits.argmax(0) == truth)[labelled].mean(), abs=1e-3)


def test_an_evaluation_that_is_broken_off_leaves_the_one_before(copied, monkeypatch):
    before = (copied / "eval" / "test" / "evidence" / FILE_NAME).read_bytes()

    def break_off(items, *_):
        yield next(iter(items))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seg.evaluate(copied, batch_size=4, track=break_off)
    assert (copied / "eval" / "test" / "evidence" / FILE_NAME).read_bytes() == before


def test_what_cannot_be_reported_is_one_sentence(copied, tmp_path):
    with pytest.raises(RunError, match="there is no folder"):
        report_run(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"not scored on the train split yet; run: seg eval .* --split train"):
        report_run(copied, split="train")
    evidence = load_evidence(copied / "eval" / "test" / "evidence")
    other = replace(evidence, origin=replace(evidence.origin, weights="0" * 32))
    save_evidence(copied / "eval" / "test" / "evidence", other)
    with pytest.raises(RunError, match="has other weights than those that were scored"):
        report_run(copied)
