"""How often scenes in the right unit are refused or doubted, and scenes in a wrong one are let in.

    python scripts/check_units.py [--real ../shared/real] [--out results/units]

Right are the real samples, synthetic scenes of all regions and seasons, and constructed ones of the kinds that are rare
there: snow, sea, glint, cloud, desert, dark winter. Wrong is what comes of all but the constructed ones when their unit
is changed. Every scene is written to a file and opened as ``seg predict`` does; what it says is counted.
"""

import argparse
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.transform import from_origin

from seg.errors import SceneError
from seg.reben.bands import BANDS, S1_BANDS, S2_BANDS
from seg.scenes.open import open_scene
from seg.store.atomic import write_text
from seg.store.until_exit import claim_until_exit
from seg.synthetic.places import REGIONS
from seg.synthetic.tree import draw_place

Images = dict[str, npt.NDArray[np.float64]]
"""Band to (row, column) at 10 m; NaN: no data."""


@dataclass(frozen=True)
class File:
    """A scene as a file holds it.

    Attributes:
        images: Stored values.
        dtype: Of the file.
        nodata: Declared; None: nothing is.
        scale, offset: Tags.
        names: Band descriptions; None: those of the images.
    """

    images: Images
    dtype: str
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    names: tuple[str, ...] | None = None

    def write(self, path: Path) -> Path:
        """Write it as a GeoTIFF on the grid of a tile."""
        stack = np.stack(list(self.images.values()))
        held = np.where(np.isnan(stack), np.nan if self.nodata is None else self.nodata, stack)
        if not self.dtype.startswith("float"):
            held = np.rint(np.nan_to_num(held))
        with rasterio.open(
            path, "w", driver="GTiff", width=stack.shape[2], height=stack.shape[1], count=len(stack),
            dtype=self.dtype, nodata=self.nodata, crs="EPSG:32633", transform=from_origin(300000, 5300040, 10, 10),
        ) as raster:  # fmt: skip
            raster.write(held.astype(self.dtype))
            raster.descriptions = self.names if self.names is not None else tuple(self.images)
            raster.scales, raster.offsets = [self.scale] * len(stack), [self.offset] * len(stack)
        return path


def verdict(file: File, folder: Path, needed: Sequence[str]) -> str:
    """What ``open_scene`` makes of a file: passed, doubted or refused."""
    path = file.write(folder / "scene.tif")
    try:
        scene = open_scene(path, needed=needed)
    except SceneError:
        return "refused"
    return "doubted" if scene.remarks else "passed"


# --- scenes in the right unit -----------------------------------------------------------------------------------------


def real_patches(real: Path) -> Iterator[tuple[str, Images]]:
    """Every real patch, and all of a product side by side."""
    stacks: dict[tuple[str, ...], list[Images]] = {}
    for file in sorted(real.glob("**/*_B02.tif")) + sorted(real.glob("**/*_VV.tif")):
        stem = file.name.rpartition("_")[0]
        images = {
            band: _at_10_metres(path) for band in BANDS if (path := file.with_name(f"{stem}_{band}.tif")).is_file()
        }
        yield f"real {'Sentinel-1' if 'VV' in images else 'Sentinel-2'} patch", images
        stacks.setdefault(tuple(images), []).append(images)
    for bands, held in stacks.items():
        for begin in range(0, len(held) - 3, 4):
            four = held[begin : begin + 4]
            mosaic = {
                b: np.block([[four[0][b], four[1][b]], [four[2][b], four[3][b]]]) for b in bands
            }  # fmt: skip
            yield "real mosaic of 4 patches", mosaic


def _at_10_metres(path: Path) -> npt.NDArray[np.float64]:
    with rasterio.open(path) as raster:
        image = raster.read(1).astype(np.float64)
    if path.stem[-3:] in S2_BANDS:
        image[image == 0] = np.nan
    factor = 120 // image.shape[0]
    return image.repeat(factor, 0).repeat(factor, 1)


