"""Areas by zones and by labelled samples: against rasterio, brute force, and what a reader of the files sees."""

import csv
import math
import shlex
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import shapely.affinity
from commands import printed, run_printed, run_seg
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from rasterio.warp import transform

from seg.areas.class_map import map_rows, open_class_map, strata_of
from seg.areas.design import draw
from seg.areas.zones import open_zones, read_zones, zone_hectares
from seg.errors import LandCoverError, MapError, SegError, WrongUseError
from seg.maps.geotiff import write_class_map
from seg.metrics.area import adjusted_areas
from seg.models.weights_file import weights_digest
from seg.pipeline.areas import map_areas
from seg.pipeline.sample import draw_sample
from seg.reben.classes import CLASS_NAMES, CLASSES, NUM_CLASSES
from seg.reben.ground import hectares_of
from seg.reben.patch import GeoRef
from seg.report.formats import Column, Table
from seg.report.plain_csv import column_types, plain_csv

GRID = GeoRef(32633, 300_000, 5_400_000, width=300, height=260)
USED = (0, 2, 8, 9, 17)
GRID_CRS = "EPSG:32633"


def classes(seed: int = 0) -> np.ndarray:
    """A map in patches of 20 pixels, of which one class has three pixels, with a hole."""
    random = np.random.default_rng(seed)
    values_HW = np.kron(random.choice(USED, (13, 15)), np.ones((20, 20))).astype(np.uint8)
    values_HW[:40, :40] = 255
    values_HW[100, 100:103] = 18
    return values_HW


@pytest.fixture
def mapped(tmp_path: Path) -> Path:
    write_class_map(tmp_path / "a map.tif", classes(), GRID, {"SEG_VERSION": "1", "SCENE": "a scene"})
    return tmp_path / "a map.tif"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def relabel(path: Path, label: object, layer: str = "sample") -> None:
    """Give every point what a function of its row says, as somebody would in a GIS."""
    points = geopandas.read_file(path, layer=layer)
    points["reference"] = [label(row) for row in points.itertuples()] if callable(label) else label
    pyogrio.write_dataframe(points, path, layer=layer, driver="GPKG")


# -------------------------------------------------------------------------------------------------- the map and files


def test_a_map_is_counted_as_a_whole(mapped: Path) -> None:
    of = open_class_map(mapped)
    strata, values_HW = strata_of(of), classes()
    counts, hectares = hectares_of(values_HW, GRID)
    np.testing.assert_array_equal(strata.pixels_K, counts[:NUM_CLASSES])
    np.testing.assert_allclose(strata.hectares_K, hectares[:NUM_CLASSES], rtol=1e-6)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows, _ in map_rows(of)]), values_HW)
    assert of.name == "a scene"


def test_any_pixel_and_any_move_makes_another_map(tmp_path: Path) -> None:
    values_HW, digests = classes(), set()
    changed_HW = values_HW.copy()
    changed_HW[200, 200] = 3
    for name, pixels, grid in (
        ("a", values_HW, GRID),
        ("b", changed_HW, GRID),
        ("c", values_HW, replace(GRID, x_min=300_010)),
    ):
        write_class_map(tmp_path / f"{name}.tif", pixels, grid)
        digests.add(strata_of(open_class_map(tmp_path / f"{name}.tif")).digest)
    assert len(digests) == 3


def test_csv_is_what_spreadsheets_and_gdal_read(tmp_path: Path, mapped: Path) -> None:
    table = map_areas(mapped, out=tmp_path / "areas.csv").tables[""]
    rows = read(tmp_path / "areas.csv")
    assert list(rows[0]) == ["value", "class", "clc", "mapped_ha", "mapped_share"]
    assert [int(row["value"]) for row in rows] == list(range(NUM_CLASSES))
    assert [row["clc"] for row in rows] == [" ".join(map(str, c.codes)) for c in CLASSES]
    assert sum(float(row["mapped_share"]) for row in rows) == pytest.approx(1, abs=1e-4)
    assert float(rows[18]["mapped_ha"]) == pytest.approx(0.03, rel=1e-2)
    read_by_gdal = pyogrio.read_info(tmp_path / "areas.csv")
    assert list(read_by_gdal["dtypes"]) == ["int32", "object", "object", "float64", "float64"]
    assert "title" not in rows[0]
    assert len(table.rows) == NUM_CLASSES


