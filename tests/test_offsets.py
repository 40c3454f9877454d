"""Where values lie: the B-tree of the LMDB against py-lmdb, offsets that belong to their file, and asking the disk."""

import ctypes
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from seg.config.sections import DataConfig
from seg.data.dataset import PatchDataset
from seg.data.loader import make_loader
from seg.data.order import BatchKey, BatchOrder
from seg.errors import DamagedError, StoreError
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.store import ahead, offsets
from seg.store.ahead import in_memory, joined
from seg.store.btree import find, is_whole, read_meta, value_begins, walk
from seg.store.offsets import OFFSETS_FILE, WHOLE, find_offsets
from seg.store.open import open_store
from seg.store.patches import DATA_FILE, MAP_SUFFIX, PatchReader, PatchWriter


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "seg" / "offsets"


@pytest.fixture(scope="module")
def store(real, tmp_path_factory):
    folder = tmp_path_factory.mktemp("offsets") / "store"
    build_store(published_sources(real / "reben-10m-80"), folder, partial=True)
    return folder


def copied(store: Path, tmp_path: Path, name: str = "copy") -> Path:
    return Path(shutil.copytree(store, tmp_path / name))


def bare(store: Path, tmp_path: Path, real: Path) -> Path:
    folder = tmp_path / "bare"
    folder.mkdir()
    shutil.copy(store / DATA_FILE, folder)
    shutil.copy(real / "reben-10m-80" / "metadata.parquet", folder)
    return folder


def located(folder: Path, index, found) -> int:
    """Compare every stretch with what py-lmdb gives for its key; how many there were."""
    content = (folder / DATA_FILE).read_bytes()
    names = (index.patch_ids, index.s1_names, [f"{name}{MAP_SUFFIX}" for name in index.patch_ids])
    values = 0
    # py-lmdb opens a file once in a process.
    with (
        tempfile.TemporaryDirectory() as copy,
        lmdb.open(str(shutil.copy(folder / DATA_FILE, copy)), subdir=False, readonly=True, lock=False) as environment,
        environment.begin() as transaction,
    ):
        for kind, column in enumerate(names):
            for row, name in enumerate(column):
                value = transaction.get(str(name).encode()) or b""
                begin, length = int(found.begins_RK[row, kind]), int(found.lengths_RK[row, kind])
                assert content[begin : begin + length] == value
                values += bool(value)
    return values


# --- the tree -----------------------------------------------------------------------------------------------------

SIZES = st.sampled_from([0, 1, 7, 1990, 2030, 4079, 4081, 20_000])


