"""Cloud-Optimized GeoTIFFs, virtual rasters over them, and styles, against the bytes and against brute force."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform

from seg.errors import MapError
from seg.figures import style
from seg.maps.cog import BLOCK, read_overview, write_cog
from seg.maps.geotiff import write_class_map, write_values
from seg.maps.mosaic import agreement, assemble, write_strips
from seg.maps.vrt import Looks, read_raster, union, vrt_document, write_vrt
from seg.reben.classes import CLASS_NAMES, CLASSES, IGNORE_INDEX
from seg.reben.patch import GeoRef, PatchId
from seg.styles.palette import AGREEMENT, LAND_COVER
from seg.styles.qgis import write_qml

HOLE = IGNORE_INDEX
TAGS = {"MODEL": "unet <resnet18> & more", "DATA_FINGERPRINT": "ab12", "SEG_VERSION": "0.1", "SYNTHETIC": "YES"}


def noise(height: int, width: int, seed: int = 0, classes: int = 19) -> np.ndarray:
    """Classes and holes, some of them large."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, classes, (height, width)).astype(np.uint8)
    values[rng.random((height, width)) < 0.3] = HOLE
    values[: height // 3, : width // 4] = HOLE
    return values


def parts_of(folder: Path, values_KHW: np.ndarray, cut: int = 300, palette=LAND_COVER) -> list[Path]:
    """Strips of `cut` rows."""
    folder.mkdir(exist_ok=True)
    bands, height, width = values_KHW.shape
    paths = []
    for top in range(0, height, cut):
        part = values_KHW[:, top : top + cut]
        georef = GeoRef(32633, 300_000, 5_400_000 - 10 * top, width=width, height=part.shape[1])
        paths.append(folder / f"{top}.tif")
        write_values(paths[-1], part, georef, {}, [f"band {i}" for i in range(bands)], palette)
    return paths


def listed(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def levels(path: Path) -> list[np.ndarray]:
    """Full resolution and every overview."""
    with rasterio.open(path) as dataset:
        found = [dataset.read()]
        count = len(dataset.overviews(1))
    for level in range(count):
        with rasterio.open(path, overview_level=level) as dataset:
            found.append(dataset.read())
    return found


def directories(content: bytes) -> list[dict[int, tuple[int, ...]]]:
    """The image file directories of a little-endian TIFF or BigTIFF, with their place under the key 0."""
    big = content[2] == 43
    offset = struct.unpack_from("<Q" if big else "<I", content, 8 if big else 4)[0]
    formats = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 12: "d", 16: "Q"}
    found = []
    while offset:
        place, tags = offset, {0: (offset,)}
        (count,) = struct.unpack_from("<Q" if big else "<H", content, place)
        place += 8 if big else 2
        for _ in range(count):
            tag, kind, values = struct.unpack_from("<HHQ" if big else "<HHI", content, place)
            inline = place + (12 if big else 8)
            form = f"<{values}{formats[kind]}" if kind != 5 else f"<{2 * values}I"
            room = 8 if big else 4
            start = inline
            if struct.calcsize(form) > room:
                (start,) = struct.unpack_from("<Q" if big else "<I", content, inline)
            tags[tag] = struct.unpack_from(form, content, start)
            place += 20 if big else 12
        (offset,) = struct.unpack_from("<Q" if big else "<I", content, place)
        found.append(tags)
    return found


def check_cog(path: Path) -> None:
    """The rules of `rio cogeo validate --strict`, from the bytes alone."""
    content = path.read_bytes()
    assert content[:2] == b"II"
    assert b"LAYOUT=IFDS_BEFORE_DATA" in content[:200]
    images = directories(content)
    edges = [(image[256][0], image[257][0]) for image in images]
    assert edges == sorted(edges, reverse=True)
    assert max(edges[-1]) <= BLOCK
    data = []
    for image in images:
        assert (image[322], image[323]) == ((BLOCK,), (BLOCK,)), "tiles"
        assert image[259] == (8,), "deflate"
        assert all(
            offset == 0 or offset + size <= len(content) for offset, size in zip(image[324], image[325], strict=True)
        )
        data.append(min((offset for offset in image[324] if offset), default=len(content)))
    places = [image[0][0] for image in images]
    assert places == sorted(places)
    assert max(places) < min(data), "directories stand before the tiles"
    assert data == sorted(data, reverse=True), "the tiles of the smallest overview come first"
    assert not path.with_name(f"{path.name}.ovr").exists()


def modes(values: np.ndarray) -> set[int]:
    """The most frequent classes that are no holes."""
    counts = np.bincount(values[values != HOLE].ravel(), minlength=256)
    return set(np.flatnonzero(counts == counts.max()).tolist()) if counts.any() else {HOLE}


def test_class_map(tmp_path):
    values_HW = noise(1320, 1080)
    path = tmp_path / "map.tif"
    path.with_name("map.tif.aux.xml").write_text("old")
    write_cog(
        path, parts_of(tmp_path / "parts", values_HW[None]), kind="classes", tags=TAGS, descriptions=["land cover"]
    )
    check_cog(path)
    assert listed(tmp_path) == ["map.tif", "parts"]
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), values_HW)
        assert (dataset.crs, dataset.transform) == (CRS.from_epsg(32633), Affine(10, 0, 300_000, 0, -10, 5_400_000))
        assert (dataset.nodata, dataset.dtypes, dataset.compression.name) == (255, ("uint8",), "deflate")
        assert dataset.block_shapes == [(BLOCK, BLOCK)]
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert "PREDICTOR" not in dataset.tags(ns="IMAGE_STRUCTURE")
        assert TAGS.items() <= dataset.tags().items()
        assert dataset.descriptions == ("land cover",)
        assert dataset.colorinterp[0].name == "palette"
        colors = dataset.colormap(1)
        assert [colors[c.index] for c in CLASSES] == [(*c.color, 255) for c in CLASSES]
        assert [dataset.tags(1)[f"CLASS_{i}"] for i in range(19)] == list(CLASS_NAMES)
        np.testing.assert_array_equal(dataset.read_masks(1) == 0, values_HW == HOLE)
        assert dataset.overviews(1) == [2, 4]


