"""Studies: variants trained with several seeds, scored, and compared with intervals over tiles.

What is finished with the same settings and data is not done again, so a study that was stopped does what is left when
it is started again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from seg.config.load import load_config
from seg.config.track import Notify, ignore
from seg.errors import RunError
from seg.metrics.bootstrap import LEVEL, Replicates, bootstrap, intervals, paired_test
from seg.metrics.evidence import Evidence, scored_on
from seg.metrics.scores import headline, score_evidence
from seg.pipeline.evaluate import evaluate
from seg.pipeline.sweep import SweepRun, is_scored, look, set_aside
from seg.pipeline.synthesise import synthesise
from seg.pipeline.train import train
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.bands import Sensor
from seg.report.formats import Column, Estimate, Table, Value
from seg.runs.folder import read_evidence
from seg.runs.plan import plan
from seg.store.open import read_info

SCORES = {"miou": "mIoU", "oa": "OA", "ap_macro": "AP macro", "f1_macro": "F1 macro"}
"""Scores of the tables, by name."""
_QUICK = 10
"""Resamples behind the tables of a single run, which a study does not show."""


@dataclass(frozen=True)
class Variant:
    """What is trained.

    Attributes:
        name: In tables.
        settings: ``section__key=value`` beyond those that all share.
        store: What it is trained on.
        test: What it is scored on, if that is another store.
        drop: The sensor that it is not shown when it is scored.
    """

    name: str
    settings: Mapping[str, Any]
    store: Path
    test: Path | None = None
    drop: Sensor | None = None

    @property
    def folder(self) -> str:
        """Name of its run folders but for the seed; the same for all that differ only in how they are scored."""
        choices = [f"{key.rpartition('__')[2]}_{value}" for key, value in sorted(self.settings.items())]
        return "-".join([self.store.name, *choices]).replace(",", "_").replace("/", "_")


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


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a variant came to.

    Attributes:
        name: Of the variant.
        scores: By name: mean over the seeds, standard deviation (None of one seed), interval over tiles of the mean.
        values: Score of each seed, by name.
        replicates: Resamples of each seed.
        patches: Number of patches that it was scored on.
        runs: Its run folders; none if it was not trained by seg.
    """

    name: str
    scores: Mapping[str, Estimate]
    values: Mapping[str, tuple[float, ...]]
    replicates: tuple[Replicates, ...]
    patches: int
    runs: tuple[Path, ...] = ()


def synthetic_store(work: Path, patches: int) -> Path:
    """A synthetic store for studies, made once and kept in their folder."""
    store = work / f"synthetic-{patches}"
    if not store.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{store.name}.", dir=work) as scratch:
            tree = Path(scratch) / "tree"
            synthesise(tree, patches)
            build_store(published_sources(tree), store)
    return store


def run_study(study: Study, variants: Sequence[Variant], notify: Notify = ignore) -> list[Outcome]:
    """Train and score every variant with every seed, as far as that was not done, and put the seeds together.

    Raises:
        RunError: If a run folder holds another run.
        SegError: One of its kinds, in one sentence, for anything wrong with settings or data.
    """
    outcomes = []
    for variant in variants:
        folders = tuple(study.work / f"{variant.folder}-seed{seed}" for seed in study.seeds)
        evidences = [
            _evidence(variant, folder, {**study.shared, **variant.settings, "train__seed": seed}, notify)
            for folder, seed in zip(folders, study.seeds, strict=True)
        ]
        outcomes.append(replace(outcome_of(variant.name, evidences), runs=folders))
    return outcomes


def _evidence(variant: Variant, folder: Path, settings: Mapping[str, Any], notify: Notify) -> Evidence:
    job = SweepRun(folder.name, folder, load_config(None, (), data__store=variant.store, **settings), ())
    state = look(job, None)
    if state.todo == "blocked":
        raise RunError(state.why)
    if state.todo == "restart":
        notify(f"What there was of {folder.name} is kept as {set_aside(folder).name}")
    if state.todo != "finished":
        notify(f"Training {folder.name}")
        resume = state.todo == "resume"
        train(plan(out=folder, resume=True) if resume else plan(out=folder, data__store=variant.store, **settings))
    test = variant.test or variant.store
    on = scored_on(read_info(test).fingerprint, read_info(variant.store).fingerprint)
    if not is_scored(job, "test", on):
        evaluate(folder, data=test, replicates=_QUICK)
    if variant.drop is not None:
        evaluate(folder, data=test, drop=variant.drop, replicates=_QUICK)
    return read_evidence(folder, "test", variant.drop, on)


def outcome_of(name: str, evidences: Sequence[Evidence]) -> Outcome:
    """Mean, deviation and interval over the evidence of some seeds, all of the same patches."""
    scores = [headline(score_evidence(evidence)) for evidence in evidences]
    replicates = tuple(bootstrap(evidence) for evidence in evidences)
    values = {key: tuple(one[key] for one in scores) for key in SCORES if key in scores[0]}
    estimates = {}
    for key, found in values.items():
        mean = np.mean([one.values[key] for one in replicates], axis=0)
        bounds = intervals(replace(replicates[0], values={key: mean}))[key]
        deviation = float(np.std(found, ddof=1)) if len(found) > 1 else None
        estimates[key] = Estimate(float(np.mean(found)), deviation, float(bounds.low), float(bounds.high))
    return Outcome(name, estimates, values, replicates, len(evidences[0]))


def difference(first: Outcome, second: Outcome, score: str) -> Estimate:
    """First minus second, with its interval: on the same resamples where both were scored on the same patches."""
    observed = float(np.mean(first.values[score]) - np.mean(second.values[score]))
    if first.replicates[0].patches == second.replicates[0].patches:
        test = paired_test(first.replicates, second.replicates, observed, score)
        return Estimate(observed, None, test.low, test.high)
    # Other patches: the two vary independently, and so do their resamples.
    means = [np.mean([one.values[score] for one in outcome.replicates], axis=0) for outcome in (first, second)]
    apart_R = means[0] - np.random.default_rng(0).permutation(means[1])
    low, high = np.nanquantile(apart_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(observed, None, float(low), float(high))


def scores_table(name: str, title: str, outcomes: Sequence[Outcome], notes: Sequence[str] = ()) -> Table:
    """A row per variant."""
    keys = [key for key in SCORES if any(key in outcome.scores for outcome in outcomes)]
    columns = (
        Column("variant", "Variant", "text"),
        Column("patches", "Patches", "count"),
        *(Column(key, SCORES[key], "percent") for key in keys),
    )
    rows = tuple((one.name, one.patches, *(one.scores.get(key) for key in keys)) for one in outcomes)
    brackets = (
        f"Mean over the seeds ± standard deviation, [{100 * LEVEL:g} % interval of the mean over "
        f"{outcomes[0].replicates[0].tiles} tiles]; with few tiles intervals are too narrow."
    )
    return Table(name, title, columns, rows, tuple(notes), brackets)


def differences_table(
    name: str, title: str, pairs: Sequence[tuple[Outcome, Outcome]], notes: Sequence[str] = ()
) -> Table:
    """A row per pair: the first minus the second."""
    keys = [key for key in SCORES if all(key in one.scores for pair in pairs for one in pair)]
    columns = (Column("pair", "Difference", "text"), *(Column(key, SCORES[key], "percent") for key in keys))
    rows: list[tuple[Value, ...]] = [
        (f"{a.name} - {b.name}", *(difference(a, b, key) for key in keys)) for a, b in pairs
    ]
    return Table(
        name, title, columns, tuple(rows), tuple(notes), f"Brackets hold {100 * LEVEL:g} % intervals over tiles."
    )
