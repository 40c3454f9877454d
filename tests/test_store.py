"""The store: safetensors views, the LMDB, the index and opening."""

import gc
import json
import os
import shutil
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg.config.sections import DataConfig
from seg.errors import DamagedError, EmptySelectionError, MetadataError, StoreError
from seg.pipeline.describe import describe_store
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.bands import MODALITIES
from seg.reben.classes import CLASS_NAMES, class_index
from seg.reben.patch import SPLITS
from seg.store.index import _distinct, read_index
from seg.store.open import fingerprint, open_store
from seg.store.patches import PatchReader, PatchWriter
from seg.store.selection import select
from seg.store.tensors import encode_tensors, view_tensors

OFFICIAL = ("metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet")

tensors = st.dictionaries(
    st.text("ABC018_é", min_size=1, max_size=6),
    hnp.arrays(
        st.sampled_from([np.bool_, np.uint8, np.uint16, np.int32, np.int64, np.float16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
    max_size=5,
)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(tensors)
def test_views_equal_what_the_library_reads(arrays):
    value = encode_tensors(arrays)
    assert value == safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    views = view_tensors(memoryview(value), "key")
    reference = safetensors.numpy.load(value)
    assert views.keys() == reference.keys() == arrays.keys()
    assert all(same(views[name], reference[name]) for name in views)


def test_views_share_memory_and_are_read_only():
    value = encode_tensors({"B02": np.arange(12, dtype=np.uint16).reshape(3, 4)})
    view = view_tensors(value, "key")["B02"]
    assert np.shares_memory(view, np.frombuffer(value, np.uint8))
    assert not view.flags.writeable


VALUE = encode_tensors({"B02": np.arange(12, dtype=np.uint16).reshape(3, 4), "VV": np.ones(3, np.float32)})


@given(st.integers(0, len(VALUE) - 1))
def test_a_cut_value_is_an_error(length):
    with pytest.raises(DamagedError, match="some_key"):
        view_tensors(VALUE[:length], "some_key")


@given(st.lists(st.tuples(st.integers(0, len(VALUE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_changed_byte_is_an_error_or_gives_well_formed_arrays(changes):
    value = bytearray(VALUE)
    for position, byte in changes:
        value[position] = byte
    try:
        views = view_tensors(bytes(value), "key")
    except DamagedError:
        return
    assert sum(view.nbytes for view in views.values()) <= len(value)


@given(st.binary(max_size=200))
def test_random_bytes_never_crash(value):
    try:
        views = view_tensors(value, "key")
    except DamagedError:
        return
    assert all(isinstance(view, np.ndarray) for view in views.values())


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("data.mdb", None, r"has lost its data\.mdb; copy the store again"),
        ("index.parquet", None, r"has lost its index\.parquet; copy the store again"),
        ("index.parquet", b"PAR1", r"the index of .* is damaged .*; copy the store again"),
        ("store.json", None, r"has lost its store\.json; copy the store again"),
        ("store.json", b"", r"store\.json is damaged; copy the store again"),
        ("store.json", b"[]", r"store\.json is damaged; copy the store again"),
        ("store.json", b"{}", r"store\.json is damaged; copy the store again"),
        ("store.json", b'{"format": "2"}', r"store\.json is damaged; copy the store again"),
        ("store.json", b'{"format": true}', r"store\.json is damaged; copy the store again"),
        ("store.json", b'{"format": 2}', r"store\.json is damaged; copy the store again"),
        ("patches", "many", r"store\.json is damaged; copy the store again"),
        ("bands", "B02", r"store\.json is damaged; copy the store again"),
        ("splits", {"train": "all"}, r"store\.json is damaged; copy the store again"),
    ],
)
def test_a_store_that_has_lost_something(real, tmp_path, file, content, message):
    """One sentence with the cure, without the words of a library."""
    build_store(published_sources(real / "reben-full-4"), tmp_path / "store")
    path = tmp_path / "store" / file
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path = path.with_name("store.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | {file: content}))
    with pytest.raises(StoreError, match=message) as caught:
        describe_store(tmp_path / "store")
    assert "\n" not in str(caught.value)


def test_the_arrays_of_a_patch_are_those_of_both_sensors(real, tmp_path):
    build_store(published_sources(real / "reben-10m-80"), tmp_path / "store")
    store = open_store(tmp_path / "store")
    for row in (0, 41, 79):
        arrays = store.arrays(row)
        assert set(arrays) == {"VV", "VH", "B02", "B03", "B04", "B08"}
        for name in (store.index.patch_id(row), store.index.s1_name(row)):
            for band, array in store.patches.tensors(name).items():
                assert np.array_equal(arrays[band], array)


def test_a_store_without_what_later_versions_tell(real, tmp_path):
    info = build_store(published_sources(real / "reben-full-4"), tmp_path / "store")
    path = tmp_path / "store" / "store.json"
    document = json.loads(path.read_text())
    del document["unlisted"]
    path.write_text(json.dumps(document))
    assert open_store(tmp_path / "store").info == info


def test_an_lmdb_that_is_cut_off_is_not_described(real, tmp_path):
    build_store(published_sources(real / "reben-full-4"), tmp_path / "store")
    path = tmp_path / "store" / "data.mdb"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DamagedError, match="is cut off"):
        describe_store(tmp_path / "store")


def test_written_patches_read_back(tmp_path):
    with PatchWriter(tmp_path) as writer:
        for i in range(50):
            writer.put(f"patch_{i:02d}", {"B02": np.full((4, 4), i, np.uint16)})
    reader = PatchReader(tmp_path)
    assert len(reader) == 50
    assert list(reader.keys()) == [f"patch_{i:02d}" for i in range(50)]
    assert all((reader.tensors(f"patch_{i:02d}")["B02"] == i).all() for i in range(50))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.mdb"]
    with pytest.raises(StoreError, match="patch_99"):
        reader.tensors("patch_99")


@pytest.mark.parametrize("beside", [False, True])
def test_map_grows_with_the_data(tmp_path, monkeypatch, beside):
    monkeypatch.setattr("seg.store.patches._FIRST_MAP_SIZE", 1 << 16)
    monkeypatch.setattr("seg.store.patches._BATCH_BYTES", 1 << 15)
    data = {f"k{i}": np.random.default_rng(i).integers(0, 255, 5000).astype(np.uint8) for i in range(100)}
    with PatchWriter(tmp_path, beside=beside) as writer:
        for key, array in data.items():
            writer.put(key, {"x": array})
            assert writer.get(key) == encode_tensors({"x": array})
        assert writer.get("k0") == encode_tensors({"x": data["k0"]})
    reader = PatchReader(tmp_path)
    assert len(reader) == 100
    assert all((reader.tensors(key)["x"] == array).all() for key, array in data.items())


def test_a_key_twice_is_an_error(tmp_path):
    def write():
        with PatchWriter(tmp_path) as writer:
            writer.put("patch_1", b"a")
            writer.put("patch_1", b"b")

    with pytest.raises(ValueError, match="patch_1 occurs twice"):
        write()


def test_what_a_thread_cannot_write_is_said(tmp_path, monkeypatch):
    """At the next batch, or at the end."""
    monkeypatch.setattr("seg.store.patches._BATCH_BYTES", 3)

    def write(keys):
        with PatchWriter(tmp_path, beside=True) as writer:
            for key in keys:
                writer.put(key, b"1234")

    for keys in ("aa", "aab"):
        with pytest.raises(ValueError, match="a occurs twice"):
            write(keys)
    assert list(PatchReader(tmp_path).keys()) == ["a"]


def test_a_failed_write_is_not_committed(tmp_path):
    def write():
        with PatchWriter(tmp_path) as writer:
            writer.put("patch_1", b"a")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write()
    assert len(PatchReader(tmp_path)) == 0


def test_a_full_disk_is_one_plain_error(tmp_path):
    script = (
        "import resource, signal, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from seg.store.patches import PatchWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "try:\n"
        "    with PatchWriter(Path(sys.argv[1])) as writer:\n"
        "        for i in range(40):\n"
        "            writer.put(f'k{i}', {'x': np.zeros(100_000, np.uint8)})\n"
        "except OSError as error:\n"
        "    print('refused:', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "refused" in done.stdout
    assert "cannot be written" in done.stdout


def _sum_of(folder, keys):
    reader = PatchReader(folder)
    return [int(reader.tensors(key)["x"].sum()) for key in keys]


def test_several_processes_read_one_store(tmp_path):
    with PatchWriter(tmp_path) as writer:
        for i in range(20):
            writer.put(f"k{i}", {"x": np.arange(i, dtype=np.int32)})
    keys = [f"k{i}" for i in range(20)]
    expected = [sum(range(i)) for i in range(20)]
    with get_context("spawn").Pool(2) as pool:
        assert pool.starmap(_sum_of, [(tmp_path, keys), (tmp_path, keys)]) == [expected, expected]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_reader_opened_before_a_fork_works_in_the_child(tmp_path):
    with PatchWriter(tmp_path) as writer:
        writer.put("k", {"x": np.arange(5)})
    reader = PatchReader(tmp_path)
    assert reader.tensors("k")["x"].sum() == 10
    child = os.fork()
    if child == 0:
        try:
            os._exit(int(reader.tensors("k")["x"].sum()))
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10


def test_views_outlive_their_reader(tmp_path):
    with PatchWriter(tmp_path) as writer:
        writer.put("k", {"x": np.arange(100_000)})
    view = PatchReader(tmp_path).tensors("k")["x"]
    gc.collect()
    assert view.sum() == 4_999_950_000
    assert PatchReader(tmp_path).tensors("k")["x"].sum() == 4_999_950_000


def test_a_replaced_store_is_read_anew(tmp_path):
    for value in (1, 2):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        (tmp_path / "store").mkdir()
        with PatchWriter(tmp_path / "store") as writer:
            writer.put("k", {"x": np.full(3, value)})
        assert PatchReader(tmp_path / "store").tensors("k")["x"].tolist() == [value] * 3


def test_a_read_only_store_is_read(tmp_path):
    with PatchWriter(tmp_path) as writer:
        writer.put("k", {"x": np.arange(5)})
    (tmp_path / "data.mdb").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert PatchReader(tmp_path).tensors("k")["x"].sum() == 10
        assert sorted(p.name for p in tmp_path.iterdir()) == ["data.mdb"]
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_cut_lmdb_is_an_error_not_a_crash(tmp_path, share):
    with PatchWriter(tmp_path) as writer:
        for i in range(40):
            writer.put(f"k{i}", {"x": np.zeros(10_000, np.uint8)})
    file = tmp_path / "data.mdb"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(DamagedError, match="is cut off"):
        PatchReader(tmp_path).tensors("k39")


def test_files_that_are_no_lmdb(tmp_path):
    with pytest.raises(DamagedError, match=r"no data\.mdb"):
        PatchReader(tmp_path).tensors("k")
    (tmp_path / "data.mdb").write_bytes(b"nonsense" * 1000)
    with pytest.raises(DamagedError, match="cannot be opened"):
        PatchReader(tmp_path).tensors("k")


# --- index ------------------------------------------------------------------------------------------------------------


def metadata(rows):
    table = [
        {
            "patch_id": f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_{i:02d}_57",
            "labels": ["Arable land"],
            "split": "train",
            "country": "Austria",
            "s1_name": f"S1B_IW_GRDH_1SDV_20170612T165809_33UUP_{i}_57",
            "s2v1_name": f"S2A_MSIL2A_20170613T101031_{i}_57",
            "contains_seasonal_snow": False,
            "contains_cloud_or_shadow": False,
        }
        | row
        for i, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(table)


@pytest.fixture
def write_metadata(tmp_path):
    def write(rows, name="metadata.parquet"):
        pq.write_table(metadata(rows), tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture(scope="module")
def official(real):
    return read_index([real / "official-metadata" / name for name in OFFICIAL])


@pytest.fixture(scope="module")
def official_rows(real):
    return [row for name in OFFICIAL for row in pq.read_table(real / "official-metadata" / name).to_pylist()]


def test_official_index_equals_its_rows(official, official_rows):
    assert len(official) == 549_488
    assert {s: int((official.splits == i).sum()) for i, s in enumerate(SPLITS)} == {
        "train": 237_871 + 34_673,
        "validation": 122_342 + 17_235,
        "test": 119_825 + 17_542,
    }
    labels = official.labels(np.arange(len(official)))
    assert labels.sum(1).max() == 11
    assert labels.sum(1).mean() == pytest.approx(2.95, abs=0.01)
    tiles, months, splits = official.tiles, official.months, official.splits
    for row in range(0, len(official), 4999):
        truth = official_rows[row]
        assert official.patch_id(row) == truth["patch_id"]
        assert official.s1_name(row) == truth["s1_name"]
        assert [CLASS_NAMES[i] for i in np.flatnonzero(labels[row])] == sorted(truth["labels"], key=class_index)
        assert SPLITS[splits[row]] == truth["split"]
        assert months[row] == int(truth["patch_id"][15:17])
        assert tiles[row].as_py() == truth["patch_id"].split("_")[5][1:]
        assert (bool(official.snow[row]), bool(official.cloud[row])) == (
            truth["contains_seasonal_snow"],
            truth["contains_cloud_or_shadow"],
        )


@pytest.mark.parametrize(
    ("settings", "split"),
    [
        ({}, "test"),
        ({"flagged": True}, "train"),
        ({"countries": ("Austria", "Finland")}, None),
        ({"months": (6, 11), "flagged": True}, "validation"),
        ({"classes": ("Marine waters", "Beaches, dunes, sands"), "countries": ("Portugal",)}, "test"),
    ],
)
def test_selection_against_brute_force(official, official_rows, settings, split):
    data = DataConfig(**settings)
    expected = [
        i
        for i, row in enumerate(official_rows)
        if (split is None or row["split"] == split)
        and (data.flagged or not (row["contains_seasonal_snow"] or row["contains_cloud_or_shadow"]))
        and (not data.countries or row["country"] in data.countries)
        and (not data.months or int(row["patch_id"][15:17]) in data.months)
        and (not data.classes or set(data.classes) & set(row["labels"]))
    ]
    assert select(official, data, split).tolist() == expected


def test_index_round_trips_through_its_table(official, tmp_path):
    some = official.take(np.arange(0, len(official), 1001))
    pq.write_table(some.to_table(), tmp_path / "index.parquet")
    again = read_index([tmp_path / "index.parquet"])
    assert again.to_table().equals(some.to_table())
    assert fingerprint(again) == fingerprint(some)
    shuffled = some.take(np.random.default_rng(0).permutation(len(some)))
    assert fingerprint(shuffled) == fingerprint(some)
    other = some.label_bits.copy()
    other[0] ^= 1
    assert fingerprint(read_index([tmp_path / "index.parquet"]).with_splits(1 - some.splits % 2)) != fingerprint(some)
    assert fingerprint(type(some)(**{**vars(some), "label_bits": other})) != fingerprint(some)


def test_rows_without_labels(write_metadata):
    rows = [[], ["Arable land"], [], ["Pastures", "Arable land"], []]
    index = read_index([write_metadata([{"labels": labels} for labels in rows])])
    assert index.labels(np.arange(5)).sum(1).tolist() == [0, 1, 0, 2, 0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"labels": ["Sea"]}, "'Sea' is not one of the 19"),
        ({"split": "dev"}, "'dev' is no split"),
        ({"patch_id": "patch_1"}, "'patch_1' is no reBEN patch id"),
        ({"patch_id": "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_91"}, "run from 00 to 90"),
        ({"s1_name": "S1_x"}, "Sentinel-1"),
        ({"patch_id": "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_00_57"}, "more than once"),
        ({"country": None}, "without a value in column country"),
    ],
)
def test_wrong_metadata_is_refused(write_metadata, row, message):
    path = write_metadata([{}, row])
    with pytest.raises(ValueError, match=message):
        read_index([path])


def test_files_that_are_no_metadata(tmp_path):
    with pytest.raises(MetadataError, match="no metadata file"):
        read_index([tmp_path / "none.parquet"])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(MetadataError, match="cannot be read"):
        read_index([tmp_path / "bad.parquet"])
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(MetadataError, match="lacks the column patch_id"):
        read_index([tmp_path / "other.parquet"])


def test_an_empty_selection_names_its_condition(write_metadata):
    index = read_index([write_metadata([{}, {"country": "Finland"}])])
    with pytest.raises(EmptySelectionError, match="split test"):
        select(index, DataConfig(), "test")
    with pytest.raises(EmptySelectionError, match=r"data\.months=1"):
        select(index, DataConfig(months=(1,)), "train")
    with pytest.raises(EmptySelectionError, match="'Atlantis'; countries here: Austria, Finland"):
        select(index, DataConfig(countries=("Atlantis",)))


# --- opening ----------------------------------------------------------------------------------------------------------


def test_a_real_rico_hdl_lmdb_is_read_directly(real):
    files = [real / "official-metadata" / name for name in OFFICIAL]
    store = open_store(real / "rico-hdl" / "BigEarthNet_LMDB", files)
    assert (store.info.patches, store.info.s1_missing, store.info.s2_missing, store.info.maps_missing) == (2, 1, 1, 2)
    assert len(store.info.bands) == 14
    row = int(np.flatnonzero(store.index.has_s2)[0])
    arrays = store.patches.tensors(store.index.patch_id(row))
    rasterio = pytest.importorskip("rasterio")
    for file in (real / "rico-hdl" / "tiffs").rglob(f"{store.index.patch_id(row)}_B*.tif"):
        with rasterio.open(file) as source:
            assert same(arrays[file.stem.split("_")[-1]], source.read(1))
    with pytest.raises(StoreError, match="no reference map"):
        store.usable(np.array([row]), ["B02"], drop_incomplete=False)


def test_our_values_are_those_of_rico_hdl(real):
    """The bytes that we write for a patch are the bytes that rico-hdl wrote, name for name."""
    reader = PatchReader(real / "rico-hdl" / "BigEarthNet_LMDB")
    for key in reader.keys():  # noqa: SIM118
        assert encode_tensors(reader.tensors(key)) == bytes(reader.raw(key))


def test_a_bare_lmdb_needs_its_metadata(real, tmp_path):
    with pytest.raises(StoreError, match="--metadata"):
        open_store(real / "rico-hdl" / "BigEarthNet_LMDB")


def test_folders_that_are_no_store(tmp_path, write_metadata):
    with pytest.raises(StoreError, match="there is no store"):
        open_store(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="is no store"):
        open_store(tmp_path)
    lmdb.open(str(tmp_path / "empty")).close()
    with pytest.raises(StoreError, match="holds no patch"):
        open_store(tmp_path / "empty", [write_metadata([{}])])


def test_newer_and_damaged_stores_are_refused(tmp_path, write_metadata):
    store = tmp_path / "store"
    store.mkdir()
    write_metadata([{}], "store/index.parquet")
    (store / "store.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(StoreError, match="newer version"):
        open_store(store)
    (store / "store.json").write_text('{"format": 1')
    with pytest.raises(StoreError, match="damaged"):
        open_store(store)


def test_missing_parts_are_refused_by_name(write_metadata, tmp_path):
    table = metadata([{}, {}, {}]).append_column("has_s1", pa.array([True, False, True]))
    pq.write_table(table, tmp_path / "index.parquet")
    index = read_index([tmp_path / "index.parquet"])
    from seg.store.open import Store, describe

    info = describe(index, ["VV", "VH", "B02"], seg_version="", synthetic=False, source={})
    store = Store(Path("store"), PatchReader(tmp_path), index, info)
    rows = np.arange(3)
    with pytest.raises(StoreError, match="'s2' needs B01, B03"):
        store.usable(
            rows,
            MODALITIES["s2"],
            False,
        )
    with pytest.raises(StoreError, match="'s1' cannot be used: 1 of 3 patches have no Sentinel-1"):
        store.usable(rows, ["VV", "VH"], drop_incomplete=False)
    assert store.usable(rows, ["VV", "VH"], drop_incomplete=True).tolist() == [0, 2]
    assert store.usable(rows, ["B02"], drop_incomplete=False).tolist() == [0, 1, 2]


MEASURED = """
import sys
from pathlib import Path
from seg.config.sections import DataConfig
from seg.store.index import read_index
from seg.store.selection import select

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024

before = peak()
index = read_index([Path(name) for name in sys.argv[1:]])
asked = DataConfig(countries=("Finland", "Portugal"), months=(6, 7, 8), classes=("Pastures",))
print(len(index), len(select(index, asked, "train")), peak() - before, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak memory is read from /proc")
def test_the_whole_metadata_needs_little_memory(real):
    files = [str(real / "official-metadata" / name) for name in OFFICIAL]
    done = subprocess.run([sys.executable, "-c", MEASURED, *files], capture_output=True, text=True, check=True)
    rows, selected, grown, total = map(float, done.stdout.split())
    assert rows == 549_488
    expected = sum(
        row["country"] in ("Finland", "Portugal")
        and int(row["patch_id"][15:17]) in (6, 7, 8)
        and "Pastures" in row["labels"]
        and row["split"] == "train"
        for row in pq.read_table(files[0], columns=["patch_id", "country", "labels", "split"]).to_pylist()
    )
    assert selected == expected
    assert grown < 200
    assert total < 300


@given(st.lists(st.integers(0, 40), min_size=0, max_size=60))
def test_distinct_ids(numbers):
    ids = pa.array([f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_{n:02d}_{n:02d}" for n in numbers], pa.string())
    assert _distinct(ids) == (len(set(numbers)) == len(numbers))
    assert _distinct(ids[1:]) == (len(set(numbers[1:])) == len(numbers[1:]))


def test_ids_that_differ_in_any_character_are_distinct():
    base = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
    ids = [base] + [base[:i] + chr(ord(base[i]) ^ 1) + base[i + 1 :] for i in range(len(base))]
    assert _distinct(pa.array(ids))
    assert not _distinct(pa.array([*ids, base]))
