"""The part of a band that is looked at before anything is mapped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.windows
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from seg.errors import SceneError
from seg.rasters import sample
from seg.rasters.blocks import blocks_over
from seg.rasters.header import Header, read_header
from seg.rasters.layer import Layer, tagged_layer
from seg.rasters.sample import look
from seg.rasters.validity import read_bands


def sample_of(band, header):
    """What is seen of the first band of a file."""
    layer = tagged_layer(band, header)
    return look([layer])[0].sample(layer)


def _write(path: Path, array_HW: npt.NDArray[np.generic], **more: object) -> Path:
    height, width = array_HW.shape
    place = {"crs": "EPSG:32633", "transform": from_origin(300000, 5300040, 10, 10)}
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype=array_HW.dtype, **place, **more
    ) as file:
        file.write(array_HW, 1)
    return path


def test_all_of_a_small_band(tmp_path: Path) -> None:
    array_HW = np.arange(120 * 150, dtype=np.uint16).reshape(120, 150)
    array_HW[:, :30] = 7
    found = sample_of("B02", read_header(str(_write(tmp_path / "a.tif", array_HW, nodata=7))))
    kept = array_HW[(array_HW != 7) & (array_HW != 0)]
    assert found.looked_at == array_HW.size
    assert found.valid == kept.size / array_HW.size
    assert np.array_equal(np.sort(found.values), np.sort(kept))
    assert found.stored.dtype == np.uint16


def test_values_are_neither_clipped_nor_rounded(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.tif", np.array([[200, 999, 1001, 65535]], np.uint16))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = [1.5e-4], [-0.1]
    found = sample_of("B02", read_header(str(path)))
    assert np.allclose(found.values, np.array([200, 999, 1001, 65535]) * 1.5 - 1000)


def test_a_large_band_in_part_and_from_everywhere(tmp_path: Path) -> None:
    size = 5120
    array_HW = np.zeros((size, size), np.uint16)
    array_HW += (1 + 10 * (np.arange(size) // 512) + 100 * (np.arange(size)[:, None] // 512)).astype(np.uint16)
    path = _write(tmp_path / "a.tif", array_HW, tiled=True, blockxsize=256, blockysize=256, compress="deflate")
    found = sample_of("B02", read_header(str(path)))
    assert found.looked_at < size**2
    assert 2**17 < found.stored.size < 1.1 * 2**18
    places, counts = np.unique(found.stored, return_counts=True)
    assert len(places) > 44
    assert counts.max() < 6 * counts.mean()


def test_bands_of_a_file_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(1, 9000, (3, 300, 200)).astype(np.uint16)
    place = {"crs": "EPSG:32633", "transform": from_origin(300000, 5300040, 10, 10)}
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=200, height=300, count=3, dtype="uint16", interleave="pixel", **place
    ) as file:
        file.write(images)
    reads = []

    def read(raster: rasterio.DatasetReader, layers: Sequence[Layer], window: rasterio.windows.Window) -> Any:
        reads.append([layer.band for layer in layers])
        return read_bands(raster, layers, window)

    monkeypatch.setattr(sample, "read_bands", read)
    header = read_header(str(path))
    seen = sample.look([tagged_layer(band, header, i) for i, band in enumerate(("B02", "B03", "B04"), 1)])
    assert reads == [["B02", "B03", "B04"]]
    for one, image in zip(seen, images, strict=True):
        assert np.array_equal(np.sort(one.sample(one.layer).stored), np.sort(image, axis=None))


def test_goes_on_until_it_finds_data(tmp_path: Path) -> None:
    array_HW = np.zeros((3000, 3000), np.uint16)
    array_HW[1700:1710, 1100:1200] = 500
    path = _write(tmp_path / "a.tif", array_HW, tiled=True, blockxsize=512, blockysize=512, compress="deflate")
    found = sample_of("B02", read_header(str(path)))
    assert found.looked_at == array_HW.size
    assert found.stored.size == 1000
    assert found.valid == 1000 / array_HW.size


def test_nothing_but_nodata(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.tif", np.full((130, 90), np.nan, np.float32))
    found = sample_of("VV", read_header(str(path)))
    assert found.values.size == 0
    assert found.valid == 0
    assert found.looked_at == 130 * 90


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    noise_HW = np.random.default_rng(0).integers(1, 9000, (600, 600), dtype=np.uint16)
    path = _write(tmp_path / "a.tif", noise_HW, compress="deflate")
    header = read_header(str(path))
    content = bytearray(path.read_bytes())
    content[200_000:400_000] = bytes(200_000)
    path.write_bytes(content)
    with pytest.raises(SceneError, match=r"a\.tif cannot be read"):
        sample_of("B02", header)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    block=st.tuples(st.integers(1, 1100), st.integers(1, 1100)),
)
def test_every_pixel_is_in_one_cell(size: tuple[int, int], block: tuple[int, int]) -> None:
    header = Header("", None, rasterio.Affine.identity(), size[1], size[0], (), (), (), (), (), block)
    seen_HW = np.zeros(size, np.uint8)
    for window in blocks_over(header):
        rows, columns = window.toslices()
        seen_HW[rows, columns] += 1
    assert (seen_HW == 1).all()
