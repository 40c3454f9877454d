"""JPEG 2000 files of every layout are whole as they are written, and not with a hole, a missing tile or a lost end."""

import contextlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from seg.errors import SceneError
from seg.rasters.jp2 import require_whole_file
from seg.scenes.open import open_scene

SIZE = 300
LAYOUTS: dict[str, dict[str, str]] = {
    "default": {},
    "lossless": {"QUALITY": "100", "REVERSIBLE": "YES"},
    "tiles": {"BLOCKXSIZE": "128", "BLOCKYSIZE": "64", "QUALITY": "100", "REVERSIBLE": "YES"},
    "layers and precincts": {
        "BLOCKXSIZE": "256", "BLOCKYSIZE": "256", "PRECINCTS": "{64,64},{64,64},{32,32}", "QUALITY": "20,50,100",
    },
    "markers of packets": {"SOP": "YES", "EPH": "YES"},
    "another progression": {"PROGRESSION": "RPCL", "RESOLUTIONS": "4", "PLT": "YES", "TLM": "YES"},
    "raw bits": {"CODEBLOCK_STYLE": "BYPASS", "QUALITY": "100", "REVERSIBLE": "YES"},
}  # fmt: skip


def land() -> Any:
    rng = np.random.default_rng(0)
    fields = np.kron(rng.integers(100, 3000, (SIZE // 30, SIZE // 30)), np.ones((30, 30)))
    return (fields + rng.normal(0, 40, (SIZE, SIZE))).clip(1).astype(np.uint16)


def written(path: Path, image: Any, layout: str, bands: int = 1) -> Path:
    with rasterio.open(
        path, "w", driver="JP2OpenJPEG", width=SIZE, height=SIZE, count=bands, dtype="uint16", crs="EPSG:32633",
        transform=from_origin(300_000, 5_300_040, 10, 10), **LAYOUTS[layout],
    ) as file:  # fmt: skip
        file.write(np.stack([image] * bands))
    return path


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_is_whole(layout: str, bands: int, tmp_path: Path) -> None:
    """Also where packets hold nothing, of which each is a byte of 0."""
    image = land()
    half = np.where(np.arange(SIZE) < SIZE // 2, 0, image).astype(np.uint16)
    for held in (image, half, np.zeros_like(image), np.full_like(image, 1000), np.where(image > 2990, image, 0)):
        require_whole_file(written(tmp_path / "x_B02.jp2", held.astype(np.uint16), layout, bands))


@pytest.mark.parametrize("hole", [400, 4096])
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "raw bits"])
def test_a_hole_is_noticed_wherever_it_is(layout: str, hole: int, tmp_path: Path) -> None:
    path = written(tmp_path / "x_B02.jp2", land(), layout)
    data = path.read_bytes()
    begin = data.index(b"\xff\x4f\xff\x51")
    for place in random.Random(hole).sample(range(begin, len(data) - hole), 12):
        path.write_bytes(data[:place] + bytes(hole) + data[place + hole :])
        with pytest.raises(SceneError, match="is damaged or cut off"):
            require_whole_file(path)


def test_a_small_hole_that_gdal_decodes_is_refused_before_it_is_mapped(tmp_path: Path) -> None:
    path = written(tmp_path / "x_B02.jp2", land(), "lossless")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(50) + data[len(data) // 2 + 50 :])
    with rasterio.open(path) as file:
        assert (file.read(1) != land()).any()
    with pytest.raises(SceneError, match=r"x_B02\.jp2 is damaged or cut off"):
        open_scene(path, needed=["B02"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from([0, 1, 255]) | st.integers(0, 255)), min_size=1, max_size=8
    )
)
def test_headers_of_any_bytes_are_whole_or_not(changes: list[tuple[int, int]], tmp_path: Path) -> None:
    path = tmp_path / "x_B02.jp2"
    if not (whole := tmp_path / "whole.jp2").exists():
        written(whole, land(), "tiles")
    data = bytearray(whole.read_bytes())
    begin = data.index(b"\xff\x4f\xff\x51")
    for place, value in changes:
        data[begin * (place % 2) + place] = value
    path.write_bytes(data)
    with contextlib.suppress(SceneError):
        require_whole_file(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("layout", ["default", "tiles"])
def test_a_lost_end_is_noticed(layout: str, kept: float, tmp_path: Path) -> None:
    path = written(tmp_path / "x_B02.jp2", land(), layout)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) - 1])
    with pytest.raises(SceneError, match="is damaged or cut off"):
        require_whole_file(path)


def test_a_missing_tile_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path / "x_B02.jp2", land(), "tiles")
    data = path.read_bytes()
    box, stream = data.index(b"jp2c") - 4, data.index(b"\xff\x4f\xff\x51")
    first = data.index(b"\xff\x90\x00\x0a", stream)
    length = int.from_bytes(data[first + 6 : first + 10], "big")
    size = int.from_bytes(data[box : box + 4], "big")
    shorter = (size - length if size else 0).to_bytes(4, "big")
    path.write_bytes(data[:box] + shorter + data[box + 4 : first] + data[first + length :])
    with pytest.raises(SceneError, match="is damaged or cut off"):
        require_whole_file(path)
