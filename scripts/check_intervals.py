"""How often 95 % intervals of scores, and of differences of two models, hold the truth.

    python scripts/check_intervals.py [--data-sets 1000] [--out results/intervals]

Splits are drawn whose truth is known. A split is some tiles, drawn from those of reBEN's official test split with what
each of them holds: `results/intervals/tiles.csv` has the patches of each tile and of each class in it, so that classes
are as rare, and tiles as unequal, as they are (``--metadata metadata.parquet`` counts them anew). Every model has its
own accuracy in every tile and class; what is drawn for a tile belongs to all of its patches, which are hence alike, and
a part of it is common to the models, as a difficult tile is difficult for all. The truth of a class is its score over
very many tiles, and that of a mean over classes the mean over the classes that the split has.

Confusion counts are made by tile and class. Scene scores fall into 66 bins, which are thresholds: equal scores share
one, so that average precision is exact and a resample is a sum of histograms.

Writes ``intervals.md`` and ``intervals.json``.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.csv
import pyarrow.parquet as pq
from scipy.special import expit, ndtr, ndtri, stdtrit

from seg.metrics.jackknife import LEVEL, MEANS, METHOD, Replicates, intervals, paired_test
from seg.metrics.leave_out import effective_number
from seg.metrics.ratio import means_of_defined, ratio
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.report.formats import FORMATS, Column, Table, Value
from seg.report.record import json_text
from seg.store.atomic import write_text
from seg.store.until_exit import claim_until_exit

Floats = npt.NDArray[np.float64]
K = NUM_CLASSES
RESULTS = Path(__file__).resolve().parents[1] / "results" / "intervals"
TILES = "tiles.csv"
SCORES = {"oa": "OA", "miou": "mIoU", "ap_macro": "AP macro", "f1_macro": "F1 macro"}
SUBJECTS = {
    "score": "of one model",
    "equal": "difference of equal models",
    "better": "difference of unequal models",
}
FEW, MANY = (2, 3, 5, 8), (14, 25, 54)
RESAMPLES = 250
SHIFTS = (0.0, 0.0, -0.12)
"""Logits by which the three models are better: the first two are equal, the third is worse by two points of mIoU."""
COMMON_TILE, COMMON_CLASS, OWN = 0.3, 0.5, 0.35
"""Standard deviations of logits: of a tile, of a class in a tile, both for all models, and of each model there."""
EDGES = np.linspace(-7, 7, 65)
"""Logits between the bins of scene scores; the middle one is the threshold of 0.5."""


@dataclass(frozen=True)
class Population:
    """What tiles are drawn from, and what models do in them.

    Attributes:
        patches_T, positives_TK: Patches of each tile, and those that have each class.
        recall_K, area_K: Mean logit of the accuracy of a class; share of a patch that it covers.
        taken_KK: What errors of a class are taken for, rows sum to 1.
        positive_K, negative_K: Mean logit of the scene scores of patches with and without a class.
    """

    patches_T: npt.NDArray[np.int64]
    positives_TK: npt.NDArray[np.int64]
    recall_K: Floats
    area_K: Floats
    taken_KK: Floats
    positive_K: Floats
    negative_K: Floats


@dataclass(frozen=True)
class Sums:
    """What a model did in each tile.

    Attributes:
        hits_TK, areas_TK, predicted_TK: Right, reference and predicted pixels by class.
        positives_TKB, patches_TKB: Patches with each class, and all patches, by bin of their scene score.
    """

    hits_TK: Floats
    areas_TK: Floats
    predicted_TK: Floats
    positives_TKB: Floats
    patches_TKB: Floats


@cache
def population(tiles: Path, even: bool = False) -> Population:
    """Tiles of the official test split; `even`: of as many patches each, in which each class is as frequent."""
    table = pyarrow.csv.read_csv(tiles)
    patches_T = table["patches"].to_numpy()
    positives_TK = np.stack([table[name].to_numpy() for name in CLASS_NAMES], axis=1)
    rng = np.random.default_rng(7)
    share_K = positives_TK.sum(0) / patches_T.sum()
    recall_K = np.clip(1.1 + 0.35 * np.log(share_K / share_K.mean()) + 0.3 * rng.standard_normal(K), -1.2, 2.5)
    taken_KK = np.sqrt(share_K) * np.exp(0.8 * rng.standard_normal((K, K)))
    np.fill_diagonal(taken_KK, 0)
    if even:
        positives_TK = np.rint(positives_TK / patches_T[:, None] * patches_T.mean()).astype(np.int64)
        patches_T = np.full(len(patches_T), int(patches_T.mean()) + 1)
    return Population(
        patches_T,
        positives_TK,
        recall_K,
        area_K=0.2 + 0.5 * rng.random(K),
        taken_KK=taken_KK / taken_KK.sum(1, keepdims=True),
        positive_K=0.2 + 0.5 * recall_K,
        negative_K=-1.6 + 0.25 * np.log(share_K),
    )


def draw(of: Population, rng: np.random.Generator, tiles: int) -> list[Sums]:
    """A split of some tiles, as each of the models does on it."""
    at = rng.integers(0, len(of.patches_T), tiles)
    patches_T1, shape = of.patches_T[at, None], (tiles, K)
    positives_TK = rng.binomial(patches_T1, of.positives_TK[at] / patches_T1)
    areas_TK = np.rint(14400 * positives_TK * of.area_K * rng.gamma(4, 1 / 4, shape))
    common_TK, negative_TK = (
        COMMON_TILE * rng.standard_normal((tiles, 1)) + COMMON_CLASS * rng.standard_normal(shape) for _ in range(2)
    )
    models = []
    for shift in SHIFTS:
        hits_TK = np.rint(areas_TK * expit(of.recall_K + shift + common_TK + OWN * rng.standard_normal(shape)))
        taken_TKK = of.taken_KK * np.exp(0.5 * rng.standard_normal((tiles, 1, K)))
        taken_TKK /= taken_TKK.sum(axis=2, keepdims=True)
        predicted_TK = hits_TK + np.rint(np.einsum("tc,tcd->td", areas_TK - hits_TK, taken_TKK))
        positive_TK = of.positive_K + 0.6 * shift + 0.7 * common_TK + 0.7 * OWN * rng.standard_normal(shape)
        others_TK = of.negative_K + 0.7 * negative_TK + 0.7 * OWN * rng.standard_normal(shape)
        positives_TKB = _binned(rng, positives_TK, positive_TK)
        patches_TKB = positives_TKB + _binned(rng, patches_T1 - positives_TK, others_TK)
        models.append(Sums(hits_TK, areas_TK, predicted_TK, positives_TKB, patches_TKB))
    return models


def _binned(rng: np.random.Generator, number_TK: npt.NDArray[np.int64], mean_TK: Floats) -> Floats:
    """How many of so many scores, normal in their logits, fall into each bin."""
    chances = np.diff(ndtr((EDGES - mean_TK[..., None]) / 1.3), axis=-1, prepend=0, append=1)
    return rng.multinomial(number_TK, chances).astype(np.float64)


def scores_of(weights_RT: Floats, sums: Sums) -> dict[str, Floats]:
    """Scores of splits that take each tile so often, by the names of seg: (R,), or (R, K) per class."""
    hits, areas, predicted = (weights_RT @ one for one in (sums.hits_TK, sums.areas_TK, sums.predicted_TK))
    bins = sums.positives_TKB.shape[2]
    # From the highest score down.
    true, decided = (
        (weights_RT @ one.reshape(len(one), -1)).reshape(len(weights_RT), K, bins)[..., ::-1].cumsum(axis=-1)
        for one in (sums.positives_TKB, sums.patches_TKB)
    )
    positives, middle = true[..., -1], bins // 2 - 1
    summed = (np.diff(true, axis=-1, prepend=0) * (true / np.maximum(decided, 1e-300))).sum(axis=-1)
    values = {
        "oa": hits.sum(axis=1) / areas.sum(axis=1),
        "iou": ratio(hits, areas + predicted - hits, areas > 0),
        "ap": ratio(summed, positives, positives > 1e-9),
        "scene_f1": ratio(2 * true[..., middle], decided[..., middle] + positives, positives > 1e-9),
    }
    return values | {mean: means_of_defined(values[MEANS[mean]]) for mean in SCORES if mean in MEANS}


@cache
def truth(tiles: Path, even: bool = False, number: int = 30_000, at_once: int = 500) -> list[dict[str, Floats]]:
    """Scores of the models over very many tiles."""
    of, rng = population(tiles, even), np.random.default_rng(99)
    summed: list[Sums] | None = None
    for _ in range(number // at_once):
        drawn = [
            Sums(*(array.sum(axis=0, keepdims=True) for array in vars(one).values())) for one in draw(of, rng, at_once)
        ]
        summed = drawn if summed is None else [_added(*pair) for pair in zip(summed, drawn, strict=True)]
    assert summed is not None
    return [scores_of(np.ones((1, 1)), one) for one in summed]


def _added(first: Sums, second: Sums) -> Sums:
    return Sums(*(a + b for a, b in zip(vars(first).values(), vars(second).values(), strict=True)))


# --- intervals --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluated:
    """Values of something, as columns X: a score of a model, or its difference between two.

    Attributes:
        whole_X: Of the whole split.
        resampled_RX, bayesian_RX: Of resamples of its tiles, and of tiles with random weights.
        without_TX: Without each tile.
    """

    whole_X: Floats
    resampled_RX: Floats
    bayesian_RX: Floats
    without_TX: Floats


def percentiles(of: Evaluated) -> tuple[Floats, Floats]:
    return _quantiles(of.resampled_RX, (1 - LEVEL) / 2)


def expanded(of: Evaluated) -> tuple[Floats, Floats]:
    """Percentiles, farther out by Student's distribution and √(T / (T - 1)) (Hesterberg 2015, "What teachers ...")."""
    return _quantiles(of.resampled_RX, _expanded_tail(len(of.without_TX)))


