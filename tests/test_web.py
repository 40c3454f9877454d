"""Pages for the browser without one: places, tiles, areas, pictures, and whose folder it is."""

import html
import re
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine
from web_pages import EPSG, HOSTILE, NORTH, WEST, MadeUp, a_page, about, made_up, tile, unpacked, whole

from seg.errors import ForeignFileError
from seg.figures.pictures import true_colour
from seg.reben.classes import CLASS_NAMES
from seg.reben.patch import GeoRef, PatchId
from seg.scenes.grid import Window
from seg.scenes.open import open_scene
from seg.synthetic.scene import synthesise_scene
from seg.web import tiles
from seg.web.folder import require_page
from seg.web.index import write_index_page
from seg.web.page import Told, write_page
from seg.web.picture import write_patches_picture, write_scene_picture
from seg.web.place import place_of
from seg.web.tiles import Layers


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> MadeUp:
    return made_up(tmp_path_factory.mktemp("rasters"))


@pytest.fixture(scope="module")
def page(made, tmp_path_factory) -> Path:
    return a_page(tmp_path_factory.mktemp("page") / "map_web", made)


# ------------------------------------------------------------------------------------------------------------- places


CORNERS = st.one_of(
    st.tuples(
        st.sampled_from([*range(32601, 32661), *range(32701, 32761)]),
        st.integers(200_000, 790_000),
        st.integers(1_000_000, 8_900_000),
    ),
    st.tuples(st.just(3035), st.integers(2_700_000, 6_300_000), st.integers(1_500_000, 5_000_000)),
)


@settings(max_examples=12, deadline=None)
@given(corner=CORNERS, width=st.integers(1, 10_980), height=st.integers(1, 10_980), seed=st.integers(0, 2**16))
def test_places_are_those_of_proj_to_a_tenth_of_a_pixel(corner, width, height, seed):
    grid = GeoRef(corner[0], float(corner[1]), float(corner[2]), 10.0, width, height)
    place = place_of(grid)
    u, v = np.random.default_rng(seed).uniform(-1, 1, (2, 50))
    s, t = place.to_degrees(u, v)
    x, y = grid.x_min + (u + 1) * width * 5, grid.y_max - (v + 1) * height * 5
    projection = pyproj.Transformer.from_crs("EPSG:4326", grid.epsg, always_xy=True)
    there = projection.transform(place.middle[0] + s * place.reach[0], place.middle[1] + t * place.reach[1])
    assert np.hypot(there[0] - x, there[1] - y).max() < 1
    # And back, from the degrees that PROJ gives.
    longitude, latitude = projection.transform(x, y, direction="INVERSE")
    s = ((longitude - place.middle[0] + 180) % 360 - 180) / place.reach[0]
    back = place.to_pixels(s, (latitude - place.middle[1]) / place.reach[1])
    assert np.abs((back[0] - u) * width / 2).max() < 0.1
    assert np.abs((back[1] - v) * height / 2).max() < 0.1


def test_the_edge_of_the_world_is_no_edge_of_a_map():
    place = place_of(GeoRef(32601, 200_000.0, 5_000_000.0, 10.0, 10_980, 10_980))
    assert place.reach[0] < 2
    assert abs(place.middle[0]) > 175


# -------------------------------------------------------------------------------------------------------------- tiles


def test_the_finest_tiles_hold_the_map(made, page):
    known = about(page)["tiles"]
    assert known["levels"] == [[700, 600], [350, 300]]
    assert known["layers"] == ["map", "reference", "confidence", "picture"]
    for row, column in np.ndindex(2, 2):
        part = np.s_[row * 512 : row * 512 + 512, column * 512 : column * 512 + 512]
        told = tile(page, f"0-{column}-{row}")
        classes = made.classes[part]
        np.testing.assert_array_equal(unpacked(told["map"], *classes.shape), classes)
        np.testing.assert_array_equal(unpacked(told["reference"], *classes.shape), made.reference[part])
        shares = unpacked(told["confidence"], *classes.shape)
        np.testing.assert_array_equal(shares == 255, classes == 255)
        assert np.abs(shares.astype(int) - made.confidence[part]).max() <= 2
        assert told["picture"].startswith("data:image/webp;base64,")


