"""Submissions: packed, verified, and what forgers, mistakes and hostile files come to."""

import contextlib
import functools
import io
import itertools
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import run_seg
from entries import (
    ANSWERS,
    evidence_on,
    in_this_process,  # noqa: F401
    small_store,
    three_runs,
    with_origin,
    write_run,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seg.benchmark import container
from seg.benchmark import verify as verify_module
from seg.benchmark.card import derived_files
from seg.benchmark.checks import by_submission, read_checks
from seg.benchmark.consistency import check_consistency
from seg.benchmark.form import Answers, form_text, read_answers
from seg.benchmark.layout import manifest_text
from seg.benchmark.outcome import Outcome, measured
from seg.benchmark.protocol import KnownSet
from seg.benchmark.records import check_answers, facts_of
from seg.benchmark.reference import reference_of
from seg.config.yaml_text import dump
from seg.errors import EvidenceError, ForeignFileError, RunError, SegError, SubmissionError, WrongUseError
from seg.metrics.evidence import CELLS, Evidence, take_patches
from seg.metrics.evidence_file import load_evidence, pack_evidence, save_evidence
from seg.metrics.evidence_header import sealed
from seg.metrics.sparse import sparse_counts
from seg.pipeline.leaderboard import leaderboard
from seg.pipeline.score import score
from seg.pipeline.submit import submit
from seg.pipeline.verify import verify
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.reben.official import ids_digest, labels_digest
from seg.reben.reference_map import class_indices
from seg.store.open import open_store

SEEDS = ("0", "1", "2")

pytestmark = pytest.mark.usefixtures("no_page")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("submissions")


@pytest.fixture(scope="module")
def store(place: Path):
    return small_store(place)


@pytest.fixture(scope="module")
def runs(place: Path, store) -> list[Path]:
    return three_runs(place / "runs", store)


@pytest.fixture(scope="module")
def packed(place: Path, runs: list[Path]) -> Path:
    submit(runs, place / "packed", answers=write_answers(place / "answers.yaml"))
    return place / "packed"


@pytest.fixture
def folder(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "submission"))


def write_answers(path: Path, **changes: Any) -> Path:
    path.write_text(form_text(ANSWERS | changes)[0])
    return path


# ------------------------------------------------------------------------------------------------------------ the form


def test_a_form_is_read_as_it_was_filled_in():
    text, left = form_text(ANSWERS)
    assert left == []
    assert read_answers(text, "form").model_dump() == ANSWERS
    assert read_answers(text, "form").track.name == "s2-scratch-100"


@pytest.mark.parametrize("name", [name for name in Answers.model_fields if name != "energy_kwh"])
def test_a_line_that_is_not_answered_is_named(name: str):
    text, left = form_text(ANSWERS | {name: None})
    (line,) = left
    assert re.fullmatch(rf"\d+ \({name}\)", line)
    assert text.splitlines()[int(line.split()[0]) - 1] == f"{name}:"
    with pytest.raises(SubmissionError, match=rf"form is not answered in full: line {line.split()[0]} \({name}\)$"):
        read_answers(text, "form")
    without = "\n".join(one for one in text.splitlines() if not one.startswith(f"{name}:"))
    with pytest.raises(SubmissionError, match=rf"no line {name}"):
        read_answers(without, "form")


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("protocol", 2, "should be 1"),
        ("name", "x" * 81, "at most 80 characters"),
        ("name", "a\u202eb", "cannot be printed"),
        ("name", " ", "is empty"),
        ("authors", [], "at least 1 item"),
        ("authors", "A. Author", "a line for each, such as - Jane Doe"),
        ("url", "javascript:alert(1)", "begins with https://"),
        ("url", 'https://x.org/" onclick="x', "begins with https://"),
        ("licence", "proprietary", "should be 'apache-2.0'"),
        ("inputs", "rgb", "should be 's1', 's2', 's1s2' or 'any'"),
        ("labels_percent", 50, "should be 1, 10 or 100"),
        ("test_unseen", False, "should be true: an entry whose test split"),
        ("trials", 0, "greater than or equal to 1"),
        ("trials", True, "is no number"),
        ("parameters", -1, "greater than or equal to 0"),
        ("hours", float("inf"), "less than or equal to"),
        ("hours", float("nan"), "greater than or equal to"),
        ("hours", "two", "is no number"),
        ("deterministic", "no", "valid boolean"),
        ("pretraining_data", "ImageNet", "pretraining_data is none where"),
    ],
)
def test_a_wrong_answer_is_named_with_its_line(name: str, value: object, what: str):
    text = form_text(ANSWERS | {name: value})[0]
    with pytest.raises(SubmissionError) as refused:
        read_answers(text, "form")
    assert what in str(refused.value)
    if name != "pretraining_data":
        line = next(n for n, one in enumerate(text.splitlines(), 1) if one.startswith(f"{name}:"))
        assert str(refused.value).startswith(f"form, line {line}: {name} ")
    assert "\n" not in str(refused.value)


def test_a_colon_in_a_sentence_is_told_of():
    text = form_text(ANSWERS)[0].replace(f"summary: {ANSWERS['summary']}", "summary: a forest: 5 trees")
    with pytest.raises(SubmissionError, match=r"is no valid YAML in line \d+: a text that holds ': ' stands in quotes"):
        read_answers(text, "form")


def test_lines_that_are_none_of_the_form_are_refused():
    text = form_text(ANSWERS)[0]
    with pytest.raises(SubmissionError, match=r"line \d+: colour is no line of the form"):
        read_answers(f"{text}\ncolour: red\n", "form")
    for bad in ("[", "- a", "a: &x [*x]", "x" * 200_000, "name: 1\nname: 2"):
        with pytest.raises(SubmissionError):
            read_answers(bad, "form")


@example("0\x850")
@example("a\u2028b")
@example("\x85" + "word " * 15)
@given(st.text(max_size=90))
def test_any_name_is_kept_or_refused(text: str):
    try:
        answers = read_answers(dump(ANSWERS | {"name": text}), "form")
    except SubmissionError:
        return
    assert answers.name == text


# ------------------------------------------------------------------------------------------------------------- packing


def test_the_form_is_written_with_what_the_records_know(runs, tmp_path):
    done = submit(runs, tmp_path / "entry")
    assert done.folder is None
    assert not (tmp_path / "entry").exists()
    text = done.form.read_text()
    known = {
        "inputs: s2",
        "parameters: 14328209",
        "patches_seen: 5000",
        "hours: 2.0",
        "trials: 2",
        "pretraining: scratch",
    }
    assert known <= set(text.splitlines())
    assert "device: Some GPU" in text
    assert [line.split()[1] for line in done.left] == [
        f"({name})" for name in ("summary", "authors", "url", "licence", "other_data", "test_unseen")
    ]
    with pytest.raises(SubmissionError, match="is not answered in full"):
        submit(runs, tmp_path / "entry", answers=done.form)
    assert not (tmp_path / "entry").exists()
    done.form.write_text(text + "# edited")
    with pytest.raises(ForeignFileError, match=r"entry\.answers\.yaml"):
        submit(runs, tmp_path / "entry")


