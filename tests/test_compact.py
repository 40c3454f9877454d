"""Compact stores: the same bytes as a plain one when they are read, in less room, and what is damaged is told."""

import json
import shutil
import struct
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numcodecs import Blosc

import seg
from seg.errors import DamagedError
from seg.prepare.audit import audit_store
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.store.compact import packed, unpacked
from seg.store.open import open_store
from seg.store.patches import DATA_FILE, MAP_SUFFIX, PatchReader, PatchWriter
from seg.store.tensors import encode_tensors

DTYPES = ["<u2", "<f4", "u1", "<f8", "?"]


@given(st.dictionaries(st.text("abcXYZ_0", min_size=1), st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=2, max_side=40))), max_size=4))  # fmt: skip
def test_what_is_packed_comes_out_as_it_was(tensors):
    value = encode_tensors(tensors)
    small = packed(value)
    assert bytes(unpacked(memoryview(small), "k")) == value
    assert small == packed(value)
    assert Blosc().decode(small) == value


@pytest.mark.parametrize("harm", ["empty", "cut", "longer", "plain", "huge", "flipped"])
def test_damage_is_one_sentence(harm):
    value = encode_tensors({"x": np.arange(5000, dtype=np.uint16)})
    small = packed(value)
    harmed = {
        "empty": b"",
        "cut": small[: len(small) // 2],
        "longer": small + b"x",
        "plain": value,
        "huge": small[:4] + struct.pack("<I", 1 << 31) + small[8:],
        "flipped": small[:20] + bytes(255 - byte for byte in small[20:60]) + small[60:],
    }[harm]
    try:
        # What unpacks to something else is found by its checksum.
        assert bytes(unpacked(harmed, "k")) != value
    except DamagedError as error:
        assert "the store is damaged" in str(error)  # noqa: PT017
    else:
        assert harm == "flipped"


@pytest.fixture(scope="module")
def stores(real, tmp_path_factory):
    """A plain and a compact store of the same real patches, with all bands."""
    folder = tmp_path_factory.mktemp("compact")
    for name, compress in (("plain", False), ("compact", True)):
        build_store(published_sources(real / "reben-full-4"), folder / name, compress=compress)
    return open_store(folder / "plain"), open_store(folder / "compact")


def test_the_same_values_of_real_patches_in_a_quarter_less_room(stores):
    plain, compact = stores
    assert plain.info.fingerprint == compact.info.fingerprint
    assert (plain.index.checksums == compact.index.checksums).all()
    keys = list(plain.patches.keys())
    assert keys == list(compact.patches.keys())
    for key in keys:
        assert bytes(plain.patches.raw(key)) == bytes(compact.patches.raw(key))
    sizes = [sum(store.offsets.lengths_RK.sum(0)) for store in stores]
    assert sizes[1] < 0.75 * sizes[0]


def test_it_says_so_and_a_plain_one_says_nothing_new(stores):
    plain, compact = (json.loads((store.folder / "store.json").read_text()) for store in stores)
    assert compact.pop("compression") == "blosc-lz4"
    assert compact.pop("format") == 3
    assert plain.pop("format") == 2
    assert plain == compact
    assert set(asdict(stores[0].info)) - set(plain) == {"compression", "format"}


def test_batches_are_the_same(stores):
    batches = [
        list(seg.loader(store.folder, bands="s2", batch_size=2, workers=workers, split="train"))
        for store, workers in zip(stores, (0, 2), strict=True)
    ]
    assert len(batches[0]) == len(batches[1]) > 0
    for one, other in zip(*batches, strict=True):
        for name in ("image", "mask", "label"):
            assert (one[name] == other[name]).all()


def test_audit_finds_no_fault_and_every_fault(stores, tmp_path):
    _, compact = stores
    before = audit_store(compact.folder, compact.index, compact.info).findings
    assert {finding.check for finding in before} == {"no Sentinel-1"}
    folder = shutil.copytree(compact.folder, tmp_path / "store")
    patch = compact.index.patch_id(1)
    with PatchWriter(folder, replace=True) as writer:
        writer.put(patch, b"no packed value at all, but long enough for a header")
    with PatchWriter(folder, replace=True, compact=True) as writer:
        writer.put(compact.index.patch_id(0) + MAP_SUFFIX, {"Data": np.full((120, 120), 311, np.uint16)})
    checks = {(finding.check, finding.name) for finding in audit_store(folder, compact.index, compact.info).findings}
    assert ("checksum", compact.index.patch_id(0)) in checks
    assert any(name == patch for _, name in checks)


def test_splits_and_repairs_stay_compact(stores, real, tmp_path):
    _, compact = stores
    code = "import sys; from seg.cli.main import main; main()"

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    folder = shutil.copytree(compact.folder, tmp_path / "store")
    patch = compact.index.patch_id(1)
    with PatchWriter(folder, replace=True) as writer:
        writer.put(patch, b"no packed value at all, but long enough for a header")
    run("data", "check", folder, "--repair", "--s2", real / "reben-full-4" / "BigEarthNet-S2")
    assert bytes(PatchReader(folder, compact=True).raw(patch)) == bytes(compact.patches.raw(patch))
    assert (folder / DATA_FILE).stat().st_size > 0
    assert "compressed" in run("data", "info", folder)
