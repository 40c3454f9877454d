"""Opening a scene of whatever form."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from seg.errors import SceneError
from seg.rasters.grid import SceneUseError
from seg.rasters.header import Header
from seg.rasters.layer import Layer, common_grid
from seg.reben.bands import BANDS, S1_BANDS, of_sensor
from seg.reben.names import product_in
from seg.reben.patch import GeoRef
from seg.scenes.findings import Expected
from seg.scenes.folder import folder_layers
from seg.scenes.offset import without_offset
from seg.scenes.product_files import is_metadata, is_product, product_files
from seg.scenes.reader import Scene
from seg.scenes.safe import radiometry, safe_layers
from seg.scenes.sentinel1 import overlaps, require_overlap, sentinel1_layers
from seg.scenes.simulated import find_synthetic_mark
from seg.scenes.stack import stack_layers
from seg.scenes.units import judge_values


def open_scene(
    path: Path,
    *,
    bands: Sequence[str] | None = None,
    s1: Path | Sequence[Path] | None = None,
    needed: Sequence[str],
    offset: int | None = None,
    expected: Expected | None = None,
) -> Scene:
    """Open a Sentinel-2 L2A SAFE folder or zip, a multi-band raster, a folder of single bands, or Sentinel-1 alone.

    Args:
        path: The scene; of a product, its ``MTD_MSIL2A.xml`` will do too.
        bands: Names of the bands of a multi-band raster in their order; ``-`` for one that is not used. None: its
            band descriptions name them.
        s1: Sentinel-1 raster(s) in dB on their own grid, which are warped onto the scene's: one with VV and VH, one
            for each, or a folder of such.
        needed: The bands that the model sees.
        offset: What is to be taken off the DN of files that do not say it themselves, 0 or 1000; None: nothing, and a
            scene that looks as if it had to be is refused.
        expected: Mean and standard deviation by band of what the model was trained on; None: those of reBEN.

    Raises:
        SceneError: If the scene cannot be used, in one sentence with the cure.
        OSError: If a file may not be read.
    """
    path = path.parent if is_metadata(path.name) else path
    needed = [band for band in BANDS if band in needed]
    if s1 is not None and not of_sensor(needed, "s1"):
        raise SceneUseError("the model sees no Sentinel-1; leave out --s1")
    apart = of_sensor(needed, "s1") if s1 is not None else ()
    on_grid = [band for band in needed if band not in apart]
    if not on_grid:
        raise SceneError("the model sees Sentinel-1 alone; name the Sentinel-1 raster itself as the scene")
    name, product, own = _layers(path, bands, on_grid)
    grid = common_grid(own)
    warped: list[Layer] = []
    rasters = [path]
    if s1 is not None and apart:
        rasters += [s1] if isinstance(s1, Path) else list(s1)
        for raster in rasters[1:]:
            _require_there(raster)
        warped = sentinel1_layers(rasters[1:], apart)
        for layer in warped:
            require_overlap(layer, grid)
    stated = is_product(path)
    own = without_offset(own, offset, path, stated=stated)
    judged = judge_values(own, warped, path, asked=offset, stated=stated, named=bands is not None, expected=expected)
    layers = {layer.band: layer for layer in judged.layers}
    return Scene(
        name=name,
        grid=grid,
        bands=tuple(needed),
        factors={band: 1 if band in apart else layers[band].factor for band in needed},
        identity=_identity(judged.layers),
        product=product,
        layers={band: layers[band] for band in needed},
        warped=frozenset(apart),
        remarks=judged.remarks,
        decisions=judged.decisions,
        synthetic=_simulated(rasters, layers.values()),
    )


def open_sentinel1(rasters: Sequence[Path], grid: GeoRef) -> Scene | None:
    """Sentinel-1 alone, warped onto the 10 m grid of another scene; None if it does not overlap it.

    Args:
        rasters: In dB: one with VV and VH, one for each, or a folder of such.
        grid: Of the other scene.

    Raises:
        SceneError: If the rasters cannot be used.
    """
    for raster in rasters:
        _require_there(raster)
    layers = sentinel1_layers(rasters, S1_BANDS)
    if not all(overlaps(layer, grid) for layer in layers):
        return None
    judged = judge_values([], layers, rasters[0])
    return Scene(
        name=rasters[0].stem,
        grid=grid,
        bands=S1_BANDS,
        factors=dict.fromkeys(S1_BANDS, 1),
        identity=_identity(judged.layers),
        product=None,
        layers={layer.band: layer for layer in judged.layers},
        warped=frozenset(S1_BANDS),
        remarks=judged.remarks,
        decisions=judged.decisions,
        synthetic=_simulated(rasters, judged.layers),
    )


def _simulated(paths: Iterable[Path], layers: Iterable[Layer]) -> bool:
    """Whether a file or what lies beside it says that it was simulated."""
    return any(layer.header.simulated for layer in layers) or find_synthetic_mark(paths) is not None


def _layers(path: Path, bands: Sequence[str] | None, needed: list[str]) -> tuple[str, str | None, list[Layer]]:
    """Name, product and bands of a scene without its warped Sentinel-1."""
    _require_there(path)
    if bands is not None and (path.is_dir() or is_product(path)):
        raise SceneUseError(f"--bands names the bands of a single raster; {path} has names of its own: leave it out")
    if is_product(path):
        if absent := of_sensor(needed, "s1"):
            raise SceneError(
                f"the model sees {', '.join(absent)} too, which no Sentinel-2 product has; name a Sentinel-1 raster in "
                "dB with --s1"
            )
        files = product_files(path)
        return files.name, product_in(radiometry(files).product or "", files.name), safe_layers(files, needed)
    if path.is_dir():
        layers = folder_layers(path, needed)
        place = path.resolve()
        return place.name, product_in(layers[-1].header.file.stem, place.name), layers
    layers = stack_layers(path, bands, needed)
    return path.stem, product_in(path.stem), layers


def _require_there(path: Path) -> None:
    if not path.exists():
        raise SceneError(f"{path} does not exist; name a file or folder that does", wrong_use=True)


def _identity(layers: Sequence[Layer]) -> str:
    """Digest of files' names, sizes and times, of what their headers say and what was found; not of where they lie."""
    digest = hashlib.sha256()
    for layer in sorted(layers, key=lambda layer: layer.band):
        header, state = layer.header, layer.header.file.stat()
        file = (header.file.name, state.st_size, state.st_mtime_ns)
        place = (str(header.crs), tuple(header.transform), header.width, header.height)
        told = (layer.index, layer.gain, layer.offset, layer.nodata)
        digest.update(repr((layer.band, file, place, *told)).encode())
        if layer.masked or layer.fills:
            digest.update(repr((layer.alpha, layer.fills, _mask_state(header))).encode())
        if layer.constants:
            digest.update(repr(layer.constants).encode())
    return digest.hexdigest()


def _mask_state(header: Header) -> tuple[int, int] | None:
    """Size and time of a mask in a file of its own."""
    mask = Path(f"{header.path}.msk")
    if not mask.is_file():
        return None
    state = mask.stat()
    return state.st_size, state.st_mtime_ns
