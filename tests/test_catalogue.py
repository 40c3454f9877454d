"""Scenes that lie elsewhere: files of a web server or of S3, and the items of catalogues.

The server is one of loopback that breaks, refuses, leads astray and is slow when it is told to. What is read is
compared with the product that the files were made of.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from catalogues import EARTH_SEARCH, STYLES, api_of, write_item
from hypothesis import given, settings
from hypothesis import strategies as st
from range_server import _Handler, served
from rasterio.transform import Affine

from seg.catalogue import web
from seg.catalogue.address import Remote, gdal_path, is_remote, place_of, shown_remote
from seg.catalogue.item import read_items, sources_of
from seg.catalogue.names import COMMON_NAMES, common_band_in
from seg.catalogue.search import Search, find_scenes
from seg.catalogue.web import RangeFile
from seg.errors import BandMissingError, SceneError, WrongUseError
from seg.rasters import header
from seg.reben.bands import S2_BANDS
from seg.scenes.grid import Window
from seg.scenes.open import open_scene
from seg.synthetic.scene import synthesise_scene

SIZE = 240
SOME = ("B02", "B04", "B05", "B8A", "B09")
SECRET = "sv=2024&sig=TOPSECRET"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(web, "WAITS", (0.02, 0.02))
    monkeypatch.setattr(header, "WAITS", (0.02, 0.02))
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.02")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "2")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GDAL_HTTP_HEADERS", "GDAL_HTTP_USERPWD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    scene = synthesise_scene(folder / "scene", SIZE, seed=1)
    for style in STYLES:
        write_item(scene.product, folder / style, style)
    shutil.make_archive(str(folder / "product"), "zip", folder / "scene", scene.product.name)
    shutil.copy(scene.stack, folder / "stack.tif")
    return scene


@pytest.fixture(scope="module")
def folder(made):
    return made.product.parents[1]


@pytest.fixture
def server(folder):
    with served(folder) as about:
        yield about


def pixels(scene, window=None, bands=SOME):
    place = window or Window(0, 0, scene.grid.width, scene.grid.height)
    with scene.open() as reader:
        return reader.read(place, bands), reader.valid(place)


def same(one, other):
    (bands, valid), (others, too) = one, other
    np.testing.assert_array_equal(valid, too)
    for band, array in bands.items():
        np.testing.assert_array_equal(array, others[band])


def opened(source, **more):
    (one,) = sources_of(source)
    return open_scene(one, needed=SOME, **more)


@pytest.mark.parametrize("style", STYLES)
def test_an_item_gives_what_its_product_gives(made, server, style):
    product = open_scene(made.product, needed=S2_BANDS)
    (item,) = read_items(place_of(f"{server.url}/{style}/item.json"))
    scene = open_scene(item, needed=S2_BANDS)
    assert scene.grid == product.grid
    assert scene.product == product.product
    assert scene.name == item.name
    assert scene.origin["ACQUIRED"] == "2018-05-25T09:51:15Z"
    assert scene.origin["SOURCE"] == f"{server.url}/{style}/item.json"
    got, expected = pixels(scene, bands=S2_BANDS), pixels(product, bands=S2_BANDS)
    if style == "earth-search":
        # What is darker than the offset was cut off by the provider.
        expected = (
            {band: np.where(array > 0, np.maximum(array, 1), 0) for band, array in expected[0].items()},
            expected[1],
        )
    same(got, expected)
    told = {
        "earth-search": "0 (said by the STAC item, as taken off already)",
        "planetary-computer": "1000 (said by the STAC item, of baseline 05.11)",
    }
    assert scene.decisions["OFFSET_REMOVED"] == told.get(style, "1000 (said by the STAC item)")


def test_of_a_raster_elsewhere_only_what_is_needed_is_read(made, server):
    where = f"{server.url}/large.tif"
    random = np.random.default_rng(0)
    values = random.integers(300, 3000, (1, 2048, 2048)).astype(np.uint16)
    with rasterio.open(made.stack) as stack:
        profile = {"crs": stack.crs, "transform": stack.transform, "dtype": "uint16", "count": 1, "nodata": 0}
    file = server.folder / "large.tif"
    with rasterio.open(
        file, "w", driver="COG", width=2048, height=2048, blocksize=256, overviews="none", **profile
    ) as to:
        to.write(values)
    scene = open_scene(place_of(where), bands=("B02",), needed=("B02",), offset=0)
    server.asked.clear()
    (bands, _) = pixels(scene, Window(256, 512, 256, 256), ("B02",))
    np.testing.assert_array_equal(bands["B02"], values[0, 512:768, 256:512])
    assert 2 * 256 * 256 <= server.bytes_of("large.tif") < 4 * 2 * 256 * 256 < file.stat().st_size / 10


def test_zips_and_stacks_elsewhere_are_read_as_they_are(made, server):
    product = open_scene(made.product, needed=SOME)
    zipped = open_scene(place_of(f"{server.url}/product.zip"), needed=SOME)
    assert (zipped.name, zipped.product, zipped.grid) == (product.name, product.product, product.grid)
    same(pixels(zipped), pixels(product))
    stack = open_scene(made.stack, needed=SOME)
    same(pixels(open_scene(place_of(f"/vsicurl/{server.url}/stack.tif"), needed=SOME)), pixels(stack))
    band = next(made.product.glob("**/*_B02_10m.jp2")).relative_to(made.product.parent)
    inside = place_of(f"/vsizip//vsicurl/{server.url}/product.zip/{band}")
    assert open_scene(inside, needed=("B02",), offset=1000).grid == product.grid


def test_the_same_file_is_the_same_scene_wherever_a_signature_says_it_may_be_read(made, server):
    one = open_scene(place_of(f"{server.url}/stack.tif?{SECRET}"), needed=SOME)
    other = open_scene(place_of(f"{server.url}/stack.tif?sig=OTHER"), needed=SOME)
    assert one.identity == other.identity
    assert one.name == "stack"
    assert "TOPSECRET" not in json.dumps([dict(one.origin), dict(one.decisions), one.remarks, one.name])


@pytest.mark.parametrize("fault", [503, -1000])
def test_breaks_are_mended_by_asking_again(made, server, fault):
    scene = open_scene(
        place_of(f"{server.url}/earth-search-raw/blue.tif"), bands=("B02",), needed=("B02",), offset=1000
    )
    server.faults["blue.tif"], server.times["blue.tif"] = fault, 2
    got, _ = pixels(scene, bands=("B02",))
    expected, _ = pixels(open_scene(made.product, needed=("B02",)), bands=("B02",))
    np.testing.assert_array_equal(got["B02"], expected["B02"])
    assert server.times["blue.tif"] == 0


def said(source, **more):
    with pytest.raises(SceneError) as error:
        opened(source, **more)
    text = str(error.value)
    assert "\n" not in text
    assert "TOPSECRET" not in text
    return text


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (403, "may not be read by you (403): put what it asks for into GDAL_HTTP_HEADERS"),
        (401, "may not be read by you (401)"),
        (404, "does not exist (404)"),
        (500, "answers 500; try again later"),
        (-20, "breaks off; try again later"),
        ("http://[::none/x", "breaks off; try again later"),
        ("http://.none..com/x", "breaks off; try again later"),
    ],
)
def test_what_a_server_refuses_is_told_in_a_sentence(server, fault, expected):
    server.faults["stack.tif"] = fault
    assert expected in said(f"{server.url}/stack.tif?{SECRET}")
    server.faults["item.json"] = fault
    assert expected in said(f"{server.url}/earth-search/item.json?{SECRET}")


def test_a_small_zip_of_a_server_without_ranges(server, folder, monkeypatch):
    """Who is asked for the first bytes and gives all of them gives no more than was asked for."""
    (folder / "small.bin").write_bytes(bytes(range(100)))
    got = _Handler._send

    def whole(self, data, suffix, body, after):
        del self.headers["Range"]
        got(self, data, suffix, body, after)

    monkeypatch.setattr(_Handler, "_send", whole)
    file = RangeFile(place_of(f"{server.url}/small.bin"))
    assert file.read(10) == bytes(range(10))
    with pytest.raises(SceneError, match="whole files only"):
        file.read(10)


def test_a_server_that_is_slow_or_not_there_is_told_so(server, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "0.2")
    server.faults["stack.tif"] = 0.6
    assert "does not answer in time" in said(f"{server.url}/stack.tif")
    assert "cannot be reached" in said("http://127.0.0.1:9/stack.tif")


def test_an_answer_that_is_slow_but_comes_is_waited_for(made, server):
    server.faults["stack.tif"] = 0.05
    assert open_scene(place_of(f"{server.url}/stack.tif"), needed=SOME).grid == made.grid


def test_credentials_of_the_environment_are_sent_and_never_shown(server, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_HEADERS", "Authorization: Bearer TOPSECRET")
    opened(f"{server.url}/stack.tif")
    assert all(sent.get("Authorization") == "Bearer TOPSECRET" for sent in server.headers)
    server.faults["stack.tif"] = 403
    assert "what GDAL_HTTP_HEADERS holds is not enough" in said(f"{server.url}/stack.tif")
    assert "user:pass" not in said(f"{server.url.replace('//', '//user:pass@')}/stack.tif")


def test_a_page_is_no_raster_and_no_item(server):
    (server.folder / "login.html").write_text("<!DOCTYPE html><html>Log in</html>")
    for name in ("stack.tif", "earth-search/item.json"):
        server.faults[name] = f"{server.url}/login.html?{SECRET}"
    assert f"leads to the page {server.url}/login.html and not a file" in said(f"{server.url}/stack.tif")
    assert "is a page of a web site, so it is no STAC item" in said(f"{server.url}/earth-search/item.json")


def test_a_file_that_ends_early_is_refused_before_anything_is_mapped(server):
    whole = (server.folder / "earth-search" / "blue.tif").read_bytes()
    broken = server.folder / "early"
    shutil.copytree(server.folder / "earth-search", broken, dirs_exist_ok=True)
    (broken / "blue.tif").write_bytes(whole[: len(whole) * 2 // 3])
    assert "early/blue.tif ends early: it has" in said(f"{server.url}/early/item.json")


def test_a_folder_elsewhere_cannot_be_listed(server):
    for name in ("S2A_MSIL2A_X.SAFE", "folder/"):
        assert "is a folder, which cannot be listed" in said(f"{server.url}/{name}")


# What items say, and what is wrong with it


def changed(folder, tmp_path, style="earth-search", **properties):
    """An item whose assets are where they were, and which says something else."""
    item = json.loads((folder / style / "item.json").read_text())
    for asset in item["assets"].values():
        asset["href"] = str(folder / style / asset["href"])
    item["properties"] |= properties
    return item, tmp_path / "item.json"


def write(item, path):
    path.write_text(json.dumps(item))
    return path


def test_an_item_on_the_disk_and_its_relative_addresses(made, folder):
    same(pixels(opened(folder / "stac-1.1" / "item.json")), pixels(open_scene(made.product, needed=SOME)))


def test_an_offset_that_was_taken_off_already_is_found_out(folder, tmp_path):
    """Earth Search has items that say the offset is still there when it is not."""
    item, path = changed(folder, tmp_path, **{"earthsearch:boa_offset_applied": False})
    text = said(write(item, path))
    assert "as if the offset of 1000 had been taken off twice" in text
    assert "--offset 0" in text
    scene = opened(path, offset=0)
    assert scene.decisions["OFFSET_REMOVED"] == "0 (asked for)"
    same(pixels(scene), pixels(opened(folder / "earth-search" / "item.json")))


def test_an_offset_that_is_still_there_though_said_to_be_taken_off_is_told(folder, tmp_path):
    item, path = changed(folder, tmp_path, "earth-search-raw", **{"earthsearch:boa_offset_applied": True})
    assert "as if the offset of 1000 were still there; say --offset 1000" in " ".join(opened(write(item, path)).remarks)


def test_an_item_that_contradicts_itself_is_not_guessed_at(folder, tmp_path):
    item, path = changed(folder, tmp_path, "earth-search-raw", **{"s2:processing_baseline": "02.08"})
    assert "contradicts itself" in said(write(item, path))
    assert opened(path, offset=1000).decisions["OFFSET_REMOVED"] == "1000 (asked for)"


def test_an_item_that_says_nothing_is_judged_by_its_values(folder, tmp_path):
    item, path = changed(folder, tmp_path, "planetary-computer")
    del item["properties"]["s2:processing_baseline"]
    assert "looks as if it still had the offset of 1000" in said(write(item, path))
    assert opened(path, offset=1000).decisions["OFFSET_REMOVED"] == "1000 (asked for)"


@pytest.mark.parametrize(
    ("asset", "expected"),
    [
        ({"proj:transform": [10, 0, 300000, 0, -10, 5_000_000]}, "the corner 300000 5000000"),
        ({"proj:shape": [480, 480]}, "480 x 480 pixels, but the file has 240 x 240"),
        ({"proj:epsg": 32633}, "EPSG:32633, but the file in EPSG:32635"),
        ({"href": "nowhere.tif"}, "names for B02, does not exist"),
        ({"raster:bands": [{"scale": "much"}]}, "is damaged"),
    ],
)
def test_files_that_do_not_fit_their_item_are_refused(folder, tmp_path, asset, expected):
    item, path = changed(folder, tmp_path)
    item["assets"]["blue"] |= asset
    assert expected in said(write(item, path))


def test_a_scale_that_the_file_says_otherwise_is_a_contradiction(folder, tmp_path):
    item, path = changed(folder, tmp_path)
    file = tmp_path / "blue.tif"
    shutil.copy(folder / "earth-search" / "blue.tif", file)
    with rasterio.Env(GTIFF_SRS_SOURCE="EPSG"), rasterio.open(file, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as raster:
        raster.scales = (0.001,)
    item["assets"]["blue"]["href"] = str(file)
    assert "but the tags of" in said(write(item, path))


def test_a_band_that_an_item_lacks_is_named(folder, tmp_path):
    item, path = changed(folder, tmp_path)
    del item["assets"]["nir08"]
    write(item, path)
    with pytest.raises(BandMissingError, match="has no B8A"):
        opened(path)


def test_collections_of_items_give_several_scenes(folder, tmp_path, server):
    items = [json.loads((folder / style / "item.json").read_text()) | {"id": style} for style in STYLES]
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items[:2]}))
    assert [item.name for item in sources_of(f"{server.url}/items.json")] == list(STYLES[:2])
    links = [{"rel": "item", "href": f"./{style}/item.json"} for style in STYLES]
    collection = {"type": "Collection", "id": "x", "links": [{"rel": "root", "href": "./x.json"}, *links]}
    (folder / "collection.json").write_text(json.dumps(collection))
    found = sources_of([folder / "collection.json", f"{server.url}/collection.json"])
    assert len(found) == 2 * len(STYLES)
    same(pixels(open_scene(found[2], needed=SOME)), pixels(open_scene(found[6], needed=SOME)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", "is no STAC item"),
        ("{}", "is no STAC item"),
        ("not json", "is no JSON"),
        ('{"type": "Feature", "properties": {}}', "is GeoJSON but no STAC item"),
        ('{"type": "FeatureCollection", "features": []}', "holds no STAC items"),
        ('{"type": "Catalog", "links": []}', "holds no STAC items"),
        ('{"type": "Feature", "id": "x", "properties": {"datetime": 3}, "assets": {}}', "is damaged"),
    ],
)
def test_json_that_is_no_item(tmp_path, content, expected):
    path = tmp_path / "x.json"
    path.write_text(content)
    assert expected in said(path)


# Clouds


@pytest.mark.parametrize("bands", [("B02", "B03"), SOME])
def test_clouds_and_their_shadows_have_no_data_when_asked_for(folder, bands):
    (item,) = sources_of(folder / "stac-1.1" / "item.json")
    plain, masked = (open_scene(item, needed=bands, cloud_mask=asked) for asked in (False, True))
    with rasterio.open(folder / "stac-1.1" / "SCL.tif") as raster:
        clouds = np.isin(raster.read(1), (3, 8, 9)).repeat(2, axis=0).repeat(2, axis=1)
    assert masked.origin["CLOUD_MASK"] == "3,8,9 of the scene classification"
    assert "CLOUD_MASK" not in plain.origin
    assert masked.identity != plain.identity
    step = max(masked.factors.values())
    for place in (Window(0, 0, SIZE, SIZE), Window(step, 7 * step, 61, 37)):
        here = np.s_[place.top : place.top + place.height, place.left : place.left + place.width]
        with plain.open() as reader:
            expected = reader.valid(place) & ~clouds[here]
        with masked.open() as reader:
            np.testing.assert_array_equal(reader.valid(place), expected)


def test_where_nothing_tells_of_clouds_they_cannot_be_left_out(made):
    with pytest.raises(SceneError, match="has no scene classification") as error:
        open_scene(made.stack, needed=SOME, cloud_mask=True)
    assert error.value.wrong_use


# Names


def test_files_of_common_names_are_bands_of_a_folder(made, folder):
    same(
        pixels(open_scene(folder / "earth-search-raw", needed=SOME, offset=1000)),
        pixels(open_scene(made.product, needed=SOME)),
    )


@pytest.mark.parametrize(
    ("stem", "band"),
    [
        ("blue", "B02"), ("S2A_33UUP_20230613_0_L2A_nir08", "B8A"), ("x_swir16_20m", "B11"), ("scene-rededge2", "B06"),
        ("red_mask", None), ("bluebird", None), ("infrared", None), ("rededge", None), ("x_vv", "VV"), ("", None),
    ],
)  # fmt: skip
def test_common_names_end_the_names_of_files(stem, band):
    assert common_band_in(stem) == band


def test_the_names_of_earth_search_are_known():
    assert {COMMON_NAMES[name] for name in EARTH_SEARCH.values()} == set(S2_BANDS)
    assert all(COMMON_NAMES[name] == band for band, name in EARTH_SEARCH.items())


# Addresses


@pytest.mark.parametrize(
    ("given", "path", "shown"),
    [
        ("https://h.eu/a/b.tif?sig=x", "/vsicurl/https://h.eu/a/b.tif?sig=x", "https://h.eu/a/b.tif"),
        (Path("https://h.eu/a.tif"), "/vsicurl/https://h.eu/a.tif", "https://h.eu/a.tif"),
        ("http://me:word@h.eu/a.tif", "/vsicurl/http://me:word@h.eu/a.tif", "http://h.eu/a.tif"),
        ("https://h.eu/st äck (1).tif?s=a%2Bb+c", "/vsicurl/https://h.eu/st%20%C3%A4ck%20(1).tif?s=a%2Bb+c", None),
        ("s3://bucket/k/a.tif", "/vsis3/bucket/k/a.tif", "s3://bucket/k/a.tif"),
        ("s3://bucket/k ä/a.tif", "/vsis3/bucket/k ä/a.tif", "s3://bucket/k ä/a.tif"),
        ("/vsis3/bucket/a.tif", "/vsis3/bucket/a.tif", "s3://bucket/a.tif"),
        ("/vsizip/{/vsicurl/https://h/x.zip}/a/b.tif", None, "https://h/x.zip/a/b.tif"),
        ("/vsicurl?pc_url_signing=yes&url=https%3A%2F%2Fh%2Fb.tif", None, "https://h/b.tif"),
    ],
)
def test_addresses_are_opened_by_gdal_and_shown_without_what_signs_them(given, path, shown):
    place = place_of(given)
    assert isinstance(place, Remote)
    assert path is None or gdal_path(place) == path
    assert shown is None or str(place) == shown
    assert str(place) == shown_remote(gdal_path(place))
    assert is_remote(gdal_path(place))


@given(st.text(st.characters(codec="ascii", exclude_characters=":"), max_size=30))
@settings(max_examples=60, deadline=None)
def test_other_paths_are_of_this_machine(text):
    place = place_of(text)
    assert isinstance(place, Remote) == text.startswith("/vsi")
    assert isinstance(place, Remote) or place == Path(text)


def test_files_of_azure_are_signed_by_gdal(folder, tmp_path):
    item, path = changed(folder, tmp_path, "planetary-computer")
    item["assets"]["B02"]["href"] = "https://sentinel2l2a01.blob.core.windows.net/s2/B02.tif"
    (read,) = read_items(write(item, path))
    place = gdal_path(read.asset("B02").place)
    assert place.startswith("/vsicurl?pc_url_signing=yes&pc_collection=sentinel-2-l2a&url=https%3A%2F%2F")
    assert str(read.asset("B02").place) == "https://sentinel2l2a01.blob.core.windows.net/s2/B02.tif"


# S3


def test_files_of_s3_need_credentials_or_none_at_all(made, server, monkeypatch):
    monkeypatch.setenv("AWS_S3_ENDPOINT", server.url.removeprefix("http://"))
    monkeypatch.setenv("AWS_HTTPS", "NO")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "TRUE")
    monkeypatch.setenv("CPL_AWS_AUTODETECT_EC2", "NO")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said("s3://earth-search-raw/blue.tif", bands=("B02",))
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    scene = open_scene(place_of("s3://earth-search-raw/blue.tif"), bands=("B02",), needed=("B02",), offset=1000)
    assert scene.grid == made.grid
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "TOPSECRET")
    server.faults["B02.tif"] = 403
    assert "the key of AWS_ACCESS_KEY_ID is not enough" in said("s3://stac-1.1/B02.tif", bands=("B02",))


def test_products_and_items_of_s3_are_asked_for_with_signed_addresses(made, server, monkeypatch):
    pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_S3_ENDPOINT", server.url.removeprefix("http://"))
    monkeypatch.setenv("AWS_HTTPS", "NO")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "TOPSECRET")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    same(pixels(opened("s3://stac-1.1/item.json")), pixels(open_scene(made.product, needed=SOME)))
    assert all("TOPSECRET" not in path for _, path, *_ in server.asked)


def test_sentinel1_elsewhere_is_warped_as_what_lies_here(made, server, folder):
    shutil.copy(made.s1, folder / made.s1.name)
    here = open_scene(made.product, s1=made.s1, needed=("B02", "VV", "VH"))
    there = open_scene(made.product, s1=place_of(f"{server.url}/{made.s1.name}"), needed=("B02", "VV", "VH"))
    assert there.origin["SENTINEL1"] == here.origin["SENTINEL1"] == made.s1.name
    same(pixels(there, bands=("B02", "VV", "VH")), pixels(here, bands=("B02", "VV", "VH")))


def test_bands_of_one_item_on_other_grids_are_refused(folder, tmp_path):
    item, path = changed(folder, tmp_path, "planetary-computer")
    moved = tmp_path / "B05.tif"
    with rasterio.open(folder / "planetary-computer" / "B05.tif") as source:
        profile = {**source.profile, "driver": "GTiff", "transform": source.transform @ Affine.translation(3, 0)}
        with rasterio.open(moved, "w", **profile) as target:
            target.write(source.read())
    item["assets"]["B05"] = {"href": str(moved), "eo:bands": [{"name": "B05"}]}
    assert "does not lie on the grid of" in said(write(item, path))


# Searches


def feature(folder, name, cloud, box):
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = json.loads((folder / "earth-search" / "item.json").read_text())
    item |= {"id": name, "bbox": list(box), "geometry": {"type": "Polygon", "coordinates": [ring]}}
    item["properties"]["eo:cloud_cover"] = cloud
    return item


def test_a_search_takes_the_fewest_clouds_that_cover_the_place(folder, server):
    pytest.importorskip("pystac_client")
    features = [
        feature(folder, "cloudy", 80, (0, 0, 4, 4)),
        feature(folder, "west", 3, (0, 0, 2.2, 4)),
        feature(folder, "within-west", 5, (0, 0, 2, 4)),
        feature(folder, "clear-corner", 0, (0, 0, 1, 1)),
        feature(folder, "untold", None, (0, 0, 4, 4)),
        feature(folder, "east", 10, (1.9, 0, 4, 4)),
    ]
    api, asked = api_of(server, features)
    search = Search(api, "2018-05/2018-06")
    found = find_scenes(search, (0.5, 0.5, 3.5, 3.5), alone=False)
    assert [item.name for item in found.items] == ["clear-corner", "west", "east"]
    assert found.covered == pytest.approx(1)
    assert found.looked_at == len(features)
    assert asked[0]["collections"] == ["sentinel-2-l2a"]
    assert asked[0]["bbox"] == [0.5, 0.5, 3.5, 3.5]
    assert asked[0]["datetime"] == "2018-05-01T00:00:00Z/2018-06-30T23:59:59Z"
    assert [item.name for item in find_scenes(search, (0.5, 0.5, 3.5, 3.5), alone=True).items] == ["cloudy"]
    half = find_scenes(search, (2, 2, 6, 4), alone=False)
    assert half.covered == pytest.approx(0.5)
    assert "They cover 50.0 % of the box" in half.remark
    with pytest.raises(SceneError, match="covers the box alone; name a folder as --out"):
        find_scenes(search, (2, 2, 6, 4), alone=True)


def test_a_search_that_finds_nothing_or_nobody(folder, server):
    pytest.importorskip("pystac_client")
    api, _ = api_of(server, [])
    with pytest.raises(SceneError, match="has no scene of sentinel-2-l2a in 2018 at 0,0,1,1; widen --date"):
        find_scenes(Search(api, "2018"), (0, 0, 1, 1), alone=False)
    for where in (f"{server.url}/earth-search/item.json", f"{server.url}/nothing", "http://127.0.0.1:9/api"):
        with pytest.raises(SceneError, match="does not answer as a STAC API"):
            find_scenes(Search(where, "2018"), (0, 0, 1, 1), alone=False)


@pytest.mark.parametrize("dates", ["2018", "2018-05", "2018-05-25", "2018/2019-02", "2018-05-01/..", "../2018",
                                   "2018-06-15/2018-06",
                                   "2018-06-01T10:00:00Z/2018-06-01"])  # fmt: skip
def test_dates_to_search_in(dates):
    assert Search("https://h.eu/v1", dates).dates == dates


@pytest.mark.parametrize("dates", ["", "May", "..", "2018/", "2018-5", "25.5.2018", "2018-13", "2018-02-30",
                                   "0000", "9999", "2018-06-01T10:00", "2018-06-01T25:00:00Z"])  # fmt: skip
def test_what_is_no_date(dates):
    with pytest.raises(WrongUseError, match="is no date"):
        Search("https://h.eu/v1", dates)


@pytest.mark.parametrize("dates", ["2018-06/2018-05", "2019/2018-12-31", "2018-06-01T10:00:00Z/2018-06-01T09:59:59Z"])
def test_dates_that_end_before_they_begin(dates):
    with pytest.raises(WrongUseError, match="ends before it begins"):
        Search("https://x.org", dates)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "may not be searched by you"),
        (429, "answers 429; try again"),
        (503, "answers 503; try again"),
        (404, "404"),
    ],
)
def test_what_an_api_refuses_is_told(folder, server, status, words):
    pytest.importorskip("pystac_client")
    api, _ = api_of(server, [])
    server.faults["/api/search"] = status
    with pytest.raises(SceneError, match=words):
        find_scenes(Search(api, "2018"), (1, 1, 2, 2), alone=True)


@pytest.mark.parametrize("answer", [b"[]", b"null", b"3", b'{"features": [null]}', b'{"features": [1]}', b"<html>"])
@pytest.mark.parametrize("path", ["/api", "/api/search"])
def test_answers_that_are_no_search(folder, server, answer, path):
    pytest.importorskip("pystac_client")
    api, _ = api_of(server, [])
    server.answers[path] = lambda _: answer
    with pytest.raises(SceneError, match="does not answer as a STAC API"):
        find_scenes(Search(api, "2018"), (1, 1, 2, 2), alone=True)


@pytest.mark.parametrize(
    "change",
    [
        {"geometry": "x"},
        {"geometry": {"type": "Foo", "coordinates": []}},
        {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}},
        {"geometry": {"type": "Polygon", "coordinates": [[["a", "b"], [1, 2], [3, 4], ["a", "b"]]]}},
        {"geometry": None, "bbox": [1, 2]},
    ],
)
def test_items_that_do_not_say_where_they_lie(folder, server, change):
    pytest.importorskip("pystac_client")
    api, _ = api_of(server, [feature(folder, "odd", 1, (0, 0, 4, 4)) | change])
    with pytest.raises(SceneError, match="the STAC item odd does not say where it lies"):
        find_scenes(Search(api, "2018"), (1, 1, 2, 2), alone=True)


def test_clouds_that_are_no_number_come_last(folder, server):
    pytest.importorskip("pystac_client")
    box = (0, 0, 4, 4)
    api, _ = api_of(server, [feature(folder, "none", float("nan"), box), feature(folder, "some", 11, box)])
    assert [item.name for item in find_scenes(Search(api, "2018"), (1, 1, 2, 2), alone=True).items] == ["some"]


# What providers and people write otherwise


@pytest.mark.parametrize("name", ["st äck.tif", "it's (1) & <x>.tif", "a+b=c,d;e@f.tif"])
def test_addresses_as_people_type_them(made, server, folder, name):
    place = folder / "with spaces" / name
    place.parent.mkdir(exist_ok=True)
    shutil.copy(folder / "stack.tif", place)
    here = pixels(open_scene(folder / "stack.tif", needed=SOME))
    same(here, pixels(opened(f"{server.url}/with spaces/{name}")))
    item = json.loads((folder / "earth-search" / "item.json").read_text())
    for key in ("blue", "red"):
        shutil.copy(folder / "earth-search" / f"{key}.tif", place.parent / f"{key} {name}")
        item["assets"][key]["href"] = f"./{key} {name}"
    (place.parent / "ä item.json").write_text(json.dumps(item))
    expected = pixels(opened(folder / "earth-search" / "item.json"), bands=("B02", "B04"))
    for address in (f"{server.url}/with spaces/ä item.json", place.parent / "ä item.json"):
        (one,) = sources_of(address)
        same(pixels(open_scene(one, needed=("B02", "B04")), bands=("B02", "B04")), expected)


@pytest.mark.parametrize("ending", ["tiff", "TIF", "zip"])
def test_what_lies_in_a_folder_named_items_is_what_its_name_says(made, server, folder, ending):
    (folder / "items").mkdir(exist_ok=True)
    shutil.copy(folder / ("product.zip" if ending == "zip" else "stack.tif"), folder / "items" / f"x.{ending}")
    bands = ("B02", "B04")
    expected = pixels(open_scene(made.product, needed=bands), bands=bands)
    same(pixels(opened(f"{server.url}/items/x.{ending}"), bands=bands), expected)


def no_type(item):
    for asset in item["assets"].values():
        asset |= {"type": None, "title": None, "roles": asset["roles"] if "thumbnail" in asset["roles"] else None}


@pytest.mark.parametrize(
    "change",
    [
        no_type,
        lambda item: item["assets"].update({"note": "a text", "nothing": None}),
        lambda item: item["properties"].update({"proj:epsg": None, "proj:code": "IAU_2015:30100"}),
        lambda item: item["properties"].update({"s2:processing_baseline": "N0511"}),
        lambda item: item["properties"].update({"s2:processing_baseline": None, "processing:version": "sen2cor 2.11"}),
        lambda item: item["links"].append({"rel": "self", "href": "urn://x/y"}),
        lambda item: item["links"].append({"rel": "self", "href": None}),
    ],
)
def test_what_an_item_says_otherwise_is_no_damage(folder, tmp_path, change):
    item, path = changed(folder, tmp_path)
    change(item)
    same(pixels(opened(write(item, path))), pixels(opened(folder / "earth-search" / "item.json")))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("05.11", 5.11),
        ("N0511", 5.11),
        ("04", 4.0),
        ("12", 12.0),
        (5.11, 5.11),
        (4, 4.0),
        (" 05.10 ", 5.1),
        ("sen2cor 2.11", None),
        ("2.11.0", None),
    ],
)
def test_baselines_as_they_are_written(folder, tmp_path, told, expected):
    item, path = changed(folder, tmp_path, **{"s2:processing_baseline": told})
    (read,) = read_items(write(item, path))
    assert read.baseline == expected


@pytest.mark.parametrize(
    "content",
    [
        '{"type": "FeatureCollection", "features": [1, null]}',
        '{"type": "Collection", "links": [{"rel": "item", "href": null}, {"rel": "item"}]}',
        "[" * 100_000,
    ],
)
def test_collections_that_hold_no_items(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    assert "no STAC item" in said(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("address", "variable"),
    [
        ("gs://bucket/x.tif", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("az://container/x.tif", "AZURE_STORAGE_ACCOUNT"),
        ("/vsioss/bucket/x.tif", "OSS_SECRET_ACCESS_KEY"),
        ("/vsiswift/bucket/x.tif", "SWIFT_AUTH_TOKEN"),
    ],
)
def test_every_store_says_where_it_looks_for_credentials(monkeypatch, address, variable):
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GS_ACCESS_KEY_ID", "AZURE_STORAGE_ACCOUNT", "OSS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CPL_MACHINE_IS_GCE", "NO")
    assert f"{variable}" in said(address, bands=("B02",))


@pytest.mark.parametrize("address", ["ftp://me:TOPSECRET@h/x.tif", "abfs://c/x.tif", "hdfs://h/x"])
def test_other_schemes_are_named(address):
    with pytest.raises(SceneError, match=f"begin with {address.partition(':')[0]}:// are not read") as error:
        place_of(address)
    assert "TOPSECRET" not in str(error.value)


def test_what_is_read_from_disks_alone_says_so(tmp_path):
    from seg.areas.class_map import open_class_map
    from seg.maps.part import _read_shape
    from seg.maps.targets import require_inputs
    from seg.region.polygons import holds_polygons

    address = Path("https://me:TOPSECRET@h.eu/z.gpkg?sig=TOPSECRET")
    for read in (open_class_map, holds_polygons, lambda path: _read_shape(path, None)):
        with pytest.raises(WrongUseError, match=r"https://h\.eu/z\.gpkg is read from a disk of this machine only"):
            read(address)
    with pytest.raises(WrongUseError, match=r"https://h\.eu/z\.gpkg is read from a disk of this machine only"):
        require_inputs([tmp_path / "a.tif"], [address])
