"""Checking a store: each kind of damage is found, named, and repaired where the source still has it."""

import json
import shutil
import sys
import tarfile

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import rasterio

from seg.cli.main import main
from seg.errors import StoreError
from seg.pipeline.audit import check_store
from seg.prepare.audit import CHECKS
from seg.prepare.build import build_store
from seg.prepare.layout import PUBLISHED as PARTS
from seg.prepare.sources import published_sources
from seg.store.open import open_store
from seg.store.tensors import encode_tensors, view_tensors

pytestmark = pytest.mark.usefixtures("forked")


@pytest.fixture(scope="module")
def tree(real):
    return real / "reben-full-4"


@pytest.fixture(scope="module")
def sound(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("stores") / "sound"
    build_store(published_sources(tree), out)
    return out


@pytest.fixture
def store(sound, tmp_path):
    """A copy of the sound store that a test may damage."""
    return shutil.copytree(sound, tmp_path / "store")


def sources(tree):
    return {kind: tree / name for kind, name in PARTS.items()}


def values(store):
    with lmdb.open(str(store), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {bytes(key).decode(): bytes(value) for key, value in transaction.cursor()}


def change(store, key, value):
    with lmdb.open(str(store), map_size=1 << 28, lock=False) as environment, environment.begin(write=True) as writing:
        if value is None:
            writing.delete(key.encode())
        else:
            writing.put(key.encode(), value)


def rot(store, key):
    """Flip one bit of a value in the file."""
    value = values(store)[key]
    data = bytearray((store / "data.mdb").read_bytes())
    place = data.index(value[-4000:]) + 1234
    data[place] ^= 4
    (store / "data.mdb").write_bytes(data)


def wrong(audit):
    return {(finding.check, finding.name) for finding in audit.findings if CHECKS[finding.check]}


def a_patch(store):
    return next(key for key in values(store) if key.startswith("S2") and not key.endswith("map"))


def test_a_sound_store(sound, tree):
    audit = check_store(sound, **sources(tree))
    assert audit.sound
    assert (audit.patches, audit.values, audit.checksums, audit.source) == (4, 10, True, True)
    counts = audit.count()
    assert counts.pop("no Sentinel-1") == 2
    # Two of the sample's bands hold pixels of value 0; whatever is found is no error.
    assert sum(counts.values()) == counts["nodata"] + counts["saturated"]


def test_pixels_are_counted_as_rasterio_sees_them(sound, tree):
    expected = {}
    for file in (tree / PARTS["s2"]).rglob("*.tif"):
        with rasterio.open(file) as source:
            zeros = int((source.read(1) == 0).sum())
        if zeros:
            expected.setdefault(file.parent.name, set()).add(f"{zeros} pixels of {file.stem[-3:]}")
    found = {f.name: set(f.what.split(", ")) for f in check_store(sound).findings if f.check == "nodata"}
    assert found == expected


@pytest.mark.parametrize("form", ["tree", "archive"])
@pytest.mark.parametrize("which", ["s2", "s1", "maps"])
def test_bit_rot_is_found_and_repaired(store, sound, tree, tmp_path, form, which):
    suffix = {"s2": a_patch(store), "maps": a_patch(store) + "_reference_map"}
    key = suffix.get(which) or next(key for key in values(store) if key.startswith("S1"))
    rot(store, key)
    audit = check_store(store)
    assert ("checksum", key.removesuffix("_reference_map")) in wrong(audit)
    assert audit.count()["source"] is None
    where = sources(tree)
    if form == "archive":
        for kind, name in PARTS.items():
            with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
                tar.add(tree / name, name)
            where[kind] = tmp_path / f"{name}.tar"
    audit = check_store(store, **where, repair=True)
    assert audit.sound
    assert {finding.check for finding in audit.repaired} <= {"checksum", "unknown code", "damaged value"}
    assert audit.repaired
    assert values(store) == values(sound)


def test_what_is_missing_or_foreign(store, tree):
    patch = a_patch(store)
    lost = values(store)[patch]
    change(store, patch, None)
    change(store, "thesis", b"draft")
    assert wrong(check_store(store)) == {("missing value", patch), ("foreign key", "thesis")}
    audit = check_store(store, **sources(tree), repair=True)
    assert wrong(audit) == {("foreign key", "thesis")}
    assert [finding.check for finding in audit.repaired] == ["missing value"]
    assert values(store)[patch] == lost


def test_values_that_are_not_as_they_should_be(store):
    patch = a_patch(store)
    arrays = {name: array.copy() for name, array in view_tensors(values(store)[patch], patch).items()}
    arrays["B01"] = np.zeros((30, 30), np.uint16)
    arrays["B05"] = arrays["B05"].astype(np.float32)
    del arrays["B12"]
    change(store, patch, encode_tensors(arrays))
    codes = np.full((120, 120), 125, np.uint16)
    change(store, f"{patch}_reference_map", encode_tensors({"Data": codes}))
    audit = check_store(store)
    found = {(finding.check, finding.name, finding.what) for finding in audit.findings}
    assert ("bands", patch, "lacks or adds B12") in found
    assert ("shape or type", patch, "B01 is uint16 (30, 30), not uint16 (20, 20)") in found
    assert ("shape or type", patch, "B05 is float32 (60, 60), not uint16 (60, 60)") in found
    assert any(check == "unknown code" and "code 125" in what for check, _, what in found)
    change(store, patch, b"junk")
    assert ("damaged value", patch) in wrong(check_store(store))


def edited_index(store, column, edit):
    table = pq.read_table(store / "index.parquet")
    values = table[column].to_pylist()
    values[0] = edit(values[0])
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, column, pa.array(values, table[column].type)), store / "index.parquet")


