"""From published trees to a store, on real samples and on damaged copies of them."""

import json
import os
import re
import shutil
import threading
import time
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.config.synthetic import SYNTHETIC_FILE
from seg.errors import (
    ArchiveError,
    BuildError,
    ForeignFileError,
    MetadataError,
    UnknownCodeError,
    WorkerError,
    WrongUseError,
)
from seg.prepare.build import build_store
from seg.prepare.processes import processes
from seg.prepare.sources import Sources
from seg.prepare.split import split_by_tile
from seg.prepare.tree import scan_tree
from seg.reben.bands import MODALITIES
from seg.reben.patch import SPLITS
from seg.store.index import read_index
from seg.store.notes import SYNTHETIC_NOTE
from seg.store.open import open_store
from seg.store.patches import PatchReader

S2, S1, MAPS = "BigEarthNet-S2", "BigEarthNet-S1", "Reference_Maps"


def sources(tree, **changes):
    parts = {"s2": tree / S2, "s1": tree / S1, "maps": tree / MAPS, "metadata": (tree / "metadata.parquet",)}
    return Sources(**{**parts, **changes})


@pytest.fixture(scope="module")
def full(real, tmp_path_factory):
    out = tmp_path_factory.mktemp("stores") / "full"
    return build_store(sources(real / "reben-full-4"), out), out


@pytest.fixture(scope="module")
def ten_metres(real, tmp_path_factory):
    out = tmp_path_factory.mktemp("stores") / "ten"
    return build_store(sources(real / "reben-10m-80"), out, resplit="tile"), out


@pytest.fixture
def tree(real, tmp_path):
    """A copy of the four complete patches that a test may damage."""
    shutil.copytree(real / "reben-full-4", tmp_path / "tree", copy_function=shutil.copyfile)
    return tmp_path / "tree"


@pytest.mark.parametrize("name", ["reben-full-4", "reben-10m-80"])
def test_values_are_bit_identical_to_the_geotiffs(real, name, full, ten_metres):
    info, out = full if name == "reben-full-4" else ten_metres
    reader = PatchReader(out)
    files = sorted((real / name).rglob("*.tif"))
    assert len(files) == {"reben-full-4": 56, "reben-10m-80": 560}[name]
    keys = set()
    for file in files:
        patch, layer = file.parent.name, file.stem.removeprefix(file.parent.name + "_")
        is_map = layer == "reference_map"
        key = f"{patch}_reference_map" if is_map else patch
        stored = reader.tensors(key)["Data" if is_map else layer]
        with rasterio.open(file) as source:
            expected = source.read(1)
        assert stored.dtype == expected.dtype
        assert stored.tobytes() == expected.tobytes(), file
        keys.add(key)
    assert set(reader.keys()) == keys
    assert info.label_mismatches == 0


def test_missing_s1_is_counted_and_its_modality_refused(full):
    info, out = full
    assert (info.patches, info.s1_missing, info.s2_missing, info.maps_missing) == (4, 2, 0, 0)
    store = open_store(out)
    assert store.index.has_s1.tolist().count(False) == 2
    with pytest.raises(ValueError, match="'s1s2' cannot be used: 2 of 4 patches have no Sentinel-1"):
        store.usable(np.arange(4), info.bands, drop_incomplete=False)


def test_some_bands_are_enough(ten_metres):
    info, out = ten_metres
    assert info.bands == ("VV", "VH", "B02", "B03", "B04", "B08")
    with pytest.raises(ValueError, match="'s2' needs B01, B05"):
        open_store(out).usable(np.arange(80), MODALITIES["s2"], drop_incomplete=False)


def test_resplit_keeps_tiles_whole(ten_metres):
    info, out = ten_metres
    index = open_store(out).index
    by_tile = {}
    for tile, split in zip(index.tiles.to_pylist(), index.splits.tolist(), strict=True):
        by_tile.setdefault(tile, set()).add(split)
    assert all(len(splits) == 1 for splits in by_tile.values())
    assert sum(info.splits.values()) == 80
    assert info.splits["train"] == pytest.approx(40, abs=5)
    assert info.splits["validation"] == pytest.approx(20, abs=5)
    assert info.resplit == "tile"


