"""Mosaics that have the offset of 1000 on one side: found wherever the seam runs, and nothing else taken for one."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from seg.errors import SceneError
from seg.reben.bands import S2_BANDS
from seg.scenes.open import open_scene

LEVELS = np.array((200, 250, 380, 250, 550, 1500, 1900, 2000, 2100, 2000, 1000, 500), np.float64)
RGB = ("B02", "B03", "B04")


def fields(height: int, width: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """DN of fields of 200 m that stand on their corners, (band, row, column): a seam runs along no border of them."""
    random = np.random.default_rng(seed)
    row, column = np.mgrid[:height, :width]
    brightness = np.exp(random.normal(0, 0.5, (height + width, height + width)))
    light = brightness[(row + column) // 28, (row - column) // 28]
    return np.maximum(LEVELS[:, None, None] * light + random.normal(0, 20, (12, height, width)), 1)


def write(path: Path, stack: npt.NDArray[np.float64], bands: tuple[str, ...] = S2_BANDS, **profile: Any) -> Path:
    kept = stack[[S2_BANDS.index(band) for band in bands]]
    shape = {"count": len(kept), "height": kept.shape[1], "width": kept.shape[2], "dtype": "uint16"}
    place = {"crs": "EPSG:32633", "transform": from_origin(300000, 5300040, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", nodata=0, **shape, **place, **profile) as raster:
        raster.write(np.rint(kept).astype(np.uint16))
        raster.descriptions = bands
    return path


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(60, 180),
    vertical=st.booleans(),
    raised_first=st.booleans(),
    bands=st.sampled_from([S2_BANDS, RGB, (*RGB, "B08")]),
    seed=st.integers(0, 99),
)
def test_a_seam_is_found_wherever_it_runs(
    tmp_path: Path, at: int, vertical: bool, raised_first: bool, bands: tuple[str, ...], seed: int
) -> None:
    stack = fields(240, 240, seed)
    first = np.arange(240) < at
    raised = first if raised_first else ~first
    stack += 1000 * (raised if vertical else raised[:, None])
    with pytest.raises(SceneError, match="a mosaic that has the offset of 1000 in one part only") as error:
        open_scene(write(tmp_path / "mosaic.tif", stack, bands), needed=bands)
    text = str(error.value)
    side = ("left of", "right of") if vertical else ("above", "below")
    assert f"{side[not raised_first]} a line" in text
    # The first line of the lattice beyond it.
    metres = -(-at // 6) * 60
    assert f" {metres:,} m from its {'left' if vertical else 'upper'} edge" in text
    assert "(or say --offset 0 if it is off in all)" in text


@pytest.mark.parametrize("bands", [S2_BANDS, RGB], ids=len)
def test_who_says_that_there_is_no_offset_is_told_and_not_refused(tmp_path: Path, bands: tuple[str, ...]) -> None:
    stack = fields(240, 240)
    stack[:, :, 120:] += 1000
    scene = open_scene(write(tmp_path / "mosaic.tif", stack, bands), needed=bands, offset=0)
    assert any("right of a line 1,200 m from its left edge" in remark for remark in scene.remarks)
    assert not any("--offset" in remark for remark in scene.remarks)


def test_a_seam_in_a_large_mosaic(tmp_path: Path) -> None:
    """Of which only a part is looked at."""
    stack = np.tile(fields(500, 500), (1, 3, 3))
    stack[:, :, 730:] += 1000
    path = write(tmp_path / "mosaic.tif", stack, RGB, tiled=True, blockxsize=256, blockysize=256)
    with pytest.raises(SceneError, match="right of a line 7,320 m from its left edge"):
        open_scene(path, needed=RGB)


def test_a_part_without_data_is_no_side(tmp_path: Path) -> None:
    stack = fields(240, 240)
    stack[:, :, 120:] += 1000
    stack[:, :, 114:126] = 0
    scene = open_scene(write(tmp_path / "mosaic.tif", stack), needed=S2_BANDS)
    assert not any("mosaic" in remark for remark in scene.remarks)


def test_shores_clouds_and_the_darkness_of_other_days_are_no_seams(tmp_path: Path) -> None:
    shore, clouded, other_day = (fields(240, 240) for _ in range(3))
    shore[:, :, 120:] = np.array((600, 450, 300, 150, 120, 80, 70, 60, 60, 50, 30, 20))[:, None, None]
    clouded[:, 130:] = np.random.default_rng(1).normal(6000, 800, (12, 110, 240))
    other_day[:, :, 110:] *= 1.6
    for name, stack in {"shore": shore, "clouded": clouded, "other day": other_day}.items():
        scene = open_scene(write(tmp_path / f"{name}.tif", stack), needed=S2_BANDS)
        assert not any("mosaic" in remark for remark in scene.remarks)


def test_snow_in_light_and_shadow_is_no_seam(tmp_path: Path) -> None:
    """An eighth brighter is about 1000, in all of the visible."""
    snow = np.random.default_rng(2).normal(8_000, 30, (12, 240, 240))
    snow[:, :, 120:] *= 1.125
    scene = open_scene(write(tmp_path / "snow.tif", snow, RGB), needed=RGB)
    assert not any("mosaic" in remark for remark in scene.remarks)


def test_a_side_with_something_dark_in_it_has_no_offset(tmp_path: Path) -> None:
    """Haze that ends at a line, and a shadow under it."""
    hazy = fields(240, 240)
    hazy[:, :, 120:] += 1000
    hazy[:, 100:140, 130:160] = 300
    scene = open_scene(write(tmp_path / "hazy.tif", hazy), needed=S2_BANDS)
    assert not any("mosaic" in remark for remark in scene.remarks)


@pytest.mark.parametrize("thickness", [(1_280, 1_000, 730), (1_500, 1_450, 1_400), (660, 640, 620)])
def test_haze_that_is_thicker_in_some_bands_or_in_all_is_no_offset(tmp_path: Path, thickness: tuple[int, ...]) -> None:
    hazy = 1.5 * fields(240, 240)
    for band, more in zip(RGB, thickness, strict=True):
        image = hazy[S2_BANDS.index(band)]
        image[:, 120:] = np.maximum(image[:, 120:], 400) + more
    scene = open_scene(write(tmp_path / "hazy.tif", hazy, RGB), needed=RGB)
    assert not any("mosaic" in remark for remark in scene.remarks)


def test_a_cloud_at_a_seam_does_not_hide_it(tmp_path: Path) -> None:
    stack = fields(240, 240)
    stack[:, :, 120:] += 1000
    stack[:, :40, 60:120] = 9_000
    with pytest.raises(SceneError, match="right of a line 1,200 m from its left edge"):
        open_scene(write(tmp_path / "clouded.tif", stack), needed=S2_BANDS)


def test_real_mosaics_of_one_offset_are_none_and_of_two_are_refused(real: Path, tmp_path: Path) -> None:
    """Patches that do not belong together, side by side: of 12 bands at 10 m."""
    folders = sorted({file.parent for file in real.glob("**/*_B8A.tif")})
    stacks = []
    for folder in folders:
        images = []
        for band in S2_BANDS:
            with rasterio.open(next(folder.glob(f"*_{band}.tif"))) as raster:
                image = raster.read(1)
            images.append(image.repeat(120 // len(image), 0).repeat(120 // len(image), 1))
        stacks.append(np.stack(images).astype(np.float64))
    refused = 0
    for number, (one, other) in enumerate(itertools.pairwise(stacks)):
        mosaic = np.concatenate([one, other], axis=2)
        whole = open_scene(write(tmp_path / f"{number}.tif", mosaic), needed=S2_BANDS)
        assert not any("mosaic" in remark for remark in whole.remarks)
        # Of one place on both sides of the seam.
        for place in (one, other):
            stack = place.copy()
            stack[:, :, 60:] += 1000
            try:
                open_scene(write(tmp_path / "half.tif", stack), needed=S2_BANDS)
            except SceneError:
                refused += 1
    assert refused >= 5
