"""What somebody unknown may send: whatever it is, it is refused in a sentence, and concerns no one else."""

import json
import os
import re
import shutil
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from entries import (
    ANSWERS,
    evidence_on,
    in_this_process,  # noqa: F401
    small_store,
    three_runs,
    verified_here,
)

from seg.benchmark import board, bounds
from seg.benchmark.apart import Examiner
from seg.benchmark.form import form_text, read_answers
from seg.benchmark.layout import manifest_text
from seg.benchmark.prints import nearly_same, prints_of
from seg.benchmark.records import facts_of
from seg.benchmark.verify import Verified, _check_patches, patches_due, share_predictions
from seg.errors import EvidenceError, SubmissionError, WrongUseError
from seg.metrics.evidence import CELLS, Evidence, reference_areas, take_patches
from seg.metrics.evidence_file import load_evidence, pack_evidence
from seg.metrics.evidence_header import sealed
from seg.metrics.sparse import PatchCounts, sparse_counts
from seg.pipeline.submit import submit
from seg.pipeline.verify import verify
from seg.predictions import mosaics
from seg.predictions.containers import opened
from seg.predictions.folder import _files
from seg.predictions.opened import open_predictions
from seg.reben.classes import NUM_CLASSES
from seg.store.open import Store

KEY = b"seg.evidence"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_store(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def packed(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("packed")
    (place / "answers.yaml").write_text(form_text(ANSWERS)[0])
    submit(three_runs(place / "runs", store), place / "packed", answers=place / "answers.yaml")
    return place / "packed"


@pytest.fixture
def folder(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "submissions" / "entry"))


def evidence_in(folder: Path) -> Path:
    return folder / "seeds" / "0"


def with_header(place: Path, text: str) -> None:
    table = pq.read_table(place / "patches.parquet")
    pq.write_table(table.replace_schema_metadata({KEY: text}), place / "patches.parquet")


def reseal(folder: Path, seeds: Sequence[str] = ("0", "1", "2")) -> None:
    """Compute the hashes anew, as every forger does."""
    (folder / "submission.json").write_text(manifest_text(folder, ANSWERS["name"], seeds))


# -------------------------------------------------------------------------------------------------------- the evidence


BIG = 10**400
HEADERS: dict[str, dict[str, Any]] = {
    "classes a number": {"classes": 5},
    "classes nothing": {"classes": None},
    "thresholds too large": {"thresholds": [BIG] * 19},
    "thresholds no numbers": {"thresholds": [float("nan")] * 19},
    "temperature too large": {"temperature": BIG},
    "temperature infinite": {"temperature": float("inf")},
    "left out infinitely many": {"left_out": float("inf")},
    "left out fewer than none": {"left_out": -1},
    "weights a list": {"weights": [1]},
    "fingerprint an object": {"fingerprint": {"a": 1}},
    "masks a word": {"masks": "no"},
    "ranked a number": {"ranked": 0},
    "countries numbers": {"countries": [1]},
    "data a word": {"synthetic": "x"},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_holds_something_else_is_damage(name: str, folder: Path):
    place = evidence_in(folder)
    header = json.loads(pq.read_schema(place / "patches.parquet").metadata[KEY]) | HEADERS[name]
    with_header(place, json.dumps(sealed(header)))
    with pytest.raises(EvidenceError, match=r"is damaged|is no evidence of seg"):
        load_evidence(place)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 6000, "NaN", "", "[]"])
def test_a_header_of_anything_is_no_evidence(text: str, folder: Path):
    with_header(evidence_in(folder), text)
    with pytest.raises(EvidenceError, match="is no evidence of seg"):
        load_evidence(evidence_in(folder))


def recounted(evidence: Evidence, change: Callable[[PatchCounts], PatchCounts]) -> Evidence:
    return replace(evidence, confusion=change(evidence.confusion))