@settings(max_examples=50)
@given(st.lists(st.integers(1, 30), min_size=3, max_size=20))
def test_every_split_gets_a_tile(sizes):
    ids = [
        f"S2A_MSIL2A_20170613T101031_N9999_R022_T{30 + t}UUP_{i:02d}_00" for t, n in enumerate(sizes) for i in range(n)
    ]

    class Fake:
        patch_ids = pa.array(ids)
        tiles = pa.array([name[39:44] for name in ids])

        def __len__(self):
            return len(ids)

    splits = split_by_tile(Fake())
    assert set(splits.tolist()) == {0, 1, 2}
    for tile in set(Fake.tiles.to_pylist()):
        assert len({s for s, t in zip(splits.tolist(), Fake.tiles.to_pylist(), strict=True) if t == tile}) == 1


def test_two_tiles_cannot_be_split(full):
    with pytest.raises(WrongUseError, match="at least 3 MGRS tiles, but there are 2"):
        split_by_tile(open_store(full[1]).index)


def test_too_few_tiles_show_before_anything_is_read(tree, tmp_path):
    def track(items, *_):
        raise AssertionError("something was read")

    with pytest.raises(WrongUseError, match=r"there are 2; take patches of more MGRS tiles"):
        build_store(sources(tree), tmp_path / "store", resplit="tile", track=track)
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_content_does_not_depend_on_threads(real, ten_metres, tmp_path, monkeypatch):
    """Read and written at once in many batches, or in turn in one."""
    monkeypatch.setattr("seg.store.patches._BATCH_BYTES", 1 << 18)
    monkeypatch.setattr("seg.prepare.fill._READ_AT_ONCE", 7)
    info = build_store(sources(real / "reben-10m-80"), tmp_path / "two", resplit="tile")
    assert info == ten_metres[0]
    one, two = PatchReader(ten_metres[1]), PatchReader(tmp_path / "two")
    assert list(one.keys()) == list(two.keys())
    assert all(bytes(one.raw(key)) == bytes(two.raw(key)) for key in one.keys())  # noqa: SIM118
    assert (tmp_path / "two" / "index.parquet").read_bytes() == (ten_metres[1] / "index.parquet").read_bytes()


def test_fingerprint_sees_a_single_pixel(tree, full, tmp_path):
    file = next((tree / S2).rglob("*_B02.tif"))
    with rasterio.open(file, "r+") as target:
        array = target.read(1)
        array[7, 9] += 1
        target.write(array, 1)
    info = build_store(sources(tree), tmp_path / "store")
    assert info.fingerprint != full[0].fingerprint
    assert len(info.fingerprint) == 16


def test_synthetic_trees_make_synthetic_stores(tree, tmp_path):
    (tree / SYNTHETIC_FILE).write_text(json.dumps({"generator": "test", "seed": 1}))
    info = build_store(sources(tree), tmp_path / "store")
    assert info.synthetic
    assert open_store(tmp_path / "store").info.source == {"generator": "test", "seed": 1}