def test_what_is_packed_is_verified_as_a_folder_and_as_a_zip(packed, store, tmp_path):
    found = verify(packed, data=store.folder)
    assert (found.patches, len(found.outcome.seeds)) == (10, 3)
    assert found.synthetic
    assert any("made up" in one or "makes up" in one for one in found.unverified)
    assert not any("class areas" in one for one in found.unverified)
    assert any("class areas" in one for one in verify(packed).unverified)
    archive = Path(shutil.make_archive(str(tmp_path / "entry"), "zip", packed.parent, packed.name))
    assert verify(archive).subject == found.subject
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as flat:
        for path in packed.rglob("*"):
            flat.write(path, path.relative_to(packed))
        flat.writestr("__MACOSX/._README.md", "litter")
    assert verify(tmp_path / "flat.zip").subject == found.subject
    page = (packed / "README.md").read_text()
    assert "SYNTHETIC" in page
    assert "CC-BY-4.0" in (packed / "CITATION.cff").read_text()
    assert not list(packed.rglob("*.safetensors"))
    scores = json.loads((packed / "scores.json").read_text())
    mean = np.mean([one.scores["miou"] for one in found.outcome.seeds])
    assert scores["scores"]["rows"][-1]["miou"] == pytest.approx(mean, abs=1e-12)


def test_packing_twice_gives_the_same_files_and_replaces_only_its_own(runs, packed, tmp_path):
    answers = write_answers(tmp_path / "answers.yaml")
    for _ in range(2):
        submit(runs, tmp_path / "entry", answers=answers)
    for path in packed.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            assert (tmp_path / "entry" / path.relative_to(packed)).read_bytes() == path.read_bytes()
    (tmp_path / "entry" / "mine.txt").write_text("mine")
    with pytest.raises(ForeignFileError, match=r"mine\.txt"):
        submit(runs, tmp_path / "entry", answers=answers)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(WrongUseError, match="something else than a submission"):
        submit(runs, tmp_path / "other", answers=answers)


CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "parameters": ({"parameters": 1}, "'parameters: 1' contradicts the record, which says 14328209"),
    "patches_seen": ({"patches_seen": 4000}, "'patches_seen: 4000' contradicts"),
    "hours": ({"hours": 0.1}, "'hours: 0.1' contradicts"),
    "trials": ({"trials": 1}, "'trials: 1' contradicts the record, which says 2"),
    "inputs": ({"inputs": "s1"}, "'inputs: s1' contradicts the record, which says B02, B03, B04"),
    "pretrained": ({"pretraining": "pretrained", "pretraining_data": "x"}, "weights: random"),
    "labels": ({"labels_percent": 10}, "'labels_percent: 10' contradicts"),
    "encoder": ({"encoder": "frozen"}, "'encoder: frozen' contradicts"),
    "deterministic": ({"deterministic": True}, "'deterministic: True' contradicts"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_answers_that_contradict_the_record_are_refused(name, runs, folder, tmp_path):
    changes, sentence = CONTRADICTIONS[name]
    answers = write_answers(tmp_path / "answers.yaml", **changes)
    with pytest.raises(SubmissionError, match=re.escape(sentence)):
        submit(runs, tmp_path / "entry", answers=answers)
    assert not (tmp_path / "entry").exists()
    write_answers(folder / "answers.yaml", **changes)
    seal(folder)
    with pytest.raises(SubmissionError, match=re.escape(sentence)):
        verify(folder)


def test_too_few_seeds_or_other_settings_are_no_entry(runs, store, tmp_path):
    answers = write_answers(tmp_path / "answers.yaml")
    with pytest.raises(SubmissionError, match="it has 2 seeds, and an entry has 3 or more"):
        submit(runs[:2], tmp_path / "entry", answers=answers)
    other = write_run(tmp_path / "other", evidence_on(store, 9), 9, train__lr=0.01)
    with pytest.raises(SubmissionError, match=r"differ in train\.lr"):
        submit([*runs[:2], other], tmp_path / "entry", answers=answers)
    copied = [*runs[:2], write_run(tmp_path / "copied", load_evidence(runs[0] / "eval/test/evidence"), 2)]
    with pytest.raises(SubmissionError, match="seed 2 is a copy of seed 0"):
        submit(copied, tmp_path / "entry", answers=answers)
    again = [*runs[:2], write_run(tmp_path / "again", evidence_on(store, 9), 0)]
    with pytest.raises(SubmissionError, match="0 is named twice"):
        submit([*runs, runs[0]], tmp_path / "entry")
    with pytest.raises(SubmissionError, match="seed 0 is there twice"):
        submit(again, tmp_path / "entry", answers=answers)
    broken = [*runs[:2], write_run(tmp_path / "broken", evidence_on(store, 9), 2, {"status": "interrupted"})]
    with pytest.raises(SubmissionError, match="did not finish"):
        submit(broken, tmp_path / "entry", answers=answers)
    unscored = write_run(tmp_path / "unscored", evidence_on(store, 9), 2)
    shutil.rmtree(unscored / "eval")
    with pytest.raises(RunError, match="was not scored on the test split yet"):
        submit([*runs[:2], unscored], tmp_path / "entry")


# ------------------------------------------------------------------------------------------------------------- forgers


def seal(folder: Path) -> None:
    """Compute the hashes anew, as every forger does."""
    name = re.search(r"^name: (.*)$", (folder / "answers.yaml").read_text(), re.M)
    assert name
    (folder / "submission.json").write_text(manifest_text(folder, name[1], SEEDS))


def forge(folder: Path, change: Callable[[Evidence], Evidence], seeds: tuple[str, ...] = ("0",)) -> None:
    """Change evidence, and make everything that follows from it follow: scores, page and hashes."""
    for seed in seeds:
        place = folder / "seeds" / seed
        save_evidence(place, change(load_evidence(place)))
    evidences = [load_evidence(folder / "seeds" / seed) for seed in SEEDS]
    outcome = Outcome(tuple(measured(int(seed), one) for seed, one in zip(SEEDS, evidences, strict=True)))
    answers = read_answers((folder / "answers.yaml").read_text(), "answers")
    for name, text in derived_files(answers, outcome, evidences[0].origin.simulated, len(evidences[0])).items():
        (folder / name).write_text(text)
    seal(folder)


def recounted(evidence: Evidence, change: Callable[[np.ndarray], None]) -> Evidence:
    """Evidence with other confusion counts."""
    counts = evidence.confusion.dense().reshape(-1, NUM_CLASSES, NUM_CLASSES)
    change(counts)
    return replace(evidence, confusion=sparse_counts(counts.reshape(-1, CELLS)))


def better(counts: np.ndarray) -> None:
    """Move a wrong pixel of the first patch that has one to where it would be right."""
    for matrix in counts:
        for true, predicted in np.argwhere(matrix):
            if true != predicted:
                matrix[true, predicted] -= 1
                matrix[true, true] += 1
                return


def with_bins(evidence: Evidence, change: Callable[[np.ndarray], None]) -> Evidence:
    """Evidence with other pixels by confidence, dense (N, 2, 15, 3)."""
    assert evidence.details is not None
    bins = evidence.details.reliability.dense().reshape(-1, 2, 15, 3)
    change(bins)
    return replace(evidence, details=replace(evidence.details, reliability=sparse_counts(bins.reshape(len(bins), -1))))


def thorough(evidence: Evidence) -> Evidence:
    """All wrong pixels become right ones, in counts, near boundaries and by confidence; the losses are forgotten."""

    def right(counts: np.ndarray) -> None:
        areas = counts.sum(2)
        counts[:] = 0
        counts[:, np.arange(NUM_CLASSES), np.arange(NUM_CLASSES)] = areas

    def all_right(bins: np.ndarray) -> None:
        bins[..., 1] = bins[..., 0]

    made = with_bins(recounted(evidence, right), all_right)
    assert made.details is not None
    zones = made.details.zones.dense().reshape(len(made), 2, NUM_CLASSES, NUM_CLASSES)
    for zone in range(2):
        right(zones[:, zone])
    bands = made.details.bands.dense().reshape(len(made), 3, NUM_CLASSES)
    bands[:, 0] = bands[:, 2] = bands[:, 1]
    counts = sparse_counts(zones.reshape(len(made), -1)), sparse_counts(bands.reshape(len(made), -1))
    return replace(made, details=replace(made.details, zones=counts[0], bands=counts[1]))


def areas_moved(counts: np.ndarray) -> None:
    """Let pixels that were taken for another class have been of that class."""
    for matrix in counts:
        np.fill_diagonal(matrix, matrix.sum(0))
        matrix[~np.eye(NUM_CLASSES, dtype=bool)] = 0


def other_label(evidence: Evidence) -> Evidence:
    labels = evidence.labels.copy()
    labels[0, 0] = ~labels[0, 0]
    return replace(evidence, labels=labels)


def renamed(evidence: Evidence, name: str) -> Evidence:
    return replace(evidence, patch_ids=pa.array([name, *evidence.patch_ids.to_pylist()[1:]]))


def without_details(evidence: Evidence) -> Evidence:
    return replace(evidence, details=None)


def losses_halved(evidence: Evidence) -> Evidence:
    assert evidence.details is not None
    return replace(evidence, details=replace(evidence.details, losses_NSL=evidence.details.losses_NSL / 100))


def huge_loss(evidence: Evidence) -> Evidence:
    assert evidence.details is not None
    assert evidence.details.losses_NSL is not None
    losses_NSL = evidence.details.losses_NSL.copy()
    losses_NSL[0, :, 1] = 1e300
    return replace(evidence, details=replace(evidence.details, losses_NSL=losses_NSL))


def surer(evidence: Evidence) -> Evidence:
    def change(bins: np.ndarray) -> None:
        bins[..., 2] *= 3

    return with_bins(evidence, change)


TRAIN_PATCH = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_00_00"
FORGERIES: dict[str, tuple[Callable[[Evidence], Evidence], str]] = {
    "a pixel made right": (lambda e: recounted(e, better), "contradicts itself: of S2.*"),
    "all made right": (thorough, "is none that its confidences can have"),
    "reference moved": (lambda e: recounted(e, areas_moved), "class areas of .* are not those of seed 0|contradict"),
    "pixels invented": (lambda e: recounted(e, lambda c: c.__imul__(2)), "class areas|contradict"),
    "label changed": (other_label, "labels of 1 patches are not those of seed"),
    "confidences raised": (surer, "confidences lie outside of their bins"),
    "losses lowered": (losses_halved, "is none that its confidences can have"),
    "details left out": (without_details, "lacks the details of an evaluation"),
    "a train patch": (lambda e: renamed(e, TRAIN_PATCH), "holds .*_00_00, a patch of the train split"),
    "no patch": (lambda e: renamed(e, "../../etc/passwd"), "is of no patch of reBEN"),
    "a patch left out": (
        lambda e: take_patches(e, np.arange(1, len(e))),
        "on other patches than seed|says that 10 patches were scored",
    ),
    "reordered": (lambda e: take_patches(e, np.arange(len(e))[::-1]), "are not in order"),
    "validation": (lambda e: with_origin(e, split="validation"), "scored on the validation split"),
    "other weights": (lambda e: with_origin(e, weights="f00d"), "of other weights than those that its record says"),
    "partial": (lambda e: with_origin(e, left_out=3), "scored on the PARTIAL"),
    "in a country": (
        lambda e: with_origin(e, countries=tuple(sorted(set(e.countries.to_pylist())))),
        "scored on the .* in ",
    ),
    "a sensor left out": (lambda e: with_origin(e, without="s1"), "without Sentinel-1"),
    "no thresholds": (lambda e: with_origin(e, thresholds=(2.0,) * NUM_CLASSES), "thresholds are not those|header"),
    "thresholds of nothing": (lambda e: with_origin(e, thresholds=()), "thresholds are not those|header"),
    "other temperature": (lambda e: with_origin(e, temperature=9.0), "after the temperature are none that it makes"),
    "no temperature": (lambda e: with_origin(e, temperature=None), "and no temperature"),
    "a huge loss": (huge_loss, "the log-likelihood is none that its confidences can have"),
    "trained on real images": (
        lambda e: with_origin(e, synthetic_model=False),
        "whether it was trained on simulated|of other data",
    ),
    "a country": (lambda e: replace(e, countries=pa.array(["Ruritania"] * len(e)).dictionary_encode()), "countries of"),
    "called real": (
        lambda e: with_origin(e, synthetic=False, synthetic_model=False),
        "not the official test split|says",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.parametrize("seed", ["0", "2"])
def test_a_forged_evidence_is_found_though_all_follows_from_it(name, seed, folder):
    change, sentence = FORGERIES[name]
    # Some of it contradicts itself so much that not even its forger can read it.
    with contextlib.suppress(EvidenceError):
        forge(folder, change, (seed,))
    seal(folder)
    with pytest.raises(SegError) as refused:
        verify(folder)
    assert re.search(sentence, str(refused.value)), refused.value
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["reference moved", "label changed", "a patch left out"])
def test_the_reference_of_all_seeds_together_is_found_by_the_store_or_a_digest(name, folder, store, monkeypatch):
    genuine = load_evidence(folder / "seeds" / "0")
    change, _ = FORGERIES[name]
    forge(
        folder,
        lambda e: with_origin(replace(change(e), details=None), weights="", temperature=None, synthetic_model=None),
        SEEDS,
    )
    for seed in SEEDS:  # as an outsider's, whose evidence needs no details
        record = folder / "seeds" / seed / "record.json"
        record.write_text(json.dumps({"seed": int(seed)}))
    seal(folder)
    with pytest.raises(SubmissionError, match=r"are not those of the store|the test split of store has 10"):
        verify(folder, data=store.folder)
    ids = genuine.patch_ids.to_pylist()
    reference = reference_of(genuine)
    known = KnownSet("known", ids_digest(ids), labels_digest(ids, reference.label_names), reference.digest, True)
    monkeypatch.setattr(verify_module, "KNOWN_SETS", (known,))
    if name == "a patch left out":
        assert verify(folder).checked[1].endswith("of the test split by their place, each once")
    else:
        with pytest.raises(SubmissionError, match="are not those of known; the evidence was edited"):
            verify(folder)


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert re.search(old, text)
        (folder / name).write_text(re.sub(old, new, text, count=1))

    return change


def record_of_another_seed(folder: Path) -> None:
    shutil.copy(folder / "seeds/1/record.json", folder / "seeds/0/record.json")


def doubled(folder: Path) -> None:
    place = folder / "seeds" / "0"
    evidence = load_evidence(place)
    twice = take_patches(evidence, np.array([0, *range(len(evidence))]))
    (place / "patches.parquet").write_bytes(pack_evidence(twice))


EDITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "page": (edit("README.md", r"\d+\.\d \[", "99.9 ["), r"README.md, line \d+: .* but the evidence gives"),
    "scores": (edit("scores.json", r'"miou": [\d.]+', '"miou": 0.99'), "scores.json, line .* but the evidence gives"),
    "page's title": (edit("README.md", "# ", "# <h1>99 %</h1> "), "README.md, line 1"),
    "page's end": (edit("README.md", "$", "mIoU 99 %\n"), "README.md has|README.md, line"),
    "citation": (edit("CITATION.cff", "A. Author", "Nobody"), "CITATION.cff, line"),
    "author": (edit("answers.yaml", "A. Author", "Nobody"), "README.md, line|CITATION.cff, line"),
    "protocol": (edit("submission.json", '"protocol": 1', '"protocol": 2'), "another version: protocol 2"),
    "format": (edit("submission.json", '"format": 1', '"format": 7'), "another version: format 7"),
    "definitions": (edit("submission.json", '"definitions": 1', '"definitions": 0'), "another version: definitions 0"),
    "answers' protocol": (edit("answers.yaml", "protocol: 1", "protocol: 2"), "protocol should be 1"),
    "name": (edit("submission.json", '"name": "unet', '"name": "better unet'), "name in the manifest"),
    "seeds": (edit("submission.json", r'"2"\s*\]', '"3"]'), "lacks seeds/3/patches.parquet"),
    "another file": (lambda folder: (folder / "model.bin").write_text("x"), "no part of it: model.bin"),
    "missing": (lambda folder: (folder / "seeds/1/patches.parquet").unlink(), "lacks seeds/1/patches.parquet"),
    "no manifest": (lambda folder: (folder / "submission.json").unlink(), "there is no submission.json"),
    "no json": (lambda folder: (folder / "submission.json").write_text("{"), "submission.json is no JSON"),
    "nested json": (
        lambda folder: (folder / "submission.json").write_text("[" * 100_000),
        "submission.json is no JSON",
    ),
    "record": (record_of_another_seed, "record of seed 0 is that of seed 1"),
    "doubled": (doubled, "counts patch .* more than once"),
    "no parquet": (
        lambda f: (f / "seeds/0/patches.parquet").write_bytes(b"PAR1" * 9),
        "seeds/0/patches.parquet cannot be read",
    ),
    "a link": (lambda f: (f / "more").symlink_to("/etc"), "is a link"),
    "a long text": (lambda f: (f / "README.md").write_text("x" * 2_000_000), "larger than"),
    "no text": (lambda f: (f / "README.md").write_bytes(b"\xff\xfe"), "no text in UTF-8"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_file_is_found_by_its_hash_and_by_what_it_says(name, folder):
    change, sentence = EDITS[name]
    change(folder)
    whole = name not in ("another file", "missing", "no manifest", "no json", "nested json", "a link", "seeds")
    if whole and not (folder / "submission.json").read_text().count('"format": 7'):
        with pytest.raises(SegError):
            verify(folder)
    if whole and name not in ("protocol", "format", "definitions", "name"):
        seal(folder)
    with pytest.raises(SegError) as refused:
        verify(folder)
    assert re.search(sentence, str(refused.value)), refused.value
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


def test_the_answers_may_not_be_replaced_without_the_hash(folder):
    text = (folder / "answers.yaml").read_text()
    (folder / "answers.yaml").write_text(text.replace("flips", "none"))
    with pytest.raises(SubmissionError, match=r"answers\.yaml is not the file that was packed: its hash differs"):
        verify(folder)


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_genuine_evidence_is_never_said_to_be_forged(store, data):
    skill = data.draw(st.sampled_from([0.0, 0.5, 3.0, 30.0, 300.0]))
    temperature = data.draw(st.sampled_from([None, 0.3, 1.0, 4.0]))
    check_consistency(evidence_on(store, data.draw(st.integers(0, 2**20)), skill, temperature))


NAMES = """record settings evaluation cost data patches weights hardware gpus bands model.arch data.augment seed
data.fraction device_seconds train status parameters"""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("finished"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=6),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["record", "settings", "evaluation", "seed"]), JSON))
def test_a_record_of_anything_is_no_bug(record):
    facts = facts_of(json.loads(json.dumps(record)))
    with contextlib.suppress(SubmissionError):
        check_answers(read_answers(form_text(ANSWERS)[0], "form"), [facts] * 3, "f00d")