def halved(counts: PatchCounts) -> PatchCounts:
    """The same numbers, each in two entries."""
    half = (counts.counts // 2).astype(np.uint32)
    both = np.stack([half, counts.counts - half], 1).ravel()
    return PatchCounts(counts.size, counts.offsets * 2, np.repeat(counts.keys, 2), both)


def reversed_entries(counts: PatchCounts) -> PatchCounts:
    order = np.concatenate([np.arange(a, b)[::-1] for a, b in zip(counts.offsets, counts.offsets[1:], strict=False)])
    return PatchCounts(counts.size, counts.offsets, counts.keys[order], counts.counts[order])


@pytest.mark.parametrize("change", [halved, reversed_entries])
def test_the_same_counts_are_written_in_one_way(change: Callable[[PatchCounts], PatchCounts], folder: Path):
    place = evidence_in(folder)
    (place / "patches.parquet").write_bytes(pack_evidence(recounted(load_evidence(place), change)))
    with pytest.raises(EvidenceError, match=r"confusion counts (are not in order|make no sense)"):
        load_evidence(place)


def test_a_column_that_is_there_twice_is_damage(folder: Path):
    place = evidence_in(folder)
    table = pq.read_table(place / "patches.parquet")
    twice = pa.Table.from_arrays([*table.columns, table["country"]], [*table.column_names, "country"])
    pq.write_table(twice.replace_schema_metadata(table.schema.metadata), place / "patches.parquet")
    with pytest.raises(EvidenceError, match="is damaged"):
        load_evidence(place)


# --------------------------------------------------------------------------------------------------------- the records


@pytest.mark.parametrize("bands", [["B92"], [["x"]], [""], "B02", {"a": 1}, [None]])
def test_bands_of_a_record_that_are_none_tell_nothing(bands: Any):
    assert facts_of({"record": {"data": {"bands": bands}}}).bands == ()


# ------------------------------------------------------------------------------------------------------ the leaderboard


@pytest.mark.parametrize("error", [KeyError("x"), MemoryError(), RecursionError()])
def test_what_fails_in_one_submission_takes_no_other_off_the_leaderboard(
    error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    (folder.parent / "bad").mkdir()

    def failing(examiner: Examiner, path: Path) -> Verified:
        if path.name == "bad":
            raise error
        return verified_here(examiner, path)

    monkeypatch.setattr(Examiner, "verify", failing)
    found = board.read_board(folder.parents[1])
    assert [one.verified.name for one in found.entries] == ["entry"]
    why = f"it cannot be verified: {type(error).__name__}, which is also worth a bug report"
    assert found.refused == (("bad", why),)


def test_seeds_of_which_one_lacks_masks_or_labels_are_no_entry(folder: Path):
    place = evidence_in(folder)
    (place / "patches.parquet").write_bytes(pack_evidence(replace(load_evidence(place), probabilities=None)))
    reseal(folder)
    with pytest.raises(SubmissionError, match="seed 1 has other scores than seed 0"):
        verify(folder)


# ------------------------------------------------------------------------------------------------------------ the sizes


def test_equal_values_that_take_no_place_in_a_file_are_refused_before_they_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    place = evidence_in(folder)
    table = pq.read_table(place / "patches.parquet")
    many = 1_000_000
    column = pa.ListArray.from_arrays(
        pa.array([0] + [many] * len(table), pa.int32()), pa.array(np.zeros(many, np.uint16))
    )
    number = table.schema.get_field_index("confusion_keys")
    table = table.set_column(number, table.schema.field("confusion_keys"), column)
    pq.write_table(table, place / "patches.parquet", compression="zstd")
    assert (place / "patches.parquet").stat().st_size < 100_000
    reseal(folder)
    monkeypatch.setattr(bounds, "load_evidence", lambda *_: pytest.fail("read"))
    with pytest.raises(SubmissionError, match="1,000,009 values of confusion_keys"):
        verify(folder)
    monkeypatch.setattr(bounds, "MOST_PATCHES", 5)
    with pytest.raises(SubmissionError, match="has 10 patches, and no split has so many"):
        verify(folder)


def test_a_long_text_that_a_file_holds_once_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    place = evidence_in(folder)
    table = pq.read_table(place / "patches.parquet")
    texts = pa.array(["x" * 10_000] * len(table))
    pq.write_table(table.set_column(1, table.schema.field("country"), texts), place / "patches.parquet")
    reseal(folder)
    monkeypatch.setattr(bounds, "load_evidence", lambda *_: pytest.fail("read"))
    with pytest.raises(SubmissionError, match="texts that are no ids, countries or labels"):
        verify(folder)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_unpack_to_any_size_in_one_step_are_refused(method: int, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        archive.writestr("README.md", b"\0" * 1000)
    with pytest.raises(SubmissionError, match=r"README\.md is neither stored nor deflated"):
        verify(tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as archive:
        archive.writestr("masks.npy", b"\0" * 1000)
    with pytest.raises(EvidenceError, match=r"masks\.npy is neither stored nor deflated"), opened(tmp_path / "x.npz"):
        pass


def lying_zips(place: Path) -> dict[str, Path]:
    """Zips of many members whose end tells of a small directory to who looks in the wrong place."""
    members = 30_000
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0)
    local = b"PK\3\4" + bytes(26)
    directory = b"".join(entry + b"%08x" % number for number in range(members))

    def end(size: int, offset: bytes = struct.pack("<L", 30)) -> bytes:
        return struct.pack("<4s4HL", b"PK\5\6", 0, 0, members, members, size) + offset + b"\0\0"

    body = local + directory
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, members, members, len(directory), 30)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(body), 1)
    contents = {
        "plain": body + end(len(directory)),
        "an end in the end": body + end(len(directory), b"PK\5\6"),
        "a small one, a large one": body + record + locator + end(100),
        "the large one elsewhere": body + record + b"between" + locator + end(100),
    }
    for name, content in contents.items():
        (place / f"{name}.zip").write_bytes(content)
    return {name: place / f"{name}.zip" for name in contents}


def test_a_directory_is_measured_where_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("read"))
    for path in lying_zips(tmp_path).values():
        with pytest.raises(SubmissionError, match="holds more than a submission may"):
            verify(path)


