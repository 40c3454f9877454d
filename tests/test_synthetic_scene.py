"""Synthetic scenes: formats by GDAL alone, the forms against each other, and what was drawn."""

import json
import sys
import zipfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import rasterio
from rasterio.warp import Resampling, reproject, transform_bounds

from seg.cli.main import main
from seg.errors import WrongUseError
from seg.reben.bands import BANDS, S1_BANDS, S2_BANDS
from seg.reben.patch import tile_corner
from seg.reben.reference_map import class_indices
from seg.synthetic import scene as synthetic_scene
from seg.synthetic.places import REGIONS
from seg.synthetic.scene import MAX_SIZE, Baseline, check_scene, synthesise_scene
from seg.synthetic.tree import draw_place

SIZE = 240
FIRST_SLOT = 1_000_000


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return synthesise_scene(tmp_path_factory.mktemp("scene") / "out", SIZE, seed=3)


def image(safe, band):
    (path,) = safe.rglob(f"R{BANDS[band].pixel_size}m/*_{band}_{BANDS[band].pixel_size}m.jp2")
    with rasterio.open(path) as raster:
        return raster.read(1)


def test_gdal_s_own_driver_reads_the_product(scene):
    metadata = scene.product / "MTD_MSIL2A.xml"
    for metres, bands in ((10, 4), (20, 6), (60, 2)):
        path = f"SENTINEL2_L2A:{metadata}:{metres}m:EPSG_{scene.grid.epsg}"
        with rasterio.open(path) as raster:
            assert raster.shape == (SIZE * 10 // metres,) * 2
            corner = (metres, 0, scene.grid.x_min, 0, -metres, scene.grid.y_max)
            assert tuple(raster.transform)[:6] == corner
            assert raster.crs.to_epsg() == scene.grid.epsg
            own = [text.split(",")[0] for text in raster.descriptions[:bands]]
            for index, name in enumerate(own, 1):
                band = name if name == "B8A" else f"B{int(name[1:]):02d}"
                assert np.array_equal(raster.read(index), image(scene.product, band))


def test_the_scene_begins_at_its_tile_s_corner(scene):
    region = REGIONS[3]
    assert (scene.grid.epsg, scene.grid.x_min, scene.grid.y_max) == tile_corner(region.tile)
    assert region.tile in scene.product.name


def test_jpeg_2000_is_lossless_and_carries_the_offset(scene):
    codes, seen = draw_place(REGIONS[3], 0, 2, 2, (3, 3, FIRST_SLOT, 0, 0))
    for band in S2_BANDS:
        stored = image(scene.product, band)
        inside = stored > 0
        assert np.array_equal(stored[inside], (seen.bands[band] + 1000)[inside])
        assert 0.9 < inside.mean() < 1
    with rasterio.open(scene.codes) as raster:
        assert np.array_equal(raster.read(1), codes)
    class_indices(codes, "scene")


@pytest.mark.parametrize("baseline", get_args(Baseline))
def test_baselines_differ_in_the_offset_alone(tmp_path, scene, baseline):
    other = synthesise_scene(tmp_path / "out", SIZE, seed=3, baseline=baseline)
    offset = 1000 if baseline == "05.11" else 0
    text = (other.product / "MTD_MSIL2A.xml").read_text()
    assert f"<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>" in text
    assert ("BOA_ADD_OFFSET" in text) == (offset > 0)
    assert f"_N{baseline.replace('.', '')}_" in other.product.name
    newer, older = image(scene.product, "B05").astype(int), image(other.product, "B05").astype(int)
    assert np.array_equal(np.where(newer, newer - 1000, 0), np.where(older, older - offset, 0))
    for one, two in ((scene.stack, other.stack), (scene.s1, other.s1)):
        with rasterio.open(one) as first, rasterio.open(two) as second:
            assert np.array_equal(first.read(), second.read(), equal_nan=True)


def test_the_stack_holds_the_bands_without_the_offset(scene):
    with rasterio.open(scene.stack) as raster:
        assert raster.descriptions == S2_BANDS
        assert raster.nodata == 0
        for index, band in enumerate(S2_BANDS, 1):
            factor = BANDS[band].pixel_size // 10
            stored = image(scene.product, band).astype(int)
            wide = np.where(stored, stored - 1000, 0).repeat(factor, 0).repeat(factor, 1)
            assert np.array_equal(raster.read(index), wide)


def test_all_bands_agree_where_the_swath_ends(scene):
    masks = [image(scene.product, band).repeat(BANDS[band].pixel_size // 10, 0) == 0 for band in S2_BANDS]
    masks = [mask.repeat(SIZE // mask.shape[1], 1) for mask in masks]
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


def test_without_a_swath_edge_there_is_data_everywhere(tmp_path):
    full = synthesise_scene(tmp_path / "out", 120, swath_edge=False)
    assert all((image(full.product, band) > 1000).all() for band in S2_BANDS)


def test_sentinel_1_lies_in_another_zone_and_shows_the_same_land(scene):
    _, seen = draw_place(REGIONS[3], 0, 2, 2, (3, 3, FIRST_SLOT, 0, 0))
    with rasterio.open(scene.s1) as raster:
        assert raster.descriptions == S1_BANDS
        assert abs(raster.crs.to_epsg() - scene.grid.epsg) == 1
        assert raster.res == (10, 10)
        west, south, east, north = transform_bounds(f"EPSG:{scene.grid.epsg}", raster.crs, *scene.grid.bounds)
        assert raster.bounds.left <= west + 10
        assert raster.bounds.right >= east - 10
        assert raster.bounds.bottom <= south + 10
        assert raster.bounds.top >= north - 10
        back = np.full((SIZE, SIZE), np.nan, np.float32)
        reproject(
            rasterio.band(raster, 1), back, dst_transform=rasterio.Affine(*scene.grid.transform),
            dst_crs=f"EPSG:{scene.grid.epsg}", dst_nodata=np.nan, resampling=Resampling.bilinear,
        )  # fmt: skip
    inner = np.s_[3:-3, 3:-3]
    assert np.isfinite(back[inner]).all()
    assert np.corrcoef(back[inner].ravel(), seen.bands["VV"][inner].ravel())[0, 1] > 0.8


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path, scene):
    again = synthesise_scene(tmp_path / "again", SIZE, seed=3)
    one, two = ({p.relative_to(top): p.read_bytes() for p in top.rglob("*") if p.is_file()}
                for top in (scene.stack.parent, again.stack.parent))  # fmt: skip
    assert one == two
    other = synthesise_scene(tmp_path / "other", SIZE, seed=4)
    assert not np.array_equal(image(other.product, "B02"), image(scene.product, "B02"))


def test_a_zip_holds_the_same_files(tmp_path, scene):
    packed = synthesise_scene(tmp_path / "out", SIZE, seed=3, zipped=True)
    assert packed.product.suffix == ".zip"
    with zipfile.ZipFile(packed.product) as archive:
        assert archive.testzip() is None
        held = {name: archive.read(name) for name in archive.namelist()}
    folder = scene.product
    assert held == {
        f"{folder.name}/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    assert not [path for path in packed.product.parent.iterdir() if path.suffix == ".SAFE"]


def test_everything_says_synthetic(scene):
    assert json.loads((scene.stack.parent / "SYNTHETIC.json").read_text())["synthetic"] is True
    for path in (scene.s1, scene.stack, scene.codes):
        with rasterio.open(path) as raster:
            assert "nothing in it was observed" in raster.tags()["SYNTHETIC"]
    for path in scene.product.rglob("*.xml"):
        assert "SYNTHETIC" in path.read_text()


def test_large_scenes_are_drawn_in_squares(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic_scene, "_BLOCK", 2)
    made = synthesise_scene(tmp_path / "out", 660, seed=1, swath_edge=False)
    stored = image(made.product, "B06")
    assert stored.shape == (330, 330)
    # Every block is written once, also where strips meet.
    assert made.stack.stat().st_size < 12 * 660**2 * 2
    with rasterio.open(made.s1) as raster:
        assert made.s1.stat().st_size < 2 * raster.width * raster.height * 4
    # Seed 1's region has no frontier; a square's land depends on its place alone.
    for row, column in ((0, 0), (0, 2), (2, 2)):
        size = (min(120, 330 - 120 * row), min(120, 330 - 120 * column))
        patches = tuple(-(-2 * edge // 120) for edge in size)
        _, seen = draw_place(REGIONS[1], 0, *patches, (1, 1, FIRST_SLOT, row, column))
        part = stored[120 * row :, 120 * column :][: size[0], : size[1]]
        assert np.array_equal(part, seen.bands["B06"][: size[0], : size[1]] + 1000)


@pytest.mark.parametrize(("size", "seed"), [(60, 0), (250, 0), (MAX_SIZE + 60, 0), (240, -1)])
def test_a_scene_that_cannot_be_made_is_refused(tmp_path, size, seed):
    with pytest.raises(WrongUseError, match=r"asked for|seed"):
        check_scene(size, seed)
    with pytest.raises(WrongUseError):
        synthesise_scene(tmp_path / "out", size, seed)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_kept(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(WrongUseError, match="is not an empty folder"):
        synthesise_scene(tmp_path, 120)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_interrupted_scene_leaves_nothing(tmp_path):
    def stop(items, description, total):
        yield next(iter(items))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise_scene(tmp_path / "out", 120, track=stop)
    assert not list(tmp_path.iterdir())


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["seg", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code or 0


def test_the_command_writes_a_scene(tmp_path, monkeypatch, capfd):
    assert run(monkeypatch, "data", "synth", tmp_path / "out", "--scene", 120) == 0
    out = capfd.readouterr().out
    (product,) = (tmp_path / "out").glob("*.SAFE")
    assert f"seg predict RUN {product}" in " ".join(out.split())
    assert all(Path(tmp_path / "out" / path.name).exists() for path in (tmp_path / "out").glob("*.tif"))


@pytest.mark.parametrize("more", [("--scene", 130), ("--scene", 120, "--patches", 20)])
def test_wrong_use_of_the_command(tmp_path, monkeypatch, capfd, more):
    assert run(monkeypatch, "data", "synth", tmp_path / "out", *more) == 2
    assert "Traceback" not in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