def bayesian(of: Evaluated) -> tuple[Floats, Floats]:
    """Percentiles of the Bayesian bootstrap (Rubin 1981), likewise expanded."""
    return _quantiles(of.bayesian_RX, _expanded_tail(len(of.without_TX)))


def accelerated(of: Evaluated) -> tuple[Floats, Floats]:
    """BCa (Efron 1987), with the acceleration from the jackknife."""
    below = ((of.resampled_RX < of.whole_X).mean(axis=0) + (of.resampled_RX <= of.whole_X).mean(axis=0)) / 2
    shift = ndtri(np.clip(below, 1e-3, 1 - 1e-3))
    apart = of.without_TX.mean(axis=0) - of.without_TX
    spread = np.maximum((apart**2).sum(axis=0), 1e-300)
    acceleration = (apart**3).sum(axis=0) / 6 / spread**1.5
    ends = []
    for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        moved = shift + ndtri(tail)
        chances = ndtr(shift + moved / (1 - acceleration * moved))
        ends.append(np.array([np.quantile(values, p) for values, p in zip(of.resampled_RX.T, chances, strict=True)]))
    return ends[0], ends[1]


def bootstrap_t(of: Evaluated) -> tuple[Floats, Floats]:
    """Standard deviation of the resamples, times √(T / (T - 1)) and Student's quantile."""
    tiles = len(of.without_TX)
    return _around(of, np.sqrt(tiles / (tiles - 1)) * of.resampled_RX.std(axis=0, ddof=1))


