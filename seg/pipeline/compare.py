"""Compare runs: from their evidence to one table, paired tests, and published results beside it."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np

from seg.config.paths import AnyPath, AnyPaths, path_list, path_or_none
from seg.config.scope import Scope
from seg.config.track import Notify, Track, ignore, silent
from seg.errors import RunError
from seg.metrics.holm import holm
from seg.metrics.jackknife import intervals, mean_of, paired_test
from seg.reben.patch import Split
from seg.report.compare_tables import (
    COMPARISON_FILES,
    SCORES,
    TESTED,
    ComparedConfiguration,
    ComparedPair,
    ComparedRun,
    Comparison,
    comparison_tables,
    write_comparison,
)
from seg.report.formats import Estimate, Table
from seg.runs.cost import device_of
from seg.runs.entry import Entry, read_entry
from seg.runs.folder import CONFIG_FILE, check_evidence, read_evidence, section
from seg.runs.names import configuration_names, short_names
from seg.runs.scopes import named_scope
from seg.runs.scored import ScoredRun, check_no_copy, check_same_data, check_same_patches, score_run
from seg.store.besides import tell_besides
from seg.store.targets import claimed_folder, require_own_folder

MOST_PAIRED = 6
"""Up to so many configurations are tested each against each; of more, the best against the others."""


@dataclass(frozen=True)
class CompareResult:
    """Outcome of a comparison.

    Attributes:
        comparison: The runs side by side.
        tables: The same as tables.
    """

    comparison: Comparison
    tables: tuple[Table, ...]


def compare(
    runs: AnyPaths,
    *,
    split: Split = "test",
    on: str = "",
    countries: str | None = None,
    mmu: float = 0.0,
    sort: str = "miou",
    out: AnyPath | None = None,
    allow_different_data: bool = False,
    anchors: bool = True,
    track: Track = silent,
    notify: Notify = ignore,
) -> CompareResult:
    """Put runs side by side, from their evidence alone: no GPU, no images, no weights.

    Runs whose settings differ in nothing but the seed, or in where and on what they were computed, are one
    configuration.

    Args:
        runs: Run folders that `train` and `evaluate` have written, and folders of `score`.
        split: The split that they were scored on.
        on: The data that they were scored on, see `seg.config.scope.scored_on`; empty: those of their training.
        countries: What the evaluations were restricted to, see `seg.runs.scopes.countries_of`.
        mmu: The minimum mapping unit that the predicted maps were brought to, hectares; 0: none.
        sort: Score that the configurations are sorted by.
        out: Folder for ``compare.md``, ``.tex``, ``.csv``, ``.json``; None writes nothing.
        allow_different_data: Show runs of different data or patches side by side, tested on patches that are the same.
        anchors: Show published results too.
        track, notify: Are told of progress, and what the folder holds besides.

    Raises:
        SegError: One of its kinds, in one sentence, if runs cannot be compared.
    """
    runs, out = path_list(runs), path_or_none(out)
    if sort not in SCORES:
        raise RunError(f"runs cannot be sorted by '{sort}'; choose one of {', '.join(SCORES)}", wrong_use=True)
    if out is not None:
        # Of runs nothing is read that lies in a store.
        from seg.store.open import INFO_FILE

        require_own_folder(out, "comparison", CONFIG_FILE, INFO_FILE)
    with nullcontext() if out is None else claimed_folder(out, COMPARISON_FILES) as keeper:
        tell_besides(keeper, notify)
        entries = _read_entries(runs)
        names = short_names([entry.folder for entry in entries])
        # Whatever can be known at once is checked before the first evidence is read, which may take minutes.
        # Some may have been trained on the data that others were only scored on.
        scopes = [named_scope(entry, split, on=on, countries=countries, unit=mmu) for entry in entries]
        origins = [check_evidence(entry.folder, scope) for entry, scope in zip(entries, scopes, strict=True)]
        if not allow_different_data:
            check_same_data(names, entries, origins)
        scored: list[ScoredRun] = []
        for run, name, scope in zip(entries, names, scopes, strict=True):
            evidence = read_evidence(run.folder, scope)
            if scored and not allow_different_data:
                check_same_patches(scored[0], name, evidence)
            scored.append(score_run(run, name, evidence, track))
            del evidence  # before the next one is read
            check_no_copy(scored)
        groups = _sorted_groups(scored, sort)
        comparison = Comparison(
            scope=_together(scopes),
            synthetic=reduce(or_, (run.synthetic for run in scored)),
            official=all(run.official for run in scored),
            sort=sort,
            tiles=tuple(sorted({run.replicates.tiles for run in scored})),
            configurations=tuple(_configuration(name, group) for name, group in groups),
            pairs=_pairs(groups),
            remarks=_remarks(scored),
        )
        tables = comparison_tables(comparison, anchors)
        if out is not None:
            write_comparison(out, comparison, tables)
        return CompareResult(comparison, tables)


def _read_entries(runs: Sequence[Path]) -> list[Entry]:
    if not runs:
        raise RunError("there is no run to compare; name run folders of 'seg train'", wrong_use=True)
    entries = [read_entry(run) for run in runs]
    places = [entry.folder.resolve() for entry in entries]
    for position, place in enumerate(places):
        if place in places[:position]:
            raise RunError(f"{runs[position]} is named twice; name every run once", wrong_use=True)
    return entries


def _together(scopes: Sequence[Scope]) -> Scope:
    """What stands over all evaluations: other data if any is of such, and the countries of any."""
    countries = sorted({name for scope in scopes for name in scope.countries})
    return replace(scopes[0], on=max(scope.on for scope in scopes), countries=tuple(countries))


_Group = tuple[str, list[ScoredRun]]


def _sorted_groups(scored: list[ScoredRun], sort: str) -> list[_Group]:
    """The runs by configuration, with its name; the best configuration first, undefined ones last."""
    by_experiment: dict[tuple[str, ...], list[ScoredRun]] = {}
    for run in scored:
        by_experiment.setdefault((*run.experiment.values(), run.subject), []).append(run)
    for key, group in list(by_experiment.items()):
        # A seed that was trained twice is no second seed, and which of the two others go with is as anybody likes: each
        # run is a configuration of its own then.
        if len({run.seed for run in group}) < len(group):
            del by_experiment[key]
            by_experiment |= {(*key, run.name): [run] for run in group}
    groups = [sorted(group, key=lambda run: (run.seed is None, run.seed or 0)) for group in by_experiment.values()]
    first = [group[0] for group in groups]
    names = configuration_names(
        [run.entry for run in first], [run.experiment for run in first], [run.name for run in first]
    )

    def order(group: _Group) -> tuple[bool, float]:
        mean = _mean(group[1], sort)
        return math.isnan(mean), -mean

    return sorted(zip(names, groups, strict=True), key=order)


def _mean(group: list[ScoredRun], key: str) -> float:
    return float(np.mean([run.scores.get(key, math.nan) for run in group]))


def _configuration(name: str, group: list[ScoredRun]) -> ComparedConfiguration:
    keys = [key for key in group[0].scores if all(key in run.scores for run in group)]
    bounds = intervals(mean_of([run.replicates for run in group]))
    scores = {}
    for key in keys:
        values = [run.scores[key] for run in group]
        sd = float(np.std(values, ddof=1)) if len(group) > 1 else math.nan
        scores[key] = Estimate(_mean(group, key), sd, float(bounds[key].low), float(bounds[key].high))
    runs = tuple(_compared_run(name, run) for run in group)
    return ComparedConfiguration(name, runs, scores, reduce(or_, (run.synthetic for run in group)))


def _compared_run(configuration: str, run: ScoredRun) -> ComparedRun:
    bounds = intervals(run.replicates)
    return ComparedRun(
        name=run.name,
        configuration=configuration,
        seed=run.seed,
        scores={
            key: Estimate(value, None, float(bounds[key].low), float(bounds[key].high))
            for key, value in run.scores.items()
        },
        parameters=_known(run.entry.record.get("parameters")),
        training_speed=_known(section(run.entry.record, "throughput").get("patches_per_second")),
        evaluation_speed=_known(section(run.evaluation, "throughput").get("patches_per_second")),
        cost=section(run.entry.record, "cost"),
    )


def _known(value: Any) -> float | None:
    """A number of a record; None for anything else that stands there."""
    return value if isinstance(value, int | float) else None


def _pairs(groups: list[_Group]) -> tuple[ComparedPair, ...]:
    """Paired tests of the configurations that were scored on the same patches."""
    all_pairs = list(combinations(groups, 2))
    chosen = all_pairs if len(groups) <= MOST_PAIRED else all_pairs[: len(groups) - 1]
    chosen = [pair for pair in chosen if pair[0][1][0].subject == pair[1][1][0].subject]
    tests: dict[str, list[tuple[Estimate, float] | None]] = {}
    for key in TESTED:
        tested = [_test(first, second, key) for (_, first), (_, second) in chosen]
        adjusted = holm([math.nan if test is None else test[1] for test in tested])
        tests[key] = [test and (test[0], p) for test, p in zip(tested, adjusted, strict=True)]
    return tuple(
        ComparedPair(
            first,
            second,
            {key: test[0] for key in TESTED if (test := tests[key][position])},
            {key: test[1] for key in TESTED if (test := tests[key][position])},
        )
        for position, ((first, _), (second, _)) in enumerate(chosen)
    )


def _test(first: list[ScoredRun], second: list[ScoredRun], key: str) -> tuple[Estimate, float] | None:
    """Difference in a score and its p-value; None if the models of one side do not have the score."""
    if any(key not in run.scores for run in (*first, *second)):
        return None
    test = paired_test([run.replicates for run in first], [run.replicates for run in second], key)
    return Estimate(test.difference, None, test.low, test.high), test.p_value


def _remarks(scored: list[ScoredRun]) -> tuple[str, ...]:
    """What a reader must know before believing the comparison."""
    remarks = []
    if len({run.entry.trained_on for run in scored} - {None}) > 1:
        remarks.append("The runs were trained on different data.")
    if len({run.subject for run in scored}) > 1:
        remarks.append(
            "The runs were scored on different patches or references, so their scores do not compare; such runs were "
            "not tested against each other."
        )
    remarks += _doubts(scored)
    seen: dict[str, str] = {}
    for run in scored:
        key = repr((run.experiment, run.seed))
        if key in seen:
            remarks.append(
                f"{seen[key]} and {run.name} have the same seed and settings but other weights; runs of these settings "
                "are kept apart, as a mean over seeds takes each seed once."
            )
        seen[key] = run.name
    for what, records in (
        ("Training", [run.entry.record for run in scored if run.entry.trained_on is not None]),
        ("Evaluation", [run.evaluation for run in scored if run.evaluation]),
    ):
        machines = sorted({device_of(record) for record in records})
        if len(machines) > 1:
            remarks.append(f"{what} throughput was measured on different machines: {'; '.join(machines)}.")
    return tuple(remarks)


def _doubts(scored: list[ScoredRun]) -> Iterator[str]:
    """What is known against single runs."""
    for run in scored:
        if run.entry.status != "finished":
            yield f"The training of {run.name} did not finish ({run.entry.status})."
        if run.entry.partial:
            yield f"{run.name} is PARTIAL: patches of the split were left out, so it stands in no ranking."
    if elsewhere := [run.name for run in scored if run.entry.trained_on is None]:
        yield f"Made elsewhere, so what it learned from is not recorded: {', '.join(elsewhere)}."