@pytest.mark.parametrize("name", ["a/" * 90 + "x", "a" * 300])
def test_paths_that_no_submission_has_are_refused(name: str, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(SubmissionError, match="has a path that no submission has"):
        verify(tmp_path / "x.zip")
    (tmp_path / "deep" / "a/b/c/d/e/f/g/h/i").mkdir(parents=True)
    with pytest.raises(SubmissionError, match="folders in folders, 8 deep"):
        verify(tmp_path / "deep")


# ------------------------------------------------------------------------------------- what records and answers can say


def edit_record(folder: Path, seeds: Sequence[str], change: Callable[[dict[str, Any]], object]) -> None:
    for seed in seeds:
        path = folder / "seeds" / seed / "record.json"
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))
    reseal(folder)


ALL = ("0", "1", "2")
RECORDS: dict[str, tuple[Sequence[str], Callable[[dict[str, Any]], object], str]] = {
    "another setting": (
        ("1",),
        lambda r: r["settings"].update({"train.lr": "1"}),
        r"seeds 0 and 1 differ in train\.lr",
    ),
    "another seed": (("1",), lambda r: r["record"].update(seeds={"train": 7}), "a training with seed 7"),
    "no number": (("0",), lambda r: r["record"].update(parameters=float("nan")), "is no JSON"),
    "infinite": (("0",), lambda r: r["record"].update(parameters=float("inf")), "is no JSON"),
    "many digits": (("0",), lambda r: r["record"].update(parameters=BIG), "is no JSON"),
    "other data": (ALL, lambda r: r["record"]["data"].update(fingerprint="f00d"), "the data that it was trained on"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_records_that_no_honest_entry_has_are_refused(name: str, folder: Path):
    seeds, change, sentence = RECORDS[name]
    edit_record(folder, seeds, change)
    with pytest.raises(SubmissionError, match=sentence):
        verify(folder)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"inputs": "any"}, "'inputs: any' contradicts the record"),
        ({"selection": "none"}, "'selection: none' contradicts the record"),
        ({"multiply_adds": 0.0}, "'multiply_adds: 0' contradicts 'parameters: 14328209'"),
        ({"deterministic": True}, "'deterministic: True' contradicts the record"),
    ],
)
def test_answers_that_cannot_be_are_refused(changes: dict[str, Any], sentence: str, folder: Path):
    (folder / "answers.yaml").write_text(form_text(ANSWERS | changes)[0])
    reseal(folder)
    with pytest.raises(SubmissionError, match=sentence):
        verify(folder)


def test_an_encoder_has_learned_values(folder: Path):
    edit_record(folder, ALL, lambda record: [record.pop(name) for name in ("record", "settings")])
    (folder / "answers.yaml").write_text(form_text(ANSWERS | {"parameters": 0, "multiply_adds": 0.0})[0])
    reseal(folder)
    with pytest.raises(SubmissionError, match="'parameters: 0' contradicts 'encoder: trained'"):
        verify(folder)


