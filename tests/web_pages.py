"""A made-up map with everything that a page shows, and what its tiles hold."""

import base64
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine

from seg.maps.cog import write_cog
from seg.reben.classes import CLASS_NAMES
from seg.web.page import Told, write_page
from seg.web.tiles import Layers

EPSG, WEST, NORTH = 32633, 402_000.0, 5_301_000.0
TAGS = {"SEG_VERSION": "0", "MODEL": "unet resnet18", "SCENE": "a scene", "BANDS": "B02,B03,B04"}
HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>&amp;\u2028"


@dataclass(frozen=True)
class MadeUp:
    """The values of a map, height x width, and its rasters."""

    classes: np.ndarray
    reference: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray
    layers: Layers


def made_up(folder: Path, height: int = 600, width: int = 700) -> MadeUp:
    """Write the rasters of a map of blots, without data in a corner and unlabelled in another."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    blots = random.integers(0, 19, (height // 50 + 1, width // 50 + 1))
    classes = np.kron(blots, np.ones((50, 50), int))[:height, :width].astype(np.uint8)
    reference = np.roll(classes, 10, axis=1)
    classes[:80, :90] = 255
    reference[-60:, -70:] = 255
    shares = random.integers(0, 40, (19, height // 5, width // 5)).repeat(5, 1).repeat(5, 2).astype(np.uint8)
    confidence = random.integers(60, 250, (height, width)).astype(np.uint8)
    np.put_along_axis(shares, np.where(classes == 255, 0, classes)[None], confidence[None], 0)
    for values in (shares, confidence):
        values[..., classes == 255] = 255
    layers = Layers(
        _cog(folder / "map.tif", classes[None], ("land cover",)),
        _cog(folder / "reference.tif", reference[None], ("reference",)),
        _cog(folder / "confidence.tif", np.stack([confidence, confidence]), ("confidence", "entropy")),
        _cog(folder / "probabilities.tif", shares, CLASS_NAMES),
    )
    return MadeUp(classes, reference, confidence, shares, layers)


def _cog(path: Path, values: np.ndarray, names: tuple[str, ...]) -> Path:
    place = {"crs": f"EPSG:{EPSG}", "transform": Affine(10, 0, WEST, 0, -10, NORTH), "nodata": 255, "dtype": "uint8"}
    size = {"count": len(values), "height": values.shape[1], "width": values.shape[2]}
    raw = path.with_name(f"raw-{path.name}")
    with rasterio.open(raw, "w", driver="GTiff", **place, **size) as raster:
        raster.write(values)
    write_cog(path, [raw], kind="classes" if len(values) == 1 else "continuous", tags=TAGS, descriptions=names)
    raw.unlink()
    return path


def draw(path: Path) -> bool:
    """A picture that gets lighter from west to east, for any map that is 600 x 700."""
    image = np.broadcast_to(np.linspace(10, 250, 700), (3, 600, 700)).astype(np.uint8)
    place = {"count": 3, "height": 600, "width": 700, "dtype": "uint8", "nodata": 0, "transform": Affine.scale(2)}
    with rasterio.open(path, "w", driver="GTiff", **place) as raster:
        raster.write(image)
    return True


def a_page(folder: Path, made: MadeUp, title: str = "A map", **tags: str) -> Path:
    """The page of a made-up map."""
    return write_page(folder, made.layers, draw, Told(title, {**TAGS, **tags}))


def about(page: Path) -> dict[str, Any]:
    """What the page knows of its tiles, classes and place."""
    (text,) = re.findall(r'<script type="application/json" id="about">(.*?)</script>', page.read_text("utf-8"), re.S)
    return json.loads(text)


def tile(page: Path, name: str) -> dict[str, str]:
    """What the script of a tile hands over."""
    text = (page.parent / "tiles" / f"{name}.js").read_text(encoding="ascii")
    told = f"seg.tile({json.dumps(name)},"
    assert text.startswith(told)
    assert text.endswith(");\n")
    return json.loads(text[len(told) : -3])


def unpacked(text: str, *shape: int) -> np.ndarray:
    """Values of a layer of a tile."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(shape)


def whole(page: Path, layer: str) -> np.ndarray:
    """A layer of the finest level, 255 where tiles hold nothing of it."""
    (width, height), edge = about(page)["tiles"]["levels"][0], about(page)["tiles"]["edge"]
    values = np.full((height, width), 255, np.uint8)
    for row, column in np.ndindex(-(-height // edge), -(-width // edge)):
        part, told = values[row * edge :, column * edge :][:edge, :edge], tile(page, f"0-{column}-{row}")
        if layer in told:
            part[...] = unpacked(told[layer], *part.shape)
    return values