def test_numbers_are_numbers_and_nothing_is_empty() -> None:
    columns = (Column("class", "Class", "class"), Column("ha", "Ha", "hectares"), Column("n", "N", "count"))
    table = Table("t", "Title", columns, (("Pastures", 1 / 3, 7), ("Arable land", math.nan, 0)))
    assert plain_csv(table) == "class,ha,n\nPastures,0.3333,7\nArable land,,0\n"
    made = replace(table, synthetic="SYNTHETIC model")
    assert plain_csv(made).splitlines()[:2] == ["class,ha,n,synthetic", "Pastures,0.3333,7,SYNTHETIC model"]
    assert column_types(made) == column_types(table).rstrip() + ',"String"\n'
    assert column_types(table) == '"String","Real","Integer"\n'


# ------------------------------------------------------------------------------------------------------------- zones


def zones_file(path: Path, shapes: dict[str, shapely.Geometry], epsg: int = 32633, column: str = "name") -> Path:
    table = geopandas.GeoDataFrame({column: list(shapes)}, geometry=list(shapes.values()), crs=GRID.epsg)
    table.to_crs(epsg).to_file(path)
    return path


def box(left: float, top: float, right: float, bottom: float) -> shapely.Geometry:
    """In pixels of the map."""
    return shapely.box(300_000 + 10 * left, 5_400_000 - 10 * bottom, 300_000 + 10 * right, 5_400_000 - 10 * top)


@settings(deadline=None, max_examples=6)
@given(
    corners=st.lists(
        st.tuples(st.floats(-50, 350), st.floats(-50, 310), st.floats(5, 200), st.floats(5, 200)),
        min_size=1,
        max_size=4,
    )
)
def test_zones_against_rasterio(tmp_path_factory: pytest.TempPathFactory, corners: list[tuple[float, ...]]) -> None:
    folder = tmp_path_factory.mktemp("zones")
    write_class_map(folder / "map.tif", classes(), GRID)
    shapes = {f"zone {i}": box(x, y, x + w, y + h).buffer(15) for i, (x, y, w, h) in enumerate(corners)}
    touching = {name for name, shape in shapes.items() if shape.intersection(shapely.box(*GRID.bounds)).area > 0}
    of = open_class_map(folder / "map.tif")
    file = open_zones(zones_file(folder / "z.gpkg", shapes))
    if not touching:
        with pytest.raises(MapError, match="no polygon"):
            read_zones(file, of)
        return
    zones = read_zones(file, of)
    found = zone_hectares(of, zones)
    assert set(found) == touching
    with rasterio.open(folder / "map.tif") as dataset:
        values_HW, place = dataset.read(1), dataset.transform
    for name in touching:
        inside_HW = rasterize([shapes[name]], values_HW.shape, transform=place).astype(bool)
        expected = hectares_of(np.where(inside_HW, values_HW, np.uint8(255)), GRID)[1][:NUM_CLASSES]
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-9)
    for name, whole in zones.whole_ha.items():
        assert whole == pytest.approx(shapes[name].area / 10_000, rel=2e-3)


def test_what_a_change_of_crs_rounds_off_is_not_beyond_the_map(tmp_path: Path, mapped: Path) -> None:
    whole = {"whole": shapely.box(*GRID.bounds).buffer(1e-6, join_style="mitre")}
    beyond = {"more": shapely.box(*GRID.bounds).buffer(1, join_style="mitre")}
    for shapes, remarks in ((whole, 0), (beyond, 1)):
        said: list[str] = []
        file = zones_file(tmp_path / f"{len(said)}{remarks}.gpkg", shapes)
        map_areas(mapped, out=tmp_path / f"{remarks}.csv", zones=file, notify=said.append)
        assert sum("reach beyond" in one for one in said) == remarks