def test_the_status_alone_does_not_make_it_a_training(folder: Path):
    edit_record(folder, ALL, lambda record: record["record"].update(status=""))
    assert facts_of(json.loads((folder / "seeds/0/record.json").read_text())).trained
    for seed in ALL:
        place = folder / "seeds" / seed
        (place / "patches.parquet").write_bytes(pack_evidence(replace(load_evidence(place), details=None)))
    reseal(folder)
    with pytest.raises(SubmissionError, match="lacks the details of an evaluation"):
        verify(folder)


def test_what_no_record_holds_is_named(folder: Path, packed: Path, store: Store):
    edit_record(folder, ALL, lambda record: [record.pop(name) for name in ("record", "settings")])
    found = verify(folder, data=store.folder)
    assert found.unrecorded[-4:] == ("parameters", "trials", "patches_seen", "hours")
    assert any("hours, which are not recorded" in one for one in found.unverified)
    (entry,) = board.read_board(folder.parents[1]).entries
    assert (
        "scored; parameters and hours not recorded" in board.board_files(board.Board(((entry,),), ()))["leaderboard.md"]
    )
    assert verify(packed).unrecorded == ()
    assert any("no choice of them" in one for one in verify(packed).unverified)


def test_a_choice_of_the_patches_is_found_by_the_store(folder: Path, store: Store):
    for seed in ALL:
        place = folder / "seeds" / seed
        evidence = load_evidence(place)
        chosen = take_patches(evidence, np.arange(1, len(evidence)))
        (place / "patches.parquet").write_bytes(pack_evidence(chosen))
    edit_record(folder, ALL, lambda record: record.pop("evaluation"))
    with pytest.raises(SubmissionError, match="it holds 9 patches, and the test split of store has 10"):
        verify(folder, data=store.folder)


@pytest.mark.parametrize("name", ["\u3164", "a\u2800b", "Z" + "\u0301\u0302\u0353" * 5, "a\u202eb", "x\u2028y"])
def test_names_that_hide_what_they_are_are_refused(name: str):
    with pytest.raises(SubmissionError, match=r"cannot be (seen|printed)"):
        read_answers(form_text(ANSWERS | {"name": name})[0], "form")


@pytest.mark.parametrize("name", ["Müller's U-Net", "ünïcode", "e\u0301", "नमस्ते", "模型 1"])
def test_names_in_any_writing_are_taken(name: str):
    assert read_answers(form_text(ANSWERS | {"name": name})[0], "form").name == name


def test_a_country_that_is_markup_is_refused(folder: Path):
    for seed in ALL:
        place = folder / "seeds" / seed
        evidence = load_evidence(place)
        countries = pa.array(["<script>alert(1)</script>"] * len(evidence)).dictionary_encode()
        (place / "patches.parquet").write_bytes(pack_evidence(replace(evidence, countries=countries)))
    reseal(folder)
    with pytest.raises(SubmissionError, match="which is no country"):
        verify(folder)