def test_what_changes_training_patches_is_prefilled_as_augmentation():
    settings = {"data.augment": [{"D4": {}}], "train.reflectance_jitter": 0.1, "train.cutmix": 0.0, "train.status": "x"}
    assert facts_of({"settings": settings}).augmentation == "D4, reflectance_jitter"
    assert facts_of({"settings": {"data.augment": [], "data.label_elastic": 20}}).augmentation == "label_elastic"
    assert facts_of({"settings": {"data.augment": [], "train.window": 64}}).augmentation == "window"


# ------------------------------------------------------------------------------------------------------------ zip files


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "C:\\evil.txt", "a\\..\\evil.txt", "C:/evil.txt"]
)
def test_a_zip_writes_nowhere_but_into_its_own_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SubmissionError, match="names a file outside of itself"):
        verify(zipped(tmp_path / "x.zip", {name: b"evil", "submission.json": b"{}"}))
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_ten_gigabytes_of_zeros_are_refused_before_anything_is_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("seeds/0/patches.parquet", b"\0" * 1000)
        archive.getinfo("seeds/0/patches.parquet").file_size = 10 << 30
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: pytest.fail("unpacked"))
    with pytest.raises(SubmissionError, match="holds more than a submission may"):
        verify(tmp_path / "bomb.zip")


def test_a_zip_that_lies_of_its_sizes_is_not_unpacked_beyond_them(tmp_path):
    real = b"\0" * (4 << 20)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.md", real)
        archive.getinfo("README.md").file_size = 10
    with pytest.raises(SubmissionError, match="is damaged"):
        verify(tmp_path / "x.zip")


def test_other_zips_that_are_refused(tmp_path):
    for number in range(container.MOST_FILES + 1):
        (tmp_path / "many").mkdir(exist_ok=True)
        (tmp_path / "many" / str(number)).touch()
    with pytest.raises(SubmissionError, match="holds more than a submission may"):
        verify(tmp_path / "many")
    with pytest.raises(SubmissionError, match="holds more than a submission may"):
        verify(zipped(tmp_path / "many.zip", dict.fromkeys(map(str, range(container.MOST_FILES + 1)), b"")))
    with pytest.raises(SubmissionError, match="holds more than a submission may"):
        verify(zipped(tmp_path / "long.zip", dict.fromkeys((f"{n:09d}" * 20 for n in range(5000)), b"")))
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SubmissionError, match="link is a link"):
        verify(tmp_path / "link.zip")
    twice = zipped(tmp_path / "twice.zip", {"a": b"1", "b": b"2"})
    twice.write_bytes(twice.read_bytes().replace(b"b", b"a"))
    with pytest.raises(SubmissionError, match="holds a twice"):
        verify(tmp_path / "twice.zip")
    before = zipped(tmp_path / "before.zip", {"a": b"1"})
    before.write_bytes(b"#!/bin/sh\n" + before.read_bytes())
    with pytest.raises(SubmissionError, match="holds something before the zip"):
        verify(before)
    with pytest.raises(SubmissionError, match="names a file with signs that are no letters"):
        verify(zipped(tmp_path / "signs.zip", {"a\n\x1b[31mb": b""}))
    with pytest.raises(SubmissionError, match=r"both.zip is damaged \(File exists\)"):
        verify(zipped(tmp_path / "both.zip", {"seeds": b"", "seeds/0": b""}))
    (tmp_path / "no.zip").write_bytes(b"no zip")
    with pytest.raises(SubmissionError, match="is damaged"):
        verify(tmp_path / "no.zip")
    cut = io.BytesIO()
    with zipfile.ZipFile(cut, "w") as archive:
        archive.writestr("a", "1")
    (tmp_path / "cut.zip").write_bytes(cut.getvalue()[:-30])
    with pytest.raises(SubmissionError, match="is damaged"):
        verify(tmp_path / "cut.zip")
    for name in ("nowhere", "no.tar"):
        with pytest.raises(SubmissionError, match="does not exist"):
            verify(tmp_path / name)
    with pytest.raises(SubmissionError, match=r"there is no submission\.json"):
        verify(zipped(tmp_path / "empty.zip", {}))