@pytest.mark.parametrize("epsg", [32633, 4326, 3035, 32632])
def test_neighbours_in_any_crs_share_out_the_map(tmp_path: Path, mapped: Path, epsg: int) -> None:
    shapes = {"west": box(-9, -9, 150, 300), "east": box(150, -9, 400, 300)}
    said: list[str] = []
    # Corners are moved, edges stay straight: what is 10 km long bends by less than a pixel.
    zones = zones_file(tmp_path / "z.gpkg", shapes, epsg, "country")
    found = map_areas(mapped, out=tmp_path / "z.csv", zones=zones, notify=said.append)
    rows = read(tmp_path / "z.csv")
    assert [row["zone"] for row in rows] == ["west"] * 19 + ["east"] * 19
    hectares = np.array([float(row["mapped_ha"]) for row in rows]).reshape(2, 19).sum(0)
    np.testing.assert_allclose(hectares, strata_of(open_class_map(mapped)).hectares_K, atol=0.2)
    assert len(said) == 1
    assert said[0].startswith("Zones reach beyond the map and are counted as far as it goes: west, east")
    assert len(found.files) == 3


def test_what_is_said_of_zones(tmp_path: Path, mapped: Path) -> None:
    bow = shapely.Polygon([(300_100, 5_399_900), (300_400, 5_399_600), (300_400, 5_399_900), (300_100, 5_399_600)])
    shapes = {
        "one": box(50, 50, 100, 100),
        "over it": box(90, 90, 120, 120),
        "beside": box(100, 50, 120, 60),
        "far": box(2000, 2000, 2100, 2100),
        "bow": bow,
    }
    said: list[str] = []
    zones = zones_file(tmp_path / "z.gpkg", shapes)
    map_areas(mapped, out=tmp_path / "z.csv", zones=zones, notify=said.append)
    assert said == [
        "Zones that do not lie on the map are left out: far.",
        "1 polygons of the zones were not valid and have been repaired.",
        "Zones overlap, and what they share is counted in each of them: one and over it (1.00 ha).",
    ]
    text = (tmp_path / "z.md").read_text()
    assert all(sentence in text for sentence in said)
    shares = {row["zone"]: float(row["zone_mapped"]) for row in read(tmp_path / "z.csv")}
    assert shares["one"] == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda z: z.assign(name=None).drop(columns="name").assign(kreis="x"), "name one with --zone-column"),
        (lambda z: z.set_crs(None, allow_override=True), "has no CRS; give it that of its source"),
        (lambda z: z.set_geometry(z.centroid), "not polygons"),
        (lambda z: z.set_geometry(z.translate(500_000)), "no polygon of .* lies on .* make sure of their CRS"),
    ],
)
@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_zones_that_cannot_be_used(tmp_path: Path, mapped: Path, change, said: str) -> None:
    path = zones_file(tmp_path / "z.gpkg", {"one": box(0, 0, 90, 90)})
    change(geopandas.read_file(path)).to_file(tmp_path / "bad.gpkg")
    with pytest.raises(SegError, match=said):
        map_areas(mapped, out=tmp_path / "z.csv", zones=tmp_path / "bad.gpkg")
    assert not (tmp_path / "z.csv").exists()


# ----------------------------------------------------------------------------------------------------------- samples


