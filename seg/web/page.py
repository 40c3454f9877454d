"""A page that shows a map in a browser: from files, without a server and without network."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from seg.config.synthetic import Synthetic
from seg.config.track import Notify, ignore
from seg.reben.classes import CLASSES, IGNORE_INDEX, NUM_CLASSES, hexadecimal
from seg.reben.ground import hectares_of
from seg.reben.patch import GeoRef
from seg.store.atomic import replace_folder
from seg.store.written import FILE_NAME, keep_all
from seg.styles.pages import render_html
from seg.styles.palette import AGREEMENT, RIGHT, SHADES, UNLABELLED, WRONG
from seg.web.folder import PAGE, require_page
from seg.web.place import place_of
from seg.web.tiles import DETAILS, Layers, write_tiles

LARGEST = 100_000_000
"""Bytes of a page, which people send each other."""
_TILES = "tiles"
_SCRIPTS = ("place.js", "tiles.js", "viewer.js")
_ROWS = 1024
"""Of a map that are counted at a time."""
_FACTS = {
    "SCENE": "Scene",
    "ACQUIRED": "Acquired",
    "MODEL": "Model",
    "BANDS": "Bands",
    "SENTINEL1": "Sentinel-1",
    "CLOUD_MASK": "Clouds left out",
    "MINIMUM_MAPPING_UNIT_HA": "Minimum mapping unit, ha",
    "WARNINGS": "Warnings",
    "MODEL_WEIGHTS": "Weights",
    "DATA_FINGERPRINT": "Data fingerprint",
    "SEG_VERSION": "Made by seg",
}
"""Tags of a map that are told to whoever looks at it, and what they are called."""

_COUNTED = ("map", "reference")


@dataclass(frozen=True)
class _Shown:
    """A layer as the page offers it.

    Attributes:
        name, title: Its name in tiles and for people.
        on: Whether it is seen at first.
        opacity: Its opacity at first, %.
    """

    name: str
    title: str
    on: bool
    opacity: int

    def shown_by(self, layers: Sequence[str]) -> bool:
        """Whether a page with some layers has it; an agreement needs a reference."""
        return ("reference" if self.name == "agreement" else self.name) in layers


_SHOWN = (
    _Shown("picture", "Imagery", True, 100),
    _Shown("map", "Land cover", True, 70),
    _Shown("reference", "Reference", False, 70),
    _Shown("agreement", "Agreement", False, 70),
    _Shown("confidence", "Confidence", False, 70),
)
"""From below."""

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

WritePicture = Callable[[Path], bool]
"""Writes what a map is seen over as a raster, see `seg.web.tiles.Layers`; False if there is nothing to see."""


@dataclass(frozen=True)
class Told:
    """What the page says.

    Attributes:
        title: Its title.
        tags: Metadata of the map.
    """

    title: str
    tags: Mapping[str, str]


def write_page(folder: Path, layers: Layers, picture: WritePicture, told: Told, notify: Notify = ignore) -> Path:
    """Write the page of a map: ``index.html`` and its tiles. The folder appears complete or not at all.

    What need not be exact is kept as finely as `LARGEST` allows.

    Args:
        folder: The folder; an earlier page is replaced.
        layers: The rasters, but for the picture.
        picture: Writes that.
        told: What the page says.
        notify: Is told if the page is larger all the same.

    Returns:
        The page.

    Raises:
        ForeignFileError: As of `require_page`.
        SceneError: If a file of the scene is damaged.
        OSError: If a raster cannot be read, or the disk does not take the page.
    """
    require_page(folder)

    def write(staged: Path) -> None:
        drawn = staged / "picture.tif"
        shown = replace(layers, picture=drawn) if picture(drawn) else layers
        for detail in DETAILS:
            shutil.rmtree(staged / _TILES, ignore_errors=True)
            (staged / _TILES).mkdir()
            about = write_tiles(staged / _TILES, shown, detail)
            (staged / PAGE).write_text(page_text(shown, about, told), encoding="utf-8")
            size = sum(path.stat().st_size for path in staged.rglob("*") if path.is_file() and path != drawn)
            if size <= LARGEST:
                break
        else:
            notify(
                f"{folder.name} takes {size / 1e6:,.0f} MB, more than {LARGEST / 1e6:,.0f}: the map changes too often "
                "from pixel to pixel; --mmu 1 makes one of larger areas."
            )
        drawn.unlink(missing_ok=True)
        keep_all(staged)

    replace_folder(folder, write, (PAGE, _TILES, FILE_NAME))
    return folder / PAGE


def page_text(layers: Layers, about: Mapping[str, Any], told: Told) -> str:
    """The page without its tiles.

    Args:
        layers: The rasters.
        about: What is known of the tiles, from `seg.web.tiles.write_tiles`.
        told: What it says.
    """
    synthetic = Synthetic.in_tags(told.tags)
    hectares = _hectares(layers)
    with rasterio.open(layers.classes) as raster:
        place = place_of(_grid(raster)).record
    document = {
        "place": place,
        "tiles": dict(about),
        "classes": [
            {"name": c.name, "color": hexadecimal(c.color), "codes": ", ".join(map(str, c.codes))} for c in CLASSES
        ],
        "marks": [{"name": entry.name, "color": hexadecimal(entry.color)} for entry in AGREEMENT.entries],
        "shades": SHADES,
    }
    return render_html(
        "seg.web",
        "page.html.j2",
        "page.css",
        _SCRIPTS,
        title=told.title,
        synthetic=synthetic,
        facts={name: told.tags[tag] for tag, name in _FACTS.items() if told.tags.get(tag)},
        layers=[layer for layer in _SHOWN if layer.shown_by(about["layers"])],
        has_reference=layers.reference is not None,
        has_confidence=layers.confidence is not None,
        rows=_rows(hectares),
        marks=_mark_rows(hectares),
        shades=", ".join(map(hexadecimal, SHADES)),
        document=document,
    )


def _rows(hectares: Mapping[str, Floats]) -> list[dict[str, str]]:
    """What the legend says of the classes that occur, and of all of them together."""
    found = [c for c in CLASSES if any(hectares[name][c.index] for name in _COUNTED if name in hectares)]
    rows = [{"name": c.name, "color": hexadecimal(c.color)} | _amounts(hectares, c.index) for c in found]
    return [*rows, {"name": "All", "color": ""} | _amounts(hectares, None)]


def _amounts(hectares: Mapping[str, Floats], number: int | None) -> dict[str, str]:
    """Hectares of a class, or of all, in the map and in the reference."""
    picked = {name: hectares[name] for name in _COUNTED if name in hectares}
    return {name: f"{areas.sum() if number is None else areas[number]:,.1f}" for name, areas in picked.items()}


def _mark_rows(hectares: Mapping[str, Floats]) -> list[dict[str, str]]:
    """What it says of the agreement."""
    areas = hectares.get("agreement", ())
    return [
        {"name": entry.name, "color": hexadecimal(entry.color), "hectares": f"{area:,.1f}"}
        for entry, area in zip(AGREEMENT.entries, areas, strict=False)
    ]


def _hectares(layers: Layers) -> dict[str, Floats]:
    """Hectares on the ground of each class in the map and the reference, and of each mark of their agreement."""
    counted = dict.fromkeys((*_COUNTED, "agreement") if layers.reference else _COUNTED[:1], np.zeros(256))
    with ExitStack() as stack:
        raster = stack.enter_context(rasterio.open(layers.classes))
        truth = stack.enter_context(rasterio.open(layers.reference)) if layers.reference else None
        grid = _grid(raster)
        for top in range(0, grid.height, _ROWS):
            rows = min(_ROWS, grid.height - top)
            part = replace(grid, y_max=grid.y_max - top * grid.pixel_size, height=rows)
            window = Window(0, top, grid.width, rows)
            held = {"map": raster.read(1, window=window)}
            if truth is not None:
                held["reference"] = truth.read(1, window=window)
                held["agreement"] = _marks(held["reference"], held["map"])
            counted |= {name: counted[name] + hectares_of(values_HW, part)[1] for name, values_HW in held.items()}
    return {name: areas[:NUM_CLASSES] for name, areas in counted.items()}


def _marks(truth_HW: Bytes, values_HW: Bytes) -> Bytes:
    marks_HW = np.where(truth_HW == values_HW, RIGHT, WRONG).astype(np.uint8)
    marks_HW[truth_HW == IGNORE_INDEX] = UNLABELLED
    marks_HW[values_HW == IGNORE_INDEX] = IGNORE_INDEX
    return marks_HW


def _grid(raster: rasterio.io.DatasetReader) -> GeoRef:
    corner = raster.transform
    return GeoRef(raster.crs.to_epsg(), corner.c, corner.f, corner.a, raster.width, raster.height)
