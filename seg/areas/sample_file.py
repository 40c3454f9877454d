"""A sample as a GeoPackage: points to be labelled in a GIS, the strata that they were drawn from, and of which map."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.warp import transform

from seg.areas.class_map import ClassMap, Strata, map_rows
from seg.areas.design import Sample
from seg.config.version import VERSION
from seg.config.wording import clipped
from seg.errors import MapError
from seg.reben.classes import CLASS_NAMES, CLASSES, NUM_CLASSES
from seg.store.atomic import staged_file

POINTS, STRATA, DESIGN = "sample", "strata", "design"
"""Its layers."""
_NEEDED = {"id", "row", "column", "stratum", "reference"}
_BY_CODE = {str(code): c.index for c in CLASSES for code in c.codes}
_BY_VALUE = {str(c.index): c.index for c in CLASSES}
_BY_NAME = {name.casefold(): c.index for c in CLASSES for name in (c.name, c.short)}
_NUMBERS = _BY_CODE | _BY_VALUE
_NAMED = 5


@dataclass(frozen=True, eq=False)
class Labelled:
    """A sample that was labelled.

    Attributes:
        confusion_KK: Its pixels, true class x map class, int64.
        points: That were drawn.
        unlabelled: Of them, those that were taken out of the layer too.
    """

    confusion_KK: npt.NDArray[np.int64]
    points: int
    unlabelled: int


def write_sample(path: Path, of: ClassMap, strata: Strata, sample: Sample, seed: int) -> None:
    """Write a sample; the file appears complete or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    import geopandas
    import pandas
    import pyogrio

    grid = of.grid
    x_N = grid.x_min + (sample.column_N + 0.5) * grid.pixel_size
    y_N = grid.y_max - (sample.row_N + 0.5) * grid.pixel_size
    longitude_N, latitude_N = transform(grid.epsg, 4326, x_N, y_N)
    empty = pandas.Series([None] * len(sample), dtype=object)
    points = {
        "id": np.arange(1, len(sample) + 1),
        "x": x_N,
        "y": y_N,
        "longitude": longitude_N,
        "latitude": latitude_N,
        "row": sample.row_N,
        "column": sample.column_N,
        "stratum": sample.stratum_N,
        "stratum_name": [CLASS_NAMES[k] for k in sample.stratum_N],
        "reference": empty,
        "remark": empty,
    }
    drawn_K = np.bincount(sample.stratum_N, minlength=NUM_CLASSES)
    there = np.flatnonzero(strata.pixels_K)
    described = {
        "value": there,
        "class": [CLASS_NAMES[k] for k in there],
        "clc": [" ".join(map(str, CLASSES[k].codes)) for k in there],
        "pixels": strata.pixels_K[there],
        "hectares": strata.hectares_K[there],
        "sampled": drawn_K[there],
    }
    design = {"map": of.path.name, "scene": of.name, "digest": strata.digest, "seed": seed, "seg_version": VERSION}
    geometry = geopandas.points_from_xy(x_N, y_N)
    with staged_file(path) as staged:
        frame = geopandas.GeoDataFrame(points, geometry=geometry, crs=grid.epsg)
        pyogrio.write_dataframe(frame, staged, layer=POINTS, driver="GPKG")
        for layer, table in ((STRATA, pandas.DataFrame(described)), (DESIGN, pandas.DataFrame([design]))):
            pyogrio.write_dataframe(table, staged, layer=layer, driver="GPKG", append=True)


def read_labelled(path: Path, of: ClassMap, strata: Strata) -> Labelled:
    """Read a sample whose column ``reference`` was filled in: with names, values (0 to 18) or CLC codes of classes.

    Args:
        path: The GeoPackage.
        of, strata: The map that it was drawn of.

    Raises:
        MapError: If it is no sample, one of another map, or its labels are missing or no classes.
    """
    points, design, drawn = _read(path, of)
    if str(design["digest"]) != strata.digest:
        raise MapError(
            f"{path} was drawn of another map, {clipped(str(design['map']))} of {clipped(str(design['scene']))}, than "
            f"{of.path}; name that map, as it was then",
            wrong_use=True,
        )
    true_N = np.array(
        [_class_of(path, label, number) for number, label in zip(points["id"], points["reference"], strict=True)]
    )
    labelled_N = true_N >= 0
    if not labelled_N.any():
        raise MapError(
            f"no point of {path} has a reference class; fill in the column 'reference' of the layer '{POINTS}' with "
            "names, values or CLC codes of the classes, such as in QGIS"
        )
    _check_strata(path, of, points)
    confusion_KK = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    np.add.at(confusion_KK, (true_N[labelled_N], points["stratum"].astype(int)[labelled_N]), 1)
    few = [
        f"{CLASS_NAMES[k]} ({count} of {least})"
        for k, count in enumerate(confusion_KK.sum(0).tolist())
        if count < (least := min(2, int(strata.pixels_K[k])))
    ]
    if few:
        more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
        raise MapError(
            f"{path} has too few labelled points where the map has {', '.join(few[:_NAMED])}{more}; label more of the "
            "points there, without which nothing can be said of what the map has as that class"
        )
    drawn = max(drawn, len(true_N))
    return Labelled(confusion_KK, drawn, drawn - int(labelled_N.sum()))