# ------------------------------------------------------------------------------------------- predictions made elsewhere


def scored(store, folder: Path, seed: int | None, masks: bool = True, labels: bool = True) -> Path:
    """Predictions of an outsider, scored by `seg score`: class maps and labels, or only one of them."""
    shutil.copytree(scored_once(store.folder, seed, masks, labels), folder, dirs_exist_ok=True)
    return folder / f"scored-{seed}"


@functools.cache
def scored_once(data: Path, seed: int | None, masks: bool, labels: bool) -> Path:
    """A folder with these predictions, and within it the scored one; nobody may write into it."""
    store = open_store(data)
    folder = data.parent / f"outsider-{seed}-{masks}-{labels}"
    folder.mkdir()
    changes: dict[str, Any] = {}
    rows = np.flatnonzero(store.index.splits == 2)
    ids = store.index.patch_ids.take(rows).to_pylist()
    noise = np.random.default_rng(seed or 0)
    if masks:
        drawn = noise.integers(0, NUM_CLASSES, (len(ids), 120, 120), dtype=np.uint8)
        np.savez(folder / "masks.npz", ids=np.array(ids), masks=drawn)
        changes |= {"predictions": folder / "masks.npz", "classes": "reben"}
    if labels:
        table = {name: noise.random(len(ids)) for name in CLASS_NAMES}
        pq.write_table(pa.table({"patch_id": ids} | table), folder / "scene.parquet")
        changes |= {"scene": folder / "scene.parquet"}
    score(name="outsider", out=folder / f"scored-{seed}", data=data, seed=seed, **changes)
    return folder


OUTSIDER = {"name": "outsider", "encoder": "none", "trials": 1, "patches_seen": 0}


@pytest.mark.parametrize("given", ["both", "masks", "labels"])
def test_predictions_made_elsewhere_are_entered_like_runs(given, store, tmp_path):
    only = {"masks": given != "labels", "labels": given != "masks"}
    entries = [scored(store, tmp_path / str(seed), seed, **only) for seed in range(3)]
    done = submit(entries, tmp_path / "entry")
    assert {"(device)", "(hours)", "(patches_seen)"} <= {line.split()[1] for line in done.left}
    submit(entries, tmp_path / "entry", answers=write_answers(tmp_path / "answers.yaml", **OUTSIDER))
    found = verify(tmp_path / "entry", data=store.folder)
    assert not found.trained
    assert any("confidences" in one for one in found.unverified)
    assert ("miou" in found.outcome.keys) == (given != "labels")
    assert ("ap_macro" in found.outcome.keys) == (given != "masks")
    assert ("mIoU" in (tmp_path / "entry/README.md").read_text()) == (given != "labels")


def made_up(evidence: Evidence) -> Evidence:
    """Evidence of masks in which a pixel more is right, and which agrees with itself: two predictions change places."""
    assert evidence.details is not None
    confusion = evidence.confusion.dense().reshape(-1, NUM_CLASSES, NUM_CLASSES)
    zones = evidence.details.zones.dense().reshape(len(confusion), -1, NUM_CLASSES, NUM_CLASSES)
    patch, one, other, third = next(
        (patch, i, j, k)
        for patch, counts in enumerate(zones[:, 0])
        for i, j, k in itertools.permutations(range(NUM_CLASSES), 3)
        if counts[i, j] and counts[k, i]
    )
    for counts in (confusion[patch], zones[patch, 0]):
        counts[one, other] -= 1
        counts[one, one] += 1
        counts[third, one] -= 1
        counts[third, other] += 1
    details = replace(evidence.details, zones=sparse_counts(zones.reshape(len(zones), -1)))
    return replace(evidence, confusion=sparse_counts(confusion.reshape(-1, CELLS)), details=details)


def test_evidence_that_agrees_with_itself_is_told_by_the_predictions(store, tmp_path):
    entries = [scored(store, tmp_path / str(seed), seed) for seed in range(3)]
    answers = write_answers(tmp_path / "answers.yaml", **OUTSIDER)
    submit(entries, tmp_path / "entry", answers=answers)
    masks = {str(seed): tmp_path / str(seed) / "masks.npz" for seed in range(3)}
    tables = {str(seed): tmp_path / str(seed) / "scene.parquet" for seed in range(3)}
    given = {"data": store.folder, "predictions": masks, "scene": tables, "classes": "reben"}
    found = verify(tmp_path / "entry", **given)
    assert {f"the predictions of seed {seed} give its masks and probabilities of scene labels" for seed in range(3)} < {
        *found.checked
    }
    assert not any("made up" in one or "makes up" in one or "scene labels" in one for one in found.unverified)
    some = verify(tmp_path / "entry", **given | {"predictions": {"1": masks["1"]}, "scene": {}})
    assert "the predictions of seed 1 give its masks" in some.checked
    assert any("makes up" in one for one in some.unverified)
    assert "what the predictions of seed 0, 2 would tell: they were not given" in some.unverified
    assert not any("were not given" in one for one in found.unverified)
    forge(tmp_path / "entry", made_up, ("1",))
    assert any("makes up" in one for one in verify(tmp_path / "entry", data=store.folder).unverified)
    with pytest.raises(SubmissionError, match=r"masks.npz does not give the masks in the evidence of seed 1: 1 patch"):
        verify(tmp_path / "entry", **given)
    raised = tmp_path / "raised.parquet"
    rows = pq.read_table(tables["0"])
    name = CLASS_NAMES[3]
    higher = pa.array(np.minimum(rows[name].to_numpy() + 1e-3, 1))
    pq.write_table(rows.set_column(rows.column_names.index(name), name, higher), raised)
    with pytest.raises(SubmissionError, match="not give the probabilities of scene labels in the evidence of seed 0"):
        verify(tmp_path / "entry", **given | {"predictions": {}, "scene": {"0": raised}})
    for wrong, said in (
        ({"data": None}, "name its store with --data"),
        ({"predictions": {"7": masks["0"]}}, "there is no seed 7 in entry; it has 0, 1, 2"),
        ({"classes": None}, "with --classes"),
    ):
        with pytest.raises(WrongUseError, match=said):
            verify(tmp_path / "entry", **given | wrong)
    code, said = run_seg("verify", tmp_path / "entry", "--data", store.folder, "--predictions", "masks.npz")
    advice = "--predictions masks.npz names no seed; write --predictions 0=masks.npz"
    assert (code, advice in said) == (2, True)