@settings(deadline=None, max_examples=5)
@given(per_class=st.integers(2, 60), seed=st.integers(0, 9))
def test_points_are_of_their_strata_once_each(
    tmp_path_factory: pytest.TempPathFactory, per_class: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    write_class_map(folder / "map.tif", classes(), GRID)
    of = open_class_map(folder / "map.tif")
    strata = strata_of(of)
    sample = draw(of, strata, per_class, seed)
    np.testing.assert_array_equal(classes()[sample.row_N, sample.column_N], sample.stratum_N)
    assert len(set(zip(sample.row_N.tolist(), sample.column_N.tolist(), strict=True))) == len(sample)
    drawn_K = np.bincount(sample.stratum_N, minlength=NUM_CLASSES)
    np.testing.assert_array_equal(drawn_K, np.minimum(strata.pixels_K, per_class))
    again = draw(of, strata, per_class, seed)
    np.testing.assert_array_equal(again.row_N, sample.row_N)
    assert not np.array_equal(draw(of, strata, per_class, seed + 1).row_N, sample.row_N)


def test_every_pixel_of_a_class_is_as_likely(tmp_path: Path) -> None:
    values_HW = np.repeat(np.array([[3], [3], [7], [3]], np.uint8), 10, 1)
    write_class_map(tmp_path / "map.tif", values_HW, replace(GRID, width=10, height=4))
    of = open_class_map(tmp_path / "map.tif")
    strata, hits_HW = strata_of(of), np.zeros((4, 10))
    for seed in range(150):
        sample = draw(of, strata, 6, seed)
        hits_HW[sample.row_N, sample.column_N] += 1
    expected_HW = np.where(values_HW == 3, 150 * 6 / 30, 150 * 6 / 10)
    # Counts of independent draws: chi-squared with one less degree of freedom in each stratum.
    for value, freedom in ((3, 29), (7, 9)):
        chosen = values_HW == value
        chi = ((hits_HW - expected_HW)[chosen] ** 2 / expected_HW[chosen]).sum()
        assert chi < freedom + 4 * math.sqrt(2 * freedom)


def test_the_file_holds_points_strata_and_design(tmp_path: Path, mapped: Path) -> None:
    drawn = draw_sample(mapped, tmp_path / "s.gpkg", per_class=12)
    points = geopandas.read_file(drawn.path, layer="sample")
    assert (len(points), drawn.classes, points.crs.to_epsg()) == (5 * 12 + 3, 6, 32633)
    assert points["reference"].isna().all()
    with rasterio.open(mapped) as dataset:
        seen = [value[0] for value in dataset.sample(zip(points.geometry.x, points.geometry.y, strict=True))]
    assert seen == points["stratum"].tolist()
    assert [CLASS_NAMES[k] for k in seen] == points["stratum_name"].tolist()
    longitude, latitude = transform(32633, 4326, points["x"], points["y"])
    np.testing.assert_allclose(points[["longitude", "latitude"]], np.stack([longitude, latitude], 1))
    # Their order says nothing of what they are mapped as.
    assert points["stratum"].is_monotonic_increasing is False
    strata = geopandas.read_file(drawn.path, layer="strata")
    assert strata["value"].tolist() == [*USED, 18]
    assert strata["sampled"].tolist() == [12] * 5 + [3]
    counted = strata_of(open_class_map(mapped))
    np.testing.assert_allclose(strata["hectares"], counted.hectares_K[[*USED, 18]])
    np.testing.assert_array_equal(strata["pixels"], counted.pixels_K[[*USED, 18]])


def test_a_labelled_sample_gives_areas_and_accuracies(tmp_path: Path, mapped: Path) -> None:
    draw_sample(mapped, tmp_path / "s.gpkg", per_class=20, seed=4)
    random = np.random.default_rng(1)
    words = {0: "Urban fabric", 2: "213", 8: "8", 9: " coniferous  FOREST ", 17: "512", 18: "Marine waters", 3: "241"}
    true = {}

    def label(row: object) -> str | None:
        true[row.id] = row.stratum if random.random() < 0.8 else int(random.choice([0, 2, 3, 8]))
        if row.id % 10 == 0:
            del true[row.id]
            return None
        return words[true[row.id]]

    relabel(tmp_path / "s.gpkg", label)
    found = map_areas(mapped, tmp_path / "s.gpkg", out=tmp_path / "a.csv")
    assert len(found.files) == 9
    points = geopandas.read_file(tmp_path / "s.gpkg", layer="sample").set_index("id")
    confusion = np.zeros((NUM_CLASSES, NUM_CLASSES), int)
    for number, k in true.items():
        confusion[k, points.loc[number, "stratum"]] += 1
    strata = strata_of(open_class_map(mapped))
    expected = adjusted_areas(strata.hectares_K, confusion, confusion.sum(0) / np.maximum(strata.pixels_K, 1))
    rows = {int(row["value"]): row for row in read(tmp_path / "a.csv")}
    for k, row in rows.items():
        if confusion[k].sum():
            half = 1.96 * expected.error_K[k]
            values = [float(row[name]) for name in ("area_ha", "area_se_ha", "area_low_ha", "area_high_ha")]
            area = expected.area_K[k]
            assert values == pytest.approx([area, expected.error_K[k], max(0, area - half), area + half], abs=1e-3)
    assert {k for k, row in rows.items() if row["area_ha"]} == set(np.flatnonzero(confusion.sum(1)))
    *classwise, overall = read(tmp_path / "a_accuracy.csv")
    weights = strata.hectares_K / strata.hectares_K.sum()
    share = sum(weights[k] * confusion[k, k] / confusion[:, k].sum() for k in range(NUM_CLASSES) if weights[k])
    assert (overall["class"], float(overall["users"])) == ("Overall", pytest.approx(share, abs=1e-6))
    assert {int(row["value"]): int(row["points"]) for row in classwise} == {
        k: confusion[:, k].sum() for k in np.flatnonzero(confusion.sum(0) + confusion.sum(1))
    }
    for row in read(tmp_path / "a_matrix.csv"):
        for key, count in row.items():
            if key.startswith("reference_"):
                assert int(count) == confusion[int(key.removeprefix("reference_")), int(row["map_value"])]
    assert f"{len(points) // 10} of {len(points)} points have no reference class" in (tmp_path / "a.md").read_text()
    # Areas without the sample take the place of what was there.
    map_areas(mapped, out=tmp_path / "a.csv")
    assert not (tmp_path / "a_accuracy.csv").exists()


def damaged(path: Path, change) -> None:
    points = geopandas.read_file(path, layer="sample")
    pyogrio.write_dataframe(change(points), path, layer="sample", driver="GPKG")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p, "no point of .* has a reference class; fill in the column 'reference'"),
        (lambda p: p.assign(reference="  "), "no point of .* has a reference class"),
        (lambda p: p.assign(reference="forest"), "the reference of point 1 in .*, 'forest', is no class; give names"),
        (lambda p: p.assign(reference="19"), "'19', is no class"),
        (lambda p: p.assign(reference=1.5), "'1.5', is no class"),
        (
            lambda p: p.assign(reference=[None if k in (8, 17) else str(k) for k in p["stratum"]]),
            r"too few labelled points where the map has Broad-leaved forest \(0 of 2\), Inland waters \(0 of 2\); ",
        ),
        (lambda p: p.assign(reference="8", stratum=8), "of point .* are not those of the map"),
        (lambda p: p.assign(reference="8", row=100_000), "has a pixel twice|not those of the map"),
        (lambda p: p.assign(reference="8").iloc[[0, 0, 1, 2]], "has a pixel twice"),
        (lambda p: p.assign(reference="8").drop(columns="stratum"), "has lost stratum"),
    ],
)
def test_samples_that_say_nothing(tmp_path: Path, mapped: Path, change, said: str) -> None:
    draw_sample(mapped, tmp_path / "s.gpkg", per_class=4)
    damaged(tmp_path / "s.gpkg", change)
    with pytest.raises(MapError, match=said):
        map_areas(mapped, tmp_path / "s.gpkg", out=tmp_path / "a.csv")
    assert not list(tmp_path.glob("a*.csv"))