def test_synthetic_patches_are_not_mixed_with_real_ones(tree, tmp_path):
    table = pq.read_table(tree / "metadata.parquet")
    parts = [tmp_path / "real.parquet", tmp_path / "made.parquet"]
    pq.write_table(table[:1], parts[0])
    pq.write_table(table[1:].replace_schema_metadata({SYNTHETIC_NOTE: b'{"seed": 1}'}), parts[1])
    with pytest.raises(BuildError, match=r"made.parquet is of SYNTHETIC patches and .*real.parquet is not"):
        build_store(sources(tree, metadata=tuple(parts)), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_labels_that_differ_from_the_map_are_counted(tree, tmp_path):
    table = pq.read_table(tree / "metadata.parquet").to_pylist()
    table[0]["labels"] = ["Marine waters"]
    pq.write_table(pa.Table.from_pylist(table), tree / "metadata.parquet")
    assert build_store(sources(tree), tmp_path / "store").label_mismatches == 1


def test_foreign_files_are_left_alone(tree, tmp_path, full):
    (tree / S2 / "README.txt").write_text("hello")
    (tree / S2 / ".DS_Store").mkdir()
    patch = next((tree / S2).glob("S2*/S2*"))
    (patch / "Thumbs.db").write_text("x")
    (patch / f"{patch.name}_labels_metadata.json").write_text("{}")
    assert build_store(sources(tree), tmp_path / "store").fingerprint == full[0].fingerprint


# --- bad input: one sentence, and nothing left where a store would stand ---------------------------------------------


def refuses(tree, tmp_path, error, message, **changes):
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(error, match=message) as caught:
        build_store(sources(tree, **changes), tmp_path / "store")
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def rewrite(file, array=None, **profile):
    with rasterio.open(file) as source:
        data, old = source.read(), source.profile
    data = data if array is None else array
    file.unlink()
    old.update(count=data.shape[0], height=data.shape[1], width=data.shape[2], dtype=data.dtype, **profile)
    old.pop("blockysize", None)
    old.pop("blockxsize", None)
    with rasterio.open(file, "w", **old) as target:
        target.write(data)


def test_missing_band_file(tree, tmp_path):
    file = sorted((tree / S2).rglob("*_B05.tif"))[1]
    file.unlink()
    refuses(tree, tmp_path, ArchiveError, f"{file.name} is missing, .* --partial")


def test_truncated_tiff(tree, tmp_path):
    file = sorted((tree / S2).rglob("*_B08.tif"))[2]
    file.write_bytes(file.read_bytes()[:9000])
    refuses(tree, tmp_path, ArchiveError, f"{file.name} cannot be read; it is damaged or cut off[^/]*$")


@pytest.mark.parametrize("content", [b"", b"II*\x00", b"not a tiff at all"])
def test_files_that_are_no_tiff(tree, tmp_path, content):
    file = sorted((tree / MAPS).rglob("*.tif"))[0]
    file.write_bytes(content)
    refuses(tree, tmp_path, ArchiveError, f"{file.name} cannot be read[^/]*: get it anew from the archive$")


def test_wrong_shape_dtype_and_band_count(tree, tmp_path):
    file = sorted((tree / S2).rglob("*_B01.tif"))[0]
    rewrite(file, np.ones((1, 30, 30), np.uint16))
    refuses(tree, tmp_path, ArchiveError, r"_B01\.tif: expected 20 x 20 pixels, found 30 x 30")
    rewrite(file, np.ones((1, 20, 20), np.float32), nodata=None)
    refuses(tree, tmp_path, ArchiveError, r"_B01\.tif: expected uint16 values, found float32")
    rewrite(file, np.ones((2, 20, 20), np.uint16))
    refuses(tree, tmp_path, ArchiveError, "expected one band, found 2")


def test_unknown_code_names_file_and_code(tree, tmp_path):
    file = sorted((tree / MAPS).rglob("*.tif"))[1]
    with rasterio.open(file) as source:
        codes = source.read()
    codes[0, 3, 4] = 125
    rewrite(file, codes)
    refuses(tree, tmp_path, UnknownCodeError, f"{file.name}: code 125 not in the CLC nomenclature")


def test_metadata_and_disk_must_agree(tree, tmp_path):
    rows = pq.read_table(tree / "metadata.parquet").to_pylist()
    gone = rows[0]["patch_id"]
    shutil.rmtree(tree / S2 / gone[:-6] / gone)
    refuses(tree, tmp_path, BuildError, f"1 patch of the metadata is not on disk, for example {gone}")
    pq.write_table(pa.Table.from_pylist(rows[1:3]), tree / "metadata.parquet")
    refuses(tree, tmp_path, BuildError, f"1 patch below .* is not in the metadata, for example {rows[3]['patch_id']}")
    info = build_store(sources(tree), tmp_path / "partial", partial=True)
    assert info.patches == 2


def test_nothing_in_common(tree, real, tmp_path):
    with pytest.raises(BuildError, match="no patch of the metadata is on disk"):
        build_store(
            sources(tree, metadata=(real / "reben-10m-80" / "metadata.parquet",)), tmp_path / "store", partial=True
        )


def test_wrong_folders(tree, tmp_path):
    refuses(tree, tmp_path, ArchiveError, "there is no folder or archive .*; name an archive", s2=tree / "nowhere")
    refuses(tree, tmp_path, ArchiveError, f"did you mean {tree / S2}[?]", s2=tree)
    metadata = tree / "metadata.parquet"
    refuses(tree, tmp_path, MetadataError, "occurs more than once; name each parquet once", metadata=(metadata,) * 2)
    refuses(tree, tmp_path, ArchiveError, "holds no Sentinel-1 patches of reBEN", s1=tree / S2)
    refuses(tree, tmp_path, MetadataError, "no metadata file", metadata=(tree / "none.parquet",))
    refuses(tree, tmp_path, BuildError, "a store needs images", s1=None, s2=None)


def test_a_store_is_not_overwritten_by_accident(tree, tmp_path, full):
    build_store(sources(tree), tmp_path / "store")
    with pytest.raises(BuildError, match="--force"):
        build_store(sources(tree), tmp_path / "store")
    assert build_store(sources(tree), tmp_path / "store", force=True).fingerprint == full[0].fingerprint
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("x")
    with pytest.raises(BuildError, match="is no store, so --force does not replace it"):
        build_store(sources(tree), tmp_path / "precious", force=True)


@pytest.mark.parametrize("name", ["store.json", "index.parquet", "data.mdb", "dropped.csv", "notes.txt"])
def test_force_replaces_no_store_that_somebody_has_changed(tree, full, tmp_path, name):
    store = Path(shutil.copytree(full[1], tmp_path / "store"))
    with (store / name).open("ab") as file:
        file.write(b"\nmy notes\n")
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    with pytest.raises(ForeignFileError, match=re.escape(name)):
        build_store(sources(tree), store, force=True)
    assert before == {path.name: path.read_bytes() for path in store.iterdir()}


def test_a_tree_twice_below_one_root(tree):
    product = next((tree / S2).glob("S2*"))
    patch = next(product.glob("S2*"))
    shutil.copytree(patch, tree / S2 / "copies" / patch.name)
    assert scan_tree(tree / S2, "s2", ["B02"]).names.to_pylist().count(patch.name) == 1


def test_splits_of_the_metadata_are_kept(full, real):
    index = open_store(full[1]).index
    official = {
        r["patch_id"]: r["split"] for r in pq.read_table(real / "reben-full-4" / "metadata.parquet").to_pylist()
    }
    assert {index.patch_id(i): SPLITS[index.splits[i]] for i in range(4)} == official
    assert read_index([full[1] / "index.parquet"]).checksums.tolist() == index.checksums.tolist()


def _die_while_answering(_item):
    Thread(target=lambda: (time.sleep(0.02), os._exit(1)), daemon=True).start()
    return bytes(1 << 28)


def _slowly(item):
    time.sleep(0.01 * (item == 0))
    return item


def _fail(item):
    raise ArchiveError(f"item {item}")


def test_a_process_that_dies_while_it_answers_is_noticed():
    """Half an answer must not be waited for, nor what the other process would have to say."""
    with pytest.raises(WorkerError, match="--workers 1"), processes(2) as in_order:
        list(in_order(_die_while_answering, range(4)))


def test_errors_come_back_and_results_before_them_too():
    def items():
        yield from range(3)
        raise ArchiveError("cut off")

    seen = []
    with processes(2) as in_order:
        with pytest.raises(ArchiveError, match="item 0"):
            list(in_order(_fail, [0]))
        results = in_order(abs, items())
        with pytest.raises(ArchiveError, match="cut off"):
            list(map(seen.append, results))
        assert seen == [0, 1, 2]
        assert next(in_order(_slowly, range(9))) == 0
        assert list(in_order(abs, range(-20, 0))) == list(range(20, 0, -1))
        with pytest.raises((AttributeError, TypeError, ValueError)):
            list(in_order(lambda item: item, [0]))


def test_nothing_is_read_on_after_an_error(real, tmp_path, monkeypatch):
    """The thread that reads ahead has ended when the error arrives."""
    monkeypatch.setattr("seg.prepare.fill._READ_AT_ONCE", 2)

    def failing(items, description, total):
        for number, item in enumerate(items):
            if number == 5 and "LMDB" in description:
                raise ArchiveError("no more")
            yield item

    before = {thread.ident for thread in threading.enumerate()}
    with pytest.raises(ArchiveError, match="no more"):
        build_store(sources(real / "reben-10m-80"), tmp_path / "store", track=failing)
    assert {thread.ident for thread in threading.enumerate()} <= before
    assert list(tmp_path.iterdir()) == []