def of_true_labels(evidence: Evidence) -> Evidence:
    """A little more probable where it is right: nothing is seen of it but the order."""
    assert evidence.probabilities is not None
    moved = evidence.probabilities + np.where(evidence.labels, 5e-6, 0).astype(np.float32)
    return replace(evidence, probabilities=np.minimum(moved, 1))


def called_probable(evidence: Evidence) -> Evidence:
    return with_origin(evidence, ranked=True)


def just_above_a_half(evidence: Evidence) -> Evidence:
    assert evidence.probabilities is not None
    return replace(evidence, probabilities=evidence.probabilities + np.float32(8e-6))


@pytest.mark.parametrize("trained", [False, True])
def test_what_lies_just_above_a_half_is_what_was_predicted(trained, store, tmp_path):
    """F1 hangs on it alone."""
    ids = evidence_on(store, 0).patch_ids
    tables, entries = {}, []
    for seed in SEEDS:
        drawn = np.random.default_rng(int(seed)).random((len(ids), NUM_CLASSES), np.float32)
        drawn[drawn > 0.3] = 0.5 - 3e-6
        tables[seed] = tmp_path / f"{seed}.parquet"
        pq.write_table(pa.table({"patch_id": ids} | dict(zip(CLASS_NAMES, drawn.T, strict=True))), tables[seed])
        entries.append(tmp_path / f"entry-{seed}")
        if trained:
            write_run(entries[-1], replace(evidence_on(store, int(seed)), probabilities=drawn), int(seed))
        else:
            score(name="outsider", out=entries[-1], data=store.folder, seed=int(seed), scene=tables[seed])
    answers = write_answers(tmp_path / "answers.yaml", **({} if trained else OUTSIDER))
    submit(entries, tmp_path / "entry", answers=answers)
    verify(tmp_path / "entry", data=store.folder, scene=tables)
    forge(tmp_path / "entry", just_above_a_half, ("1",))
    verify(tmp_path / "entry", data=store.folder)
    with pytest.raises(SubmissionError, match=r"does not give (the F1|the probabilities of scene labels)"):
        verify(tmp_path / "entry", data=store.folder, scene=tables)


def test_predictions_made_elsewhere_are_not_called_a_training(store, tmp_path):
    """Of one, what is predicted again has only to be nearly the same."""
    entries = [scored(store, tmp_path / str(seed), seed) for seed in range(3)]
    submit(entries, tmp_path / "entry", answers=write_answers(tmp_path / "answers.yaml", **OUTSIDER))
    for seed in SEEDS:
        path = tmp_path / "entry/seeds" / seed / "record.json"
        record = json.loads(path.read_text())
        record["record"]["status"] = "finished"
        path.write_text(json.dumps(record))
    (tmp_path / "entry/submission.json").write_text(manifest_text(tmp_path / "entry", "outsider", SEEDS))
    with pytest.raises(SubmissionError, match="is that of a training by seg, and its evidence names no weights"):
        verify(tmp_path / "entry")


@pytest.mark.parametrize("trained", [False, True])
def test_the_order_of_nearly_equal_probabilities_is_that_of_the_predictions(trained, store, runs, tmp_path):
    """Average precision hangs on it alone."""
    ids = evidence_on(store, 0).patch_ids
    for seed in SEEDS:
        noise = np.random.default_rng(int(seed)).random(NUM_CLASSES)
        table = {name: np.full(len(ids), noise[k]) for k, name in enumerate(CLASS_NAMES)}
        pq.write_table(pa.table({"patch_id": ids} | table), tmp_path / f"{seed}.parquet")
    tables = {seed: tmp_path / f"{seed}.parquet" for seed in SEEDS}
    if trained:
        entries = []
        for seed in SEEDS:
            noise_K = np.random.default_rng(int(seed)).random(NUM_CLASSES).astype(np.float32)
            made = replace(evidence_on(store, int(seed)), probabilities=np.tile(noise_K, (len(ids), 1)))
            entries.append(write_run(tmp_path / f"run-{seed}", made, int(seed)))
        answers = write_answers(tmp_path / "answers.yaml")
    else:
        entries = [tmp_path / f"scored-{seed}" for seed in SEEDS]
        for seed, out in zip(SEEDS, entries, strict=True):
            score(name="outsider", out=out, data=store.folder, seed=int(seed), scene=tables[seed])
        answers = write_answers(tmp_path / "answers.yaml", **OUTSIDER)
    submit(entries, tmp_path / "entry", answers=answers)
    given = {"data": store.folder, "scene": tables}
    assert (
        "the predictions of seed 2 give its probabilities of scene labels"
        in verify(tmp_path / "entry", **given).checked
    )
    forge(tmp_path / "entry", of_true_labels, ("1",))
    verify(tmp_path / "entry", data=store.folder)
    with pytest.raises(
        SubmissionError,
        match=r"does not give the (average precision of each class of|probabilities of scene labels in) the",
    ):
        verify(tmp_path / "entry", **given)


def test_labels_that_were_decided_are_not_called_probabilities(store, tmp_path):
    ids = evidence_on(store, 0).patch_ids
    tables, entries = {seed: tmp_path / f"{seed}.parquet" for seed in SEEDS}, []
    for seed in SEEDS:
        drawn = np.random.default_rng(int(seed)).integers(0, 2, (NUM_CLASSES, len(ids)))
        pq.write_table(pa.table({"patch_id": ids} | dict(zip(CLASS_NAMES, drawn, strict=True))), tables[seed])
        entries.append(tmp_path / f"scored-{seed}")
        score(name="outsider", out=entries[-1], data=store.folder, seed=int(seed), scene=tables[seed])
    submit(entries, tmp_path / "entry", answers=write_answers(tmp_path / "answers.yaml", **OUTSIDER))
    verify(tmp_path / "entry", data=store.folder, scene=tables)
    forge(tmp_path / "entry", called_probable, SEEDS)
    with pytest.raises(SubmissionError, match="holds labels that were decided, and its"):
        verify(tmp_path / "entry", data=store.folder, scene=tables)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda e: with_origin(e, context=10), "was made with 10 pixels around each patch"),
        (lambda e: with_origin(e, weights="abc"), "tells weights, and there is no record of a training"),
        (lambda e: with_origin(e, thresholds=(0.5,) * NUM_CLASSES), "tells thresholds"),
        (lambda e: with_origin(e, synthetic_model=True), "tells what its model was trained on"),
    ],
)
def test_evidence_made_elsewhere_tells_of_no_training(change, sentence, store, tmp_path):
    entries = [scored(store, tmp_path / str(seed), seed) for seed in range(3)]
    submit(entries, tmp_path / "entry", answers=write_answers(tmp_path / "answers.yaml", **OUTSIDER))
    forge(tmp_path / "entry", change, SEEDS)
    with pytest.raises(SubmissionError, match=sentence):
        verify(tmp_path / "entry")