def jackknife_t(of: Evaluated) -> tuple[Floats, Floats]:
    """Standard error of the jackknife without bias, Student's distribution of T - 1 degrees of freedom."""
    tiles = len(of.without_TX)
    return _around(of, np.sqrt((tiles - 1) / tiles * ((of.without_TX - of.without_TX.mean(axis=0)) ** 2).sum(axis=0)))


METHODS: dict[str, Callable[[Evaluated], tuple[Floats, Floats]]] = {
    "percentiles": percentiles,
    "expanded percentiles": expanded,
    "Bayesian bootstrap, expanded": bayesian,
    "BCa": accelerated,
    "bootstrap t": bootstrap_t,
    "jackknife t": jackknife_t,
}
"""What was tried beside the intervals of seg."""


def _quantiles(values_RX: Floats, tail: float) -> tuple[Floats, Floats]:
    low, high = np.quantile(values_RX, [tail, 1 - tail], axis=0)
    return low, high


def _expanded_tail(tiles: int) -> float:
    return float(ndtr(-np.sqrt(tiles / (tiles - 1)) * stdtrit(tiles - 1, (1 + LEVEL) / 2)))


def _around(of: Evaluated, error_X: Floats) -> tuple[Floats, Floats]:
    half = stdtrit(len(of.without_TX) - 1, (1 + LEVEL) / 2) * error_X
    return of.whole_X - half, of.whole_X + half