@settings(deadline=None, max_examples=8)
@given(
    height=st.integers(130, 160).map(lambda n: 4 * n),
    width=st.integers(130, 160).map(lambda n: 4 * n),
    classes=st.integers(1, 19),
    seed=st.integers(0, 999),
)
def test_overviews_of_classes_are_modes(tmp_path_factory, height, width, classes, seed):
    folder = tmp_path_factory.mktemp("cog")
    values_HW = noise(height, width, seed, classes)
    write_cog(folder / "map.tif", parts_of(folder / "parts", values_HW[None]), kind="classes")
    fine, *overviews = [level[0] for level in levels(folder / "map.tif")]
    assert overviews
    for coarse in overviews:
        assert coarse.shape == (fine.shape[0] // 2, fine.shape[1] // 2)
        blocks = fine.reshape(coarse.shape[0], 2, coarse.shape[1], 2).swapaxes(1, 2)
        # Nodata exactly where all four pixels are nodata: it neither spreads nor is overwritten.
        np.testing.assert_array_equal(coarse == HOLE, (blocks == HOLE).all((2, 3)))
        rng = np.random.default_rng(seed)
        for row, column in zip(
            rng.integers(0, coarse.shape[0], 400), rng.integers(0, coarse.shape[1], 400), strict=True
        ):
            assert int(coarse[row, column]) in modes(blocks[row, column])
        fine = coarse


def test_continuous_bands(tmp_path):
    rng = np.random.default_rng(5)
    values_KHW = np.cumsum(rng.integers(0, 3, (3, 640, 1040)), axis=2).astype(np.uint16) % 251
    values_KHW = values_KHW.astype(np.uint8)
    values_KHW[:, 100:300, 200:500] = HOLE
    values_KHW[:, rng.random((640, 1040)) < 0.1] = HOLE
    path = tmp_path / "p.tif"
    parts = parts_of(tmp_path / "parts", values_KHW, palette=None)
    write_cog(path, parts, kind="continuous", tags=TAGS, descriptions=["a", "b", "c"])
    check_cog(path)
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), values_KHW)
        assert dataset.scales == pytest.approx([1 / 250] * 3)
        assert dataset.offsets == (0.0,) * 3
        assert set(dataset.nodatavals) == {255}
        assert dataset.descriptions == ("a", "b", "c")
        assert dataset.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
    fine, coarse = (level.astype(float) for level in levels(path)[:2])
    blocks = fine.reshape(3, 320, 2, 520, 2)
    kept = np.where(blocks == HOLE, np.nan, blocks)
    full = np.isnan(kept).all((2, 4))
    np.testing.assert_array_equal(coarse == HOLE, full)
    mean = np.nanmean(np.where(full[:, :, None, :, None], 0, kept), axis=(2, 4))
    assert np.abs(coarse - mean)[~full].max() <= 0.5


