"""From archives to a store: whatever their form and order, the store is the one that the unpacked tree gives."""

import bz2
import contextlib
import gzip
import io
import lzma
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg.errors import ArchiveError, BuildError, BusyError
from seg.prepare import gather
from seg.prepare.archive import Archive, Passage, _Header, find_archive, read_members
from seg.prepare.build import Subset, build_store
from seg.prepare.layout import PUBLISHED as PARTS
from seg.prepare.sources import Sources, published_sources
from seg.prepare.tiff import decode_tiff
from seg.store.patches import PatchReader


def content(store):
    reader = PatchReader(store)
    return {key: bytes(reader.raw(key)) for key in reader.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def tree(real):
    return real / "reben-full-4"


@pytest.fixture(scope="module")
def expected(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("stores") / "tree"
    return build_store(published_sources(tree), out), content(out)


def files_of(tree, part):
    return sorted(path for path in (tree / PARTS[part]).rglob("*.tif"))


def pack(path, tree, files, *, compress=None, extra=(), tar_format=tarfile.PAX_FORMAT):
    """An archive of files in the given order, and of further members."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tar_format) as tar:
        for file in files:
            tar.add(file, str(file.relative_to(tree)))
        for info, data in extra:
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes({None: bytes, "zst": checked_zstd, "gz": gzip.compress}[compress](raw.getvalue()))
    return path


@pytest.fixture
def archives(tree, tmp_path):
    """Archives of all parts, in the published order."""
    return {kind: pack(tmp_path / f"{name}.tar", tree, files_of(tree, kind)) for kind, name in PARTS.items()}


def build(tree, archives, out, **options):
    return build_store(Sources(**archives, metadata=(tree / "metadata.parquet",)), out, **options)


@pytest.mark.parametrize("compress", [None, "zst", "gz"])
@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_any_form_gives_the_store_of_the_tree(tree, tmp_path, expected, compress, tar_format):
    archives = {
        kind: pack(tmp_path / kind, tree, files_of(tree, kind), compress=compress, tar_format=tar_format)
        for kind in PARTS
    }
    info = build(tree, archives, tmp_path / "store")
    assert info.fingerprint == expected[0].fingerprint
    assert info.bands == expected[0].bands
    assert info.ignored == 0
    assert content(tmp_path / "store") == expected[1]


def test_an_archive_of_folders_made_by_tar(tree, tmp_path, expected):
    archives = {kind: tmp_path / f"{name}.tar.gz" for kind, name in PARTS.items()}
    for kind, path in archives.items():
        subprocess.run(["tar", "-czf", path, "-C", tree, f"./{PARTS[kind]}"], check=True)
    assert build(tree, archives, tmp_path / "store").fingerprint == expected[0].fingerprint


def test_split_archives(tree, archives, tmp_path, expected):
    whole = gzip.compress(archives["s2"].read_bytes())
    third = len(whole) // 3
    names = [tmp_path / f"S2.tar.gz{ending}" for ending in ("aa", "ab", "ac")]
    for name, piece in zip(names, (whole[:third], whole[third : 2 * third], whole[2 * third :]), strict=True):
        name.write_bytes(piece)
    for path in (*names, tmp_path / "S2.tar.gz"):
        assert find_archive(path, "s2").parts == tuple(names)
    assert build(tree, archives | {"s2": names[0]}, tmp_path / "store").fingerprint == expected[0].fingerprint
    content = {name: name.read_bytes() for name in names}
    names[2].unlink()
    with pytest.raises(ArchiveError, match=r"^S2\.tar\.gzab is cut off, or a part after it missing; fetch it again"):
        build(tree, archives | {"s2": names[0]}, tmp_path / "other")
    for missing, other in ((1, 0), (0, 1)):
        for name, piece in content.items():
            name.write_bytes(piece)
        names[missing].unlink()
        with pytest.raises(ArchiveError, match=rf"{names[missing].name} is missing beside"):
            find_archive(names[other], "s2")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random=st.randoms(use_true_random=False), held=st.sampled_from([0, 100_000, 1 << 27]))
def test_order_does_not_matter(tree, expected, tmp_path, monkeypatch, random, held):
    """Also where next to nothing fits into memory."""
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    monkeypatch.setattr(gather, "_HELD_BYTES", held)
    archives = {}
    for kind in PARTS:
        files = files_of(tree, kind)
        random.shuffle(files)
        archives[kind] = pack(tmp_path / kind, tree, files)
    assert build(tree, archives, tmp_path / "store").fingerprint == expected[0].fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*PARTS, "store"])


def checked_zstd(data):
    """As the program zstd compresses: with a checksum at the end."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


def member(name, data=b"x", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def test_foreign_members_are_ignored_and_counted(tree, tmp_path, expected, archives):
    file = files_of(tree, "s2")[0]
    inside = str(file.relative_to(tree))
    data = file.read_bytes()
    extra = [
        member("README.txt"),
        member("/" + inside, data),
        member("../" + inside, data),
        member(inside.replace("_B01", "_B10"), data),
        member(f"elsewhere/{file.parent.name}/{file.name}", data),
        member(inside + ".aux.xml"),
        member(inside.replace(file.name, "._" + file.name)),
        member("link.tif", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member(inside.replace("B01", "B02"), b"", type=tarfile.LNKTYPE, linkname=inside),
    ]
    archives["s2"] = pack(tmp_path / "extra.tar", tree, files_of(tree, "s2"), extra=extra)
    info = build(tree, archives, tmp_path / "store")
    assert info.ignored == len(extra)
    assert info.fingerprint == expected[0].fingerprint


@pytest.mark.parametrize("complete", [True, False])
def test_a_file_that_comes_again(tree, tmp_path, expected, archives, complete):
    """The same values are counted, other values are an error; before and after the patch is complete."""
    files = files_of(tree, "s2")
    again = files[0]
    order = [*files, again] if complete else [again, *files]
    archives["s2"] = pack(tmp_path / "again.tar", tree, order)
    info = build(tree, archives, tmp_path / "store")
    assert (info.ignored, info.fingerprint) == (1, expected[0].fingerprint)
    data = bytearray(again.read_bytes())
    data[-1] ^= 1
    extra = [member(str(again.relative_to(tree)), bytes(data))]
    archives["s2"] = pack(tmp_path / "other.tar", tree, files if complete else [again], extra=extra)
    if not complete:
        archives["s2"] = pack(tmp_path / "other.tar", tree, [*files[:3]], extra=extra)
    with pytest.raises(ArchiveError, match="in the archive twice, with different values"):
        build(tree, archives, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_some_bands_of_an_archive(real, tmp_path):
    """An archive without all bands is known to be one only at its end."""
    tree = real / "reben-10m-80"
    sources = {kind: tree / name for kind, name in PARTS.items()}
    archives = {kind: pack(tmp_path / kind, tree, files_of(tree, kind)) for kind in PARTS}
    unpacked = build(tree, sources, tmp_path / "a")
    streamed = build(tree, archives, tmp_path / "b")
    assert streamed.fingerprint == unpacked.fingerprint
    assert streamed.bands == ("VV", "VH", "B02", "B03", "B04", "B08")
    one = [
        file for file in files_of(tree, "s2") if not file.name.endswith("B03.tif") or file != files_of(tree, "s2")[1]
    ]
    archives["s2"] = pack(tmp_path / "lacking", tree, one)
    with pytest.raises(ArchiveError, match=r"_B03\.tif is missing, though others have it .* --partial"):
        build(tree, archives, tmp_path / "c")
    assert build(tree, archives, tmp_path / "c", partial=True).s2_missing == 1


@pytest.mark.parametrize("form", ["tree", "archive"])
def test_subsets(real, tmp_path, form):
    tree = real / "reben-10m-80"
    rows = pq.read_table(tree / "metadata.parquet").to_pylist()
    sources = {kind: tree / name for kind, name in PARTS.items()}
    if form == "archive":
        sources = {kind: pack(tmp_path / kind, tree, files_of(tree, kind)) for kind in PARTS}
    country = rows[0]["country"]
    here = sorted(row["patch_id"] for row in rows if row["country"] == country)
    info = build(tree, sources, tmp_path / "country", subset=Subset(countries=(country,)))
    assert {key for key in content(tmp_path / "country") if key in here} == set(here)
    assert info.patches == len(here)
    for split in sorted({row["split"] for row in rows}):
        expected = sum(row["split"] == split for row in rows)
        assert build(tree, sources, tmp_path / split, subset=Subset(split=split)).splits[split] == expected
    info = build(tree, sources, tmp_path / "bands", subset=Subset(bands=("B04", "B02")))
    assert (info.bands, info.s1_missing, info.patches) == (("B02", "B04"), 80, 80)
    info = build(tree, sources, tmp_path / "limit", subset=Subset(limit=5))
    assert (info.patches, info.s1_missing, info.maps_missing) == (5, 0, 0)
    first = sorted(row["patch_id"] for row in rows)[:5]
    assert sorted(key for key in content(tmp_path / "limit") if key.startswith("S2") and "map" not in key) == first


def test_a_subset_reads_no_further_than_it_must(tree, tmp_path, archives):
    """The stream may break off behind what is wanted."""
    files = files_of(tree, "s2")
    first = files[0].parent
    only = [file for file in files if file.parent == first]
    data = pack(tmp_path / "two.tar", tree, files).read_bytes()
    needed = len(pack(tmp_path / "one.tar", tree, only).read_bytes())
    (tmp_path / "two.tar").write_bytes(data[:needed])
    info = build(
        tree, {"s2": tmp_path / "two.tar"} | {"s1": None, "maps": None}, tmp_path / "store", subset=Subset(limit=1)
    )
    assert info.patches == 1


# --- damaged archives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [None, "zst", "gz"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97, 1.0])
def test_an_archive_that_is_cut_off(tree, tmp_path, expected, archives, compress, share):
    whole = pack(tmp_path / "S2", tree, files_of(tree, "s2"), compress=compress)
    data = whole.read_bytes()
    # A plain tar is padded to 10 kB: only what lies before its end mark is missed.
    end = len(data) if compress else len(data.rstrip(b"\0")) + 300
    whole.write_bytes(data[: min(int(end * share), end - 1)])
    with pytest.raises(ArchiveError, match="cut off; fetch it again and run the same command"):
        build(tree, archives | {"s2": whole}, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    whole.write_bytes(data)
    assert build(tree, archives | {"s2": whole}, tmp_path / "store").fingerprint == expected[0].fingerprint


@pytest.mark.parametrize("compress", ["zst", "gz"])
def test_a_flipped_bit_is_found(tree, tmp_path, archives, compress, expected):
    path = pack(tmp_path / "S2", tree, files_of(tree, "s2"), compress=compress)
    sound = path.read_bytes()
    for place in np.random.default_rng(0).integers(20, len(sound) - 1, 12).tolist():
        damaged = bytearray(sound)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(ArchiveError):
            build(tree, archives | {"s2": path}, tmp_path / "store")
        assert not (tmp_path / "store").exists()
    path.write_bytes(sound)
    assert build(tree, archives | {"s2": path}, tmp_path / "store").fingerprint == expected[0].fingerprint


@pytest.mark.parametrize(
    "junk", [b"", b"no archive", bytes(5000), b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PK\x03\x04" * 999]
)
def test_files_that_are_no_archive(tree, tmp_path, archives, junk):
    archives["s1"].write_bytes(junk)
    with pytest.raises(
        ArchiveError, match=r"(fetch it again and run the same command|expected <scene>/<name>/<name>_VV\.tif)(\n|$)"
    ) as caught:
        build(tree, archives, tmp_path / "store")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("packing", "pack_"), [("zip", None), ("xz", lzma.compress), ("bzip2", bz2.compress)])
def test_a_sound_archive_of_another_packing_is_not_called_damaged(tree, tmp_path, archives, packing, pack_):
    packed = tmp_path / "other"
    if pack_ is None:
        with zipfile.ZipFile(packed, "w") as file:
            file.write(archives["s2"], "BigEarthNet-S2.tar")
    else:
        packed.write_bytes(pack_(archives["s2"].read_bytes()))
    with pytest.raises(ArchiveError, match=f"packed as {packing}, .* unpack it and name"):
        build(tree, archives | {"s2": packed}, tmp_path / "store")


def test_a_member_that_is_no_tiff(tree, tmp_path, archives):
    file = files_of(tree, "maps")[0]
    extra = [member(str(file.relative_to(tree)), b"<html>")]
    archives["maps"] = pack(tmp_path / "bad.tar", tree, files_of(tree, "maps")[1:], extra=extra)
    with pytest.raises(ArchiveError, match=rf"bad\.tar/{file.name} cannot be read"):
        build(tree, archives, tmp_path / "store")


def test_patches_that_are_not_in_the_metadata(tree, tmp_path, archives):
    rows = pq.read_table(tree / "metadata.parquet")
    metadata = tmp_path / "metadata.parquet"
    pq.write_table(rows.slice(1), metadata)
    sources = Sources(**archives, metadata=(metadata,))
    with pytest.raises(ArchiveError, match=r"is not in the metadata; .* --partial"):
        build_store(sources, tmp_path / "store")
    assert build_store(sources, tmp_path / "store", partial=True).patches == 3


def test_patches_that_are_not_in_the_archive(tree, tmp_path, archives):
    files = files_of(tree, "s2")
    gone = files[0].parent
    archives["s2"] = pack(tmp_path / "less.tar", tree, [file for file in files if file.parent != gone])
    with pytest.raises(BuildError, match=rf"1 patch of the metadata is not in less\.tar, for example {gone.name}"):
        build(tree, archives, tmp_path / "store")
    info = build(tree, archives, tmp_path / "store", partial=True)
    # Its Sentinel-1 patch may be there all the same.
    assert (info.patches, info.s2_missing) in ((4, 1), (3, 0))


@pytest.mark.parametrize("form", ["tree", "archive"])
@pytest.mark.parametrize("bands", [("B02", "B05"), ("VV", "B02", "B05"), ("B05",)])
def test_bands_that_no_source_has(real, tmp_path, form, bands):
    tree = real / "reben-10m-80"
    sources = {"s2": tree / PARTS["s2"], "s1": tree / PARTS["s1"], "maps": None}
    if form == "archive":
        sources["s2"] = pack(tmp_path / "S2.tar", tree, files_of(tree, "s2"))
    with pytest.raises(ArchiveError, match="B05") as caught:
        build(tree, sources, tmp_path / "store", subset=Subset(bands=bands))
    assert "--bands" in str(caught.value)
    assert not (tmp_path / "store").exists()
    if len(bands) > 1:
        # What was read is not lost on the build that does without.
        info = build(tree, sources, tmp_path / "store", subset=Subset(bands=bands), partial=True)
        assert set(info.bands) == set(bands) - {"B05"}


def test_bands_of_a_sensor_that_is_not_named(tree, tmp_path, archives):
    archives["s1"] = None
    with pytest.raises(BuildError, match="no source is named for VV; name it with --s1"):
        build(tree, archives, tmp_path / "store", subset=Subset(bands=("VV", "B02")))
    assert build(tree, archives, tmp_path / "store", subset=Subset(bands=("VV", "B02")), partial=True).bands == ("B02",)


def test_what_a_partial_build_let_pass_is_looked_at_again(tree, tmp_path, archives, monkeypatch):
    """A build without --partial does not take over that an archive was read to its end."""
    monkeypatch.setattr("seg.store.patches._BATCH_BYTES", 1)
    sound = archives["maps"].read_bytes()
    archives["maps"].write_bytes(sound[:3000])
    archives["s2"] = pack(tmp_path / "s2", tree, files_of(tree, "s2")[:-1])
    with pytest.raises(ArchiveError, match="cut off"):
        build(tree, archives, tmp_path / "store", partial=True)
    archives["maps"].write_bytes(sound)
    with pytest.raises(ArchiveError, match="is missing, though others have it"):
        build(tree, archives, tmp_path / "store")


def test_files_of_patches_that_are_not_in_the_metadata_are_counted_apart(tree, tmp_path, archives):
    metadata = tmp_path / "metadata.parquet"
    pq.write_table(pq.read_table(tree / "metadata.parquet").slice(1), metadata)
    gone = pq.read_table(tree / "metadata.parquet")["patch_id"][0].as_py()
    archives["s1"] = None
    archives["maps"] = pack(tmp_path / "maps", tree, files_of(tree, "maps"), extra=[member("README.txt")])
    info = build_store(Sources(**archives, metadata=(metadata,)), tmp_path / "store", partial=True)
    files = [file for kind in ("s2", "maps") for file in files_of(tree, kind) if file.parent.name == gone]
    assert (info.ignored, info.unlisted) == (1, len(files))


def test_the_synthetic_mark_survives_packing(tmp_path):
    from seg.pipeline.synthesise import synthesise

    synthesise(tmp_path / "tree", 60)
    archives = {
        k: pack(tmp_path / f"{n}.tar", tmp_path / "tree", files_of(tmp_path / "tree", k)) for k, n in PARTS.items()
    }
    metadata = tuple(shutil.copy(path, tmp_path) for path in (tmp_path / "tree").glob("*.parquet"))
    info = build_store(Sources(**archives, metadata=tuple(map(Path, metadata))), tmp_path / "store")
    assert info.synthetic
    assert info.source["generator"] == "seg.synthetic.tree"


# --- decoding -----------------------------------------------------------------------------------------------------


def layer_of(file):
    return file.stem.removeprefix(file.parent.name + "_")


@pytest.mark.parametrize("name", ["reben-full-4", "reben-10m-80"])
def test_decoding_takes_the_fast_way_and_equals_rasterio(real, name, monkeypatch):
    monkeypatch.setattr("seg.prepare.tiff._decode_any", None)
    files = sorted((real / name).rglob("*.tif"))
    assert len(files) == {"reben-full-4": 56, "reben-10m-80": 560}[name]
    for file in files:
        with rasterio.open(file) as source:
            expected = source.read(1)
        decoded = decode_tiff(file.read_bytes(), layer_of(file), str(file))
        assert decoded.dtype == expected.dtype
        assert decoded.tobytes() == expected.tobytes(), file


def test_synthetic_bands_decode_the_fast_way(tmp_path, monkeypatch):
    from seg.pipeline.synthesise import synthesise

    synthesise(tmp_path / "tree", 60, seed=3)
    monkeypatch.setattr("seg.prepare.tiff._decode_any", None)
    files = sorted((tmp_path / "tree").rglob("*.tif"))
    assert len(files) == 60 * 15
    for file in files:
        with rasterio.open(file) as source:
            assert decode_tiff(file.read_bytes(), layer_of(file), "").tobytes() == source.read(1).tobytes()


FORMS = st.fixed_dictionaries(
    {
        "compress": st.sampled_from(["none", "deflate", "lzw", "packbits", "zstd"]),
        "predictor": st.sampled_from([1, 2]),
        "tiled": st.booleans(),
        "blockysize": st.sampled_from([16, 32, 48]),
        "blockxsize": st.sampled_from([16, 32]),
        "endianness": st.sampled_from(["little", "big"]),
        "bigtiff": st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(form=FORMS, layer=st.sampled_from(["B02", "B05", "B01", "VV", "reference_map"]), seed=st.integers(0, 9))
def test_any_geotiff_decodes_like_rasterio(form, layer, seed):
    """Other forms than the published one go through rasterio."""
    size = {"B05": 60, "B01": 20}.get(layer, 120)
    random = np.random.default_rng(seed)
    dtype = np.float32 if layer == "VV" else np.uint16
    values = (random.integers(0, 1 << 16, (size, size)) if seed % 2 else np.full((size, size), seed)).astype(dtype)
    form = dict(form)
    if form["compress"] in ("none", "packbits"):
        form.pop("predictor")
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=size, height=size, count=1, dtype=dtype,
            transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **form,
        ) as target:  # fmt: skip
            target.write(values, 1)
        data = bytes(memory.read())
    assert decode_tiff(data, layer, "x").tobytes() == values.tobytes()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@settings(max_examples=300, deadline=None)
@given(data=st.data(), which=st.sampled_from(["B01", "VV", "reference_map"]))
def test_a_broken_tiff_is_an_error_or_what_gdal_reads(real, data, which):
    """Never a crash, never an array that rasterio would not give."""
    file = next(iter(sorted((real / "reben-full-4").rglob(f"*_{which}.tif"))))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, min(len(content), 400) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    content = bytes(content)
    try:
        decoded = decode_tiff(content, which, "x")
    except ArchiveError:
        return
    # Where damage has only hit the name of the CRS, the values are sound, though rasterio stumbles over the name.
    with (
        contextlib.suppress(UnicodeDecodeError),
        rasterio.MemoryFile(content) as memory,
        memory.open(driver="GTiff") as source,
    ):
        assert decoded.tobytes() == source.read(1).tobytes()


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(["a/b.tif", "x" * 60 + "/" + "y" * 80 + ".tif", "ü.tif", "d/" + "n" * 120, "folder/"]),
    size=st.sampled_from([0, 10, 58_000, 2**33 - 1, 2**33]),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]),
    damage=st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), max_size=3),
    repaired=st.booleans(),
)
def test_headers_are_read_as_tarfile_reads_them(name, size, form, damage, repaired):
    info = tarfile.TarInfo(name)
    info.size = size
    try:
        blocks = info.tobuf(form, "utf-8", "surrogateescape")
    except ValueError:
        return  # no header of this form can hold it
    for begin in range(0, len(blocks), 512):
        block = bytearray(blocks[begin : begin + 512])
        for position, value in damage:
            block[position] = value
        if repaired:
            block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * 32)
        assert header_of(_Header, bytes(block)) in (header_of(tarfile.TarInfo, bytes(block)), "owner or time")


def header_of(kind, block):
    """Name, size and type of a header, or the error; tarfile also refuses headers whose owner or time is no number."""
    try:
        header = kind.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        return type(error)
    fields = [block[100:108], block[108:116], block[116:124], block[136:148], block[329:337], block[337:345]]
    try:
        [tarfile.nti(field) for field in fields]
    except tarfile.InvalidHeaderError:
        return "owner or time"
    return header.name, header.size, header.type


def test_a_strip_that_claims_more_bytes_than_the_file_has_is_an_error(real):
    """zlib would find its stream complete all the same; GDAL refuses the strip."""
    file = next(iter(sorted((real / "reben-full-4").rglob("*_reference_map.tif"))))
    content = bytearray(file.read_bytes())
    content[220] = 1  # 0x100dd bytes in the first strip
    with pytest.raises(ArchiveError, match="damaged or cut off"):
        decode_tiff(bytes(content), "reference_map", "x")


def test_of_two_entries_of_one_tag_that_one_counts_which_gdal_takes(real):
    file = next(iter(sorted((real / "reben-full-4").rglob("*_reference_map.tif"))))
    content = bytearray(file.read_bytes())
    content[118] = 61  # planar configuration becomes a second predictor
    with rasterio.MemoryFile(bytes(content)) as memory, memory.open(driver="GTiff") as source:
        assert decode_tiff(bytes(content), "reference_map", "x").tobytes() == source.read(1).tobytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_broken_tar_is_an_error_or_fewer_members(tree, tmp_path, data):
    whole = pack(tmp_path / "x.tar", tree, files_of(tree, "maps"))
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    whole.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(ArchiveError):
        for entry in read_members(Archive("maps", (whole,)), Passage()):
            entry.read()


# --- interruption -------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from seg.prepare.build import build_store
from seg.prepare.sources import Sources
from seg.store import patches

after, root, out = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
patches._BATCH_BYTES = 1 << 18
write, flushed = patches.PatchWriter._write, 0

def counting(self, batch):
    global flushed
    flushed += 1
    if flushed == after:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, batch)

