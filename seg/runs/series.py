"""Series of runs: the same configuration with ever more labels, or with each country left out and then scored."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from seg.config.sections import Config
from seg.config.track import Notify, Track
from seg.errors import WrongUseError
from seg.reben.patch import Split
from seg.runs.data import budget_remarks, find_store, split_rows
from seg.store.index import Rows
from seg.store.open import Store
from seg.store.selection import select

Series = Literal["budgets", "countries"]
Part = tuple[tuple[str, ...], tuple[str, ...]]
"""What the name of a run has more than those of others of its configuration, and its settings ``section.key=value``."""
BUDGETS = (0.01, 0.1, 1.0)
"""Shares of the train split that the protocol asks for."""


def check_asked(series: Series | None, asked: Iterable[str]) -> None:
    """Refuse settings that a series has of its own.

    Args:
        series: The series.
        asked: Settings of the runs, ``section.key=value``.

    Raises:
        WrongUseError: Naming one.
    """
    own = {"budgets": "data.fraction", "countries": "eval.countries"}.get(series or "")
    if own and any(text.partition("=")[0].strip() == own for text in asked):
        raise WrongUseError(f"--protocol {series} gives each run a {own} of its own; leave that setting out")


class Parts:
    """What the runs of a series learn from and are scored on; every store is opened once.

    Args:
        track: Progress of making the demo store.
        notify: Is told what label budgets are too small for, once of each.
    """

    def __init__(self, track: Track, notify: Notify) -> None:
        self._track, self._notify = track, notify
        self._stores: dict[tuple[Path | None, Path | None], Store] = {}
        self._said: set[str] = set()

    def of(self, series: Series | None, configured: Callable[[], Config]) -> Iterator[Part]:
        """The runs of a configuration.

        Args:
            series: The series; None: the configuration alone.
            configured: Gives the configuration.

        Raises:
            WrongUseError: If no country can be left out.
        """
        if series is None:
            yield (), ()
        elif series == "budgets":
            for budget in BUDGETS:
                # All labels are the same whichever part a seed would choose.
                whole = ("data.fraction_seed=0",) if budget == 1 else ()
                yield (f"fraction_{budget:g}",), (f"data.fraction={budget:g}", *whole)
        else:
            # That of all countries is what the others are compared with.
            yield ("all_countries",), ()
            config = configured()
            for country in self._to_leave_out(config):
                out = json.dumps([*config.data.except_countries, country], ensure_ascii=False)
                scored = json.dumps([country], ensure_ascii=False)
                label = re.sub(r"\W+", "_", country)
                yield (f"without_{label}",), (f"data.except_countries={out}", f"eval.countries={scored}")

    def check(self, config: Config, split: Split | None) -> None:
        """Make sure of the patches of a run that learns from a part, and say what the part is too small for.

        Raises:
            EmptySelectionError: If there are none to train on, to validate or to score.
        """
        data = config.data
        if data.fraction >= 1 and not data.except_countries and not config.eval.countries:
            return
        store = self._store(config)
        for learned_from in ("train", "validation"):
            split_rows(store, data, learned_from)
        if split:
            split_rows(store, config.scored_data, split)
        for remark in budget_remarks(store, config):
            if remark not in self._said:
                self._notify(remark)
            self._said.add(remark)

    def _to_leave_out(self, config: Config) -> list[str]:
        """Countries that have patches to learn from and patches to score."""
        index = self._store(config).index
        whole = config.data.model_copy(update={"fraction": 1.0, "fraction_seed": 0})

        def countries(rows: Rows) -> set[str]:
            codes = set(index.countries.indices.to_numpy()[rows].tolist())
            return {name for code, name in enumerate(index.countries.dictionary.to_pylist()) if code in codes}

        both = countries(select(index, whole, "train")) & countries(select(index, config.scored_data, "test"))
        if len(both) < 2:
            raise WrongUseError(
                f"the patches are from {' and '.join(both) or 'no country that has some in train and test'}, so no "
                "country can be left out; name a store of several with --data"
            )
        return sorted(both)

    def _store(self, config: Config) -> Store:
        key = (config.data.store, config.data.metadata)
        if key not in self._stores:
            self._stores[key] = find_store(config.data, self._track, self._notify)
        return self._stores[key]