def test_coarser_tiles_hold_the_overviews(made, page):
    with rasterio.open(made.layers.classes, overview_level=0) as raster:
        expected = raster.read(1)
    np.testing.assert_array_equal(unpacked(tile(page, "1-0-0")["map"], *expected.shape), expected)


def _probabilities(page: Path) -> np.ndarray:
    known = about(page)["tiles"]["probabilities"]
    whole, edge = np.empty((19, known["height"], known["width"]), np.uint8), known["edge"]
    for row, column in np.ndindex(-(-known["height"] // edge), -(-known["width"] // edge)):
        part = whole[:, row * edge : row * edge + edge, column * edge : column * edge + edge]
        part[...] = unpacked(tile(page, f"p-{column}-{row}")["probabilities"], *part.shape)
    return whole


def test_probabilities_are_those_of_every_pixel_of_a_small_map(made, page):
    np.testing.assert_array_equal(_probabilities(page), made.probabilities)
    assert about(page)["tiles"]["probabilities"]["metres"] == 10


def test_large_maps_keep_means_of_probabilities_and_confidences(made, tmp_path, monkeypatch):
    monkeypatch.setattr(tiles, "PROBABILITY_BYTES", 19 * 350 * 300)
    monkeypatch.setattr(tiles, "FINE_PIXELS", 600 * 700 - 1)
    page = a_page(tmp_path / "map_web", made)
    assert about(page)["tiles"]["probabilities"]["metres"] == 20
    # Where all four pixels have data, it is their mean.
    means = made.probabilities.astype(float).reshape(19, 300, 2, 350, 2).mean((2, 4))
    inside = ~(made.classes == 255).reshape(300, 2, 350, 2).any((1, 3))
    assert np.abs(_probabilities(page)[:, inside] - means[:, inside]).max() <= 3.5
    assert about(page)["tiles"]["thin"] == 2
    shares = unpacked(tile(page, "0-0-0")["confidence"], 256, 256)
    means = made.confidence[:512, :512].astype(float).reshape(256, 2, 256, 2).mean((1, 3))
    assert np.abs(shares - means)[inside[:256, :256]].max() <= 6
    np.testing.assert_array_equal(shares == 255, (made.classes[:512, :512] == 255).reshape(256, 2, 256, 2).all((1, 3)))


@pytest.mark.parametrize("epsg", [32601, 32633])
def test_an_index_shows_where_maps_lie_and_leads_to_their_pages(tmp_path, epsg):
    """Two tiles beside each other, at 180 degrees too, and one farther north."""
    places = {"a map #1": (300_000, 0), "b & b": (409_800, 0), "c<": (300_000, 219_600)}
    if epsg == 32601:
        places = {name: (x - 150_000, y) for name, (x, y) in places.items()}
    maps = []
    for name, (x, y) in places.items():
        profile = {"driver": "GTiff", "count": 1, "height": 10, "width": 10, "dtype": "uint8", "crs": f"EPSG:{epsg}"}
        maps.append((tmp_path / f"{name}.tif", name))
        with rasterio.open(
            maps[-1][0], "w", transform=Affine(10_980, 0, x, 0, -10_980, 5_900_000 + y), **profile
        ) as one:
            one.update_tags(SCENE=name, ACQUIRED="2017-06-13T10:11:11Z")
    text = write_index_page(tmp_path, maps, "Maps").read_text("utf-8")
    assert re.findall(r'<li><a href="([^"]+)"', text) == [
        "a%20map%20%231_web/index.html",
        "b%20%26%20b_web/index.html",
        "c%3C_web/index.html",
    ]
    assert [html.unescape(one) for one in re.findall(r"<title>([^<]*)</title>\s*<polygon", text)] == list(places)
    assert text.count("acquired 2017-06-13") == 3
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', text).groups())
    drawn = [
        np.array([point.split(",") for point in one.split()], float) for one in re.findall(r'points="([^"]+)"', text)
    ]
    assert all((one > 0).all() and (one < (width, height)).all() for one in drawn)
    (west, east, north), edge = [one.mean(0) for one in drawn], np.ptp(drawn[0], axis=0)
    # As wide as it is high, and as far as they are from each other on the ground.
    assert edge[0] == pytest.approx(edge[1], rel=0.1)
    assert east[0] - west[0] == pytest.approx(edge[0], rel=0.1)
    assert west[1] - north[1] == pytest.approx(2 * edge[1], rel=0.1)


def test_a_page_that_is_too_large_is_kept_less_finely(made, tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(1, 255, (3, 600, 700)).astype(np.uint8)

    def noisy(path: Path) -> bool:
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=3,
            height=600,
            width=700,
            dtype="uint8",
            nodata=0,
            transform=Affine.scale(2),
        ) as raster:
            raster.write(noise)
        return True

    def size(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    said: list[str] = []

    def page(name: str, largest: int) -> Path:
        monkeypatch.setattr("seg.web.page.LARGEST", largest)
        return write_page(tmp_path / name, made.layers, noisy, Told("A map", {}), said.append)

    fine = page("fine", 10**9)
    coarse = page("coarse", size(fine.parent) - 100_000)
    assert not said
    assert size(coarse.parent) <= size(fine.parent) - 100_000
    assert [about(one)["tiles"]["thin"] for one in (fine, coarse)] == [1, 2]
    for layer in ("map", "reference"):
        np.testing.assert_array_equal(whole(coarse, layer), whole(fine, layer))
    shares = unpacked(tile(coarse, "0-0-0")["confidence"], 256, 256)
    means = made.confidence[:512, :512].astype(float).reshape(256, 2, 256, 2).mean((1, 3))
    inside = ~(made.classes[:512, :512] == 255).reshape(256, 2, 256, 2).any((1, 3))
    assert np.abs(shares - means)[inside].max() <= 6
    least = page("least", 1000)
    assert about(least)["tiles"]["thin"] == 4
    (sentence,) = said
    assert re.fullmatch(
        r"least takes \d+ MB, more than 0: the map changes too often .*; --mmu 1 makes one of .*", sentence
    )


def test_a_map_alone_has_a_page_too(made, tmp_path):
    page = write_page(tmp_path / "map_web", Layers(made.layers.classes), lambda _: False, Told("A map", {}))
    assert about(page)["tiles"]["layers"] == ["map"]
    assert "probabilities" not in about(page)["tiles"]
    assert "Reference" not in page.read_text("utf-8").partition("<script")[0]


# ---------------------------------------------------------------------------------------------------------- the page


def _table(text: str, caption: str) -> dict[str, list[float]]:
    """Names and numbers of the rows of a table."""
    (table,) = (t for t in re.findall(r"<table>.*?</table>", text, re.S) if caption in t)
    rows = re.findall(r"<tr><th scope=\"row\">(?:<span[^>]*></span>)?(.*?)</th>(.*?)</tr>", table)
    numbers = r'<td class="number">([\d,.]+)</td>'
    return {html.unescape(n): [float(c.replace(",", "")) for c in re.findall(numbers, cells)] for n, cells in rows}


def test_the_legend_counts_hectares_on_the_ground(made, page):
    counted = _table(page.read_text("utf-8"), "counted in the map")
    for number, name in enumerate(CLASS_NAMES):
        pixels = [int((values == number).sum()) for values in (made.classes, made.reference)]
        # A hundredth of a hectare in UTM is one on the ground to a thousandth.
        assert counted[name] == pytest.approx([count / 100 for count in pixels], rel=2e-3, abs=0.06)
    assert counted["All"][0] == pytest.approx((made.classes != 255).sum() / 100, rel=2e-3)
    marks = _table(page.read_text("utf-8"), "Agreement")
    seen, labelled = made.classes != 255, made.reference != 255
    same = made.classes == made.reference
    expected = {"Wrong": seen & labelled & ~same, "Right": seen & same, "Unlabelled": seen & ~labelled}
    assert marks == {name: [pytest.approx(where.sum() / 100, rel=2e-3, abs=0.06)] for name, where in expected.items()}


def test_hostile_names_stay_text(made, tmp_path):
    page = a_page(tmp_path / "map_web", made, HOSTILE, SCENE=HOSTILE, WARNINGS=HOSTILE, SYNTHETIC="YES")
    text = page.read_text("utf-8")
    assert "<script>window" not in text
    assert "<img" not in text
    assert text.count("</script>") == 2
    assert html.escape(HOSTILE, quote=False).replace("'", "&#39;") in text


def test_an_earlier_page_is_replaced_and_what_is_not_ours_is_refused(made, tmp_path):
    folder = tmp_path / "map_web"
    a_page(folder, made)
    before = {path.name for path in (folder / "tiles").iterdir()}
    small = made_up(tmp_path / "small", 120, 240)
    write_page(folder, small.layers, lambda _: False, Told("Another map", {}))
    after = {path.name for path in (folder / "tiles").iterdir()}
    assert after < before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert not list(folder.rglob("*.tif"))
    for name, taken in (("tiles/0-0-0.js", "edited"), ("notes.txt", "mine")):
        kept = (folder / name).read_bytes() if (folder / name).exists() else None
        (folder / name).write_text(taken)
        with pytest.raises(ForeignFileError, match="map_web is where the page of the map goes"):
            write_page(folder, small.layers, lambda _: False, Told("A third one", {}))
        assert (folder / name).read_text() == taken
        (folder / name).unlink() if kept is None else (folder / name).write_bytes(kept)
    require_page(folder)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ForeignFileError):
        require_page(folder)


def test_nothing_is_left_of_a_page_that_failed(made, tmp_path):
    def fail(_: Path) -> bool:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write_page(tmp_path / "map_web", made.layers, fail, Told("A map", {}))
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------------------- pictures


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        assert raster.overviews(1)
        return np.moveaxis(raster.read(), 0, -1)


def test_the_picture_of_a_scene_is_that_of_the_part_that_is_mapped(tmp_path):
    made = synthesise_scene(tmp_path / "scene", 480, seed=2)
    scene = open_scene(made.stack, needed=("B02", "B03", "B04", "B05", "B09"))
    with rasterio.open(made.stack) as raster:
        bands = {name: raster.read(raster.descriptions.index(name) + 1) for name in ("B02", "B03", "B04")}
    for inner in (Window(0, 0, 480, 480), Window(31, 7, 400, 470)):
        assert write_scene_picture(scene, inner, tmp_path / "picture.tif")
        part = np.s_[inner.top : inner.top + inner.height, inner.left : inner.left + inner.width]
        expected = true_colour({name: values[part] for name, values in bands.items()})
        np.testing.assert_array_equal(_read(tmp_path / "picture.tif"), expected)


class Held:
    """A store of patches."""

    def __init__(self, bands: dict[str, dict[str, np.ndarray]]) -> None:
        self.tensors = bands.__getitem__


PRODUCT = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"


def test_the_picture_of_patches_lies_as_they_do(tmp_path):
    names = [f"{PRODUCT}_{place}" for place in ("26_57", "28_57", "27_59")]
    random = np.random.default_rng(1)
    held = {name: {b: random.integers(1, 4000, (120, 120)) for b in ("B02", "B03", "B04", "VV")} for name in names}
    patches = [PatchId.parse(name) for name in names]
    assert write_patches_picture(Held(held), patches, tmp_path / "picture.tif")
    image = _read(tmp_path / "picture.tif")
    assert image.shape == (360, 360, 3)
    for name, (column, row) in zip(names, ((0, 0), (2, 0), (1, 2)), strict=True):
        part = image[row * 120 : row * 120 + 120, column * 120 : column * 120 + 120]
        np.testing.assert_array_equal(part, true_colour(held[name]))
        part[...] = 0
    assert not image.any()


def test_without_red_green_and_blue_there_is_backscatter_and_without_that_nothing(tmp_path):
    name = f"{PRODUCT}_26_57"
    patch, ramp = [PatchId.parse(name)], np.linspace(-30, 5, 14400, dtype=np.float32).reshape(120, 120)
    ramp[0, 0] = np.nan
    assert write_patches_picture(Held({name: {"VV": ramp, "VH": ramp}}), patch, tmp_path / "picture.tif")
    with rasterio.open(tmp_path / "picture.tif") as raster:
        image = raster.read()
    # 0 is no data, so what is dark is 1.
    expected = np.maximum(np.rint(255 * np.clip((ramp + 25) / 25, 0, 1)), 1)
    expected[0, 0] = 0
    assert np.abs(image - expected).max() == 0
    assert not write_patches_picture(Held({name: {"B05": ramp}}), patch, tmp_path / "none.tif")
    assert not (tmp_path / "none.tif").exists()


def test_the_page_knows_where_the_map_is(page):
    place = about(page)["place"]
    assert (place["epsg"], place["west"], place["north"], place["pixel"]) == (EPSG, WEST, NORTH, 10)
