"""Making a reBEN of one's own region."""

import shlex
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from seg.config.paths import AnyPath, AnyPaths, path_list, path_or_none
from seg.config.track import Notify, Track, ignore, silent
from seg.config.wording import counted, listed
from seg.prepare.executors import LOCAL
from seg.prepare.sources import METADATA_FILES
from seg.region.making import Made, make_set
from seg.region.numbering import Numbering
from seg.region.products import Request, check_make


def request(
    s2: AnyPaths,
    clc: AnyPath,
    *,
    s1: AnyPaths = (),
    column: str | None = None,
    layer: str | None = None,
    bands: str | None = None,
    product: str | None = None,
    countries: AnyPath | None = None,
    country_column: str | None = None,
    require_s1: bool = False,
    numbering: Numbering | None = None,
    offset: int | None = None,
) -> Request:
    """What a set is to be made from, as typed on the command line; see `seg.region.products.Request`.

    Args:
        s2: Products.
        clc: Land cover.
        s1: Sentinel-1 rasters.
        column, layer, product, countries, country_column, require_s1, numbering, offset: As there.
        bands: Comma-separated.

    Raises:
        WrongUseError: If the request makes no sense.
    """
    s2, clc, s1, countries = path_list(s2), Path(clc), path_list(s1), path_or_none(countries)
    asked = Request(
        s2=tuple(s2),
        clc=clc,
        s1=tuple(s1),
        column=column,
        layer=layer,
        bands=None if bands is None else tuple(listed(bands)),
        product=product,
        countries=countries,
        country_column=country_column,
        require_s1=require_s1,
        numbering=numbering,
        offset=offset,
    )
    check_make(asked)
    return asked


def make(
    asked: Request,
    out: AnyPath,
    *,
    store: bool = False,
    workers: int | None = None,
    executor: Executor | str = LOCAL,
    slurm: Sequence[str] = (),
    track: Track = silent,
    notify: Notify = ignore,
) -> Made:
    """Cut Sentinel-2 products and CORINE Land Cover into patches as those of reBEN; see `seg.region.making`.

    Args:
        asked: From `request`.
        out: The folder to make: the published tree, or a store.
        store: Make a store.
        workers: Processes, each of which cuts a product; None: one per core, up to 8.
        executor, slurm: Who cuts instead of these processes, see `seg.prepare.executors.opened`.
        track: Progress.
        notify: Is told what the user must not miss.

    Raises:
        SegError: One of its kinds, in one sentence, for anything wrong with the files.
    """
    out = Path(out)
    made = make_set(asked, out, store=store, workers=workers, executor=executor, slurm=slurm, track=track)
    for remark in made.remarks:
        notify(remark)
    patches = sum(made.patches.values())
    if asked.s1 and made.with_s1 < patches:
        notify(
            f"{patches - made.with_s1:,} of {patches:,} patches have no Sentinel-1, as no scene covers them wholly: "
            "they are kept (--require-s1 leaves them out)."
        )
    if made.repaired:
        notify(f"{counted(made.repaired, 'invalid polygon was', 'invalid polygons were')} repaired.")
    zones = sorted(set(made.tiles.values()))
    if len(zones) > 1:
        listed_zones = ", ".join(f"EPSG:{zone}" for zone in zones)
        notify(f"The tiles lie in {len(zones)} UTM zones ({listed_zones}); every patch lies in that of its tile.")
    if empty := [split for split, count in made.patches.items() if not count]:
        what, new = ([str(out)], "NEW") if store else ([str(out / name) for name in METADATA_FILES], "NEW.parquet")
        notify(
            f"No patch is in {' or '.join(empty)}, by the published rule: other parts of the tiles belong there. Split "
            f"anew with: seg data split {shlex.join(what)} --rule block --out {new} (or --rule random, of few "
            "blocks)"
        )
    return made
