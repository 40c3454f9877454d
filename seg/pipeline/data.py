"""Getting data: synthesise, build, find and describe a store."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seg.config.paths import AnyPath, AnyPaths, path_list, path_or_none
from seg.config.sections import DataConfig
from seg.config.track import Track, silent
from seg.prepare.build import Subset, build_store, check_request
from seg.prepare.sources import Sources, published_sources
from seg.reben.bands import band_names
from seg.reben.classes import CLASSES
from seg.reben.patch import Split
from seg.store.cache import cache_folder
from seg.store.index import EmptySelectionError, MetadataError, Rows, select
from seg.store.open import FORMAT, INFO_FILE, Store, StoreError, StoreInfo, open_store

if TYPE_CHECKING:
    from seg.prepare.download import Fetched
    from seg.prepare.download import Part as RecordPart
    from seg.prepare.synthetic import SynthesisReport
    from seg.prepare.synthetic_scene import SyntheticScene

Notify = Callable[[str], None]

SEG_DATA = "SEG_DATA"
"""The environment variable that names a store where no option does."""
DEMO_PATCHES = 400
DEMO_SEED = 0


def ignore(_message: str) -> None:
    """The `Notify` that says nothing."""


def record_parts(only: str | None, mirror: str | None) -> list["RecordPart"]:
    """The parts of the record to fetch, as typed on the command line.

    Args:
        only: Comma-separated; None: all.
        mirror: Address of a mirror; None: the record itself.

    Raises:
        ValueError: If a part does not exist, or the mirror is no address.
    """
    from seg.prepare import download

    parts = list(download.PARTS) if only is None else listed(only)
    download.check_request(parts, mirror)
    return [part for part in download.PARTS if part in parts]


def fetch(
    out: AnyPath, parts: Sequence["RecordPart"] | None = None, mirror: str | None = None, track: Track = silent
) -> list["Fetched"]:
    """Fetch the published record; see `seg.prepare.download`.

    Args:
        out: Folder to put the files in.
        parts: Some of metadata, maps, s2, s1; None: all.
        mirror: Address of a folder with the same files, or with split archives.
        track: Progress.

    Raises:
        DownloadError: If a part does not exist, or a file cannot be fetched.
    """
    out = Path(out)
    from seg.prepare import download

    return download.fetch(out, download.PARTS if parts is None else parts, mirror, track)


def listed(text: str) -> list[str]:
    """The names of a comma-separated list.

    Raises:
        ValueError: If one is empty.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ValueError(f"'{text}' names nothing in one place; give names, separated by commas, or leave it out")
    return names


def check_synthesis(patches: int, seed: int) -> None:
    """Make sure that a synthetic reBEN can be made as asked; see `seg.prepare.synthetic`."""
    from seg.prepare.synthetic import check_request as check

    check(patches, seed)


def synthesise(out: AnyPath, patches: int, seed: int = 0, track: Track = silent) -> "SynthesisReport":
    """Write a synthetic reBEN in the published tree; see `seg.prepare.synthetic`."""
    out = Path(out)
    from seg.prepare.synthetic import synthesise as synthesise_tree

    return synthesise_tree(out, patches, seed, track)


def check_scene(size: int, seed: int) -> None:
    """Make sure that a synthetic scene can be made as asked; see `seg.prepare.synthetic_scene`."""
    from seg.prepare.synthetic_scene import check_scene as check

    check(size, seed)


def synthesise_scene(out: AnyPath, size: int, seed: int = 0, track: Track = silent) -> "SyntheticScene":
    """Write a synthetic Sentinel scene; see `seg.prepare.synthetic_scene`."""
    out = Path(out)
    from seg.prepare.synthetic_scene import synthesise_scene as write

    return write(out, size, seed, track=track)


def build(
    out: AnyPath,
    *,
    s2: AnyPath | None = None,
    s1: AnyPath | None = None,
    maps: AnyPath | None = None,
    metadata: AnyPaths,
    subset: Subset | None = None,
    resplit: str | None = None,
    partial: bool = False,
    force: bool = False,
    workers: int | None = None,
    track: Track = silent,
) -> StoreInfo:
    """Convert published trees or archives into a store; see `seg.prepare.build`."""
    out, s2, s1, maps, metadata = Path(out), path_or_none(s2), path_or_none(s1), path_or_none(maps), path_list(metadata)
    sources = Sources(s2=s2, s1=s1, maps=maps, metadata=tuple(metadata))
    return build_store(
        sources, out, subset=subset, resplit=resplit, partial=partial, force=force, workers=workers, track=track
    )


def check_build(
    subset: Subset, partial: bool, *, s2: Path | None = None, s1: Path | None = None, maps: Path | None = None
) -> None:
    """Make sure that a store can be built as asked, as far as that shows before anything is read.

    Raises:
        BuildError: If it cannot.
    """
    check_request(Sources(s2=s2, s1=s1, maps=maps, metadata=()), subset, partial)


