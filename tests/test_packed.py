"""Land cover in zips and folders, as it is downloaded."""

import zipfile

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from commands import run_printed
from rasterio.transform import Affine

from seg.errors import LandCoverError, SceneError, WrongUseError
from seg.maps.part import _read_shape
from seg.reben.patch import GeoRef, tile_corner
from seg.region.clc import codes_on, open_clc
from seg.region.countries import open_countries
from seg.region.packed import source_of
from seg.region.polygons import open_polygons

TILE = "33UUP"
EPSG, X, Y = tile_corner(TILE)
GRID = GeoRef(EPSG, X, Y, 10, 240, 240)
APPLE = bytes.fromhex("00051607") + bytes(4092)


def polygons(column="Code_18", crs=EPSG):
    west = shapely.box(X, Y - 2400, X + 1200, Y)
    return gpd.GeoDataFrame({column: ["311", "512"]}, geometry=[west, shapely.affinity.translate(west, 1200)], crs=crs)


def zipped(target, folder, inside="", litter=True):
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, f"{inside}{file.relative_to(folder).as_posix()}")
            if litter:
                archive.writestr(f"__MACOSX/{inside}._{file.name}", APPLE)
    return target


def codes(path):
    with codes_on(open_clc(path), GRID, TILE) as land:
        return land.read(0, 240)


EXPECTED = np.repeat(np.array([311, 512], np.uint16), 120)[None].repeat(240, axis=0)


@pytest.mark.parametrize("name", ["clc.gpkg", "clc.shp", "clc.geojson", "clc.GPKG", "clc.fgb"])
@pytest.mark.parametrize("inside", ["", "u2018_clc/DATA/", "a {b [c]/"])
def test_polygons_in_a_zip_or_folder(tmp_path, name, inside):
    (tmp_path / "in").mkdir()
    polygons().to_file(tmp_path / "in" / name.lower(), engine="pyogrio")
    if name != name.lower():
        (tmp_path / "in" / name.lower()).rename(tmp_path / "in" / name)
    (tmp_path / "in" / "readme.txt").write_text("about")
    archive = zipped(tmp_path / "x{y.zip", tmp_path / "in", inside)
    assert np.array_equal(codes(archive), EXPECTED)
    (tmp_path / "folder").mkdir()
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "folder")
    assert np.array_equal(codes(tmp_path / "folder"), EXPECTED)
    assert open_clc(archive).path == archive


@pytest.mark.parametrize("inside", ["", "u2018/DATA/"])
def test_a_raster_in_a_zip_or_folder(tmp_path, inside):
    (tmp_path / "in").mkdir()
    transform = Affine(*GRID.transform)
    with rasterio.open(
        tmp_path / "in" / "U2018.tif", "w", driver="GTiff", width=240, height=240, count=1, dtype="uint16",
        crs=f"EPSG:{EPSG}", transform=transform,
    ) as raster:  # fmt: skip
        raster.write(EXPECTED, 1)
    for path in (zipped(tmp_path / "x.zip", tmp_path / "in", inside), tmp_path / "in"):
        assert np.array_equal(codes(path), EXPECTED)


def test_several_files_are_named(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.gpkg", "b.gpkg"):
        polygons().to_file(tmp_path / "in" / name, engine="pyogrio")
    for path in (zipped(tmp_path / "x.zip", tmp_path / "in"), tmp_path / "in"):
        with pytest.raises(LandCoverError, match=r"several files of data \(a\.gpkg, b\.gpkg\).*name one of them"):
            open_clc(path)
        with pytest.raises(LandCoverError, match="several files"):
            open_countries(path)


def test_a_zip_that_holds_none_or_is_damaged(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.txt").write_text("about")
    archive = zipped(tmp_path / "x.zip", tmp_path / "in")
    assert source_of(archive) == str(archive)
    with pytest.raises(LandCoverError):
        open_clc(archive)
    archive.write_bytes(archive.read_bytes()[:50])
    with pytest.raises(SceneError, match="damaged"):
        source_of(archive)


def test_a_database_is_one_file(tmp_path):
    (tmp_path / "x.gdb").mkdir()
    (tmp_path / "x.gdb" / "a00000001.gdbtable").write_bytes(b"")
    (tmp_path / "x.gdb" / "a.tif").write_bytes(b"")
    assert source_of(tmp_path / "x.gdb") == str(tmp_path / "x.gdb")
    assert source_of(tmp_path) == str(tmp_path / "x.gdb")


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_what_polygons_without_a_crs_are_advised_works(tmp_path, monkeypatch):
    polygons(crs=None).to_file(tmp_path / "a'b.gpkg", engine="pyogrio")
    with pytest.raises(LandCoverError, match="has no CRS") as error:
        open_polygons(tmp_path / "a'b.gpkg", ("Code_18",), "--column")
    run_printed(str(error.value), tmp_path, nnnn=str(EPSG))
    assert np.array_equal(codes(tmp_path / "with_crs.gpkg"), EXPECTED)
    (tmp_path / "with_crs.gpkg").unlink()
    with pytest.raises(WrongUseError, match="has no CRS") as error:
        _read_shape(tmp_path / "a'b.gpkg", GRID)
    run_printed(str(error.value), tmp_path, nnnn=str(EPSG))
    assert _read_shape(tmp_path / "with_crs.gpkg", GRID).area == pytest.approx(2400**2)


def test_the_part_to_map_may_be_in_a_zip(tmp_path):
    (tmp_path / "in").mkdir()
    polygons().to_file(tmp_path / "in" / "field.gpkg", engine="pyogrio")
    shape = _read_shape(zipped(tmp_path / "x.zip", tmp_path / "in", "a/b/"), GRID)
    assert shape.area == pytest.approx(2400**2)