def replicates_of(sums: Sums) -> Replicates:
    """What `seg.metrics.jackknife.jackknife` makes of evidence."""
    tiles = len(sums.areas_TK)
    weights = np.concatenate([np.ones((1, tiles)), 1 - np.eye(tiles)])
    positives_TK, patches_T = sums.positives_TKB.sum(axis=2), sums.patches_TKB[:, 0].sum(axis=1)
    pixels = {"oa": (), "miou": (), "iou": (K,)}
    values = scores_of(weights, sums)
    support = {}
    for name, found in values.items():
        held_TK = sums.areas_TK if name in pixels else positives_TK
        support[name] = effective_number(held_TK if found.ndim > 1 else held_TK.sum(axis=1))
    return Replicates({str(tile): int(number) for tile, number in enumerate(patches_T)}, values, support)


# --- simulation -------------------------------------------------------------------------------------------------------

Held = dict[tuple[str, str, str], tuple[bool, float]]
"""By method, score and subject: whether the interval held the truth, and how wide it was."""
ByClass = list[tuple[str, int, bool, float]]
"""Of a class: score, tiles that hold the class, whether the interval held the truth, and how wide it was."""


def one_split(tiles: int, others: bool, csv: Path, even: bool, seed: int) -> tuple[Held, ByClass]:
    """Draw a split, and see which intervals hold the truth.

    Args:
        tiles: Number of its tiles.
        others: Whether the other methods are tried too.
        csv, even: The population.
        seed: Of everything random.
    """
    rng = np.random.default_rng([tiles, even, seed])
    models = draw(population(csv, even), rng, tiles)
    runs = [replicates_of(model) for model in models]
    held: Held = {}
    bounds = intervals(runs[0])
    true = [{name: _true_mean(*pair, name) for name in SCORES} for pair in zip(runs, truth(csv, even), strict=True)]
    for name in SCORES:
        held[METHOD, name, "score"] = _held(float(bounds[name].low), float(bounds[name].high), true[0][name])
        for subject, other in (("equal", 1), ("better", 2)):
            test = paired_test([runs[0]], [runs[other]], name)
            held[METHOD, name, subject] = _held(test.low, test.high, true[0][name] - true[other][name])
    if others:
        held |= _others(rng, models, true, runs)
    by_class: ByClass = []
    for name, held_TK in (("iou", models[0].areas_TK), ("ap", models[0].positives_TKB.sum(axis=2))):
        for k, number in enumerate((held_TK > 0).sum(axis=0).tolist()):
            if number > 1:
                found = _held(bounds[name].low[k], bounds[name].high[k], truth(csv, even)[0][name][0, k])
                by_class.append((name, number, *found))
    return held, by_class


def _true_mean(run: Replicates, true: dict[str, Floats], name: str) -> float:
    """Over the classes that the split has."""
    if name not in MEANS:
        return float(true[name][0])
    return float(true[MEANS[name]][0, ~np.isnan(run.values[MEANS[name]][0])].mean())


def _held(low: float, high: float, true: float) -> tuple[bool, float]:
    return bool(low <= true <= high), float(high - low)


def _others(
    rng: np.random.Generator, models: Sequence[Sums], true: Sequence[dict[str, float]], runs: Sequence[Replicates]
) -> Held:
    tiles = len(models[0].areas_TK)
    drawn = rng.multinomial(tiles, np.full(tiles, 1 / tiles), RESAMPLES).astype(np.float64)
    random = tiles * rng.dirichlet(np.ones(tiles), RESAMPLES)
    columns = [
        Evaluated(
            np.array([run.values[name][0] for name in SCORES]),
            *(_filled(scores_of(weights, model), run) for weights in (drawn, random)),
            _filled({name: found[1:] for name, found in run.values.items()}, run),
        )
        for model, run in zip(models, runs, strict=True)
    ]
    held: Held = {}
    for subject, other in (("score", None), ("equal", 1), ("better", 2)):
        of = columns[0]
        if other is not None:
            of = Evaluated(*(a - b for a, b in zip(vars(of).values(), vars(columns[other]).values(), strict=True)))
        for method, build in METHODS.items():
            for name, low, high in zip(SCORES, *build(of), strict=True):
                at = true[0][name] - (true[other][name] if other is not None else 0)
                held[method, name, subject] = _held(low, high, at)
    return held