def test_scale_and_one_band(tmp_path):
    parts = parts_of(tmp_path / "parts", np.full((1, 40, 30), 7, np.uint8), palette=None)
    write_cog(tmp_path / "c.tif", parts, kind="continuous", scale=None)
    with rasterio.open(tmp_path / "c.tif") as dataset:
        assert dataset.scales == (1.0,)
        assert dataset.descriptions == ("band 0",)
        assert dataset.overviews(1) == []


def test_later_parts_lie_on_earlier_ones_and_gaps_are_holes(tmp_path):
    def part(name: str, left: int, top: int, value: int, hole: int = 0) -> Path:
        values_HW = np.full((60, 60), value, np.uint8)
        values_HW[:hole] = HOLE
        write_class_map(
            tmp_path / name, values_HW, GeoRef(32633, 300_000 + 10 * left, 5_400_000 - 10 * top, width=60, height=60)
        )
        return tmp_path / name

    write_cog(
        tmp_path / "m.tif", [part("a", 0, 0, 1), part("b", 30, 0, 2, hole=20), part("c", 150, 90, 3)], kind="classes"
    )
    expected = np.full((150, 210), HOLE, np.uint8)
    expected[:60, :60] = 1
    expected[20:60, 30:90] = 2
    expected[90:150, 150:210] = 3
    np.testing.assert_array_equal(levels(tmp_path / "m.tif")[0][0], expected)


@pytest.mark.parametrize(
    ("georef", "message"),
    [
        (GeoRef(32634, 300_000, 5_400_000, width=5, height=5), "CRS or pixel size"),
        (GeoRef(32633, 300_000, 5_400_000, 20.0, width=5, height=5), "CRS or pixel size"),
        (GeoRef(32633, 300_004, 5_400_000, width=5, height=5), "do not lie on"),
    ],
)
def test_parts_that_do_not_fit_together(tmp_path, georef, message):
    first = GeoRef(32633, 300_000, 5_400_000, width=5, height=5)
    write_class_map(tmp_path / "a.tif", np.zeros((5, 5), np.uint8), first)
    write_class_map(tmp_path / "b.tif", np.zeros((5, 5), np.uint8), georef)
    with pytest.raises(MapError, match=message):
        write_cog(tmp_path / "m.tif", [tmp_path / "a.tif", tmp_path / "b.tif"], kind="classes")
    assert listed(tmp_path) == ["a.tif", "b.tif"]


def test_no_parts_a_missing_part_and_a_damaged_part(tmp_path):
    with pytest.raises(MapError, match="at least one"):
        write_cog(tmp_path / "m.tif", [], kind="classes")
    with pytest.raises(OSError, match=r"nowhere\.tif"):
        write_cog(tmp_path / "m.tif", [tmp_path / "nowhere.tif"], kind="classes")
    (part,) = parts_of(tmp_path / "parts", noise(200, 200)[None])
    content = part.read_bytes()
    part.write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match="cannot be"):
        write_cog(tmp_path / "m.tif", [part], kind="classes")
    assert listed(tmp_path) == ["parts"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from seg.maps.cog import write_cog

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
try:
    write_cog(Path(sys.argv[2]), [Path(part) for part in sys.argv[3:]], kind="classes")
    print("written")
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_at_any_point_leaves_the_old_map(tmp_path):
    """The limit falls into the overviews, the tiles, and the very last bytes, which GDAL writes while closing."""
    parts = parts_of(tmp_path / "parts", noise(1100, 1100)[None])
    write_cog(tmp_path / "whole.tif", parts, kind="classes")
    size = (tmp_path / "whole.tif").stat().st_size
    path = tmp_path / "map.tif"
    path.write_bytes(b"the old map")
    before = listed(tmp_path)
    for limit in (60_000, size // 2, size - 1):
        command = [sys.executable, "-c", FULL_DISK, str(limit), str(path), *map(str, parts)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"{path} cannot be written ("), limit
        assert done.stdout.count("\n") == 1
        assert path.read_bytes() == b"the old map"
        assert listed(tmp_path) == before
    done = subprocess.run([*command[:3], str(2 * size), *command[4:]], capture_output=True, text=True, check=True)
    assert done.stdout == "written\n"


def test_too_little_space_is_known_beforehand(tmp_path, monkeypatch):
    parts = parts_of(tmp_path / "parts", noise(600, 600)[None])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 20_000))
    monkeypatch.setattr("rasterio.shutil.copy", lambda *_, **__: pytest.fail("it was tried"))
    with pytest.raises(OSError, match="MB are free"):
        write_cog(tmp_path / "m.tif", parts, kind="classes")
    assert listed(tmp_path) == ["parts"]


