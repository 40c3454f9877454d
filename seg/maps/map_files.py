"""What belongs to the map of a scene, and which files these are."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seg.maps.parts import BAND_NAMES, LAYERS, require_strips, unfinished_folder
from seg.maps.vrt import write_vrt
from seg.region.polygons import PolygonFile
from seg.stac.items import COLLECTION, MODEL, model_of_map
from seg.store.atomic import remove_file, write_text
from seg.store.targets import Known, claimed_files, claimed_folder
from seg.styles.palette import LAND_COVER
from seg.styles.qgis import style
from seg.styles.sld import raster_sld, share_sld
from seg.vectors.footprints import VECTOR_ENDINGS, VectorFormat
from seg.vectors.polygons import PolygonOptions
from seg.web.folder import page_folder, require_page
from seg.web.index import INDEX

VRT = "map.vrt"
POLYGONS = "_polygons.gpkg"
_STYLED = ("", *(f"_{layer}" for layer in LAYERS if layer != "classes"))
"""What the names of rasters end with, before their own ending."""
_STYLES = tuple(f"{layer}{ending}" for layer in _STYLED for ending in (".sld", ".qml"))
_ENDINGS = (
    *(f"_labels{ending}" for ending in VECTOR_ENDINGS.values()),
    "_areas.csv",
    "_areas.csvt",
    "_areas.md",
    "_zones.csv",
    "_zones.csvt",
    "_zones.md",
    POLYGONS,
    *(f"_{layer}.tif" for layer in LAYERS if layer != "classes"),
    ".png",
    ".json",
    "_model.json",
    *_STYLES,
)
"""What stands beside the class map, after its stem."""


@dataclass(frozen=True)
class MapOptions:
    """What belongs to a map.

    Attributes:
        run: The run folder, or an ONNX file.
        stac: Where the item of the model is, for STAC of maps: beside the only one, or in the folder of several; None:
            no STAC.
        probabilities, confidence, labels, areas, quicklook, tta, geometry, mmu: As of `seg.pipeline.predict.predict`.
        polygons: How its polygons are made; None: there are none.
        vector_format: Of the labels.
        web: Whether it gets a page for the browser, see `seg.web.page`.
        zones: Polygons that it gets areas within; None: it gets none.
    """

    run: Path
    probabilities: bool
    confidence: bool
    labels: bool
    areas: bool
    quicklook: bool
    tta: bool
    geometry: Path | None
    mmu: float = 0.0
    stac: Path | None = None
    polygons: PolygonOptions | None = None
    vector_format: VectorFormat = "parquet"
    web: bool = False
    zones: PolygonFile | None = None

    @property
    def labels_ending(self) -> str:
        """How the name of the file of labels ends."""
        return f"_labels{VECTOR_ENDINGS[self.vector_format]}"

    def written(self, path: Path) -> dict[str, bool]:
        """Endings of the files beside a class map, but for its own style, and whether each is asked for."""
        asked = dict.fromkeys(_ENDINGS, False)
        del asked[".qml"], asked[".sld"]
        asked[self.labels_ending] = self.labels
        for ending in (".csv", ".csvt", ".md"):
            asked[f"_areas{ending}"], asked[f"_zones{ending}"] = self.areas, self.zones is not None
        for ending in (".tif", ".qml", ".sld"):
            asked[f"_probabilities{ending}"], asked[f"_confidence{ending}"] = self.probabilities, self.confidence
        asked[POLYGONS], asked[".png"] = self.polygons is not None, self.quicklook
        asked[".json"], asked["_model.json"] = self.stac is not None, self.stac == model_of_map(path)
        return asked


def map_files(path: Path) -> tuple[Path, ...]:
    """All files that a map may have, whatever is asked for: a new one takes the place of all of an earlier one."""
    return (path, *(path.with_name(path.stem + ending) for ending in _ENDINGS))


def styles(stem: str) -> dict[str, str]:
    """What the styles of a map hold, by their names: whatever is asked for."""
    texts = {f"{stem}{layer}.qml": style(None if layer else LAND_COVER) for layer in _STYLED}
    shares = {f"{stem}_{layer}.sld": share_sld(BAND_NAMES[layer], layer) for layer in LAYERS if layer != "classes"}
    return texts | {f"{stem}.sld": raster_sld()} | shares


def write_styles(stem: Path, options: MapOptions) -> list[Path]:
    """Write the styles of the rasters of a map.

    Args:
        stem: The class map without its ending.
        options: Which rasters there are.

    Returns:
        The files.

    Raises:
        OSError: If one cannot be written.
    """
    written = options.written(stem)
    texts = {name: text for name, text in styles(stem.name).items() if written.get(name.removeprefix(stem.name), True)}
    for name, text in texts.items():
        write_text(stem.with_name(name), text)
    return [stem.with_name(name) for name in texts]


def write_index(maps: Sequence[Path], options: MapOptions, tags: Mapping[str, str]) -> None:
    """Write virtual rasters over the maps of several scenes, in their folder, with styles.

    Args:
        maps: The class maps.
        options: What belongs to each.
        tags: Metadata of the virtual rasters.

    Raises:
        MapError, OSError: As of `seg.maps.vrt.write_vrt`.
    """
    stem = maps[0].with_name(Path(VRT).stem)
    for layer in _STYLED:
        vrt, palette = stem.with_name(f"{stem.name}{layer}.vrt"), None if layer else LAND_COVER
        if layer and not options.written(stem)[f"{layer}.tif"]:
            warped = [vrt.with_name(f"{vrt.stem}_warped") / f"{path.stem}{layer}.vrt" for path in maps]
            for earlier in (vrt, vrt.with_suffix(".qml"), vrt.with_suffix(".sld"), *warped):
                remove_file(earlier)
        else:
            write_vrt(vrt, [path.with_name(f"{path.stem}{layer}.tif") for path in maps], palette=palette, tags=tags)
    write_styles(stem, options)


def joint_files(maps: Sequence[Path]) -> list[Path]:
    """The files that belong to maps of one folder together, as far as they are there."""
    return [path for name in _joint_names(maps) if (path := maps[0].parent / name).is_file()]


def _joint_names(maps: Sequence[Path]) -> list[str]:
    index = Path(VRT).stem
    warped = [f"{index}{layer}_warped/{path.stem}{layer}.vrt" for layer in _STYLED for path in maps]
    return [*(f"{index}{layer}.vrt" for layer in _STYLED), *warped, *styles(index), COLLECTION, MODEL, INDEX]


@contextmanager
def claimed_maps(paths: Sequence[Path], out: Path) -> Iterator[None]:
    """Claim everything that maps consist of, before anything is loaded.

    Args:
        paths: The class maps.
        out: The only one, or the folder of several.

    Raises:
        ForeignFileError, BusyError, MapError, OSError: As of `seg.store.targets.claimed_folder`.
    """
    for path in paths:
        require_strips(unfinished_folder(path))
        require_page(page_folder(path))
    files = [file for path in paths for file in map_files(path)]
    texts = {path.stem: styles(path.stem) for path in (*paths, Path(VRT))}
    known = Known(contents={name: text for named in texts.values() for name, text in named.items()})
    if paths == [out]:
        with claimed_files(files, known):
            yield
        return
    with claimed_folder(out, {*(file.name for file in files), *_joint_names(paths)}, known):
        yield