def _filled(values: dict[str, Floats], run: Replicates) -> Floats:
    """The scores as columns; a class that is lost counts in a mean with the score of the whole split."""
    columns = []
    for name in SCORES:
        if name in MEANS:
            found, whole = values[MEANS[name]], run.values[MEANS[name]][0]
            columns.append(means_of_defined(np.where(np.isnan(found), whole, found)))
        else:
            columns.append(values[name])
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Simulated:
    """What came of many splits of as many tiles.

    Attributes:
        tiles: Their number.
        even: Whether tiles are of one size.
        coverage, width: Share of the splits in which the interval held the truth, and mean width, by method, score and
            subject.
        by_class: Score of a class, least and most tiles that hold it, number of such intervals, coverage and width.
    """

    tiles: int
    even: bool
    coverage: dict[tuple[str, str, str], float]
    width: dict[tuple[str, str, str], float]
    by_class: list[tuple[str, int, int, int, float, float]]


def simulate(tiles: int, data_sets: int, csv: Path, workers: int, even: bool = False) -> Simulated:
    """Draw splits of so many tiles and count."""
    work = partial(one_split, tiles, tiles in MANY and not even, csv, even)
    truth(csv, even)  # before processes fork, each of which would compute it
    with ProcessPoolExecutor(workers) as pool:
        done = list(pool.map(work, range(data_sets), chunksize=20))
    keys = list(done[0][0])
    by_class = []
    for name in ("iou", "ap"):
        for least, most in ((2, 2), (3, 4), (5, 9), (10, tiles)):
            group = [one for _, of in done for one in of if one[0] == name and least <= one[1] <= most]
            if group:
                by_class.append((name, least, most, len(group), *_means(one[2:] for one in group)))
    means = {key: _means(held[key] for held, _ in done) for key in keys}
    return Simulated(
        tiles, even, {key: one[0] for key, one in means.items()}, {key: one[1] for key, one in means.items()}, by_class
    )


def _means(pairs: Iterator[tuple[bool, float]] | Any) -> tuple[float, float]:
    held, width = np.mean(list(pairs), axis=0).tolist()
    return held, width


# --- what is written --------------------------------------------------------------------------------------------------


def coverage_range(one: Simulated) -> tuple[int, int]:
    """The least and the most, in whole percent, that the intervals of seg held the truth."""
    found = [100 * value for (method, _, _), value in one.coverage.items() if method == METHOD]
    return round(min(found)), round(max(found))


def tables(results: Sequence[Simulated], data_sets: int) -> list[Table]:
    """Coverage and width by number of tiles, by method, and of classes."""
    error = 196 * np.sqrt(LEVEL * (1 - LEVEL) / data_sets)
    note = (
        f"In each cell: in how many of {data_sets:,} simulated splits the interval held the truth, in percent, and its "
        f"mean width in points. By chance a coverage of 95 is up to {error:.1f} off. Where models are equal, 100 minus "
        "the coverage is how often the paired test errs at 0.05."
    )
    columns = [Column(f"{one.tiles}{one.even}", f"{one.tiles}{', even' * one.even}", "text") for one in results]
    rows = [
        (f"{title}, {words}", *(_shown(one, METHOD, name, subject) for one in results))
        for subject, words in SUBJECTS.items()
        for name, title in SCORES.items()
    ]
    heading = f"Intervals of seg ({METHOD}), by number of tiles"
    found = [Table("seg", heading, (Column("of", "", "text"), *columns), tuple(rows), (note,))]
    for one in results:
        methods = dict.fromkeys(method for method, _, _ in one.coverage)
        if len(methods) > 1:
            keys = [(name, subject) for subject in ("score", "equal") for name in SCORES]
            rows = [(method, *(_shown(one, method, *key) for key in keys)) for method in methods]
            titles = [
                Column("_".join(key), f"{SCORES[key[0]]}{', difference' * (key[1] != 'score')}", "text") for key in keys
            ]
            heading = f"All methods, {one.tiles} tiles: of one model, and of the difference of equal models"
            found.append(Table(f"at_{one.tiles}", heading, (Column("method", "Method", "text"), *titles), tuple(rows)))
    by_class: list[tuple[Value, ...]] = []
    for one in results:
        if one.tiles in MANY and not one.even:
            by_class += [
                (str(one.tiles), {"iou": "IoU", "ap": "AP"}[name], _span(least, most), count, coverage, width)
                for name, least, most, count, coverage, width in one.by_class
            ]
    columns = (
        *(Column(key, title, "text") for key, title in (("tiles", "Tiles"), ("score", "Score"), ("held", "Held by"))),
        Column("count", "Intervals", "count"),
        Column("coverage", "Held the truth", "percent"),
        Column("width", "Mean width", "percent"),
    )
    found.append(Table("classes", "Intervals of a class, by the tiles that hold it", columns, tuple(by_class)))
    return found