def _read(path: Path, of: ClassMap) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any], int]:
    """Columns of the points, the design, and how many points were drawn as far as the file still says so."""
    import pyogrio

    if not path.is_file():
        raise MapError(f"there is no sample {path}; {_cure(of)}", wrong_use=True)
    try:
        layers = {str(name) for name in pyogrio.list_layers(path)[:, 0]}
        if not {POINTS, DESIGN} <= layers:
            raise MapError(
                f"{path} is no sample of seg, which has layers {POINTS} and {DESIGN}; {_cure(of)}", wrong_use=True
            )
        points = pyogrio.read_dataframe(path, layer=POINTS, read_geometry=False)
        design = pyogrio.read_dataframe(path, layer=DESIGN, read_geometry=False)
        strata = pyogrio.read_dataframe(path, layer=STRATA, read_geometry=False) if STRATA in layers else None
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        reason = clipped(" ".join(str(error).split()))
        raise MapError(f"{path} cannot be read as a GeoPackage ({reason}); {_cure(of)}", wrong_use=True) from None
    lost = sorted((_NEEDED - set(points.columns)) | ({"digest", "map", "scene"} - set(design.columns)))
    if lost or len(design) != 1:
        raise MapError(f"{path} has lost {', '.join(lost) or 'its design'}; take up the sample as it was drawn")
    drawn = int(strata["sampled"].sum()) if strata is not None and "sampled" in strata else 0
    return {name: points[name].to_numpy() for name in _NEEDED}, design.iloc[0].to_dict(), drawn


def _cure(of: ClassMap) -> str:
    import shlex

    return f"draw one with: seg sample {shlex.quote(str(of.path))} --out sample.gpkg"


def _class_of(path: Path, label: object, number: object) -> int:
    """The class of a label; -1 if there is none."""
    if label is None or (isinstance(label, float) and np.isnan(label)) or not str(label).strip():
        return -1
    text = str(label).strip().removesuffix(".0")
    found = _NUMBERS.get(text, _BY_NAME.get(" ".join(text.casefold().split())))
    if found is None:
        raise MapError(
            f"the reference of point {number} in {path}, '{clipped(text)}', is no class; give names, values from 0 to "
            "18 or CLC codes as in the layer 'strata', or leave it empty where it cannot be told"
        )
    return found


def _check_strata(path: Path, of: ClassMap, points: dict[str, npt.NDArray[Any]]) -> None:
    """Every point is one of the map, once, and mapped as its stratum says."""
    try:
        row_N, column_N, stratum_N = (points[name].astype(np.int64) for name in ("row", "column", "stratum"))
    except (TypeError, ValueError):
        raise MapError(f"{path} has points without row, column or stratum; {_AS_DRAWN}") from None
    place_N = row_N * of.grid.width + column_N
    if len(np.unique(place_N)) < len(place_N):
        raise MapError(f"{path} has a pixel twice; {_AS_DRAWN}")
    mapped_N = _mapped(of, row_N, column_N)
    if (mapped_N != stratum_N).any():
        wrong = points["id"][mapped_N != stratum_N][0]
        raise MapError(f"row, column or stratum of point {wrong} in {path} are not those of the map; {_AS_DRAWN}")


_AS_DRAWN = "take up the sample as it was drawn, and edit its column 'reference' alone"


def _mapped(of: ClassMap, row_N: npt.NDArray[np.int64], column_N: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """What the map has at pixels; -1 outside of it."""
    mapped_N = np.full(len(row_N), -1, np.int64)
    for top, values_HW, _ in map_rows(of):
        height, width = values_HW.shape
        here = (row_N >= top) & (row_N < top + height) & (column_N >= 0) & (column_N < width)
        mapped_N[here] = values_HW[row_N[here] - top, column_N[here]]
    return mapped_N