def test_what_predictions_gave_is_kept_for_the_leaderboard(store, tmp_path):
    entries = [scored(store, tmp_path / str(seed), seed) for seed in range(3)]
    board = tmp_path / "board"
    leaderboard(board, init=True)
    entry = board / "submissions" / "entry"
    submit(entries, entry, answers=write_answers(tmp_path / "answers.yaml", **OUTSIDER))
    masks = {str(seed): tmp_path / str(seed) / "masks.npz" for seed in range(3)}
    tables = {str(seed): tmp_path / str(seed) / "scene.parquet" for seed in range(3)}

    def shown() -> str | None:
        leaderboard(board, out=tmp_path / "site")
        (one,) = json.loads((tmp_path / "site/leaderboard.json").read_text())["entries"]
        assert ("masks, labels" in (tmp_path / "site/index.html").read_text()) == (
            one["compared_with_predictions"] == "masks, labels"
        )
        return one["compared_with_predictions"]

    assert shown() is None
    given: dict[str, Any] = {"data": store.folder, "classes": "reben"}
    verify(entry, **given, predictions={"1": masks["1"]}, out=board / "checks/some.json")
    assert shown() == "masks of 1 of 3 seeds"
    # What was compared at another time counts too.
    verify(entry, **given, predictions=masks, scene=tables, out=board / "checks/entry.json")
    assert shown() == "masks, labels"
    # Fewer that are compared later take nothing away.
    verify(entry, **given, scene={"0": tables["0"]}, out=board / "checks/entry.json")
    assert shown() == "masks, labels"
    with pytest.raises(WrongUseError, match="lies in the submission, which holds nothing else"):
        verify(entry, **given, scene=tables, out=entry / "submission.json")
    (together,) = by_submission(read_checks(board)[0].values()).values()
    assert together == {seed: {"masks", "probabilities of scene labels"} for seed in SEEDS}
    # It is of these very files.
    submit(entries, entry, answers=write_answers(tmp_path / "answers.yaml", **OUTSIDER, summary="Another."))
    assert shown() is None
    for wrong, said in (
        ({"predictions": masks, "out": tmp_path / "check.txt"}, "is no JSON"),
        ({"out": tmp_path / "check.json"}, "name them with --predictions"),
    ):
        with pytest.raises(WrongUseError, match=said):
            verify(entry, **given, **wrong)
    (tmp_path / "check.json").write_text("mine")
    with pytest.raises(ForeignFileError, match=r"holds check.json, which seg did not write"):
        verify(entry, **given, predictions=masks, out=tmp_path / "check.json")


NO_CHECK = {"format": True, "name": "a", "submission": "0" * 64, "data": "f", "compared": {"0": ["masks"]}}


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"format": 2}', "\x00", '{"a": ' * 2000, json.dumps(NO_CHECK), None,
     json.dumps(NO_CHECK | {"format": 1, "compared": {"\u0660": ["masks"]}}),
     json.dumps(NO_CHECK | {"format": 1, "compared": {"0": ["all"]}})],
)  # fmt: skip
def test_a_check_that_is_none_is_listed(text, tmp_path):
    board = tmp_path / "board"
    leaderboard(board, init=True)
    if text is None:
        (board / "checks/x.json").mkdir()
    else:
        (board / "checks/x.json").write_text(text)
    (board / "checks/.hidden.json").write_text("{")
    assert leaderboard(board, out=tmp_path / "site").refused == (
        ("checks/x.json", "it is no check of predictions; remove it"),
    )


def test_a_check_of_what_is_not_there_is_listed(tmp_path):
    board = tmp_path / "board"
    leaderboard(board, init=True)
    (board / "checks/x.json").write_text(json.dumps(NO_CHECK | {"format": 1}))
    ((name, why),) = leaderboard(board, out=tmp_path / "site").refused
    assert name == "checks/x.json"
    assert "it is of no submission that is here" in why


def test_other_patches_than_those_that_are_due_are_refused(store, packed, tmp_path, monkeypatch):
    """As many as are due, of which one is flagged and another lacks."""
    due = verify_module.patches_due(store.index)
    assert due.equals(load_evidence(packed / "seeds/0").patch_ids)
    others = pa.array([*due.to_pylist()[1:], "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_45_45"])
    for told in (others, due[1:], pa.array([*due.to_pylist(), others[-1].as_py()])):
        monkeypatch.setattr(verify_module, "patches_due", lambda _, told=told: told)
        with pytest.raises(SubmissionError, match="entries are scored on all of them, and on no others"):
            verify(packed, data=store.folder)


def test_pixels_of_classes_that_nobody_asked_for_are_remarked(store, tmp_path):
    """What is wrong costs no class anything there."""
    rows = np.flatnonzero(store.index.splits == 2)
    ids = store.index.patch_ids.take(rows).to_pylist()
    truth = np.stack([class_indices(store.patches.reference_map(one), one) for one in ids])
    absent = next(k for k in range(NUM_CLASSES) if not (truth == k).any())
    masks = np.where(np.random.default_rng(0).random(truth.shape) < 0.3, absent, truth % 255).astype(np.uint8)
    np.savez(tmp_path / "a.npz", ids=np.array(ids), masks=masks)
    score(tmp_path / "a.npz", name="outsider", out=tmp_path / "scored", classes="reben", data=store.folder)
    answers = write_answers(tmp_path / "answers.yaml", **OUTSIDER, deterministic=True)
    (remark,) = submit([tmp_path / "scored"], tmp_path / "entry", answers=answers).remarks
    assert remark.startswith("30 % of the pixels of seed 0 are predicted as classes that no patch")


def test_the_reference_itself_is_remarked_of_an_entry(store, tmp_path):
    """A few changed pixels make it no copy of the reference, and it would be the first of its track."""
    rows = np.flatnonzero(store.index.splits == 2)
    ids = store.index.patch_ids.take(rows).to_pylist()
    truth = np.stack([class_indices(store.patches.reference_map(one), one) for one in ids])
    masks = np.where(np.random.default_rng(0).random(truth.shape) < 0.0005, 3, truth % 255).astype(np.uint8)
    np.savez(tmp_path / "a.npz", ids=np.array(ids), masks=masks)
    score(tmp_path / "a.npz", name="outsider", out=tmp_path / "scored", classes="reben", data=store.folder)
    answers = write_answers(tmp_path / "answers.yaml", **OUTSIDER, deterministic=True)
    (remark,) = submit([tmp_path / "scored"], tmp_path / "entry", answers=answers).remarks
    assert re.fullmatch(r"seed 0: 99\.9\d+ % of the pixels are right: these look like the reference itself, .*", remark)
    assert verify(tmp_path / "entry").remarks == (remark,)


def test_answers_that_are_no_utf8_are_not_mangled(runs, tmp_path):
    path = write_answers(tmp_path / "answers.yaml", device="caf\u00e9")
    path.write_bytes(path.read_text(encoding="utf-8").encode("latin-1"))
    assert b"caf\xe9" in path.read_bytes()
    with pytest.raises(SubmissionError, match=r"answers\.yaml is no text in UTF-8; save it as UTF-8"):
        submit(runs, tmp_path / "entry", answers=path)
    assert not (tmp_path / "entry").exists()


def test_a_list_that_is_empty_is_told_of_in_words():
    text = form_text(ANSWERS | {"authors": ["Jane"]})[0].replace("\n  - Jane", "\n  []").replace("\n- Jane", " []")
    with pytest.raises(SubmissionError, match=r"form, line \d+: authors should have at least 1 item"):
        read_answers(text, "form")


