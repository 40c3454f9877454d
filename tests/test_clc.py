"""CORINE Land Cover on a grid: against the raster that polygons were made of, against points in polygons, and GDAL."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.enums import Resampling
from rasterio.features import shapes
from rasterio.transform import Affine
from rasterio.warp import reproject

from seg.errors import LandCoverError
from seg.reben.classes import CLASS_OF_CODE
from seg.reben.patch import GeoRef, tile_corner
from seg.region.clc import codes_on, open_clc, require_cover
from seg.region.countries import UNKNOWN, countries_at, open_countries
from seg.region.numbering import NOTHING

TILE = "33UUP"
EPSG, X, Y = tile_corner(TILE)
GRID = GeoRef(EPSG, X, Y, 10.0, 240, 240)
AFFINE = Affine(*GRID.transform)
CODES = sorted(CLASS_OF_CODE)


@pytest.fixture(scope="module")
def codes():
    """Blobs of all codes, with islands and single pixels."""
    random = np.random.default_rng(0)
    coarse = random.choice(CODES, (24, 24)).repeat(10, 0).repeat(10, 1)
    noise = random.random(coarse.shape) < 0.02
    return np.where(noise, random.choice(CODES, coarse.shape), coarse).astype(np.uint16)


def polygons_of(codes, dtype=str, column="Code_18", without=(NOTHING,)):
    found = [(shapely.geometry.shape(g), int(v)) for g, v in shapes(codes.astype(np.int32), transform=AFFINE)]
    kept = [(polygon, code) for polygon, code in found if code not in without]
    values = np.array([code for _, code in kept]).astype(dtype)
    return gpd.GeoDataFrame({column: values}, geometry=[polygon for polygon, _ in kept], crs=EPSG)


def frame(*pairs, crs=EPSG, **columns):
    data = {"Code_18": [str(code) for _, code in pairs], **columns}
    return gpd.GeoDataFrame(data, geometry=[geometry for geometry, _ in pairs], crs=crs)


def saved(folder: Path, data, name="clc.gpkg", **more) -> Path:
    data.to_file(folder / name, engine="pyogrio", **more)
    return folder / name


def read(path, grid=GRID, strip=240, **more):
    with codes_on(open_clc(path, **more), grid, TILE) as land:
        strips = [land.read(top, min(strip, grid.height - top)) for top in range(0, grid.height, strip)]
        return np.concatenate(strips), land.repaired


def square(left, top, right, bottom):
    """In pixels of the grid."""
    return shapely.box(X + 10 * left, Y - 10 * bottom, X + 10 * right, Y - 10 * top)


# --- polygons ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [str, np.int32, np.float64])
@pytest.mark.parametrize("strip", [240, 120, 50])
def test_the_codes_come_back_bit_for_bit(tmp_path, codes, dtype, strip):
    got, repaired = read(saved(tmp_path, polygons_of(codes, dtype)), strip=strip)
    assert got.dtype == np.uint16
    assert np.array_equal(got, codes)
    assert (codes == NOTHING).any()
    assert repaired == 0


@pytest.mark.parametrize("name", ["clc.gpkg", "clc.shp", "clc.geojson"])
def test_the_codes_come_back_through_another_crs_and_format(tmp_path, codes, name):
    crs = 4326 if name.endswith("json") else 3035
    got, _ = read(saved(tmp_path, polygons_of(codes).to_crs(crs), name))
    assert np.array_equal(got, codes)


def test_pixels_belong_to_the_polygon_of_their_centre_and_the_last_of_several(tmp_path):
    random = np.random.default_rng(1)
    triangles = [shapely.Polygon(np.array([X, Y - 2400]) + 2400 * random.random((3, 2))) for _ in range(60)]
    values = random.choice(CODES[:-1], 60)
    got, _ = read(saved(tmp_path, frame(*zip(triangles, values, strict=True))), strip=70)
    rows, columns = np.mgrid[:240, :240]
    expected = np.full((240, 240), NOTHING)
    for triangle, code in zip(triangles, values, strict=True):
        expected[shapely.contains_xy(triangle, X + 10 * columns + 5, Y - 10 * rows - 5)] = code
    assert np.array_equal(got, expected)
    assert len(np.unique(got)) > 20


def test_holes_and_multipolygons(tmp_path):
    ring = square(0, 0, 100, 100) - square(20, 20, 80, 80)
    both = shapely.union_all([ring, square(40, 40, 60, 60), square(150, 150, 200, 200)])
    got, _ = read(saved(tmp_path, frame((both, 311), (square(45, 45, 50, 50), 512))))
    expected = np.full((240, 240), NOTHING)
    for (a, b), code in (((0, 100), 311), ((20, 80), NOTHING), ((40, 60), 311), ((150, 200), 311), ((45, 50), 512)):
        expected[a:b, a:b] = code
    assert np.array_equal(got, expected)


def test_invalid_polygons_are_repaired_and_counted(tmp_path):
    bow = shapely.Polygon([(X, Y), (X + 2400, Y - 2400), (X + 2400, Y), (X, Y - 2400)])
    spike = shapely.Polygon([(X, Y), (X, Y - 100), (X + 100, Y - 100), (X + 200, Y - 100), (X + 100, Y - 100), (X, Y)])
    got, repaired = read(saved(tmp_path, frame((bow, 311), (spike, 312))))
    assert not shapely.is_valid([bow, spike]).any()
    assert repaired == 2
    assert (got[118:122, 20] == 311).all()
    assert (got[20, 118:122] == NOTHING).all()
    assert got[8, 1] == 312


def test_only_what_is_near_is_read(tmp_path):
    far = shapely.box(X + 500_000, Y, X + 500_100, Y + 100)
    got, _ = read(saved(tmp_path, frame((square(0, 0, 240, 240), 211), (far, 7))))
    assert (got == 211).all()


def test_columns_and_layers(tmp_path, codes):
    path = saved(tmp_path, polygons_of(codes, column="CODE_18"), layer="europe")
    assert np.array_equal(read(path)[0], codes)
    assert open_clc(path, "code_18").polygons.column == "CODE_18"
    saved(tmp_path, polygons_of(codes, column="other"), layer="islands")
    assert open_clc(path).polygons.layer == "europe"
    assert open_clc(path, "other").polygons.layer == "islands"
    saved(tmp_path, polygons_of(codes), layer="guyana")
    with pytest.raises(LandCoverError, match=r"2 layers \(europe, guyana\); name one with --layer"):
        open_clc(path)
    assert open_clc(path, layer="guyana").polygons.layer == "guyana"
    with pytest.raises(LandCoverError, match="no layer 'mars'; its layers are europe, islands, guyana"):
        open_clc(path, layer="mars")


# --- bad vector files -------------------------------------------------------------------------------------------------


def test_a_missing_column_is_answered_with_those_there_are(tmp_path):
    path = saved(tmp_path, frame((square(0, 0, 9, 9), 311), Area_Ha=[1.0], ID=["EU-1"]))
    with pytest.raises(LandCoverError, match="no column 'Code_12'; its columns are Code_18, Area_Ha, ID: name one"):
        open_clc(path, "Code_12")


@pytest.mark.parametrize(
    ("values", "said"),
    [(["311", "128"], "holds 128, which is no code"), (["", "3111"], "holds 3111: that looks like level 4 of CORINE"),
     (["", "311"], "holds nothing, which is no code"),
     ([311.5, 311], "holds 311.5,"), ([None, "311"], "holds None,"), ([1, 44], "holds 1, 44,")],
)  # fmt: skip
def test_other_codes_are_refused_by_name(tmp_path, values, said):
    data = frame((square(0, 0, 9, 9), 0), (square(9, 9, 20, 20), 0))
    data["Code_18"] = values
    path = saved(tmp_path, data)
    with pytest.raises(LandCoverError, match=said):
        read(path)


def test_no_crs(tmp_path):
    path = saved(tmp_path, frame((square(0, 0, 9, 9), 311)), "clc.shp")
    path.with_suffix(".prj").unlink()
    with pytest.raises(LandCoverError, match="has no CRS; give it that of its source"):
        open_clc(path)


def test_another_place(tmp_path):
    path = saved(tmp_path, frame((square(10_000, 0, 10_009, 9), 311)))
    clc = open_clc(path)
    with pytest.raises(LandCoverError, match=f"does not overlap the tile {TILE}"):
        require_cover(clc, GRID, TILE)
    with pytest.raises(LandCoverError, match=f"has no polygon on the tile {TILE}"), codes_on(clc, GRID, TILE):
        pass
    require_cover(open_clc(saved(tmp_path, frame((square(230, 230, 999, 999), 311)), "b.gpkg")), GRID, TILE)


@pytest.mark.parametrize("bad", [shapely.LineString([(X, Y), (X + 9, Y - 9)]), shapely.Polygon([(X, Y)] * 4), None])
def test_what_cannot_be_repaired_is_refused_by_its_number(tmp_path, bad):
    pairs = [(square(0, 0, 9, 9), 311), (bad, 312)]
    path = saved(tmp_path, frame(*pairs), geometry_type="Unknown")
    if bad is None:
        # It lies nowhere, so not near either.
        assert (read(path)[0] == 311).sum() == 81
        return
    with pytest.raises(LandCoverError, match="the geometry of feature 2 in layer clc is no polygon with an area"):
        read(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(LandCoverError, match="does not exist"):
        open_clc(tmp_path / "none.gpkg")
    (tmp_path / "text.gpkg").write_text("x" * 2000)
    with pytest.raises(LandCoverError, match="cannot be read"):
        open_clc(tmp_path / "text.gpkg")
    lines = frame((shapely.LineString([(X, Y), (X + 9, Y - 9)]), 311))
    with pytest.raises(LandCoverError, match="holds LineString, not polygons"):
        open_clc(saved(tmp_path, lines, "lines.gpkg"))
    empty = saved(tmp_path, frame((square(0, 0, 9, 9), 311)).iloc[:0], "empty.gpkg", geometry_type="Polygon")
    with pytest.raises(LandCoverError, match=r"layer empty of .* is empty"):
        open_clc(empty)


# --- rasters ----------------------------------------------------------------------------------------------------------


def raster(folder, values, crs=f"EPSG:{EPSG}", transform=AFFINE, nodata=None):
    path = folder / "clc.tif"
    options = {"driver": "GTiff", "count": 1, "dtype": values.dtype, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", height=values.shape[0], width=values.shape[1], nodata=nodata, **options) as file:
        file.write(values, 1)
    return path


@pytest.mark.parametrize("strip", [240, 120])
def test_a_raster_on_the_grid_comes_back_bit_for_bit(tmp_path, codes, strip):
    assert np.array_equal(read(raster(tmp_path, codes), strip=strip)[0], codes)


def test_a_raster_in_another_crs_is_warped_by_nearest_neighbour(tmp_path, codes):
    other = f"EPSG:{EPSG + 1}"
    moved, transform = reproject(codes, src_transform=AFFINE, src_crs=EPSG, dst_crs=other, src_nodata=0)
    path = raster(tmp_path, moved[0] if moved.ndim == 3 else moved, other, transform, nodata=0)
    expected = np.full_like(codes, NOTHING)
    reproject(
        rasterio.band(rasterio.open(path), 1), expected, dst_transform=AFFINE, dst_crs=EPSG, dst_nodata=NOTHING,
        resampling=Resampling.nearest, tolerance=0,
    )  # fmt: skip
    got, _ = read(path, strip=120)
    assert (got == expected).mean() > 0.999
    assert (got == codes).mean() > 0.8


def test_outside_of_a_raster_there_is_nothing(tmp_path, codes):
    got, _ = read(raster(tmp_path, codes[:120, :60].copy(), nodata=0))
    assert np.array_equal(got[:120, :60], codes[:120, :60])
    assert (got[120:] == NOTHING).all()
    assert (got[:, 60:] == NOTHING).all()


def test_the_numbers_of_the_official_raster(tmp_path):
    values = np.array([[*range(1, 45), 48, -128] + [12] * 194] * 240, np.int8)
    got, _ = read(raster(tmp_path, values, nodata=-128))
    assert got[0, :46].tolist() == [*CODES[:-1], NOTHING, NOTHING]
    assert (CODES[0], CODES[11], CODES[43], CODES[44]) == (111, 211, 523, NOTHING)


@pytest.mark.parametrize(("value", "dtype"), [(0, "uint16"), (50, "uint8"), (600, "uint16"), (1000, "uint16"),
                                              (65535, "uint16"), (-1, "int16")])  # fmt: skip
def test_other_values_are_refused_by_name(tmp_path, value, dtype):
    values = np.full((240, 240), 25, dtype)
    values[200, 200] = value
    told = f"holds {value}, which is no number of CORINE from 1 to 44; if {value} stands"
    if value == 0:
        told = "holds numbers from 0 to 25: .* counted from 0, one too low; if 0 stands for no data"
    with pytest.raises(LandCoverError, match=told):
        read(raster(tmp_path, values))


def test_rasters_without_crs_or_of_other_types(tmp_path, codes):
    with pytest.raises(LandCoverError, match=r"holds numbers such as 112\.5, but codes are whole"):
        open_clc(raster(tmp_path, np.where(codes == codes[0, 0], 112.5, codes).astype(np.float32)))
    with pytest.raises(LandCoverError, match="has no CRS"):
        open_clc(raster(tmp_path, codes, crs=None))


# --- countries --------------------------------------------------------------------------------------------------------


def test_countries_of_places(tmp_path):
    data = gpd.GeoDataFrame(
        {"name": ["Austria", "Czechia"]}, geometry=[square(0, 0, 100, 240), square(90, 0, 200, 240)], crs=EPSG
    )
    file = open_countries(saved(tmp_path, data.to_crs(4326), "countries.gpkg"))
    x, y = X + 10 * np.array([50, 95, 150, 220]), np.full(4, Y - 100)
    assert countries_at(file, GRID, x, y).tolist() == ["Austria", "Czechia", "Czechia", UNKNOWN]
    assert countries_at(None, GRID, x, y).tolist() == [UNKNOWN] * 4
    with pytest.raises(LandCoverError, match="no column 'land'; its columns are name: name one with --country-column"):
        open_countries(tmp_path / "countries.gpkg", "land")
