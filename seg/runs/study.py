"""Studies: variants, each trained with several seeds and scored, as runs of a sweep; and what they came to."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seg.config.load import load_config
from seg.reben.bands import Sensor
from seg.reben.patch import Split
from seg.report.outcomes import Outcome, outcome_of
from seg.runs.folder import read_evidence
from seg.runs.plan import with_whole_paths
from seg.runs.sweep import Scoring, SweepRun
from seg.store.open import read_info

_NO_NAME = re.compile(r"[^\w.+*=-]+")
"""What settings are written with and folders are not named with."""
_LONGEST = 150
"""Letters of a folder's name: file systems take 255, of which locks and unfinished folders need some."""


@dataclass(frozen=True)
class Variant:
    """What is trained.

    Attributes:
        name: In tables.
        settings: ``section__key=value`` beyond those that all share.
        store: What it is trained on.
        test: What it is scored on, if that is another store.
        drop: The sensor that it is not shown when it is scored.
        split: The split that it is scored on.
    """

    name: str
    settings: Mapping[str, Any]
    store: Path
    test: Path | None = None
    drop: Sensor | None = None
    split: Split = "test"

    @property
    def scoring(self) -> Scoring:
        """What it is scored on."""
        return Scoring(self.split, None if self.test == self.store else self.test, self.drop)

    @property
    def folder(self) -> str:
        """Name of its run folders but for the seed; the same for all that differ only in how they are scored."""
        choices = [f"{key.rpartition('__')[2]}_{value}" for key, value in sorted(self.settings.items())]
        name = _NO_NAME.sub("_", "-".join([self.store.name, *choices]))
        if len(name) <= _LONGEST:
            return name
        return f"{name[:_LONGEST]}-{hashlib.blake2b(name.encode(), digest_size=6).hexdigest()}"


@dataclass(frozen=True)
class Study:
    """How variants are trained.

    Attributes:
        work: Folder for the run folders.
        seeds: Seeds of the training.
        shared: ``section__key=value`` of all variants.
    """

    work: Path
    seeds: tuple[int, ...]
    shared: Mapping[str, Any]

    def folders(self, variant: Variant) -> tuple[Path, ...]:
        """The run folders of a variant, by seed."""
        return tuple(self.work / f"{variant.folder}-seed{seed}" for seed in self.seeds)

    def runs(self, variants: Sequence[Variant]) -> list[SweepRun]:
        """A run for each variant and seed; variants that differ only in how they are scored share theirs.

        Raises:
            WrongUseError: If settings are wrong.
        """
        runs: dict[Path, SweepRun] = {}
        for variant in variants:
            for folder, seed in zip(self.folders(variant), self.seeds, strict=True):
                settings = {**self.shared, **variant.settings, "train__seed": seed}
                words = [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
                config = with_whole_paths(load_config(None, (), data__store=variant.store, **settings))
                options = tuple(word for setting in words for word in ("--set", setting))
                scorings = runs[folder].scorings if folder in runs else ()
                runs[folder] = SweepRun(folder, config, options, tuple(dict.fromkeys((*scorings, variant.scoring))))
        return list(runs.values())

    def outcomes(self, variants: Sequence[Variant]) -> list[Outcome]:
        """What each variant came to, the seeds put together.

        Raises:
            RunError, EvidenceError: If a run was not trained and scored.
        """
        outcomes = []
        for variant in variants:
            scope = variant.scoring.scope(read_info(variant.store).fingerprint)
            folders = self.folders(variant)
            evidences = [read_evidence(folder, scope) for folder in folders]
            outcomes.append(replace(outcome_of(variant.name, evidences), runs=folders))
        return outcomes
