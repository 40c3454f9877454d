"""What is to be scored: predictions and the patches of a split, after all that can be known at once was found right."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg.config.sections import DataConfig
from seg.config.track import Notify
from seg.config.wording import counted
from seg.errors import StoreError, WrongUseError
from seg.metrics.evidence import Origin
from seg.predictions.matching import Matched, match
from seg.predictions.numbering import CHOICES, Numbering, read_numbering
from seg.predictions.opened import KINDS, open_predictions
from seg.predictions.pixels import Source
from seg.predictions.scene_table import SceneTable, read_scene_table
from seg.reben.patch import Split
from seg.store.index import Rows
from seg.store.open import Store
from seg.store.selection import select

_LONGEST_NAME = 80


@dataclass(frozen=True)
class Given:
    """What somebody hands in.

    Attributes:
        name: What the predictions are called.
        seed: Of the training that they come from; None: not told.
        predictions: Of pixels; None: there are none.
        classes: What their numbers mean.
        scene: Table of scene labels; None: there is none.
        partial: Whether patches may be missing.
    """

    name: str
    seed: int | None
    predictions: Path | None
    classes: str | None
    scene: Path | None
    partial: bool


@dataclass(frozen=True)
class Request:
    """What is scored.

    Attributes:
        given: What somebody hands in.
        store: The data.
        rows: Rows of the patches that are scored, in the order in which they are read.
        source: What was predicted of their pixels, in that order; None: nothing.
        numbering: What the numbers mean.
        table: Scene labels; None: there are none.
        table_rows: Row of the table of each patch id; empty without one.
        origin: What is evaluated.
    """

    given: Given
    store: Store
    rows: Rows
    source: Source | None
    numbering: Numbering | None
    table: SceneTable | None
    table_rows: dict[str, int]
    origin: Origin


def check_given(given: Given) -> None:
    """Refuse what cannot be asked for, whatever the data are.

    Raises:
        WrongUseError: Saying what to ask for.
    """
    name = given.name
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise WrongUseError(
            f"--name is what tables call the predictions: give one line of 1 to {_LONGEST_NAME} letters"
        )
    if given.seed is not None and given.seed < 0:
        raise WrongUseError(f"--seed {given.seed} is no seed; give a whole number from 0 on, or leave it out")
    if given.predictions is None and given.scene is None:
        raise WrongUseError(f"there is nothing to score; give {KINDS}, or a table of scene labels with --scene")
    if given.predictions is not None and given.classes is None:
        raise WrongUseError(f"say what the numbers of the predictions mean, with --classes: {CHOICES}")
    if given.predictions is None and given.classes is not None:
        raise WrongUseError("--classes is for the numbers of class maps, and a table names its classes; leave it out")


def requested(given: Given, store: Store, split: Split, notify: Notify) -> Request:
    """Look at the predictions and match them with the patches of a split; nothing is counted yet.

    Raises:
        SegError: One of its kinds, for anything that is wrong with either.
    """
    numbering = None if given.classes is None else read_numbering(given.classes)
    selected = select(store.index, DataConfig(), split)
    rows = selected[store.index.has_map[selected]]
    if not len(rows):
        raise StoreError(f"no patch of the {split} split has a reference map to be scored by; name another store")
    if len(rows) < len(selected):
        notify(f"{counted(len(selected) - len(rows), 'patch has', 'patches have')} no reference map and do not count.")
    source: Source | None = None
    table: SceneTable | None = None
    matches: list[Matched] = []
    if given.predictions is not None:
        assert numbering is not None, "was asked for"
        source = open_predictions(given.predictions, numbering, store.index, rows)
        what = f"{given.predictions} ({source.what})"
        matches.append(match(what, source.names, store.index, rows, split, partial=given.partial))
    if given.scene is not None:
        table = read_scene_table(given.scene)
        matches.append(match(str(given.scene), table.names, store.index, rows, split, partial=given.partial))
    if spared := max(one.spared for one in matches):
        notify(f"{counted(spared, 'patch', 'patches')} of the split do not count (flagged, or without map).")
    # Where some are missing, those count of which all was predicted that was predicted of any.
    shared = matches[0].rows[np.isin(matches[0].rows, matches[-1].rows)]
    if source is not None:
        name_of = dict(zip(matches[0].rows.tolist(), matches[0].names, strict=True))
        source = source.only([name_of[row] for row in shared.tolist()])
    origin = Origin(
        split,
        store.info.fingerprint,
        store.info.synthetic,
        # Nobody has recorded what these were learned from; of simulated images they tell as little whatever it was.
        synthetic_model=None if store.info.synthetic else False,
        left_out=len(rows) - len(shared),
        masks=source is not None,
        ranked=table is None or table.ranked,
    )
    table_rows = {} if table is None else _table_rows(store, table, matches[-1])
    return Request(given, store, shared, source, numbering, table, table_rows, origin)


def _table_rows(store: Store, table: SceneTable, matched: Matched) -> dict[str, int]:
    places = {name: row for row, name in enumerate(table.names)}
    ids = store.index.patch_ids.take(matched.rows).to_pylist()
    return {patch_id: places[name] for patch_id, name in zip(ids, matched.names, strict=True)}
