"""Export the predicted maps of a split as GeoTIFFs: of patches, of products, and what is known of each patch."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seg.config.paths import AnyPath, path_or_none
from seg.config.track import Notify, Track, ignore, silent
from seg.errors import WrongUseError
from seg.maps.generalise import generalise_product, read_map
from seg.maps.mosaics import Asked, Sharing, index_files, product_files, remove_earlier, styles, write_mosaics
from seg.maps.pages import require_pages
from seg.maps.patch_table import FOOTPRINTS, patch_rows, write_patch_table
from seg.maps.patches import (
    AGREES,
    CONFIDENCE,
    MAP,
    OUTLINED,
    PROBABILITIES,
    REFERENCE,
    SURPRISALS,
    Layer,
    map_tags,
    patch_file,
    style_file,
    write_looks,
    write_patches,
)
from seg.maps.together import describe_mosaics
from seg.reben.bands import PATCH_SIZE
from seg.reben.patch import PatchId, Split
from seg.runs.folder import CONFIG_FILE
from seg.runs.use import Use, plan_use
from seg.stac.items import COLLECTION, MODEL, require_pystac
from seg.store.besides import tell_besides
from seg.store.open import INFO_FILE
from seg.store.targets import Known, claimed_besides, claimed_folder, require_own_folder
from seg.store.written import Keeper, partial_of
from seg.styles.qgis import style
from seg.vectors.footprints import VectorFormat
from seg.vectors.polygons import PolygonOptions
from seg.web.index import INDEX
from seg.web.picture import write_patches_picture

if TYPE_CHECKING:
    from seg.engine.distributed import Ranks
    from seg.runs.session import Session

ClassMap = npt.NDArray[np.uint8]

OVERVIEW = "overview.png"
_PARTS = "parts"
_NAMED = 5


@dataclass(frozen=True)
class ExportResult:
    """Outcome of an export.

    Attributes:
        folder: Where the maps are.
        patches: Number of predicted maps.
        overview: Picture of one product beside its reference; None without reference maps.
        mosaics: The predicted map of each product, if they were asked for.
        others: Files that span all patches, apart from the picture.
    """

    folder: Path
    patches: int
    overview: Path | None
    mosaics: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()


def export(
    run: AnyPath,
    out: AnyPath,
    *,
    split: Split | None = None,
    data: AnyPath | None = None,
    metadata: AnyPath | None = None,
    probabilities: bool = False,
    reference: bool = False,
    agreement: bool = False,
    mosaic: bool = False,
    patches: bool | None = None,
    mmu: float = 0.0,
    stac: bool = False,
    polygons: PolygonOptions | None = None,
    vector_format: VectorFormat = "parquet",
    web: bool = False,
    device: str | None = None,
    track: Track = silent,
    notify: Notify = ignore,
) -> ExportResult:
    """Write maps of every patch of a split, with the georeference of the patch, and their footprints.

    Patch maps are ``<out>/<product>/<patch_id>_map.tif``, mosaics ``<out>/<product>_map.tif`` with a virtual raster
    ``<out>/map.vrt`` over all products (`write_mosaics`). ``<out>/footprints.parquet`` holds labels, probabilities and
    scores of each patch (`patch_rows`). Under ``torchrun`` each process writes its own patches and products.

    Args:
        run, out, split: Run folder of `train`; folder for the maps; the split, ``eval.split`` of the run if None.
        data, metadata, device: Instead of the run's own.
        probabilities, reference, agreement: Also write ``..._probabilities.tif``, and likewise the others.
        mosaic, patches: Write mosaics, and patch maps; if the latter is None, only without mosaics.
        mmu: Hectares of a minimum mapping unit that maps are brought to, such as 25 for CORINE's; 0: none. A mosaic is
            brought to it as a whole, and a patch map by itself, where objects at its edge stay.
        stac: Also write a STAC item for each mosaic, ``model.json`` and ``collection.json``.
        polygons, vector_format: Also write ``<product>_polygons.gpkg`` (`seg.maps.land_cover`); footprints as ``gpkg``.
        web: Also write ``<product>_web/index.html``, which shows map, confidence and, where every patch has one, the
            reference in a browser; mosaics of all of these come too.
        track, notify: Are told of progress, and what the user must not miss.

    Raises:
        SegError: One of its kinds, in one sentence, for anything wrong with the run or the data.
        OSError: If a map cannot be written.
    """
    run, out, data, metadata = Path(run), Path(out), path_or_none(data), path_or_none(metadata)
    layers = _layers(probabilities, reference or web, agreement, web)
    keep = not mosaic if patches is None else patches
    _check_request(out, keep, mosaic, mmu, stac, polygons is not None, web)
    spanning = _files_of_all(layers, mosaic, stac, web)
    with claimed_folder(out, [OVERVIEW, *FOOTPRINTS.values(), *spanning], Known(contents=styles(layers))) as keeper:
        use = plan_use(
            run, split=split, data=data, metadata=metadata, device=device, unit=mmu,
            need_maps=reference or agreement or None, track=track, notify=notify,
        )  # fmt: skip
        layers = tuple(layer for layer in layers if use.with_maps or layer is not REFERENCE)
        names, known = _files_of_patches(use, layers, keep, mosaic, out if web else None)
        with claimed_besides(keeper, names, known), _opened(use) as session:
            tell_besides(keeper, notify)
            parts = out if keep else out / session.ranks.from_first(partial_of(out / OVERVIEW, _PARTS).name)
            try:
                outputs = _Outputs(out, parts, layers, polygons, FOOTPRINTS[vector_format])
                overview, members = _write_maps(session, outputs, track)
                picture = _draw(session, overview, out) if overview and session.ranks.first else None
                asked = Asked(layers if mosaic else (), polygons is not None, stac, web)
                _remove_earlier(session, out, members, asked, keeper, notify)
                seen = partial(write_patches_picture, session.store.patches) if web else None
                how = Sharing(session.ranks, track, keep, polygons, mmu, seen, notify)
                mosaics = write_mosaics(out, parts, members, layers, map_tags(session), how) if mosaic else []
                if stac and session.ranks.first:
                    describe_mosaics(out, mosaics, layers, session.card, run)
                session.ranks.wait()
            finally:
                if not keep:
                    shutil.rmtree(parts, ignore_errors=True)
    return ExportResult(out, len(session.dataset), picture, tuple(mosaics), _there(out, vector_format, spanning))


def _files_of_all(layers: tuple[Layer, ...], mosaic: bool, stac: bool, web: bool) -> list[str]:
    """Files that span all patches, apart from picture and footprints."""
    spanning = [*(index_files(layers) if mosaic else ()), *((COLLECTION, MODEL) if stac else ())]
    return [*spanning, *((INDEX,) if web else ())]


def _there(out: Path, vector_format: VectorFormat, spanning: list[str]) -> tuple[Path, ...]:
    """The footprints and the files that span all patches, as far as they were written."""
    return tuple(filter(Path.is_file, [out / FOOTPRINTS[vector_format], *(out / name for name in spanning)]))


def _layers(probabilities: bool, reference: bool, agreement: bool, web: bool) -> tuple[Layer, ...]:
    wanted = {MAP: True, REFERENCE: reference, AGREES: agreement, PROBABILITIES: probabilities, CONFIDENCE: web}
    return tuple(layer for layer, asked in wanted.items() if asked)


@dataclass(frozen=True)
class _Outputs:
    """What is written of the patches.

    Attributes:
        out: Folder of the export.
        parts: That of the patch maps; another one if they go when the mosaics are written.
        layers: What stays, of each patch or of the mosaics.
        polygons: How polygons are made.
        footprints: Name of the file of the footprints.
    """

    out: Path
    parts: Path
    layers: tuple[Layer, ...]
    polygons: PolygonOptions | None
    footprints: str

    def units(self, mmu: float) -> dict[Layer, float]:
        """What mosaics are brought to a minimum mapping unit, the map last: hectares of each."""
        if self.parts == self.out:
            return {}
        larger = self.polygons.unit(mmu) if self.polygons else 0.0
        return ({OUTLINED: larger} if larger else {}) | ({MAP: mmu} if mmu else {})

    def needed(self, mmu: float) -> tuple[Layer, ...]:
        """What is written of each patch: also what mosaics are generalised by and polygons made of."""
        units = self.units(mmu)
        others = (
            *((SURPRISALS,) if units else ()),
            *((REFERENCE,) if MAP in units and AGREES in self.layers else ()),
            *((CONFIDENCE,) if self.polygons else ()),
        )
        return (*dict.fromkeys((*self.layers, *others)),)


def _check_request(out: Path, keep: bool, mosaic: bool, mmu: float, stac: bool, polygons: bool, web: bool) -> None:
    """Refuse what can be refused before anything is opened."""
    if stac and not mosaic:
        raise WrongUseError("--stac describes mosaics, not patches; ask for --mosaic too")
    if stac:
        require_pystac()
    if not (mosaic or keep):
        raise WrongUseError("there is nothing to write without patch maps and without mosaics; ask for one of them")
    if polygons and not mosaic:
        raise WrongUseError("polygons are made of mosaics, and none are asked for; add --mosaic")
    if web and not mosaic:
        raise WrongUseError("pages show mosaics, and none are asked for; add --mosaic")
    if polygons and keep:
        raise WrongUseError("polygons take the place of the patch maps that they are made of; leave out --patches")
    if mosaic and keep and mmu:
        raise WrongUseError("a minimum mapping unit is that of mosaics or of patches; leave out --mosaic or --patches")
    require_own_folder(out, "maps", CONFIG_FILE, INFO_FILE)


@contextmanager
def _opened(use: Use) -> "Iterator[Session]":
    """The run on its patches; here torch is loaded, after all that is wrong with the request itself has been said."""
    from seg.runs.session import joined_session, open_session

    with joined_session(open_session(use)) as session:
        yield session


def _files_of_patches(
    use: Use, layers: tuple[Layer, ...], keep: bool, mosaic: bool, pages: Path | None
) -> tuple[list[str], Known]:
    """Files of single patches and products, by their paths from the folder, and what is known of them.

    Refuses what stands where `pages` are to be.
    """
    patches = [PatchId.parse(name) for name in use.store.index.patch_ids.take(use.rows).to_pylist()]
    names, contents = list[str](), dict[str, str]()
    if keep:
        kept = {patch_file(Path(), patch, layer): layer for patch in patches for layer in layers}
        looks = {layer: style(layer.palette) for layer in layers}
        contents |= {style_file(path).as_posix(): looks[layer] for path, layer in kept.items()}
        names += [path.as_posix() for path in (*kept, *map(style_file, kept))]
    products = sorted({patch.product for patch in patches}) if mosaic else []
    if pages is not None:
        require_pages(pages, products)
    contents |= {name: text for product in products for name, text in styles(layers, product).items()}
    names += [name for product in products for name in product_files(product, layers)]
    return names, Known(contents=contents)


def _write_maps(session: "Session", outputs: _Outputs, track: Track) -> tuple[dict[PatchId, ClassMap], list[PatchId]]:
    """Write the maps of the patches of this process and the footprints of all.

    Returns:
        The maps of those patches that the overview shows, and all patches, both of all processes.
    """
    from seg.engine.evaluate import predict
    from seg.maps.overview import overview_patches

    tags, parts, alone = map_tags(session), outputs.parts, outputs.parts == outputs.out
    layers = outputs.needed(session.scope.unit)
    shown = overview_patches(session)
    overview: dict[PatchId, ClassMap] = {}
    tables = []
    for prediction in predict(session.model, session.dataset, session.how(track)):
        names = session.dataset.patch_ids(prediction.batch.rows_B.cpu().numpy())
        patches = [PatchId.parse(name) for name in names]
        unit = session.scope.unit if alone else 0
        classes_BHW = write_patches(parts, patches, prediction, layers, tags, session.card.calibration, unit)
        if alone:
            write_looks(parts, patches, layers)
        tables.append(patch_rows(session, prediction, alone or not session.scope.unit))
        overview |= {patch: classes_BHW[i] for i, patch in enumerate(patches) if str(patch) in shown}
    members = write_patch_table(session, tables, outputs.out / outputs.footprints)
    overview = _gathered(overview, session.ranks)
    if units := outputs.units(session.scope.unit):
        _generalise(session, parts, members, layers, units, track)
        overview = {patch: read_map(patch_file(parts, patch, MAP)) for patch in overview}
    return overview, members


def _generalise(
    session: "Session",
    parts: Path,
    patches: list[PatchId],
    layers: tuple[Layer, ...],
    units: dict[Layer, float],
    track: Track,
) -> None:
    """Bring the products to minimum mapping units, each as a whole; the processes share them."""
    ranks, tags = session.ranks, map_tags(session)
    products = sorted({patch.product for patch in patches})[ranks.rank :: ranks.count]
    ranks.wait()
    for product in track(products, "products generalised", len(products)):
        members = [patch for patch in patches if patch.product == product]
        for layer, unit in units.items():
            generalise_product(parts, members, layers, unit, tags, layer)
    ranks.wait()


def _gathered(maps: dict[PatchId, ClassMap], ranks: "Ranks") -> dict[PatchId, ClassMap]:
    """The maps of all processes, in the order of the patch ids."""
    names = ranks.gather("\n".join(map(str, maps)).encode())
    pixels = ranks.gather(b"".join(map_HW.tobytes() for map_HW in maps.values()))
    gathered = {
        PatchId.parse(name): map_HW
        for part, values in zip(names, pixels, strict=True)
        for name, map_HW in zip(
            part.decode().split("\n") if part else (),
            np.frombuffer(values, np.uint8).reshape(-1, PATCH_SIZE, PATCH_SIZE),
            strict=True,
        )
    }
    return {patch: gathered[patch] for patch in sorted(gathered, key=str)}


def _draw(session: "Session", predicted: dict[PatchId, ClassMap], out: Path) -> Path:
    from seg.figures.style import write_png
    from seg.maps.overview import overview_of

    write_png(out / OVERVIEW, overview_of(session, predicted))
    return out / OVERVIEW


def _remove_earlier(
    session: "Session", out: Path, patches: list[PatchId], asked: Asked, keeper: Keeper, notify: Notify
) -> None:
    if session.ranks.first:
        products = sorted({patch.product for patch in patches})
        if gone := remove_earlier(out, products, asked, keeper.written.is_unchanged):
            more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
            notify(f"Removed {', '.join(gone[:_NAMED])}{more}, which belonged to an earlier export.")