@pytest.mark.parametrize("damage", ["truncated", "other"])
def test_a_copy_that_is_not_what_was_given_is_refused(tmp_path, monkeypatch, damage):
    parts = parts_of(tmp_path / "parts", noise(600, 600)[None])
    other = parts_of(tmp_path / "others", noise(600, 600, seed=1)[None])
    write_cog(tmp_path / "other.tif", other, kind="classes")
    content = (tmp_path / "other.tif").read_bytes()

    def copied(_, target, **__):
        Path(target).write_bytes(content[: len(content) // 2] if damage == "truncated" else content)

    monkeypatch.setattr("rasterio.shutil.copy", copied)
    with pytest.raises(OSError, match="cannot be written"):
        write_cog(tmp_path / "m.tif", parts, kind="classes")
    assert not (tmp_path / "m.tif").exists()
    assert listed(tmp_path) == ["other.tif", "others", "parts"]


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    parts = parts_of(tmp_path / "parts", noise(100, 100)[None])

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_cog(tmp_path / "m.tif", parts, kind="classes")
    assert listed(tmp_path) == ["parts"]
    write_cog(tmp_path / "m.tif", parts, kind="classes")
    assert listed(tmp_path) == ["m.tif", "parts"]


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_folder_that_is_none(tmp_path, folder):
    (tmp_path / "file").write_text("")
    parts = parts_of(tmp_path / "parts", noise(10, 10)[None])
    with pytest.raises(OSError, match="name a folder that exists"):
        write_cog(tmp_path / folder / "m.tif", parts, kind="classes")


def test_reading_an_overview(tmp_path):
    values_HW = np.repeat(np.repeat(noise(130, 150), 8, 0), 8, 1)
    write_cog(tmp_path / "m.tif", parts_of(tmp_path / "parts", values_HW[None]), kind="classes")
    whole_HW, size = read_overview(tmp_path / "m.tif", 5000)
    np.testing.assert_array_equal(whole_HW, values_HW)
    assert size == 10
    for longest in (700, 600):
        thin_HW, size = read_overview(tmp_path / "m.tif", longest)
        assert (thin_HW.shape, size) == ((520, 600), 20)
        np.testing.assert_array_equal(thin_HW, levels(tmp_path / "m.tif")[1][0])
    small_HW, size = read_overview(tmp_path / "m.tif", 50)
    assert max(small_HW.shape) == 50
    assert size == pytest.approx(240)


PRODUCT = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"


@settings(deadline=None, max_examples=10)
@given(
    cells=st.sets(st.tuples(st.integers(80, 84), st.integers(0, 3)), min_size=1, max_size=6), seed=st.integers(0, 99)
)
def test_strips_make_the_mosaic(tmp_path_factory, cells, seed):
    folder = tmp_path_factory.mktemp("strips")
    maps, files = {}, {}
    for i, (column, row) in enumerate(sorted(cells, key=lambda cell: hash((cell, seed)))):
        patch = PatchId.parse(f"{PRODUCT}_{column:02d}_{row:02d}")
        maps[patch] = noise(120, 120, seed + i)
        files[patch] = folder / f"{patch}.tif"
        write_class_map(files[patch], maps[patch], patch.georef)
    expected_HW, georef = assemble(maps)
    strips = write_strips(folder / "rows", files, LAND_COVER)
    assert len(strips) == len({row for _, row in cells})
    write_cog(folder / "m.tif", strips, kind="classes")
    with rasterio.open(folder / "m.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected_HW)
        assert tuple(dataset.bounds) == georef.bounds
        assert dataset.descriptions == ("land cover",)


def test_agreement_against_a_loop():
    reference_HW, predicted_HW = noise(30, 40, 1, 2), noise(30, 40, 2, 2)
    marks_HW = agreement(reference_HW, predicted_HW)
    for truth, guess, mark in zip(reference_HW.flat, predicted_HW.flat, marks_HW.flat, strict=True):
        if guess == HOLE:
            assert mark == HOLE
        elif truth == HOLE:
            assert AGREEMENT.names[mark] == "Unlabelled"
        else:
            assert AGREEMENT.names[mark] == ("Right" if truth == guess else "Wrong")
    assert set(np.unique(marks_HW)) == {0, 1, 2, HOLE}


def test_agreement_has_the_colours_of_the_figures():
    assert [entry.color for entry in AGREEMENT.entries] == [style.WRONG, style.RIGHT, style.UNLABELLED]
    assert [entry.value for entry in AGREEMENT.entries] == [0, 1, 2]


def products(folder: Path, epsgs: tuple[int, ...]) -> list[Path]:
    """A map for each zone, all of them near 15 and 18 degrees east and 48 north."""
    folder.mkdir()
    paths = []
    for i, epsg in enumerate(epsgs):
        west = {32633: 700_000, 32634: 290_000}[epsg] - 6000 * (i % 2)
        georef = GeoRef(epsg, west, 5_400_000 - 3000 * i, width=240, height=360)
        parts = folder / f"part{i}.tif"
        write_class_map(parts, noise(360, 240, i), georef)
        paths.append(folder / f"product{i}_map.tif")
        write_cog(paths[-1], [parts], kind="classes")
        parts.unlink()
    return paths


def test_virtual_raster_over_one_zone(tmp_path):
    maps = products(tmp_path / "a", (32633, 32633))
    write_vrt(tmp_path / "a" / "map.vrt", maps, tags=TAGS)
    assert listed(tmp_path / "a") == ["map.vrt", "product0_map.tif", "product1_map.tif"]
    shutil.move(tmp_path / "a", tmp_path / "moved")
    with rasterio.open(tmp_path / "moved" / "map.vrt") as vrt:
        assert vrt.crs == CRS.from_epsg(32633)
        assert vrt.nodata == 255
        assert TAGS.items() <= vrt.tags().items()
        assert vrt.colormap(1)[3] == (*CLASSES[3].color, 255)
        pixels_HW = vrt.read(1)
        seen = np.zeros(pixels_HW.shape, bool)
        for file in sorted((tmp_path / "moved").glob("*.tif")):
            with rasterio.open(file) as dataset:
                window = vrt.window(*dataset.bounds).round()
                rows, columns = window.toslices()
                np.testing.assert_array_equal(pixels_HW[rows, columns], dataset.read(1))
                seen[rows, columns] = True
        assert (pixels_HW[~seen] == HOLE).all()
        assert not seen.all()


def test_virtual_raster_over_two_zones(tmp_path):
    maps = products(tmp_path / "a", (32633, 32634))
    write_vrt(tmp_path / "a" / "map.vrt", maps, tags=TAGS)
    assert listed(tmp_path / "a") == ["map.vrt", "map_warped", "product0_map.tif", "product1_map.tif"]
    for file in (tmp_path / "a").rglob("*.vrt"):
        assert str(tmp_path) not in file.read_text()
    shutil.move(tmp_path / "a", tmp_path / "moved")
    with rasterio.open(tmp_path / "moved" / "map.vrt") as vrt:
        assert vrt.crs == CRS.from_epsg(3035)
        assert vrt.res == (10, 10)
        assert vrt.nodata == 255
        assert vrt.colormap(1)[18] == (*CLASSES[18].color, 255)
        pixels_HW = vrt.read(1)
        rows, columns = np.nonzero(pixels_HW != HOLE)
        x, y = rasterio.transform.xy(vrt.transform, rows, columns)
        outside = np.ones(len(rows), bool)
        covered = 0
        for file in sorted((tmp_path / "moved").glob("*.tif")):
            with rasterio.open(file) as dataset:
                own_x, own_y = (np.array(values) for values in transform(vrt.crs, dataset.crs, x, y))
                column, row = (own_x - dataset.bounds.left) / 10, (dataset.bounds.top - own_y) / 10
                inside = (column >= 0) & (column < dataset.width) & (row >= 0) & (row < dataset.height)
                values_HW = dataset.read(1)
                # GDAL approximates the transformation to an eighth of a pixel: on the edge it may take the neighbour.
                firm = inside & (np.abs(column % 1 - 0.5) < 0.35) & (np.abs(row % 1 - 0.5) < 0.35)
                picked = values_HW[row[firm].astype(int), column[firm].astype(int)]
                np.testing.assert_array_equal(pixels_HW[rows[firm], columns[firm]], picked)
                outside &= ~((column > -1) & (column < dataset.width + 1) & (row > -1) & (row < dataset.height + 1))
                covered += np.count_nonzero(values_HW != HOLE)
        assert not outside.any()
        assert len(rows) == pytest.approx(covered, rel=0.01)
        root = ET.fromstring((tmp_path / "moved" / "map.vrt").read_text())
        assert [element.text for element in root.iter("Category")] == list(CLASS_NAMES)
        # And GDAL itself, which goes by the order of the axes that the file states, brings it back to where it was.
        for file in sorted((tmp_path / "moved").glob("*.tif")):
            with rasterio.open(file) as dataset:
                own_HW = dataset.read(1)
                options = {"crs": dataset.crs, "transform": dataset.transform}
                with WarpedVRT(vrt, width=dataset.width, height=dataset.height, **options) as back:
                    back_HW = back.read(1)
            assert (back_HW == own_HW)[5:-5, 5:-5].mean() > 0.8


@pytest.mark.parametrize("palette", [LAND_COVER, AGREEMENT])
def test_style_is_what_qgis_reads(tmp_path, palette):
    write_qml(tmp_path / "map.qml", palette)
    text = (tmp_path / "map.qml").read_text()
    assert text.startswith("<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>")
    root = ET.fromstring(text)
    assert root.tag == "qgis"
    assert root.attrib["version"].startswith("3.")
    (renderer,) = root.findall("pipe/rasterrenderer")
    assert (renderer.attrib["type"], renderer.attrib["band"]) == ("paletted", "1")
    entries = renderer.findall("colorPalette/paletteEntry")
    assert [int(entry.attrib["value"]) for entry in entries] == list(range(len(palette.entries)))
    assert [entry.attrib["label"] for entry in entries] == list(palette.names)
    assert {entry.attrib["alpha"] for entry in entries} == {"255"}
    for entry, (_, _, color) in zip(entries, [(e.value, e.name, e.color) for e in palette.entries], strict=True):
        assert tuple(bytes.fromhex(entry.attrib["color"][1:])) == color


@settings(deadline=None, max_examples=6)
@given(
    height=st.integers(513, 1300),
    width=st.integers(513, 1300),
    bands=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_overviews_are_those_that_gdal_would_make(tmp_path_factory, height, width, bands, seed):
    """Sizes that are no multiples of two too, where pixels count by how much of them lies below one of the overview."""
    folder = tmp_path_factory.mktemp("gdal")
    kind = "classes" if bands == 1 else "continuous"
    values_KHW = np.stack([noise(height, width, seed + k, 19 if bands == 1 else 251) for k in range(bands)])
    parts = parts_of(folder / "parts", values_KHW, palette=LAND_COVER if bands == 1 else None)
    write_cog(folder / "ours.tif", parts, kind=kind)
    rasters = [read_raster(part) for part in parts]
    (folder / "all.vrt").write_text(vrt_document(union(rasters), rasters, Looks()))
    with rasterio.open(folder / "all.vrt") as dataset:
        how = {"driver": "COG", "blocksize": BLOCK, "overview_resampling": "MODE" if bands == 1 else "AVERAGE"}
        rasterio.shutil.copy(dataset, folder / "gdal.tif", **how)
    ours, theirs = levels(folder / "ours.tif"), levels(folder / "gdal.tif")
    assert [level.shape for level in ours] == [level.shape for level in theirs]
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(own, other)