@given(
    st.lists(st.dictionaries(st.binary(min_size=1, max_size=90), SIZES, max_size=60), max_size=5),
    st.integers(0, 9),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_tree_says_where_every_value_lies(commits, removed, compacted):
    """Values in leaves and on pages of their own, after removals and compaction, against py-lmdb."""
    with tempfile.TemporaryDirectory() as name:
        folder, random = Path(name), np.random.default_rng(1)
        expected: dict[bytes, bytes] = {}
        with lmdb.open(name, map_size=1 << 26) as environment:
            for commit in commits:
                with environment.begin(write=True) as transaction:
                    for key, size in commit.items():
                        expected[key] = random.bytes(size)
                        transaction.put(key, expected[key])
                    for key in sorted(expected)[:: removed or len(expected) + 1]:
                        transaction.delete(key)
                        del expected[key]
            if compacted:
                (folder / "small").mkdir()
                environment.copy(str(folder / "small"), compact=True)
        path = folder / ("small" if compacted else ".") / DATA_FILE
        meta = read_meta(path)
        assert meta is not None
        assert meta.entries == len(expected)
        entries, content = walk(path, meta), path.read_bytes()
        assert entries.keys == sorted(expected)
        places = list(zip(entries.begins.tolist(), entries.lengths.tolist(), strict=True))
        assert [content[begin : begin + length] for begin, length in places] == [expected[k] for k in entries.keys]
        assert list(find(path, meta, entries.keys)) == places
        assert list(find(path, meta, [b"", b"\xff" * 91])) == [None, None]


def test_what_is_no_lmdb_of_a_known_format_has_no_state(tmp_path):
    for content in (b"", b"x" * 100, bytes(8192), os.urandom(8192)):
        (tmp_path / "file").write_bytes(content)
        assert read_meta(tmp_path / "file") is None


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_tree_is_an_error_or_a_tree(data):
    """Whatever its bytes are, walking it ends, and values lie within the file."""
    with tempfile.TemporaryDirectory() as name:
        with lmdb.open(name, map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
            for number in range(300):
                transaction.put(f"{number:060d}".encode(), bytes(100 * (number % 50)))
        path = Path(name) / DATA_FILE
        content = bytearray(path.read_bytes())
        meta = read_meta(path)
        for _ in range(data.draw(st.integers(1, 30))):
            place = data.draw(st.integers(0, min(len(content), 1 << 18) - 1))
            content[place] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            entries = walk(path, meta)
        except DamagedError:
            return
        end = (meta.last_page + 1) * meta.page_size
        assert ((entries.begins >= 0) & (entries.begins + entries.lengths <= end)).all()


# --- offsets ------------------------------------------------------------------------------------------------------


def test_a_built_store_keeps_its_offsets_and_a_copy_may_use_them(store, tmp_path, cache, monkeypatch):
    folder = copied(store, tmp_path)
    shutil.move(folder / DATA_FILE, tmp_path / "moved")
    shutil.copy(tmp_path / "moved", folder / DATA_FILE)
    monkeypatch.setattr(offsets, "walk", lambda *_: pytest.fail("the tree was walked"))
    opened = open_store(folder)
    assert located(folder, opened.index, opened.offsets) == 240
    assert not cache.exists()


def test_offsets_of_other_lmdbs_are_kept_in_the_cache(store, tmp_path, real, cache, monkeypatch):
    folder = bare(store, tmp_path, real)
    opened = open_store(folder)
    assert located(folder, opened.index, opened.offsets) == 240
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(offsets, "walk", lambda *_: pytest.fail("the tree was walked"))
    again = open_store(folder).offsets
    assert (again.begins_RK == opened.offsets.begins_RK).all()


def test_a_cache_that_cannot_be_written_is_no_harm(store, tmp_path, real, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    folder = bare(store, tmp_path, real)
    opened = open_store(folder)
    assert located(folder, opened.index, opened.offsets) == 240


@pytest.mark.parametrize("how", ["compacted", "rewritten", "more", "other order"])
def test_another_file_under_the_index_is_noticed(store, tmp_path, how):
    """Whatever became of the file, offsets are those of the file that is there."""
    folder = copied(store, tmp_path)
    path = folder / DATA_FILE
    with lmdb.open(str(folder), readonly=True, lock=False) as environment, environment.begin() as transaction:
        values = {bytes(key): bytes(value) for key, value in transaction.cursor()}
        if how == "compacted":
            (tmp_path / "new").mkdir()
            environment.copy(str(tmp_path / "new"), compact=True)
    if how == "compacted":
        shutil.move(tmp_path / "new" / DATA_FILE, path)
    elif how in ("rewritten", "more"):
        with PatchWriter(folder, replace=True) as writer:
            for key in list(values)[::7]:
                writer.put(key.decode(), values[key])
            if how == "more":
                writer.put("zzz", b"more")
    else:
        path.unlink()
        with PatchWriter(folder) as writer:
            for key in sorted(values, key=lambda key: key[::-1]):
                writer.put(key.decode(), values[key])
    opened = open_store(folder)
    assert located(folder, opened.index, opened.offsets) == 240


def test_a_file_of_the_same_shape_with_other_keys_is_noticed(tmp_path, store):
    """Its meta pages are the same to the last byte, and its size; a sample of the keys is looked up."""
    found = {}
    for name, letter in (("a", "A"), ("b", "B")):
        folder = tmp_path / name
        folder.mkdir()
        with PatchWriter(folder) as writer:
            for number in range(50):
                writer.put(f"S2{letter}_{number:02d}", bytes([ord(letter)]) * 9000)
        found[name] = read_meta(folder / DATA_FILE)
    assert found["a"] == found["b"]
    index = open_store(store).index
    there = open_store(store).offsets
    state = offsets._state(tmp_path / "a" / DATA_FILE, found["a"])
    (tmp_path / "a" / OFFSETS_FILE).write_bytes(offsets._parquet(there, index, state))
    wrong = find_offsets(index, tmp_path / "a", "f")
    assert not wrong.lengths_RK.any()


def test_what_the_cache_keeps_of_another_lmdb_of_the_same_state_is_left_aside(store, tmp_path, real):
    """Of the same patches, two of which lie in each other's place, where no sample looks."""
    with lmdb.open(str(copied(store, tmp_path)), readonly=True, lock=False) as environment, environment.begin() as all_:
        values = {bytes(key): bytes(value) for key, value in all_.cursor()}
    index, keys = open_store(store).index, list(values)
    sampled = np.linspace(0, 239, offsets._CHECKED).astype(int) // 3
    first, second = (index.patch_id(row).encode() for row in np.setdiff1d(np.arange(20, 60), sampled)[:2])
    order = [{first: second, second: first}.get(key, key) for key in keys]
    metas = set()
    for name, each in (("one", keys), ("other", order)):
        folder = tmp_path / name
        folder.mkdir()
        with PatchWriter(folder) as writer:
            for key in each:
                writer.put(key.decode(), values[key])
        shutil.copy(real / "reben-10m-80" / "metadata.parquet", folder)
        opened = open_store(folder)
        assert located(folder, opened.index, opened.offsets) == 240
        metas.add(read_meta(folder / DATA_FILE))
    assert len(metas) == 1


def test_databases_with_names_and_keys_that_are_no_text_lie_beside_patches(store, tmp_path, real):
    folder = bare(store, tmp_path, real)
    with lmdb.open(str(folder), map_size=1 << 28, max_dbs=2) as environment:
        names = environment.open_db(b"names", dupsort=True)
        with environment.begin(write=True) as transaction:
            for value in (b"1", b"2"):
                transaction.put(b"key", value, db=names)
            transaction.put(b"\xff\xfe", b"no text")
    opened = open_store(folder)
    assert located(folder, opened.index, opened.offsets) == 240
    assert len(list(opened.patches.keys())) == 242


def test_an_lmdb_whose_patches_lie_elsewhere_says_what_it_holds(tmp_path, real):
    with lmdb.open(str(tmp_path), max_dbs=1) as environment:
        names = environment.open_db(b"patches")
        with environment.begin(write=True) as transaction:
            transaction.put(b"key", b"value", db=names)
    with pytest.raises(StoreError, match="its first key is patches"):
        open_store(tmp_path, real / "reben-10m-80" / "metadata.parquet")


@pytest.mark.parametrize("pages", [1, 3, 15])
def test_a_file_that_lacks_only_its_last_pages_is_cut_off(store, tmp_path, pages):
    """In a process of its own: a look beyond the end of a file ends the process."""
    folder = copied(store, tmp_path)
    with lmdb.open(str(folder), readonly=True, lock=False) as environment:
        end = (environment.info()["last_pgno"] + 1) * 4096
    os.truncate(folder / DATA_FILE, end - pages * 4096)
    code = "import seg, sys\nfor key in (patches := seg.open_store(sys.argv[1]).patches).keys(): patches.tensors(key)"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], check=False, capture_output=True, text=True)
    assert done.returncode == 1, done
    assert "is cut off" in done.stderr


def test_pages_that_were_never_written_are_no_harm(tmp_path):
    """Taken and freed in one transaction, at the end of the file."""
    with PatchWriter(tmp_path) as writer:
        for number in range(30):
            writer.put(f"{number:03d}", bytes(9000))
    meta = read_meta(tmp_path / DATA_FILE)
    assert is_whole(tmp_path / DATA_FILE, 0)
    content = bytearray((tmp_path / DATA_FILE).read_bytes())
    # Of both states that the file knows, the last page of the newer one: as if twenty more had been taken.
    for page in (0, 1):
        place = page * 4096 + 16 + 120
        assert int.from_bytes(content[place : place + 8], "little") in (1, meta.last_page)
        content[place : place + 8] = (meta.last_page + 20).to_bytes(8, "little")
    (tmp_path / DATA_FILE).write_bytes(content)
    assert read_meta(tmp_path / DATA_FILE).last_page == meta.last_page + 20
    assert is_whole(tmp_path / DATA_FILE, 0)
    assert len(PatchReader(tmp_path).raw("029")) == 9000


def test_a_store_that_changes_while_a_process_has_it_is_not_read_by_old_places(store, tmp_path):
    folder = copied(store, tmp_path)
    opened = open_store(folder)
    before = bytes(opened.patches.raw(opened.index.patch_id(3)))
    code = (
        "import sys; from pathlib import Path; from seg.store.patches import PatchWriter\n"
        "with PatchWriter(Path(sys.argv[1]), replace=True) as writer: writer.put('more', bytes(9000))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    assert bytes(opened.patches.raw(opened.index.patch_id(3))) == before
    with pytest.raises(StoreError, match="changed since this process opened it"):
        open_store(folder).patches.raw(opened.index.patch_id(3))


@pytest.mark.parametrize("change", ["beyond", "negative", "shifted", "swapped", "text", "shorter"])
def test_edited_offsets_are_left_aside(store, tmp_path, change):
    folder = copied(store, tmp_path)
    table = pq.read_table(folder / OFFSETS_FILE)
    place = table.schema.get_field_index("s2_begin")
    column = table["s2_begin"].to_numpy().copy()
    column += {"beyond": 1 << 50, "negative": -(1 << 50), "shifted": 4096}.get(change, 0)
    if change == "swapped":  # two patches, where no sample looks
        column[[2, 3]] = column[[3, 2]]
    edited = table.set_column(place, "s2_begin", pa.array([str(c) for c in column] if change == "text" else column))
    if change == "shorter":
        edited = edited.slice(0, 10)
    pq.write_table(edited, folder / OFFSETS_FILE)
    opened = open_store(folder)
    assert located(folder, opened.index, opened.offsets) == 240


def test_an_unknown_format_is_read_without_offsets(store, tmp_path, monkeypatch):
    monkeypatch.setattr("seg.store.offsets.read_meta", lambda _: None)
    monkeypatch.setattr("seg.store.patches.read_meta", lambda _: None)
    monkeypatch.setattr("seg.store.btree.read_meta", lambda _: None)
    folder = copied(store, tmp_path)  # of the other one this process has the format in mind
    opened = open_store(folder)
    assert opened.offsets is None
    data = PatchDataset(opened, np.arange(20), DataConfig(bands=("VV", "B02")))
    batches = list(make_loader(data, BatchOrder(20, 8), 0))
    assert sum(len(batch) for batch in batches) == 20
    assert len(list(opened.patches.keys())) == 240
    cut = copied(store, tmp_path, "cut")
    with (cut / DATA_FILE).open("r+b") as file:
        file.truncate(file.seek(0, 2) // 2)
    with pytest.raises(DamagedError, match="is cut off"):
        open_store(cut).patches.raw(opened.index.patch_id(3))


# --- asking the disk ----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 10**6)), max_size=30))
def test_joined_stretches_cover_what_was_asked_for_and_little_more(stretches):
    result = joined(sorted(stretches))
    for begin, length in stretches:
        assert any(first <= begin and begin + length <= first + held for first, held in result)
    assert all(b - (a + held) > ahead._GAP for (a, held), (b, _) in pairwise(result))


@contextmanager
def cold(path: Path):
    """A file of which next to nothing is in memory; skips where the system keeps more of it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        times = 0
        for _ in range(100):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            # Pages that this process looked at, and their neighbours, stay; what is on its way comes a little later.
            times = times + 1 if sum(resident(path)) < len(resident(path)) // 50 else 0
            if times == 4:
                break
            time.sleep(0.05)
        else:
            pytest.skip("this system keeps the file in memory")
        yield file.fileno()


def resident(path: Path) -> list[bool]:
    """Which pages of a file are in memory, told by the system without any of them being read, or read ahead."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as pages:
        told = (ctypes.c_ubyte * -(-len(pages) // mmap.PAGESIZE))()
        begin = ctypes.c_char.from_buffer(pages)
        failed = ctypes.CDLL(None).mincore(ctypes.byref(begin), ctypes.c_size_t(len(pages)), told)
        del begin
    assert not failed
    return [bool(page & 1) for page in told]


ADVISE = getattr(os, "posix_fadvise", None)


def is_seen_cold(file: int, stretches) -> bool:
    """Whether stretches that are not in memory are said not to be: a probe may have its byte by the time it looks."""
    for _ in range(20):
        if not in_memory(file, stretches):
            return True
        time.sleep(0.05)
        ADVISE(file, 0, 0, os.POSIX_FADV_DONTNEED)
    return False


def waited_for(file: int, stretches) -> bool:
    """Whether stretches come into memory within ten seconds without being read."""
    for _ in range(1000):
        if all(in_memory(file, [stretch]) for stretch in stretches):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="the system does not tell what is in memory")
@pytest.mark.parametrize("way", ["advice", "threads"])
def test_what_is_asked_for_comes_into_memory(store, tmp_path, monkeypatch, way):
    if way == "threads":
        monkeypatch.delattr(os, "posix_fadvise")
    folder = copied(store, tmp_path)
    opened = open_store(folder)
    stretches = opened.offsets.stretches(np.arange(0, 80, 7), (WHOLE, 0, WHOLE))
    monkeypatch.undo()
    with cold(folder / DATA_FILE) as file:
        if way == "threads":
            monkeypatch.delattr(os, "posix_fadvise")
        assert is_seen_cold(file, stretches)
        opened.patches.read_ahead(stretches)
        assert waited_for(file, stretches)


def test_where_the_system_knows_neither_nothing_is_done(store, monkeypatch):
    for name in ("posix_fadvise", "pread", "RWF_NOWAIT"):
        monkeypatch.delattr(os, name, raising=False)
    opened = open_store(store)
    opened.patches.read_ahead(opened.offsets.stretches(np.arange(80)))
    data = PatchDataset(opened, np.arange(80), DataConfig(bands=("VV", "B02")))
    assert sum(len(batch) for batch in make_loader(data, BatchOrder(80, 32), 0)) == 80


def test_stretches_are_those_of_the_wanted_kinds_in_the_order_of_the_file(store):
    opened = open_store(store)
    both = opened.offsets.stretches(np.array([5, 3]), (WHOLE, 0, WHOLE))
    assert both == sorted(both)
    assert sorted(length for _, length in both) == sorted(
        len(PatchReader(store).raw(key))
        for row in (3, 5)
        for key in (opened.index.patch_id(row), opened.index.patch_id(row) + MAP_SUFFIX)
    )


# --- reading where values lie -------------------------------------------------------------------------------------


def test_values_are_the_same_by_place_and_by_key(store):
    opened = open_store(store)
    reader, index = opened.patches, opened.index
    for row in range(0, 80, 9):
        places = opened.offsets.places(np.array([row]))[0]
        for place, key in zip(
            places, (index.patch_id(row), index.s1_name(row), index.patch_id(row) + MAP_SUFFIX), strict=True
        ):
            assert value_begins(reader._environment().pages_B, 4096, place)
            assert reader.stored(key, place) == reader.stored(key)


@given(shift=st.integers(-(1 << 40), 1 << 40), longer=st.integers(-(1 << 20), 1 << 40))
@example(shift=4096, longer=0).via("inside the value")
@example(shift=0, longer=4096).via("a page more")
@example(shift=0, longer=1 << 40).via("beyond the file")
@example(shift=-(1 << 40), longer=0).via("before it")
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_where_no_value_begins_the_key_counts(store, shift, longer):
    opened = open_store(store)
    key, (begin, length) = opened.index.patch_id(5), opened.offsets.places(np.array([5]))[0][0]
    assume((shift, longer) != (0, 0) and (shift or not -4096 < longer < 4096))
    others = opened.offsets.begins_RK
    assume(begin + shift not in others)
    assert opened.patches.stored(key, (begin + shift, length + longer)) == opened.patches.stored(key)


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="the system does not tell what is in memory")
def test_of_a_value_only_what_the_bands_need_is_read(store, tmp_path):
    folder = copied(store, tmp_path)
    opened = open_store(folder)
    every = PatchDataset(opened, np.array([7]), DataConfig(bands=("B08", "B02")))
    begin, length = opened.offsets.places(np.array([7]))[0][0]
    data = PatchDataset(opened, np.array([7]), DataConfig(bands=("B02", "B03")), with_maps=False)
    with cold(folder / DATA_FILE):
        before = resident(folder / DATA_FILE)
        batch = data[BatchKey(0, (0,))]
        after = resident(folder / DATA_FILE)
    wanted = range(begin // mmap.PAGESIZE, (begin + 120 * 120 * 2) // mmap.PAGESIZE)
    rest = range(wanted.stop + 120 * 120 * 2 // mmap.PAGESIZE + 1, (begin + length) // mmap.PAGESIZE + 1)
    assert all(after[page] for page in wanted)
    assert len(rest) > 5
    assert [page for page in rest if after[page] and not before[page]] == []
    assert every._wanted == (length, 0, WHOLE)
    header = length - 4 * 120 * 120 * 2
    assert data._wanted == (header + 2 * 120 * 120 * 2, 0, 0)
    by_key = PatchDataset(opened, np.array([7]), DataConfig(bands=("B02", "B03")), with_maps=False)
    by_key._offsets = None
    assert torch.equal(batch.images_BCHW, by_key[BatchKey(0, (0,))].images_BCHW)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell")
def test_pages_that_were_looked_at_do_not_count_as_memory_for_good(store, tmp_path, monkeypatch):
    """They leave the process; views into them hold, and what is read is the same."""
    opened = open_store(copied(store, tmp_path))
    rows = np.arange(24)  # asking the system about memory takes longer than reading
    keys = [key + MAP_SUFFIX for key in opened.index.patch_ids.take(rows).to_pylist()]
    places = opened.map_places(rows)
    pages_B = opened.patches._environment().pages_B
    resident: list[tuple[int, int]] = []

    def spied(pages_B: memoryview, looked_at: int) -> int:
        before = of_memory(pages_B)
        left = ahead.let_go(pages_B, looked_at)
        resident.append((before, of_memory(pages_B)))
        return left

    monkeypatch.setattr("seg.store.patches.let_go", spied)
    views = [opened.patches.raw(key, place) for key, place in zip(keys, places, strict=True)]
    assert all(before <= after for before, after in resident), "so little is kept"
    expected = [bytes(view) for view in views]
    assert of_memory(pages_B) >= sum(map(len, expected))
    resident.clear()
    monkeypatch.setattr("seg.store.ahead._MAPPED_BYTES", 100_000)
    lengths = [length for _, length in places]
    again = [opened.patches.raw(key, place) for key, place in zip(keys, places, strict=True)]
    assert [bytes(view) for view in views] == [bytes(view) for view in again] == expected
    emptied = [after for before, after in resident if not after]
    assert len(emptied) == pytest.approx(sum(lengths) / 100_000, rel=0.3)


def of_memory(pages_B: memoryview) -> int:
    """Bytes of a mapping that count as memory of this process."""
    begin = np.frombuffer(pages_B, np.uint8).ctypes.data
    entry = Path("/proc/self/smaps").read_text().partition(f"\n{begin:x}-")[2]
    return int(entry.partition("\nRss:")[2].split()[0]) << 10