patches.PatchWriter._write = counting
named = {kind: Path(path) for kind, path in zip(("s2", "s1", "maps"), sys.argv[4:7])}
build_store(Sources(**named, metadata=(root / "metadata.parquet",)), out, workers=1 if after == 6 else None)
"""


@pytest.mark.parametrize("form", ["tree", "archive"])
@pytest.mark.parametrize("after", [2, 6, 9])
def test_a_killed_build_goes_on(tree, tmp_path, archives, expected, form, after):
    sources = archives if form == "archive" else {kind: tree / name for kind, name in PARTS.items()}
    out = tmp_path / "store"
    arguments = [sys.executable, "-c", KILLED, str(after), str(tree), str(out), *map(str, sources.values())]
    killed = subprocess.run(arguments, check=False, capture_output=True)
    assert not out.exists() or killed.returncode == 0
    info = build(tree, sources, out) if killed.returncode else expected[0]
    assert info.fingerprint == expected[0].fingerprint
    assert content(out) == expected[1]
    assert not (tmp_path / ".store.building").exists()


def test_two_builds_into_one_store(tree, tmp_path, archives):
    def another(items, *_):
        with pytest.raises(BusyError, match=r"is writing .*store; wait for it to end"):
            build(tree, archives, tmp_path / "store")
        return items

    assert build(tree, archives, tmp_path / "store", track=another).patches == 4


def test_an_unfinished_build_of_something_else_is_not_mixed_in(tree, tmp_path, archives, monkeypatch, expected):
    monkeypatch.setattr("seg.store.patches._BATCH_BYTES", 1)
    sound = archives["maps"].read_bytes()
    archives["maps"].write_bytes(sound[:3000])
    with pytest.raises(ArchiveError) as caught:
        build(tree, archives, tmp_path / "store")
    assert "the same command goes on from there" in caught.value.__notes__[0]
    with pytest.raises(BuildError, match=r"other settings \(bands\)"):
        build(tree, archives, tmp_path / "store", subset=Subset(bands=("B02",)))
    archives["maps"].write_bytes(sound)
    assert build(tree, archives, tmp_path / "store").fingerprint == expected[0].fingerprint


def test_an_archive_that_was_replaced_is_decoded_anew(tree, tmp_path, archives, monkeypatch):
    """What came out of a damaged one is not kept."""
    monkeypatch.setattr("seg.store.patches._BATCH_BYTES", 1)
    sound, maps = archives["s2"].read_bytes(), archives["maps"].read_bytes()
    damaged = bytearray(sound)
    damaged[20_000] ^= 1
    archives["s2"].write_bytes(damaged)
    archives["maps"].write_bytes(maps[:3000])
    with pytest.raises(ArchiveError):
        build(tree, archives, tmp_path / "store")
    archives["s2"].write_bytes(sound)
    archives["maps"].write_bytes(maps)
    first = build(tree, archives, tmp_path / "store")
    assert first.fingerprint == build(tree, archives, tmp_path / "fresh").fingerprint


def test_metadata_without_any_patch_of_the_archive(tree, real, tmp_path, archives):
    other = pq.read_table(real / "reben-10m-80" / "metadata.parquet")
    pq.write_table(pa.table(other), tmp_path / "m.parquet")
    with pytest.raises((ArchiveError, BuildError)):
        build_store(Sources(**archives, metadata=(tmp_path / "m.parquet",)), tmp_path / "store")