def test_labels_and_splits_that_were_edited(store):
    edited_index(store, "labels", lambda _: ["Marine waters"])
    edited_index(store, "split", lambda split: "test" if split != "test" else "train")
    audit = check_store(store)
    counts = audit.count()
    assert (counts["fingerprint"], counts["labels"], counts["split"]) == (1, 1, 1)
    assert not audit.sound


@pytest.mark.parametrize(
    ("edits", "what"),
    [
        ({"patches": 7}, "patches is 7 in store.json, by the index"),
        ({"splits": {"train": 1, "validation": 2, "test": 3}}, "splits is 1 train, 2 validation, 3 test in store.json"),
        ({"splits": {}}, "splits is empty in store.json"),
        ({"maps_missing": 3}, "maps_missing is 3 in store.json"),
        ({"synthetic": lambda said: not said}, "synthetic is"),
        ({"bands": lambda bands: bands[::-1]}, "in the order of VV VH B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12"),
    ],
)
def test_a_description_that_was_edited(store, edits, what):
    """Counts, splits and the word SYNTHETIC are shown in every table, and the fingerprint does not cover them."""
    path = store / "store.json"
    said = json.loads(path.read_text())
    edits = {name: edit(said[name]) if callable(edit) else edit for name, edit in edits.items()}
    path.write_text(json.dumps(said | edits))
    audit = check_store(store)
    assert [what in finding.what for finding in audit.findings if finding.check == "description"] == [True]
    assert not audit.sound


def test_a_source_that_lies_elsewhere_or_holds_something_else(store, tree, tmp_path):
    copy = shutil.copytree(tree, tmp_path / "tree", copy_function=shutil.copyfile)
    moved, other = sorted((copy / PARTS["s2"]).rglob("*_B02.tif"))[:2]
    with rasterio.open(moved, "r+") as target:
        target.transform = target.transform * rasterio.Affine.translation(1, 0)
    with rasterio.open(other, "r+") as target:
        array = target.read(1)
        array[0, 0] += 1
        target.write(array, 1)
    audit = check_store(store, **sources(copy))
    assert wrong(audit) == {("georeference", moved.parent.name), ("source", other.parent.name)}
    # A source with other values than the store was built from repairs nothing.
    rot(store, other.parent.name)
    audit = check_store(store, **sources(copy), repair=True)
    assert ("checksum", other.parent.name) in wrong(audit)


def test_a_store_that_is_cut_off(store):
    data = (store / "data.mdb").read_bytes()
    (store / "data.mdb").write_bytes(data[: len(data) // 2])
    audit = check_store(store)
    assert {check for check, _ in wrong(audit)} == {"LMDB"}
    # Nothing is said of what was not looked at.
    assert {check: count for check, count in audit.count().items() if count is not None} == {
        "LMDB": 1,
        "fingerprint": 0,
        "description": 0,
    }
    (store / "data.mdb").unlink()
    assert {check for check, count in check_store(store).count().items() if count is None} == CHECKS.keys() - {
        "LMDB", "fingerprint", "description"
    }  # fmt: skip


def test_a_reader_that_crashes_is_a_finding(store, monkeypatch):
    """Pages of the tree that lead nowhere."""
    with lmdb.open(str(store), readonly=True, lock=False) as environment:
        page = environment.stat()["psize"]
        last = environment.info()["last_pgno"]
    data = bytearray((store / "data.mdb").read_bytes())
    for number in range(2, min(last + 1, len(data) // page)):
        flags = int.from_bytes(data[number * page + 10 : number * page + 12], "little")
        own = int.from_bytes(data[number * page : number * page + 8], "little") == number
        if own and flags & 0x02:
            data[number * page + 16 : (number + 1) * page] = b"\xff" * (page - 16)
    (store / "data.mdb").write_bytes(data)
    audit = check_store(store)
    assert not audit.sound


def test_a_bare_lmdb(real):
    folder = real / "rico-hdl" / "BigEarthNet_LMDB"
    metadata = sorted((real / "official-metadata").glob("*.parquet"))
    audit = check_store(folder, metadata=metadata)
    assert audit.sound
    assert not audit.checksums
    unchecked = {check for check, count in audit.count().items() if count is None}
    assert unchecked == {"checksum", "labels", "foreign key", "fingerprint", "source", "georeference"}
    with pytest.raises(StoreError, match="a repair needs a store that seg has built"):
        check_store(folder, metadata=metadata, repair=True)


def test_the_command(store, tree, capsys, monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["seg", "data", "check", str(store), *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, capsys.readouterr().out

    code, out = run()
    assert code == 0
    assert "Nothing is wrong." in out
    patch = a_patch(store)
    rot(store, patch)
    code, out = run("--json")
    assert code == 1
    report = json.loads(out)
    assert report["sound"] is False
    assert report["counts"]["checksum"] == 1
    assert [finding["name"] for finding in report["findings"] if finding["check"] == "checksum"] == [patch]
    arguments = [text for kind, path in sources(tree).items() for text in (f"--{kind}", str(path))]
    code, out = run(*arguments, "--repair")
    assert code == 0
    assert "1 finding was repaired." in out
    assert pc.all(pc.is_valid(open_store(store).index.patch_ids)).as_py()
