"""The data of a run: the store that is named, or the synthetic demo store, and the rows of a split."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from seg.config.sections import Config, DataConfig
from seg.config.track import Notify, Track, ignore, silent
from seg.config.wording import counted
from seg.errors import EmptySelectionError, MetadataError, StoreError
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.classes import names_of_bits
from seg.reben.patch import Split
from seg.store.cache import cache_folder
from seg.store.index import Index, Rows
from seg.store.open import FORMAT, INFO_FILE, Store, open_store
from seg.store.selection import select

SEG_DATA = "SEG_DATA"
"""The environment variable that names a store where no option does."""
DEMO_PATCHES = 400
DEMO_SEED = 0


def find_store(data: DataConfig, track: Track = silent, notify: Notify = ignore) -> Store:
    """The store that the configuration names, else that of ``SEG_DATA``, else the synthetic demo store.

    The demo store is made when it is first needed and kept in the user's cache folder.
    """
    named = data.store or store_of_environment()
    if named:
        store = open_named_store(named, data.metadata, of_environment=not data.store)
    else:
        _tell_synthetic(notify)
        folder = synthetic_store(demo_folder(), DEMO_PATCHES, DEMO_SEED, track)
        notify(f"The demo store is kept in {folder}.")
        store = open_store(folder)
    return store


@contextmanager
def data_on_trial(data: DataConfig, track: Track = silent, notify: Notify = ignore) -> Iterator[DataConfig]:
    """The configuration of data for work that leaves nothing behind: a demo store that is made for it goes again."""
    if data.store or store_of_environment() or (demo_folder() / INFO_FILE).is_file():
        yield data
        return
    _tell_synthetic(notify)
    with tempfile.TemporaryDirectory(prefix="seg-", ignore_cleanup_errors=True) as scratch:
        store = synthetic_store(Path(scratch) / "store", DEMO_PATCHES, DEMO_SEED, track)
        yield data.model_copy(update={"store": store, "metadata": None})


def _tell_synthetic(notify: Notify) -> None:
    empty = " which is set but empty" if SEG_DATA in os.environ else ""
    notify(
        f"No data given (--data, {SEG_DATA}{empty}): using the SYNTHETIC demo store. "
        "Its scores say nothing about reBEN; the README shows the way to real data."
    )


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
            f"the environment variable {SEG_DATA} is '{folder}', but {error}; set it anew, or name a store with --data",
            wrong_use=error.wrong_use,
        ) from error


def demo_folder() -> Path:
    """Where the demo store is, or will be once it is needed."""
    from seg.synthetic.tree import VERSION

    return cache_folder() / f"demo-{FORMAT}-{VERSION}-{DEMO_PATCHES}-{DEMO_SEED}"


def synthetic_store(folder: Path, patches: int, seed: int = 0, track: Track = silent) -> Path:
    """A synthetic store, made when it is first needed; returns its folder."""
    from seg.synthetic.tree import synthesise

    if not (folder / INFO_FILE).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            synthesise(scratch / "tree", patches, seed, track)
            build_store(published_sources(scratch / "tree"), scratch / "store", track=track)
            # Another process may have been faster; its store is the same.
            if not folder.exists():
                (scratch / "store").rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def check_splits(data: DataConfig, splits: Sequence[Split]) -> None:
    """Look for the patches of splits in the store that is named; the demo store is complete, and made when needed.

    Raises:
        StoreError, MetadataError, EmptySelectionError: What is wrong with it.
    """
    named = data.store or store_of_environment()
    if named is not None:
        store = open_named_store(named, data.metadata, of_environment=not data.store)
        for split in splits:
            split_rows(store, data, split)


def budget_remarks(store: Store, config: Config) -> list[str]:
    """Sentences on what a label budget is too small for: a batch, or the classes of the train split.

    Raises:
        EmptySelectionError: If there is nothing to train on.
    """
    data, batch = config.data, config.train.batch_size
    if data.fraction >= 1:
        return []
    whole = data.model_copy(update={"fraction": 1.0, "fraction_seed": 0})
    rows = select(store.index, data, "train")
    has, could_have = (_labels_of(store.index, some) for some in (rows, select(store.index, whole, "train")))
    budget = f"{100 * data.fraction:g} % of the train split ({counted(len(rows), 'patch', 'patches')})"
    remarks = []
    if lacking := names_of_bits(could_have & ~has):
        remarks.append(f"{budget} cannot have every class; it has no patch with: {', '.join(lacking)}.")
    if len(rows) < batch:
        remarks.append(f"{budget} is less than a batch of {batch} (train.batch_size), so an epoch is one smaller step.")
    return remarks


def _labels_of(index: Index, rows: Rows) -> int:
    return int(np.bitwise_or.reduce(index.label_bits[rows]))


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
