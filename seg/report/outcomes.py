"""What variants of a study came to: means over seeds, differences of variants, and tables of both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg.metrics.evidence import Evidence
from seg.metrics.jackknife import Replicates, intervals, jackknife, mean_of, paired_test, unpaired_test
from seg.metrics.scores import headline, score_evidence
from seg.report.coverage import brackets_note
from seg.report.formats import Column, Estimate, Table, Value

SCORES = {"miou": "mIoU", "oa": "OA", "ap_macro": "AP macro", "f1_macro": "F1 macro"}
"""Scores of the tables, by name."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a variant came to.

    Attributes:
        name: Of the variant.
        scores: By name: mean over the seeds, standard deviation (None of one seed), interval over tiles of the mean.
        values: Score of each seed, by name.
        replicates: Scores of each seed without each tile.
        patches: Number of patches that it was scored on.
        runs: Its run folders; none if it was not trained by seg.
    """

    name: str
    scores: Mapping[str, Estimate]
    values: Mapping[str, tuple[float, ...]]
    replicates: tuple[Replicates, ...]
    patches: int
    runs: tuple[Path, ...] = ()


def outcome_of(name: str, evidences: Sequence[Evidence]) -> Outcome:
    """Mean, deviation and interval over the evidence of some seeds, all of the same patches."""
    scores = [headline(score_evidence(evidence)) for evidence in evidences]
    replicates = tuple(jackknife(evidence) for evidence in evidences)
    bounds = intervals(mean_of(replicates))
    values = {key: tuple(one[key] for one in scores) for key in SCORES if key in scores[0]}
    estimates = {}
    for key, found in values.items():
        deviation = float(np.std(found, ddof=1)) if len(found) > 1 else None
        estimates[key] = Estimate(float(np.mean(found)), deviation, float(bounds[key].low), float(bounds[key].high))
    return Outcome(name, estimates, values, replicates, len(evidences[0]))


def difference(first: Outcome, second: Outcome, score: str) -> Estimate:
    """First minus second, with its interval: paired by tile where both were scored on the same patches."""
    same = first.replicates[0].patches == second.replicates[0].patches
    test = (paired_test if same else unpaired_test)(first.replicates, second.replicates, score)
    return Estimate(test.difference, None, test.low, test.high)


def scores_table(name: str, title: str, outcomes: Sequence[Outcome], notes: Sequence[str] = ()) -> Table:
    """A row per variant."""
    keys = [key for key in SCORES if any(key in outcome.scores for outcome in outcomes)]
    columns = (
        Column("variant", "Variant", "text"),
        Column("patches", "Patches", "count"),
        *(Column(key, SCORES[key], "percent") for key in keys),
    )
    rows = tuple((one.name, one.patches, *(one.scores.get(key) for key in keys)) for one in outcomes)
    means = "Scores are means over the seeds ± their standard deviation."
    brackets = brackets_note(outcomes[0].replicates[0].tiles, "intervals of the mean")
    return Table(name, title, columns, rows, (*notes, means), brackets)


def differences_table(
    name: str, title: str, pairs: Sequence[tuple[Outcome, Outcome]], notes: Sequence[str] = ()
) -> Table:
    """A row per pair: the first minus the second."""
    keys = [key for key in SCORES if all(key in one.scores for pair in pairs for one in pair)]
    columns = (Column("pair", "Difference", "text"), *(Column(key, SCORES[key], "percent") for key in keys))
    rows: list[tuple[Value, ...]] = [
        (f"{a.name} - {b.name}", *(difference(a, b, key) for key in keys)) for a, b in pairs
    ]
    tiles = min(outcome.replicates[0].tiles for pair in pairs for outcome in pair)
    return Table(name, title, columns, tuple(rows), tuple(notes), brackets_note(tiles))
