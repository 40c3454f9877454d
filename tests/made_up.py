"""Made-up evidence of any size, for tests and for benchmarks: consistent, but of no model and no place."""

import numpy as np
import pyarrow as pa

from seg.metrics.evidence import (
    CELLS,
    CONFIDENCE_BINS,
    CONFIDENCE_UNIT,
    Details,
    Evidence,
    Origin,
    merge_evidence,
)
from seg.metrics.sparse import Counts, Rows, sparse_counts
from seg.reben.classes import NUM_CLASSES

K = NUM_CLASSES
COLUMNS, ROWS = ("CDEFG", "LMNPQ", "UVWXY"), "PQRSTUV"
"""Letters of squares that exist in band U of odd zones: of columns, by the zone, and of rows."""
COUNTRIES = ("Austria", "Finland", "Ireland", "Portugal", "Serbia")
_CHUNK = 4000


def made_up_evidence(
    patches: int = 60,
    tiles: int = 6,
    seed: int = 0,
    *,
    head: bool = True,
    details: bool = True,
    origin: Origin | None = None,
    skill: float = 0.75,
) -> Evidence:
    """Evidence of a model that is right in about `skill` of the pixels and better in some tiles than in others.

    Args:
        patches: Number of patches.
        tiles: MGRS tiles that they lie in, at most 35 x 15.
        seed: Of everything random.
        head: Whether there are scene probabilities.
        details: Whether there are details.
        origin: Split and data; test data that is not synthetic, with thresholds and a temperature, if None.
        skill: Share of right pixels.
    """
    if origin is None:
        thresholds = tuple(np.linspace(0.3, 0.6, K).tolist()) if head else None
        origin = Origin("test", "made-up", False, "00ff", thresholds, 1.3 if details else None)
    random = np.random.default_rng(seed)
    tile_skill = np.clip(skill + 0.15 * random.standard_normal(tiles), 0.05, 0.98)
    class_share = 1 / np.arange(1, K + 1) ** 0.8
    parts = [
        _chunk(np.arange(begin, min(begin + _CHUNK, patches)), tile_skill, class_share, random, origin, head, details)
        for begin in range(0, patches, _CHUNK)
    ]
    return merge_evidence(parts)


def dense_counts(evidence: Evidence, rows: Rows) -> Counts:
    """Confusion counts of some patches: int64 (R, K, K), true x predicted."""
    return evidence.confusion.dense(rows).reshape(-1, K, K)


def _ids(numbers: np.ndarray, tiles: int) -> list[str]:
    ids = []
    for n in numbers.tolist():
        tile, cell = n % tiles, n // tiles
        zone = 31 + 2 * (tile // 35)
        square = f"{zone}U{COLUMNS[(zone - 1) % 3][tile % 5]}{ROWS[tile // 5 % 7]}"
        month = 1 + tile % 12
        column, row = cell // 91 % 91, cell % 91
        ids.append(f"S2A_MSIL2A_2017{month:02d}13T101031_N9999_R022_T{square}_{column:02d}_{row:02d}")
    return ids


def _chunk(
    numbers: np.ndarray,
    tile_skill: np.ndarray,
    class_share: np.ndarray,
    random: np.random.Generator,
    origin: Origin,
    head: bool,
    details: bool,
) -> Evidence:
    size, tiles = len(numbers), len(tile_skill)
    skill = tile_skill[numbers % tiles, None]
    weights = random.exponential(size=(size, K)) * class_share
    present = weights >= np.sort(weights, axis=1)[:, [-1]] * random.uniform(0.05, 0.9, (size, 1))
    weights = np.where(present, weights, 0)
    labelled = np.where(random.random(size) < 0.3, 14400, random.integers(10800, 14401, size))
    labelled[numbers % 997 == 996] = 0
    areas = np.floor(weights / weights.sum(1, keepdims=True) * labelled[:, None]).astype(np.int64)
    right = random.binomial(
        areas, np.broadcast_to(np.clip(skill + 0.1 * random.standard_normal((size, K)), 0, 1), (size, K))
    )
    counts = np.zeros((size, K, K), np.int64)
    counts[:, np.arange(K), np.arange(K)] = right
    for share in (2, 1):
        wrong = random.integers(0, 4, (size, K)) + np.arange(K) - 1
        part = (areas - counts.sum(2)) // share
        np.add.at(counts, (np.arange(size)[:, None], np.arange(K)[None], wrong % K), part)
    probabilities = None
    logits = np.where(present, 1.0, -2.5) * (2 * skill) + 1.2 * random.standard_normal((size, K))
    if head:
        probabilities = (1 / (1 + np.exp(-logits))).astype(np.float32)
    countries = [COUNTRIES[n % tiles % len(COUNTRIES)] for n in numbers.tolist()]
    return Evidence(
        origin=origin,
        patch_ids=pa.array(_ids(numbers, tiles), pa.string()),
        countries=pa.array(countries, pa.string()).dictionary_encode(),
        labels=areas > 0,
        probabilities=probabilities,
        confusion=sparse_counts(counts.reshape(size, CELLS)),
        details=_details(counts, logits, random, origin) if details else None,
    )


def _details(counts: np.ndarray, logits: np.ndarray, random: np.random.Generator, origin: Origin) -> Details:
    size = len(counts)
    flat = counts.reshape(size, CELLS)
    near = random.binomial(flat, 0.35)
    middle = random.binomial(flat - near, 0.4)
    reference, predicted = counts.sum(2) // 4, counts.sum(1) // 4
    both = np.minimum(np.minimum(reference, predicted), counts.diagonal(axis1=1, axis2=2) // 5)
    pixels = flat.sum(1)
    reliability = np.zeros((size, 2, CONFIDENCE_BINS, 3), np.int64)
    centres = (np.arange(CONFIDENCE_BINS) + 0.5) / CONFIDENCE_BINS
    for scaled in range(1 if origin.temperature is None else 2):
        shares = np.linspace(0.2, 2 - scaled, CONFIDENCE_BINS)
        bins = random.multinomial(pixels, shares / shares.sum())
        reliability[:, scaled, :, 0] = bins
        reliability[:, scaled, :, 1] = random.binomial(bins, centres - (0.1 - 0.08 * scaled) * centres)
        reliability[:, scaled, :, 2] = np.rint(bins * centres / CONFIDENCE_UNIT)
    losses = np.stack([pixels * 0.4, pixels * 0.9], 1)[:, None, :] * np.array([1.0, 0.95])[None, :, None]
    if origin.temperature is None:
        losses[:, 1] = np.nan
    pooled = np.stack([1 / (1 + np.exp(-logits + 0.5)), 0.5 / (1 + np.exp(-logits))], 1)
    return Details(
        zones=sparse_counts(np.concatenate([near, middle], 1)),
        bands=sparse_counts(np.concatenate([both, reference, predicted], 1)),
        reliability=sparse_counts(reliability.reshape(size, -1)),
        losses_NSL=losses,
        pooled_NPK=np.rint(pooled * 65535).astype(np.uint16),
    )