def synthetic_scenes() -> Iterator[tuple[str, Images]]:
    """Two by two patches of every region at every visit."""
    for number, region in enumerate(REGIONS):
        for visit in range(len(region.visits)):
            _, seen = draw_place(region, visit, 2, 2, (7, number, 1_000_000, visit))
            images = {
                band: (image := seen.bands[band].astype(np.float64)).repeat(f := 240 // image.shape[0], 0).repeat(f, 1)
                for band in BANDS
            }
            yield "synthetic Sentinel-2, all seasons", {band: images[band] for band in S2_BANDS}
            yield "synthetic Sentinel-1, all seasons", {band: images[band] for band in S1_BANDS}


SPECTRA = {
    # Band: median DN, and the ranges that vary within a scene.
    "snow": (8500, 8800, 8600, 8700, 8600, 8500, 8400, 8200, 8000, 7500, 900, 800),
    "bright snow": (15500, 15800, 15600, 15700, 15600, 15500, 15000, 14500, 14000, 13000, 1400, 1200),
    "sea": (700, 480, 250, 90, 70, 45, 40, 35, 30, 30, 18, 14),
    "turbid sea": (900, 950, 1150, 900, 800, 330, 320, 250, 220, 200, 60, 50),
    "glint": (700, 620, 560, 500, 480, 460, 460, 450, 440, 420, 380, 330),
    "cloud": (6200, 6100, 5900, 6000, 6200, 6400, 6500, 6600, 6700, 6500, 5000, 4200),
    "desert": (2100, 2200, 3000, 4000, 4300, 4500, 4700, 4800, 4900, 4900, 6200, 5600),
    "dark winter forest": (90, 110, 150, 120, 220, 600, 750, 760, 820, 800, 330, 150),
    "uniform field": (350, 420, 720, 450, 1100, 2800, 3400, 3500, 3700, 3700, 1900, 1000),
    "bare soil": (800, 1000, 1350, 1750, 2000, 2200, 2400, 2500, 2700, 2700, 3500, 3000),
    "lake": (190, 200, 190, 155, 150, 130, 130, 130, 125, 110, 105, 95),
    "algae in water": (300, 350, 800, 400, 900, 1500, 1600, 1700, 1600, 1300, 200, 100),
    "kelp": (150, 160, 350, 200, 500, 1800, 2200, 2400, 2400, 2000, 330, 120),
}
BACKSCATTER = {
    "calm sea": (-25, -33), "windy sea": (-12, -24), "noise floor": (-29, -31), "city": (-4.5, -10.5),
    "forest": (-9, -14.5), "wet snow": (-17, -25), "crops": (-12, -18.5),
}  # fmt: skip


def constructed_scenes() -> Iterator[tuple[str, Images]]:
    """Scenes of one kind of surface, with texture and noise; a small one and a larger one of each."""
    for kind, spectrum in SPECTRA.items():
        for size in (120, 480):
            rng = _rng(kind, size)
            light = np.exp(_smooth(rng, size) * (0.05 if kind == "uniform field" else 0.12))
            own = {
                b: level * light + rng.normal(0, 8, light.shape) for b, level in zip(S2_BANDS, spectrum, strict=True)
            }
            own = {band: np.clip(image, 1, 20000) for band, image in own.items()}
            yield f"constructed: {kind}", own
            yield f"constructed: {kind}", {band: own[band] for band in ("B04", "B03", "B02")}
    for kind, levels in BACKSCATTER.items():
        for size in (120, 480):
            rng = _rng(kind, size)
            texture = 1.5 * _smooth(rng, size)
            speckle = [10 * np.log10(rng.gamma(4.4, 1 / 4.4, (size, size))) for _ in levels]
            yield (
                f"constructed: {kind}",
                {b: v + texture + s for b, v, s in zip(S1_BANDS, levels, speckle, strict=True)},
            )


def _rng(*key: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def _smooth(rng: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    return np.kron(rng.normal(size=(size // 20, size // 20)), np.ones((20, 20)))


# --- wrong units ------------------------------------------------------------------------------------------------------


def _filled(images: Images, value: float) -> Images:
    """The left quarter is without data."""
    held = {band: image.copy() for band, image in images.items()}
    for image in held.values():
        image[:, : image.shape[1] // 4] = value
    return held


def _each(images: Images, change: Callable[[npt.NDArray[np.float64]], Any]) -> Images:
    return {band: np.asarray(change(image), np.float64) for band, image in images.items()}


def _some(images: Images, bands: Sequence[str], change: Callable[[npt.NDArray[np.float64]], Any]) -> Images:
    """The same in some bands, as far as there are any."""
    return {band: np.asarray(change(image), np.float64) if band in bands else image for band, image in images.items()}


def _clouded(images: Images) -> Images:
    """A cloud covers a tenth."""
    edge = round(next(iter(images.values())).shape[0] * 0.1**0.5)
    held = {band: image.copy() for band, image in images.items()}
    for band, image in held.items():
        image[:edge, :edge] = _rng(band, "cloud").normal(8_000, 300, (edge, edge))
    return held


def _one(images: Images, change: Callable[[npt.NDArray[np.float64]], Any]) -> Images:
    """The same in one band, green or the like."""
    chosen = "B03" if "B03" in images else next(iter(images))
    return images | {chosen: np.asarray(change(images[chosen]), np.float64)}


def _rgb(images: Images) -> Images:
    return {band: images[band] for band in ("B02", "B03", "B04")}


def _four(images: Images) -> Images:
    return {band: images[band] for band in ("B02", "B03", "B04", "B08")}


def _hot(images: Images) -> Images:
    for image in images.values():
        image[3, 3] = 9000
    return images


def _lake(images: Images) -> Images:
    """The offset is there, and a lake without it in one band."""
    raised = _each(images, lambda image: image + 1000)
    next(iter(raised.values()))[:20, :20] = 400
    return raised


def _stretched(image: npt.NDArray[np.float64]) -> Any:
    low, high = np.nanquantile(image, (0.02, 0.98))
    return np.clip((image - low) / max(high - low, 1) * 254 + 1, 1, 255)


def _wrapped(image: npt.NDArray[np.float64]) -> Any:
    return np.where(np.isnan(image), 0, (np.nan_to_num(image, nan=1000) - 1000) % 65536)


def _left(values_HW: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    columns: npt.NDArray[np.bool_] = np.arange(values_HW.shape[1]) < values_HW.shape[1] / 2
    return columns


WRONG_S2: dict[str, Callable[[Images], File]] = {
    "reflectance 0 to 1, NaN": lambda s: File(_each(s, lambda v: v / 1e4), "float32", np.nan),
    "reflectance 0 to 1, fill 9999": lambda s: File(_filled(_each(s, lambda v: v / 1e4), 9999), "float32", 9999),
    "reflectance 0 to 1, fill 3.4e38": lambda s: File(
        _filled(_each(s, lambda v: v / 1e4), float(np.finfo(np.float32).max)),
        "float32",
        float(np.finfo(np.float32).max),
    ),
    "reflectance 0 to 1, fill 65535": lambda s: File(_filled(_each(s, lambda v: v / 1e4), 65535), "float32", 65535),
    "reflectance 0 to 1, a hot pixel": lambda s: File(_hot(_each(s, lambda v: v / 1e4)), "float32", np.nan),
    "reflectance 0 to 1, scale tag without need": lambda s: File(
        _each(s, lambda v: v / 1e4), "float32", np.nan, scale=1e-4
    ),
    "percent, float32": lambda s: File(_each(s, lambda v: v / 100), "float32", np.nan),
    "percent, uint16": lambda s: File(_each(s, lambda v: np.maximum(v / 100, 1)), "uint16", 0),
    "reflectance x 255, uint16": lambda s: File(_each(s, lambda v: np.clip(v * 0.0255, 1, 255)), "uint16", 0),
    "stretched to 255, uint16": lambda s: File(_each(s, _stretched), "uint16", 0),
    "reflectance x 1000, uint16": lambda s: File(_each(s, lambda v: np.maximum(v / 10, 1)), "uint16", 0),
    "reflectance x 1000, float32": lambda s: File(_each(s, lambda v: v / 10), "float32", np.nan),
    "DN x 10, by a wrong scale tag": lambda s: File(s, "uint16", 0, scale=1e-3),
    "DN x 10,000, by a scale tag without need": lambda s: File(s, "uint16", 0, scale=1.000001),
    "offset taken off in uint16, wrapped": lambda s: File(_each(s, _wrapped), "uint16", 0),
    "offset taken off twice, by tags": lambda s: File(s, "uint16", 0, scale=1e-4, offset=-0.1),
    "offset taken off twice, cut off at 1": lambda s: File(
        _each(s, lambda v: np.maximum(v - 1000, 1)), "uint16", 0
    ),
    "offset still there": lambda s: File(_each(s, lambda v: v + 1000), "uint16", 0),
    "offset still there, a lake in one band": lambda s: File(_lake(s), "uint16", 0),
    "offset still there in one half": lambda s: File(
        _each(s, lambda v: np.where(_left(v), v + 1000, v)), "uint16", 0
    ),
    "offset still there below a diagonal": lambda s: File(
        _each(s, lambda v: v + 1000 * np.tri(*v.shape)), "uint16", 0
    ),
    "reflectance x 5000": lambda s: File(_each(s, lambda v: np.maximum(v / 2, 1)), "uint16", 0),
    "square root of reflectance x 10,000": lambda s: File(
        _each(s, lambda v: 100 * np.sqrt(np.maximum(v, 1))), "uint16", 0
    ),
    "DN x 2": lambda s: File(_each(s, lambda v: np.rint(v) * 2), "uint16", 0),
    "DN x 3": lambda s: File(_each(s, lambda v: np.rint(v) * 3), "uint16", 0),
    "DN x 3.3": lambda s: File(_each(s, lambda v: np.rint(v) * 3.3), "uint16", 0),
    "RGB alone, stretched to 255": lambda s: File(_rgb(_each(s, _stretched)), "uint16", 0),
    "RGB alone, reflectance x 1000": lambda s: File(_rgb(_each(s, lambda v: np.maximum(v / 10, 1))), "uint16", 0),
    "one band as reflectance 0 to 1": lambda s: File(_one(s, lambda v: v / 1e4), "float32", np.nan),
    "one band in percent": lambda s: File(_one(s, lambda v: v / 100), "float32", np.nan),
    "one band as reflectance x 1000": lambda s: File(_one(s, lambda v: v / 10), "float32", np.nan),
    "reflectance x 1000 under a cloud": lambda s: File(
        _each(_clouded(s), lambda v: np.maximum(v / 10, 1)), "uint16", 0
    ),
    "percent under a cloud": lambda s: File(_each(_clouded(s), lambda v: v / 100), "float32", np.nan),
    "offset still there in B02": lambda s: File(_some(s, ["B02"], lambda v: v + 1000), "uint16", 0),
    "offset still there in B03 and B04": lambda s: File(_some(s, ["B03", "B04"], lambda v: v + 1000), "uint16", 0),
    "RGB alone, reflectance x 1000 under a cloud": lambda s: File(
        _rgb(_each(_clouded(s), lambda v: np.maximum(v / 10, 1))), "uint16", 0
    ),
    "RGB and B08, RGB x 1000": lambda s: File(_some(_four(s), ["B02", "B03", "B04"], lambda v: v / 10), "uint16", 0),
    "RGB and B08, that alone x 1000": lambda s: File(_some(_four(s), ["B08"], lambda v: v / 10), "uint16", 0),
    "RGB and B08, that alone in percent": lambda s: File(
        _some(_four(s), ["B08"], lambda v: v / 100), "float32", np.nan
    ),
    "RGB and B08, that alone stretched to 255": lambda s: File(_some(_four(s), ["B08"], _stretched), "uint16", 0),
    "B03 is a copy of B02": lambda s: File(s | {"B03": s["B02"]}, "uint16", 0),
}  # fmt: skip
AIR = {"B01": 1100, "B02": 750, "B03": 420, "B04": 230, "B05": 160, "B06": 120, "B07": 90, "B08": 70, "B8A": 50}
"""DN that air adds to dark ground, about."""


WRONG_OF_TWELVE: dict[str, Callable[[Images], File]] = {
    "offset still there in B08": lambda s: File(_some(s, ["B08"], lambda v: v + 1000), "uint16", 0),
    "offset still there at 20 m": lambda s: File(
        _some(s, ["B05", "B06", "B07", "B8A", "B11", "B12"], lambda v: v + 1000), "uint16", 0
    ),
    "offset still there from B06 to B12": lambda s: File(_some(s, S2_BANDS[5:], lambda v: v + 1000), "uint16", 0),
    "bands named in reverse order": lambda s: File(s, "uint16", 0, names=S2_BANDS[::-1]),
    "Landsat's numbers": lambda s: File(_each(s, lambda v: (v / 1e4 + 0.2) / 0.0000275), "uint16", 0),
    "half of it reflectance 0 to 1": lambda s: File(
        _each(s, lambda v: np.where(_left(v), v / 1e4, v)), "float32", np.nan
    ),
    "top of the atmosphere": lambda s: File({b: 0.9 * v + AIR.get(b, 0) for b, v in s.items()}, "uint16", 0),
    "B01 to B05 as reflectance x 1000": lambda s: File(_some(s, S2_BANDS[:5], lambda v: v / 10), "float32", np.nan),
    "B11 and B12 as reflectance x 1000": lambda s: File(_some(s, ["B11", "B12"], lambda v: v / 10), "float32", np.nan),
}
WRONG_OF_SNOW: dict[str, Callable[[Images], File]] = {
    "B11 and B12 as reflectance x 1000": lambda s: File(_some(s, ["B11", "B12"], lambda v: v / 10), "uint16", 0),
    "B11 and B12 in percent": lambda s: File(_some(s, ["B11", "B12"], lambda v: v / 100), "float32", np.nan),
    "B11 and B12 as reflectance 0 to 1": lambda s: File(_some(s, ["B11", "B12"], lambda v: v / 1e4), "float32", np.nan),
}
WRONG_S1: dict[str, Callable[[Images], File]] = {
    "linear power": lambda s: File(_each(s, lambda v: 10 ** (v / 10)), "float32"),
    "linear power, noise removed below zero": lambda s: File(
        _each(s, lambda v: 10 ** (v / 10) - np.nanquantile(10 ** (v / 10), 0.1)), "float32"
    ),
    "amplitude": lambda s: File(_each(s, lambda v: 10 ** (v / 20)), "float32"),
    "digital numbers": lambda s: File(_each(s, lambda v: 600 * 10 ** (v / 20)), "uint16", 0),
    "dB x 10, int16": lambda s: File(_each(s, lambda v: v * 10), "int16"),
    "dB x 100, int16": lambda s: File(_each(s, lambda v: v * 100), "int16"),
    "dB x 256, int16": lambda s: File(_each(s, lambda v: v * 256), "int16"),
    "dB / 10": lambda s: File(_each(s, lambda v: v / 10), "float32"),
    "dB without sign": lambda s: File(_each(s, np.abs), "float32"),
    "dB with an offset tag of Sentinel-2": lambda s: File(s, "float32", scale=1e-4, offset=-0.1),
    "dB with an offset of 1000": lambda s: File(s, "float32", offset=-1000),
    "VV and VH swapped, named": lambda s: File({"VV": s["VH"], "VH": s["VV"]}, "float32"),
    "VV and VH swapped, unnamed": lambda s: File({"VV": s["VH"], "VH": s["VV"]}, "float32", names=("", "")),
}  # fmt: skip


def right_files(real: Path) -> Iterator[tuple[str, File]]:
    """All scenes in the right unit, in integers and in float32."""
    for source in (real_patches(real), synthetic_scenes(), constructed_scenes()):
        for kind, images in source:
            dtype, nodata = ("float32", None) if "VV" in images else ("uint16", 0.0)
            yield kind, File(images, dtype, nodata)
            if "VV" not in images:
                yield f"{kind}, float32", File(images, "float32", np.nan)


def wrong_files(real: Path, every: int) -> Iterator[tuple[str, File]]:
    """Real patches and synthetic scenes, one of `every`, in every wrong unit; of Sentinel-2 those with land in them."""
    for source in (real_patches(real), synthetic_scenes()):
        for number, (kind, images) in enumerate(source):
            # Sentinel-2 and Sentinel-1 of synthetic scenes take turns.
            if number // 2 % every:
                continue
            if "mosaic" in kind or any(np.isnan(image).all() for image in images.values()):
                continue
            if "VV" in images:
                if np.nanmedian(images["VH"]) > -24:
                    yield from ((f"S1 {name}", make(images)) for name, make in WRONG_S1.items())
            elif np.nanmedian(images["B08"]) > 500:
                wrong = WRONG_S2 | (WRONG_OF_TWELVE if len(images) == len(S2_BANDS) else {})
                yield from ((f"S2 {name}", make(images)) for name, make in wrong.items())
    for kind, images in constructed_scenes():
        if "snow" in kind and "B11" in images:
            yield from ((f"S2 snow, {name}", make(images)) for name, make in WRONG_OF_SNOW.items())


def counted(files: Iterator[tuple[str, File]], folder: Path) -> dict[str, Counter[str]]:
    """How often each verdict was given, by kind."""
    counts: dict[str, Counter[str]] = {}
    for kind, file in files:
        needed = tuple(file.images)
        counts.setdefault(kind, Counter())[verdict(file, folder, needed)] += 1
    return counts


def table(counts: Mapping[str, Counter[str]], title: str) -> str:
    """A Markdown table, the sum in the last row."""
    rows = [*counts.items(), ("**all**", sum(counts.values(), Counter()))]
    lines = [f"| {title} | inputs | passed | doubted | refused |", "|---|---|---|---|---|"]
    lines += [
        f"| {kind} | {count.total()} | {count['passed']} | {count['doubted']} | {count['refused']} |"
        for kind, count in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Count, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--real", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "real")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "results" / "units")
    parser.add_argument("--every", type=int, default=6, help="put every n-th scene into all wrong units")
    asked = parser.parse_args()
    target = asked.out / "units.md"
    claim_until_exit(asked.out, [target.name])
    with tempfile.TemporaryDirectory() as folder:
        right = table(counted(right_files(asked.real), Path(folder)), "in the right unit")
        wrong = table(counted(wrong_files(asked.real, asked.every), Path(folder)), "in a wrong unit")
    text = f"{INTRODUCTION}\n{right}\n\n{wrong}\n"
    write_text(target, text)
    print(text)


INTRODUCTION = """# Units of scenes: how often the checks are right

Written by `python scripts/check_units.py`. A scene is passed without a word, doubted (mapped with a warning, which is
kept in the map's tags) or refused. The first table should be passed, and never refused; the second should be
refused. Wrong units are made of real patches and synthetic scenes that are not mainly water, because of
water a wrong unit cannot be told.
"""


if __name__ == "__main__":
    main()
