"""Which patches of an index the configuration asks for."""

from collections.abc import Sequence

import numpy as np

from seg.config.sections import DataConfig
from seg.errors import EmptySelectionError
from seg.reben.classes import class_index
from seg.reben.patch import SPLITS, Split
from seg.store.budget import part_of
from seg.store.index import Index, Rows


def select(index: Index, data: DataConfig, split: Split | None = None) -> Rows:
    """Rows of the patches that the configuration asks for, in the order of the index.

    Args:
        index: The patches to choose from.
        data: Countries, months, classes and flags to keep; of the train split, the share.
        split: The split to keep; None keeps all.

    Raises:
        EmptySelectionError: If no patch is left; names the condition that no patch met.
    """
    only, without = _country_codes(index, data.countries), _country_codes(index, data.except_countries)
    if split is not None and not (index.splits == SPLITS.index(split)).any():
        filled = ", ".join(f"{name} {int((index.splits == i).sum())}" for i, name in enumerate(SPLITS))
        raise EmptySelectionError(
            f"split {split} is empty (patches: {filled}); split a small set anew with 'seg data build --resplit tile'"
        )
    wanted = sum(1 << class_index(name) for name in data.classes)
    codes = index.countries.indices.to_numpy()
    conditions = {
        f"split {split}": split is None or index.splits == SPLITS.index(split),
        "data.flagged=false": data.flagged or ~(index.snow | index.cloud),
        f"countries={','.join(data.countries)}": not only or np.isin(codes, only),
        f"except_countries={','.join(data.except_countries)}": not without or ~np.isin(codes, without),
        f"data.months={','.join(map(str, data.months))}": not data.months or np.isin(index.months, data.months),
        f"data.classes={','.join(data.classes)}": not wanted or (index.label_bits & wanted) != 0,
    }
    keep = np.ones(len(index), dtype=np.bool_)
    met = []
    for name, condition in conditions.items():
        keep &= condition
        if condition is not True:
            met.append(name)
        if not keep.any():
            raise EmptySelectionError(f"no patch is left after {' and '.join(met) or 'reading an empty index'}")
    rows = np.flatnonzero(keep)
    return part_of(index, rows, data.fraction, data.fraction_seed) if split == "train" else rows


def known_countries(index: Index, names: Sequence[str]) -> tuple[str, ...]:
    """Countries as the index spells them, in alphabetical order, each once.

    Raises:
        EmptySelectionError: If the index has no patch of one.
    """
    known = index.countries.dictionary.to_pylist()
    return tuple(sorted({known[code] for code in _country_codes(index, names)}))


def _country_codes(index: Index, names: Sequence[str]) -> list[int]:
    known = index.countries.dictionary.to_pylist()
    folded = [country.casefold() for country in known]
    if unknown := [name for name in names if name.casefold() not in folded]:
        raise EmptySelectionError(
            f"there are no patches from '{unknown[0]}'; countries here: {', '.join(sorted(known))}"
        )
    return [folded.index(name.casefold()) for name in names]
