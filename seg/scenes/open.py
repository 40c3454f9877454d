"""Opening a scene of whatever form."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from seg.catalogue.address import Place, Remote, place_of
from seg.catalogue.item import Item, Source, on_disk
from seg.errors import SceneError
from seg.rasters.header import Header, read_header, state_of
from seg.rasters.layer import Layer, common_grid
from seg.rasters.listing import files_below
from seg.reben.bands import BANDS, S1_BANDS, of_sensor
from seg.reben.names import acquired_in, product_in
from seg.reben.patch import GeoRef
from seg.scenes.catalogued import item_layers
from seg.scenes.cells import require_at_tile
from seg.scenes.classification import CLOUD_CLASSES, cloud_source
from seg.scenes.findings import Expected
from seg.scenes.folder import SUFFIXES as RASTERS
from seg.scenes.folder import folder_layers
from seg.scenes.grid import SceneUseError
from seg.scenes.offset import PRODUCT, without_offset
from seg.scenes.product_files import is_metadata, is_product, product_files
from seg.scenes.reader import Scene
from seg.scenes.safe import radiometry, safe_layers
from seg.scenes.sentinel1 import judge_cover, judge_resolution, overlaps, require_overlap, sentinel1_layers
from seg.scenes.simulated import find_synthetic_mark
from seg.scenes.stack import stack_layers
from seg.scenes.units import judge_values


def open_scene(
    path: Source,
    *,
    bands: Sequence[str] | None = None,
    s1: Place | Sequence[Place] | None = None,
    needed: Sequence[str],
    offset: int | None = None,
    expected: Expected | None = None,
    cloud_mask: bool = False,
) -> Scene:
    """Open a Sentinel-2 L2A SAFE folder or zip, a multi-band raster, a folder of single bands, or Sentinel-1 alone.

    Args:
        path: The scene, here or elsewhere, or the item of a catalogue; of a product, its ``MTD_MSIL2A.xml`` will do
            too.
        bands: Names of the bands of a multi-band raster in their order; ``-`` for one that is not used. None: its
            band descriptions name them.
        s1: Sentinel-1 raster(s) in dB on their own grid, which are warped onto the scene's: one with VV and VH, one
            for each, or a folder of such.
        needed: The bands that the model sees.
        offset: What is to be taken off the DN of files that do not say it themselves, 0 or 1000; None: nothing, and a
            scene that looks as if it had to be is refused.
        expected: Mean and standard deviation by band of what the model was trained on; None: those of reBEN.
        cloud_mask: Whether clouds and their shadows, by the scene's own classification, have no data.

    Raises:
        SceneError: If the scene cannot be used, in one sentence with the cure.
        OSError: If a file may not be read.
    """
    path = path.parent if isinstance(path, Path) and is_metadata(path.name) else path
    needed = [band for band in BANDS if band in needed]
    if s1 is not None and not of_sensor(needed, "s1"):
        raise SceneUseError("the model sees no Sentinel-1; leave out --s1")
    apart = of_sensor(needed, "s1") if s1 is not None else ()
    on_grid = [band for band in needed if band not in apart]
    if not on_grid:
        raise SceneError("the model sees Sentinel-1 alone; name the Sentinel-1 raster itself as the scene")
    name, product, own, teller = _layers(path, bands, on_grid, offset)
    grid = common_grid(own)
    require_at_tile(path, product, grid)
    warped: list[Layer] = []
    rasters: list[Place] = []
    if s1 is not None and apart:
        rasters = [s1] if isinstance(s1, Path | Remote) else list(s1)
        for raster in rasters:
            _require_there(raster)
        warped = sentinel1_layers(rasters, apart)
        for layer in warped:
            require_overlap(layer, grid)
    remarks = (*judge_resolution(warped, grid), *judge_cover(warped, grid), *_passed_over(path, rasters))
    clouds = cloud_source(path, grid) if cloud_mask else None
    own = without_offset(own, offset, path, stated=teller == PRODUCT)
    judged = judge_values(own, warped, path, asked=offset, teller=teller, named=bands is not None, expected=expected)
    layers = {layer.band: layer for layer in judged.layers}
    return Scene(
        name=name,
        grid=grid,
        bands=tuple(needed),
        factors={band: 1 if band in apart else layers[band].factor for band in needed},
        identity=_identity(judged.layers, clouds),
        product=product,
        layers={band: layers[band] for band in needed},
        warped=frozenset(apart),
        remarks=(*judged.remarks, *remarks),
        decisions=judged.decisions,
        synthetic=_simulated([path, *rasters], layers.values()),
        origin=_origin(path, product, rasters, own, clouds),
        clouds=clouds,
    )


def open_sentinel1(rasters: Sequence[Place], grid: GeoRef) -> Scene | None:
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
    coarse = judge_resolution(layers, grid)
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
        remarks=(*judged.remarks, *coarse),
        decisions=judged.decisions,
        synthetic=_simulated(rasters, judged.layers),
    )


def _simulated(paths: Iterable[Source], layers: Iterable[Layer]) -> bool:
    """Whether a file or what lies beside it says that it was simulated."""
    return any(layer.header.simulated for layer in layers) or find_synthetic_mark(on_disk(paths)) is not None


def _layers(
    path: Source, bands: Sequence[str] | None, needed: list[str], offset: int | None
) -> tuple[str, str | None, list[Layer], str | None]:
    """Name, product and bands of a scene without its warped Sentinel-1, and who says which offset its values have."""
    if not isinstance(path, Item):
        _require_there(path)
    single = not isinstance(path, Item) and _is_file(path) and not is_product(path)
    if bands is not None and not single:
        raise SceneUseError(f"--bands names the bands of a single raster; {path} has names of its own: leave it out")
    if isinstance(path, Item):
        layers, teller = item_layers(path, needed, offset)
        return path.name, path.product, layers, teller
    if isinstance(path, Remote) and (path.name.upper().endswith(".SAFE") or str(path).endswith("/")):
        raise SceneUseError(f"{path} is a folder, which cannot be listed; name a zip, a raster, or a STAC item of it")
    if is_product(path):
        if absent := of_sensor(needed, "s1"):
            raise SceneError(
                f"the model sees {', '.join(absent)} too, which no Sentinel-2 product has; name a Sentinel-1 raster in "
                "dB with --s1"
            )
        files = product_files(path)
        product = product_in(radiometry(files).product or "", files.name)
        return files.name, product, safe_layers(files, needed), PRODUCT
    if isinstance(path, Path) and path.is_dir():
        layers = folder_layers(path, needed)
        place = path.resolve()
        return place.name, product_in(layers[-1].header.file.stem, place.name), layers, None
    layers = stack_layers(path, bands, needed)
    return path.stem, product_in(path.stem), layers, None


def _passed_over(path: Source, used: Sequence[Place]) -> list[str]:
    """What is said of a folder with a product in it and beside that other rasters, which are not used."""
    if not (isinstance(path, Path) and path.is_dir() and is_product(path)):
        return []
    product = product_files(path)
    if Path(product.prefix) == path:
        return []
    own = {place.resolve() for place in used if isinstance(place, Path)}
    rasters = [name for name in files_below(path, 1) if name.lower().endswith(RASTERS)]
    beside = [name for name in rasters if (path / name).resolve() not in own]
    said = f"{path} holds the product {product.name}, which is mapped, and beside it {', '.join(beside[:2])}"
    return [f"{said}{', ...' * (len(beside) > 2)}, which {'is' if len(beside) == 1 else 'are'} not."] * bool(beside)


def _origin(
    path: Source, product: str | None, s1: Sequence[Place], layers: Sequence[Layer], clouds: str | None
) -> dict[str, str]:
    """What a map says of where its scene is from."""
    day = acquired_in(product or "")
    acquired = path.acquired if isinstance(path, Item) and path.acquired else day
    names = [place.name for place in s1]
    if not names:
        names = list(dict.fromkeys(one.header.file.name for one in layers if BANDS[one.band].sensor == "s1"))
    source = ""
    if isinstance(path, Item):
        link = place_of(path.link or "")
        # An item on the disk is of no use to others, nor is where it lies.
        source = str(link) if isinstance(link, Remote) else path.name
    elif isinstance(path, Remote):
        source = str(path)
    told = {
        "ACQUIRED": acquired.strftime("%Y-%m-%dT%H:%M:%SZ") if acquired else "",
        "SENTINEL1": ",".join(names),
        "SOURCE": source,
        "CLOUD_MASK": CLOUD_CLASSES if clouds else "",
    }
    return {name: text for name, text in told.items() if text}


def _is_file(path: Place) -> bool:
    return isinstance(path, Remote) or not path.is_dir()


def _require_there(path: Place) -> None:
    if isinstance(path, Path) and not path.exists():
        raise SceneError(f"{path} does not exist; name a file or folder that does", wrong_use=True)


def _identity(layers: Sequence[Layer], clouds: str | None = None) -> str:
    """Digest of files' names, sizes and times, of what their headers say and what was found; not of where they lie.

    Of files elsewhere, what their server calls their version stands for the time.
    """
    digest = hashlib.sha256(repr(state_of(read_header(clouds))).encode() if clouds else b"")
    for layer in sorted(layers, key=lambda layer: layer.band):
        header, file = layer.header, state_of(layer.header)
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