PAGES: dict[str, tuple[str, Callable[[str], str]]] = {
    "line separator": ("README.md", lambda text: text.replace("\n", "\u2028", 3)),
    "form feed": ("CITATION.cff", lambda text: text.replace("\n", "\n\x0c", 1)),
    "other digits": ("README.md", lambda text: text.replace("2", "\u0662", 1)),
    "zeros before": ("README.md", lambda text: re.sub(r"\b([1-9]\d\.\d)", r"00\1", text, count=1)),
    "carriage return": ("README.md", lambda text: text.replace("\n", "\r\n")),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_compared_to_the_letter(name: str, folder: Path):
    file, change = PAGES[name]
    text = (folder / file).read_text()
    (folder / file).write_bytes(change(text).encode())
    assert (folder / file).read_bytes() != text.encode()
    reseal(folder)
    with pytest.raises(SubmissionError, match=f"{file}(, line| has)"):
        verify(folder)


# ------------------------------------------------------------------------------------------------- predictions to score


@pytest.mark.parametrize(
    "source",
    [
        "http://127.0.0.1:9/x.tif",
        "/vsicurl/http://127.0.0.1:9/x.tif",
        "&#47;vsizip/x.tif",
        "/etc/passwd",
        "NETCDF:x.tif",
    ],
)
def test_a_virtual_raster_stands_for_files_of_this_machine_alone(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mosaics.rasterio, "open", lambda *_, **__: pytest.fail("opened"))
    band = f'<SourceFilename relativeToVRT="0">{source}</SourceFilename>'
    (tmp_path / "x.vrt").write_text(f"<VRTDataset><VRTRasterBand>{band}</VRTRasterBand></VRTDataset>")
    with (
        pytest.raises(EvidenceError, match="which is no image file on this machine"),
        mosaics._opened(tmp_path / "x.vrt"),
    ):
        pass


def test_pipes_and_links_that_lead_out_are_no_predictions(tmp_path: Path):
    place = tmp_path / "maps"
    place.mkdir()
    (place / "real.npy").write_bytes(b"")
    (place / "inside.npy").symlink_to("real.npy")
    (place / "outside.npy").symlink_to("/etc/passwd")
    os.mkfifo(place / "pipe.npy")
    assert [file.name for file in _files(place)] == ["inside.npy", "real.npy"]
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(WrongUseError, match="a device or a pipe"):
        open_predictions(tmp_path / "pipe.npz", None, None, None)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------------- copies


def one_pixel_moved(evidence: Evidence) -> Evidence:
    """The same, but for a pixel of the first patch and all scene probabilities."""
    assert evidence.probabilities is not None
    counts = evidence.confusion.counts.copy()
    counts[0] += 1
    moved = np.nextafter(evidence.probabilities, np.float32(0.5))
    return replace(recounted(evidence, lambda c: replace(c, counts=counts)), probabilities=moved)


def test_copies_of_which_little_was_changed_are_told_from_other_predictions(store: Store):
    genuine = take_patches(evidence_on(store, 1), np.repeat(np.arange(10), 20))
    others = [take_patches(evidence_on(store, seed), np.repeat(np.arange(10), 20)) for seed in (2, 3)]
    prints = prints_of(genuine)
    assert nearly_same(prints, prints_of(one_pixel_moved(genuine)))
    assert not any(nearly_same(prints, prints_of(other)) for other in others)


def test_predictions_of_one_class_are_nobody_s(store: Store):
    genuine = evidence_on(store, 1)
    areas = reference_areas(genuine)
    counts = np.zeros((len(genuine), NUM_CLASSES, NUM_CLASSES), np.int64)
    counts[:, :, 2] = areas
    constant = replace(genuine, confusion=sparse_counts(counts.reshape(-1, CELLS)))
    assert not prints_of(constant).any()
    assert not nearly_same(prints_of(constant), prints_of(constant))


def test_the_leaderboard_ranks_no_copy_of_which_little_was_changed(folder: Path):
    one = verify(folder)
    other = replace(one, name="copy", predictions=frozenset({"f00d"}), prints=one.prints[:1])
    assert share_predictions(one, other)
    assert not share_predictions(one, replace(other, prints=tuple(p + np.uint64(2) for p in one.prints)))
    assert not share_predictions(one, replace(other, subject="another"))


def test_a_reference_that_was_compared_comes_before_any_number_of_others(folder: Path, store: Store):
    genuine = replace(verify(folder, data=store.folder), name="genuine")
    own = [replace(verify(folder), name=f"own {number}", subject="0" * 16) for number in range(2)]
    groups = board._grouped([*own, genuine], "miou", {})
    assert [len(group) for group in groups] == [1, 2]
    pages = board.board_files(board.Board(groups, ()))
    for name in ("index.html", "leaderboard.md"):
        assert pages[name].count("WARNING: what these entries say is true") == 1, name


def test_patches_that_are_not_scored_are_not_asked_for(store: Store):
    index = store.index
    test = np.flatnonzero(index.splits == 2)
    snow, has_map = index.snow.copy(), index.has_map.copy()
    snow[test[:2]] = True
    has_map[test[1:4]] = False
    assert patches_due(index).to_pylist() == index.patch_ids.take(test).to_pylist()
    left = patches_due(replace(index, snow=snow, has_map=has_map))
    assert left.to_pylist() == index.patch_ids.take(test[4:]).to_pylist()


def test_evidence_of_nothing_is_no_entry(store: Store):
    genuine = evidence_on(store, 1)
    nothing = replace(genuine, origin=replace(genuine.origin, masks=False), probabilities=None)
    with pytest.raises(SubmissionError, match="neither masks nor labels"):
        _check_patches(nothing)