def test_labels_as_numbers_are_taken(tmp_path: Path, mapped: Path) -> None:
    draw_sample(mapped, tmp_path / "s.gpkg", per_class=4)
    damaged(tmp_path / "s.gpkg", lambda p: p.assign(reference=p["stratum"].astype(float)))
    rows = read(map_areas(mapped, tmp_path / "s.gpkg", out=tmp_path / "a.csv").files[3])
    assert rows[-1]["users"] == "1.0"


def test_a_sample_of_another_map_and_what_is_none(tmp_path: Path, mapped: Path) -> None:
    write_class_map(tmp_path / "other.tif", classes(1), GRID, {"SCENE": "another scene"})
    draw_sample(tmp_path / "other.tif", tmp_path / "s.gpkg", per_class=4)
    relabel(tmp_path / "s.gpkg", "8")
    with pytest.raises(
        MapError, match=r"drawn of another map, other.tif of another scene, than .*a map.tif; name that"
    ):
        map_areas(mapped, tmp_path / "s.gpkg", out=tmp_path / "a.csv")
    zones_file(tmp_path / "z.gpkg", {"one": box(0, 0, 9, 9)})
    (tmp_path / "text.gpkg").write_text("no database")
    for name in ("z.gpkg", "text.gpkg"):
        with pytest.raises(MapError, match=r"draw one with: seg sample '.*a map.tif' --out sample.gpkg"):
            map_areas(mapped, tmp_path / name, out=tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["areas", "no.tif", "--out", "a.csv"], "there is no map no.tif"),
        (["areas", "text.tif", "--out", "a.csv"], "text.tif cannot be read as a raster"),
        (["areas", "p.tif", "--out", "a.csv"], "p.tif is no class map of seg"),
        (["areas", "a map.tif", "--out", "a.txt"], "a.txt is no CSV; name one, such as a.csv"),
        (["areas", "a map.tif", "--out", "a.csv", "--zone-column", "x"], "give that with --zones"),
        (["areas", "a map.tif", "a map.tif", "--out", "a.csv", "--run", "x"], "leave out --zones and --run"),
        (["areas", "a map.tif", "--out", "a.csv", "--zones", "no.gpkg"], "no.gpkg does not exist"),
        (["sample", "a map.tif", "--out", "s.shp"], "s.shp is no GeoPackage; name one, such as s.gpkg"),
        (["sample", "a map.tif", "--out", "s.gpkg", "--per-class", "1"], "--per-class"),
    ],
)
def test_requests_that_cannot_be(
    tmp_path: Path, mapped: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(mapped.parent)
    Path("text.tif").write_text("no raster")
    with rasterio.open("p.tif", "w", "GTiff", 4, 4, 1, "EPSG:32633", rasterio.Affine.scale(10), "uint8") as dataset:
        dataset.write(np.zeros((1, 4, 4), np.uint8))
    code, text = run_seg(*words)
    assert (code, said in text) == (2 if words[1] != "text.tif" else 1, True), text


def test_what_comes_next_is_typed(tmp_path: Path, mapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cure of a missing sample, what follows a sample, and the command that it names."""
    monkeypatch.chdir(tmp_path)
    code, text = run_seg("areas", mapped, "missing.gpkg", "--out", "areas.csv")
    assert code == 2
    ((_, *words),) = printed(text)
    code, text = run_seg(*words)
    assert code == 0, text
    relabel(Path("sample.gpkg"), lambda row: str(row.stratum))
    (following,) = [shlex.split(line.removeprefix("Then: ")) for line in text.splitlines() if line.startswith("Then: ")]
    code, text = run_seg(*following[1:])
    assert code == 0, text
    assert "Overall accuracy: 100.0 % with a standard error of 0.0." in text
    assert Path("areas_matrix.csv").is_file()
    # What somebody has labelled is not drawn anew over it.
    code, text = run_seg(*words)
    assert code == 2
    assert "somebody has changed since" in text


def test_the_run_that_made_the_map_and_no_other(real_run: Path, tmp_path: Path) -> None:
    digest = weights_digest(real_run / "checkpoints" / "best")
    for name, made_by in (("own", digest), ("other", "00ff")):
        tags = {"SEG_VERSION": "1", "SCENE": "a scene", "MODEL_WEIGHTS": made_by}
        write_class_map(tmp_path / f"{name}.tif", classes(), GRID, tags)
    with pytest.raises(WrongUseError, match=r"has not made .*other\.tif; name the run that has"):
        map_areas(tmp_path / "other.tif", out=tmp_path / "other.csv", run=real_run)
    assert not (tmp_path / "other.csv").exists()
    square = shapely.box(GRID.x_min, GRID.y_max - 10 * GRID.height, GRID.x_min + 10 * GRID.width, GRID.y_max)
    geopandas.GeoDataFrame({"zone": ["all"]}, geometry=[square], crs=32633).to_file(tmp_path / "zones.gpkg")
    whole = map_areas(tmp_path / "own.tif", out=tmp_path / "whole.csv", run=real_run).tables[""]
    zoned = map_areas(
        tmp_path / "own.tif", out=tmp_path / "zoned.csv", zones=tmp_path / "zones.gpkg", run=real_run
    ).tables[""]
    keys = [column.key for column in whole.columns]
    assert [column.key for column in zoned.columns] == ["zone", "zone_mapped", *keys]
    assert "adjusted_ha" in keys
    for row, of_zone in zip(whole.rows, zoned.rows, strict=True):
        assert of_zone[2:5] == row[:3]
        assert of_zone[5:] == pytest.approx(row[3:], rel=1e-9, nan_ok=True)
    # What is said of areas as a whole is said of zones too.
    assert set(whole.notes) <= set(zoned.notes)


def test_a_zone_of_several_polygons_is_the_same_however_they_are_kept(mapped: Path, tmp_path: Path) -> None:
    """One lies on the map, one far from it: how much of the zone is mapped is said, or that it is not known."""
    near = shapely.box(300_100, 5_399_000, 300_700, 5_399_600)
    far = shapely.affinity.translate(near, 500_000, 0)
    shares = {}
    for name, shapes in (("one", [shapely.MultiPolygon([near, far])]), ("two", [near, far])):
        frame = geopandas.GeoDataFrame({"zone": ["A"] * len(shapes)}, geometry=shapes, crs=32633)
        frame.to_file(tmp_path / f"{name}.gpkg")
        of = open_class_map(mapped)
        found = read_zones(open_zones(tmp_path / f"{name}.gpkg"), of)
        assert any("reach beyond the map" in remark for remark in found.remarks)
        shares[name] = found.whole_ha["A"]
    assert shares["one"] == pytest.approx(72, rel=0.02)
    assert math.isnan(shares["two"])


def test_zones_without_a_name_are_told(mapped: Path, tmp_path: Path) -> None:
    near = shapely.box(300_100, 5_399_000, 300_700, 5_399_600)
    frame = geopandas.GeoDataFrame({"zone": ["A", None]}, geometry=[near, near], crs=32633)
    frame.to_file(tmp_path / "zones.gpkg")
    with pytest.raises(MapError, match=r"1 polygons of .* have no 'zone'"):
        read_zones(open_zones(tmp_path / "zones.gpkg"), open_class_map(mapped))


@pytest.mark.parametrize("degrees", [0.05, 1, 5, 60, 180])
def test_of_a_zone_much_larger_than_the_map_the_edges_are_straight_where_it_was_drawn(
    mapped: Path, tmp_path: Path, degrees: float
) -> None:
    """A parallel is no straight line in UTM: 5 degrees from the middle it lies kilometres away from the one."""
    (longitude,), (latitude,) = transform(GRID_CRS, "EPSG:4326", [301_500], [5_398_700])
    west, east = max(-180, longitude - degrees), min(180, longitude + degrees)
    frame = geopandas.GeoDataFrame({"zone": ["south"]}, geometry=[shapely.box(west, -90, east, latitude)], crs=4326)
    frame.to_file(tmp_path / "z.gpkg")
    of = open_class_map(mapped)
    zones = read_zones(open_zones(tmp_path / "z.gpkg"), of)
    rows, columns = np.mgrid[: GRID.height, : GRID.width]
    _, latitudes = transform(
        GRID_CRS, "EPSG:4326", GRID.x_min + 10 * (columns.ravel() + 0.5), GRID.y_max - 10 * (rows.ravel() + 0.5)
    )
    below_HW = np.array(latitudes).reshape(GRID.height, GRID.width) < latitude
    expected = hectares_of(np.where(below_HW, classes(), np.uint8(255)), GRID)[1][:NUM_CLASSES]
    np.testing.assert_allclose(zone_hectares(of, zones)["south"], expected, atol=0.3)
    # The area between two meridians of all that lies south of a parallel, on the ellipsoid.
    from pyproj import CRS, Transformer

    equal = Transformer.from_crs(4326, CRS.from_user_input("+proj=cea +datum=WGS84 +over"), always_xy=True)
    (low, high) = equal.transform([west, east], [-90, latitude])[0], equal.transform([west, east], [-90, latitude])[1]
    assert zones.whole_ha["south"] == pytest.approx((low[1] - low[0]) * (high[1] - high[0]) / 10_000, rel=1e-6)


@pytest.mark.parametrize("ending", ["gpkg", "geojson"])
def test_numbers_of_zones_stay_what_they_are_where_one_lacks_elsewhere(
    mapped: Path, tmp_path: Path, ending: str
) -> None:
    import pandas

    frame = geopandas.GeoDataFrame(
        {"zone": pandas.array([1, 2, None], dtype="Int64")},
        geometry=[box(0, 0, 150, 260), box(150, 0, 300, 260), box(9_000, 0, 9_100, 50)],
        crs=32633,
    )
    frame.to_crs(4326).to_file(tmp_path / f"z.{ending}")
    said: list[str] = []
    map_areas(mapped, out=tmp_path / "z.csv", zones=tmp_path / f"z.{ending}", notify=said.append)
    assert [row["zone"] for row in read(tmp_path / "z.csv")] == ["1"] * 19 + ["2"] * 19
    assert not said


def test_what_has_no_place_is_not_beyond_the_map(mapped: Path, tmp_path: Path) -> None:
    geometry = [box(0, 0, 150, 260), box(150, 0, 300, 260), None, shapely.Polygon()]
    geopandas.GeoDataFrame({"zone": ["a", "b", "a", "b"]}, geometry=geometry, crs=32633).to_file(tmp_path / "z.gpkg")
    zones = read_zones(open_zones(tmp_path / "z.gpkg"), open_class_map(mapped))
    assert not zones.remarks
    assert zones.whole_ha == pytest.approx({"a": 390, "b": 390}, rel=2e-3)


def test_zones_in_several_layers_and_the_file_that_is_advised(mapped: Path, tmp_path: Path) -> None:
    for layer in ("one", "the 'other'"):
        zones_file(tmp_path / "z.gpkg", {"a": box(0, 0, 150, 260)})
        frame = geopandas.read_file(tmp_path / "z.gpkg")
        frame.to_file(tmp_path / "two.gpkg", layer=layer)
    with pytest.raises(LandCoverError, match="has the column 'name' in 2 layers") as error:
        open_zones(tmp_path / "two.gpkg")
    run_printed(str(error.value), tmp_path)
    map_areas(mapped, out=tmp_path / "z.csv", zones=tmp_path / "one_layer.gpkg")
    assert {row["zone"] for row in read(tmp_path / "z.csv")} == {"a"}


def test_points_that_were_taken_out_are_counted_as_unlabelled(mapped: Path, tmp_path: Path) -> None:
    draw_sample(mapped, tmp_path / "s.gpkg", per_class=10)
    relabel(tmp_path / "s.gpkg", lambda row: str(row.stratum))
    points = geopandas.read_file(tmp_path / "s.gpkg", layer="sample")
    pyogrio.write_dataframe(points[points.id > 4], tmp_path / "s.gpkg", layer="sample", driver="GPKG")
    found = map_areas(mapped, tmp_path / "s.gpkg", out=tmp_path / "a.csv")
    assert any(f"4 of {len(points)} points have no reference class" in note for note in found.tables[""].notes)