def _span(least: int, most: int) -> str:
    return f"{least} tiles" if least == most else f"{least} to {most} tiles"


def _shown(one: Simulated, method: str, name: str, subject: str) -> str:
    return f"{100 * one.coverage[method, name, subject]:.1f} ({100 * one.width[method, name, subject]:.1f})"


def count_tiles(metadata: Path) -> str:
    """Patches of each tile of the official test split, and of each class in it, as CSV."""
    table = pq.read_table(metadata, columns=["patch_id", "labels"], filters=[("split", "=", "test")])
    counts: dict[str, npt.NDArray[np.int64]] = {}
    position = {name: k for k, name in enumerate(CLASS_NAMES)}
    for patch_id, labels in zip(table["patch_id"].to_pylist(), table["labels"].to_pylist(), strict=True):
        row = counts.setdefault(patch_id[39:44], np.zeros(1 + K, np.int64))
        row[[0, *(1 + position[label] for label in labels)]] += 1
    lines = [",".join(["tile", "patches", *(f'"{name}"' for name in CLASS_NAMES)])]
    lines += [",".join([tile, *map(str, counts[tile].tolist())]) for tile in sorted(counts)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-sets", type=int, default=1000, help="splits drawn of each number of tiles")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--metadata", type=Path, help="metadata.parquet of reBEN, to count its tiles anew")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    names = ["intervals.md", "intervals.json", *([TILES] if asked.metadata else [])]
    claim_until_exit(asked.out, names)
    csv = RESULTS / TILES
    if asked.metadata:
        csv = asked.out / TILES
        write_text(csv, count_tiles(asked.metadata))
    results = [simulate(tiles, asked.data_sets, csv, asked.workers) for tiles in (*FEW, *MANY)]
    results += [simulate(tiles, asked.data_sets, csv, asked.workers, even=True) for tiles in MANY]
    made = tables(results, asked.data_sets)
    text = "\n".join([INTRODUCTION, *map(FORMATS["md"], made)])
    record = {
        "method": METHOD,
        "level": LEVEL,
        "data_sets": asked.data_sets,
        "coverage": [[one.tiles, *coverage_range(one)] for one in results if not one.even],
        "simulations": [
            {
                "tiles": one.tiles,
                "even": one.even,
                "intervals": [
                    {"method": key[0], "score": key[1], "of": key[2], "coverage": held, "width": one.width[key]}
                    for key, held in one.coverage.items()
                ],
            }
            for one in results
        ],
    }
    write_text(asked.out / "intervals.json", json_text(record))
    write_text(asked.out / "intervals.md", text)
    print(text)


INTRODUCTION = """# Intervals: how often they hold the truth

Written by `python scripts/check_intervals.py`, whose head says how splits are drawn and what the truth is. Tiles are those
of reBEN's official test split (`tiles.csv`): 46 of them, of 2 to 8,439 patches, with classes that three to eight tiles
hold, one of which may hold four fifths of a class. "Even" tiles hold as many patches each.

Percentiles of resampled tiles, which seg showed up to version 0.2.0, are far too narrow for means over classes: the score
of a class that few tiles hold is biased, and resamples without the class say nothing of its error. The same goes for
BCa. The jackknife of seg is wider, and takes one evaluation per tile instead of a thousand. A bootstrap studentised by a
jackknife of every resample was not tried: it needs as many evaluations as there are tiles, a thousand times.
"""  # noqa: E501


if __name__ == "__main__":
    main()