def subset(
    split: Split | None = None, countries: str | None = None, bands: str | None = None, limit: int | None = None
) -> Subset:
    """A part of the data, as typed on the command line.

    Args:
        split: One split only.
        countries: Comma-separated.
        bands: A modality or comma-separated bands.
        limit: Most patches.

    Raises:
        ValueError: If a band does not exist, or a list names nothing.
    """
    return Subset(
        split,
        () if countries is None else tuple(listed(countries)),
        () if bands is None else band_names(",".join(listed(bands))),
        limit,
    )


def find_store(data: DataConfig, track: Track = silent, notify: Notify = ignore) -> Store:
    """The store that the configuration names, else that of ``SEG_DATA``, else the synthetic demo store.

    The demo store is made when it is first needed and kept in the user's cache folder.
    """
    named = data.store or store_of_environment()
    if named:
        store = open_named_store(named, data.metadata, of_environment=not data.store)
    else:
        empty = " which is set but empty" if SEG_DATA in os.environ else ""
        notify(
            f"No data given (--data, {SEG_DATA}{empty}): using the SYNTHETIC demo store. "
            "Its scores say nothing about reBEN; the README shows the way to real data."
        )
        folder = _demo_store(track)
        notify(f"The demo store is kept in {folder}.")
        store = open_store(folder)
    return store


def store_of_environment() -> Path | None:
    """The store that the environment variable ``SEG_DATA`` names; None if it names none."""
    named = os.environ.get(SEG_DATA, "").strip()
    return Path(named) if named else None


def open_named_store(folder: Path, metadata: Path | None, of_environment: bool) -> Store:
    """Open a store that somebody named; what is wrong with one of ``SEG_DATA`` is said of that.

    Raises:
        StoreError, MetadataError: As `open_store`.
    """
    try:
        return open_store(folder, (metadata,) if metadata else ())
    except (StoreError, MetadataError) as error:
        if not of_environment:
            raise
        raise type(error)(
            f"the environment variable {SEG_DATA} is '{folder}', but {error}; set it anew, or name a store with --data"
        ) from error


def demo_folder() -> Path:
    """Where the demo store is, or will be once it is needed."""
    from seg.prepare.synthetic import VERSION

    return cache_folder() / f"demo-{FORMAT}-{VERSION}-{DEMO_PATCHES}-{DEMO_SEED}"


def _demo_store(track: Track) -> Path:
    folder = demo_folder()
    if not (folder / INFO_FILE).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".demo-", dir=folder.parent))
        try:
            synthesise(scratch / "tree", DEMO_PATCHES, DEMO_SEED, track)
            build_store(published_sources(scratch / "tree"), scratch / "store", track=track)
            # Another process may have been faster; its store is the same.
            if not folder.exists():
                (scratch / "store").rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def split_rows(store: Store, data: DataConfig, split: Split, need_map: bool = True) -> Rows:
    """Rows of a split that the configuration selects and that have all its bands need.

    Raises:
        EmptySelectionError: If there are none; says of the bands too if the store lacks any.
        StoreError: As `Store.usable`.
    """
    try:
        rows = select(store.index, data, split)
    except EmptySelectionError as error:
        if lack := store.lack(data.bands):
            raise EmptySelectionError(f"{error}; besides, {lack}") from None
        raise
    return store.usable(rows, data.bands, data.drop_incomplete, need_map)


@dataclass(frozen=True)
class Description:
    """What a store holds, for people.

    Attributes:
        info: What the store says of itself.
        countries: Patches by country, most first.
        tiles: Number of MGRS tiles.
        flagged: Patches with snow, cloud or cloud shadow.
        classes: Patches with each class by split: (name, train, validation, test).
        bytes: Size on disk.
    """

    info: StoreInfo
    countries: dict[str, int]
    tiles: int
    flagged: int
    classes: list[tuple[str, int, int, int]]
    bytes: int


def describe_store(folder: AnyPath, metadata: AnyPaths = ()) -> Description:
    """Open a store and count what it holds."""
    folder, metadata = Path(folder), path_list(metadata)
    store = open_store(folder, metadata)
    # An LMDB is opened when it is first asked for something; one that cannot be read is no store to describe.
    len(store.patches)
    index = store.index
    labels_NK = index.labels(np.arange(len(index)))
    names, counts = np.unique(index.countries.to_numpy(zero_copy_only=False).astype(str), return_counts=True)
    per_split = [labels_NK[index.splits == split].sum(0) for split in range(3)]
    return Description(
        info=store.info,
        countries=dict(sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])),
        tiles=len(index.tiles.unique()),
        flagged=int((index.snow | index.cloud).sum()),
        classes=[(c.name, *(int(counts[c.index]) for counts in per_split)) for c in CLASSES],  # type: ignore[misc]
        bytes=sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
    )