def test_lines_that_end_otherwise_are_told_of_as_such(folder):
    page = folder / "README.md"
    page.write_bytes(page.read_bytes().replace(b"\n", b"\r\n"))
    manifest = json.loads((folder / "submission.json").read_text())
    text = manifest_text(folder, manifest["name"], manifest["seeds"])
    (folder / "submission.json").write_text(text)
    with pytest.raises(SubmissionError, match=r"README\.md, line 1 ends with a carriage return"):
        verify(folder)


@pytest.mark.parametrize("where", ["schema", "header"])
def test_evidence_says_nothing_else(where, folder):
    path = folder / "seeds/0/patches.parquet"
    table = pq.read_table(path)
    notes = dict(table.schema.metadata)
    if where == "schema":
        notes[b"foo"] = b"anything"
    else:
        notes[b"seg.evidence"] = json.dumps(sealed(json.loads(notes[b"seg.evidence"]) | {"foo": 1}))
    pq.write_table(table.replace_schema_metadata(notes), path, write_page_checksum=True)
    seal(folder)
    with pytest.raises(SubmissionError, match="says foo, which no evidence does"):
        verify(folder)


def test_classes_that_have_changed_places_are_remarked(store, tmp_path):
    rows = np.flatnonzero(store.index.splits == 2)
    ids = store.index.patch_ids.take(rows).to_pylist()
    truth = np.stack([class_indices(store.patches.reference_map(one), one) for one in ids])
    places = np.roll(np.arange(NUM_CLASSES), 4)
    noise = np.random.default_rng(0).random(truth.shape) < 0.3
    masks = np.where(noise | (truth == 255), 2, np.minimum(truth, 18)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", ids=np.array(ids), masks=places[masks].astype(np.uint8))
    score(tmp_path / "a.npz", name="outsider", out=tmp_path / "scored", classes="reben", data=store.folder)
    answers = write_answers(tmp_path / "answers.yaml", **OUTSIDER, deterministic=True)
    done = submit([tmp_path / "scored"], tmp_path / "entry", answers=answers)
    (remark,) = (remark for remark in done.remarks if "no patch of the reference" not in remark)
    assert re.fullmatch(r"the classes of seed 0 seem to have changed places: .* instead of .* %", remark)
    assert done.remarks == verify(tmp_path / "entry").remarks


def pooled_a_little_less(evidence: Evidence) -> Evidence:
    """What the pixels together say of a class of a patch: nothing else in the evidence depends on its last digit."""
    assert evidence.details is not None
    assert evidence.details.pooled_NPK is not None
    pooled_NPK = evidence.details.pooled_NPK.copy()
    pooled_NPK[0, 1, 5] -= 1
    return replace(evidence, details=replace(evidence.details, pooled_NPK=pooled_NPK))


def losses_a_little_less(evidence: Evidence) -> Evidence:
    assert evidence.details is not None
    assert evidence.details.losses_NSL is not None
    return replace(evidence, details=replace(evidence.details, losses_NSL=evidence.details.losses_NSL * (1 - 1e-4)))


def test_confidences_of_predictions_made_elsewhere_are_compared_too(store, tmp_path):
    rows = np.flatnonzero(store.index.splits == 2)
    ids = store.index.patch_ids.take(rows).to_pylist()
    entries, files = [], {}
    for seed in range(3):
        shares = np.random.default_rng(seed).random((len(ids), NUM_CLASSES, 120, 120), np.float32)
        files[str(seed)] = tmp_path / f"{seed}.npz"
        np.savez(files[str(seed)], ids=np.array(ids), probabilities=shares / shares.sum(1, keepdims=True))
        entries.append(tmp_path / f"scored-{seed}")
        score(files[str(seed)], name="outsider", out=entries[-1], classes="reben", data=store.folder, seed=seed)
    submit(entries, tmp_path / "entry", answers=write_answers(tmp_path / "answers.yaml", **OUTSIDER))
    given = {"data": store.folder, "predictions": files, "classes": "reben"}
    found = verify(tmp_path / "entry", **given)
    assert "the predictions of seed 2 give its masks and confidences of pixels" in found.checked
    for change in (pooled_a_little_less, losses_a_little_less):
        shutil.copytree(tmp_path / "entry", tmp_path / change.__name__)
        forge(tmp_path / change.__name__, change, ("1",))
        verify(tmp_path / change.__name__, data=store.folder)
        with pytest.raises(SubmissionError, match="not give the confidences of pixels in the evidence of seed 1"):
            verify(tmp_path / change.__name__, **given)


def test_a_method_without_random_numbers_is_scored_once_and_says_so(store, tmp_path):
    entry = scored(store, tmp_path, None)
    answers = write_answers(tmp_path / "answers.yaml", **OUTSIDER)
    with pytest.raises(SubmissionError, match="it has 1 seed, and an entry has 3 or more"):
        submit([entry], tmp_path / "entry", answers=answers)
    submit([entry], tmp_path / "entry", answers=write_answers(answers, **OUTSIDER, deterministic=True))
    assert "that the method draws no random numbers" in verify(tmp_path / "entry").unverified
    others = [scored(store, tmp_path / str(seed), seed) for seed in range(2)]
    with pytest.raises(SubmissionError, match="a deterministic method is scored once"):
        submit(others, tmp_path / "two", answers=answers)
    with pytest.raises(SubmissionError, match="a seed is not numbered"):
        submit([*others, entry], tmp_path / "two", answers=write_answers(answers, **OUTSIDER))


def test_partial_predictions_are_never_entered(store, tmp_path):
    entry = scored(store, tmp_path, 0)
    with np.load(tmp_path / "masks.npz") as whole:
        np.savez(tmp_path / "part.npz", ids=whole["ids"][1:], masks=whole["masks"][1:])
    part = tmp_path / "part"
    score(tmp_path / "part.npz", name="outsider", out=part, classes="reben", data=store.folder, partial=True)
    answers = write_answers(tmp_path / "answers.yaml", **OUTSIDER, deterministic=True)
    for form in (answers, None):
        for runs in ([part], [entry, part]):
            with pytest.raises(SubmissionError, match="is PARTIAL: patches were left out"):
                submit(runs, tmp_path / "entry", answers=form)
    assert not (tmp_path / "entry.answers.yaml").exists()


def test_what_is_no_entry_is_refused_before_a_form_is_written(runs, store, tmp_path):
    with pytest.raises(SubmissionError, match="it has 2 seeds, and an entry has 3 or more"):
        submit(runs[:2], tmp_path / "entry")
    with pytest.raises(SubmissionError, match="it has 1 seed, and an entry has 3 or more"):
        submit(runs[:1], tmp_path / "entry")
    outsiders = [scored(store, tmp_path / str(seed), seed, labels=False) for seed in (None, 0, 1)]
    with pytest.raises(SubmissionError, match="a seed is not numbered"):
        submit(outsiders, tmp_path / "entry")
    assert not (tmp_path / "entry.answers.yaml").exists()
    # One that was trained elsewhere may draw no random numbers: the form asks for it.
    alone = submit(outsiders[:1], tmp_path / "entry")
    assert "(deterministic)" in " ".join(alone.left)
    assert re.match("this is one seed.* 3 or more seeds", alone.remarks[0])
