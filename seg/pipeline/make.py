"""Making a reBEN of one's own region."""

import shlex
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from seg.config.paths import AnyPath
from seg.config.track import Notify, Track, ignore, silent
from seg.config.wording import counted
from seg.prepare.executors import LOCAL
from seg.prepare.sources import METADATA_FILES
from seg.region.making import Made, make_set
from seg.region.request import Request


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
        asked: From `seg.region.request.request`.
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
