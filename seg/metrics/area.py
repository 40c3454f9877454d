"""Areas of classes: as counted in a map, and adjusted by what an assessment says of the map's errors.

Counting the pixels of a map is biased, because the errors of a classifier do not cancel. The estimators are those of
Olofsson, Foody, Herold, Stehman, Woodcock and Wulder 2014, "Good practices for estimating area and assessing accuracy
of land change", Remote Sensing of Environment 148, equations 9 to 11, with the map classes as strata. They hold for a
sample drawn at random within each map class of the mapped area itself. The patches of a split are no such sample: they
lie elsewhere, and neighbouring pixels are not independent. Hence the second standard error, over tiles.
"""

from dataclasses import dataclass

import numpy as np

from seg.metrics.evidence import Evidence, total_counts
from seg.metrics.jackknife import LEVEL, numbered_tiles, standard_error, student_quantile
from seg.metrics.leave_out import effective_number
from seg.metrics.ratio import Bools, Floats
from seg.metrics.sparse import Counts
from seg.reben.classes import NUM_CLASSES


@dataclass(frozen=True, slots=True, eq=False)
class AdjustedAreas:
    """Estimated areas of the classes, in the unit of the mapped areas.

    Attributes:
        area_K: float64 (K,).
        error_K: Standard error if the assessed pixels were independent, float64 (K,).
        assessed_K: Whether the assessment says anything of what is mapped as the class; where it does not, the map is
            believed.
    """

    area_K: Floats
    error_K: Floats
    assessed_K: Bools


def adjusted_areas(mapped_K: Counts | Floats, confusion_KK: Counts, sampled_K: Floats | None = None) -> AdjustedAreas:
    """Areas by the stratified estimator.

    With the share W_i of map class i, n_ij assessed pixels of map class i and true class j, and n_i of map class i:
    p_j = sum_i W_i n_ij / n_i (equation 9), S(p_j)^2 = sum_i W_i^2 (n_ij / n_i) (1 - n_ij / n_i) / (n_i - 1)
    (equation 10), and both times the whole area (equation 11).

    Args:
        mapped_K: Area mapped as each class, (K,).
        confusion_KK: Assessed pixels, true class x map class.
        sampled_K: Share of each map class that was assessed, where it is a sample of the map itself. The variance
            within the class is multiplied by what is left, 1 - n_i / N_i (Cochran 1977, "Sampling Techniques", section
            5.4): nothing is uncertain of a class all of which was looked at. None: of a map without end.
    """
    total = mapped_K.sum()
    weights_K = mapped_K / max(total, 1e-300)
    shares_KK, sizes_K, assessed_K = _shares(confusion_KK)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance_KK = weights_K[:, None] ** 2 * shares_KK * (1 - shares_KK) / np.maximum(sizes_K - 1, 0)[:, None]
    # A stratum of which nothing is mapped has no part in this, whatever is known of it.
    variance_KK[(mapped_K == 0) | ~assessed_K] = 0
    # One pixel says nothing of how pixels vary.
    variance_KK[(mapped_K > 0) & (sizes_K == 1)] = np.nan
    if sampled_K is not None:
        variance_KK = np.where((sampled_K < 1)[:, None], variance_KK * (1 - sampled_K[:, None]), 0)
    return AdjustedAreas(total * (weights_K @ shares_KK), total * np.sqrt(variance_KK.sum(0)), assessed_K)


@dataclass(frozen=True, slots=True, eq=False)
class Accuracies:
    """Accuracies of a map with their standard errors; NaN where nothing is known.

    Attributes:
        overall, overall_error: Share of the mapped area that is right.
        users_K, users_error_K: Share of what is mapped as each class that is of the class, float64 (K,).
        producers_K, producers_error_K: Share of what is of each class that is mapped as it.
    """

    overall: float
    overall_error: float
    users_K: Floats
    users_error_K: Floats
    producers_K: Floats
    producers_error_K: Floats


def stratified_accuracies(mapped_K: Counts | Floats, confusion_KK: Counts, sampled_K: Floats) -> Accuracies:
    """Accuracies by the estimators of Olofsson et al. (2014), equations 1 to 7.

    With U_i = n_ii / n_i, V(U_i) = U_i (1 - U_i) / (n_i - 1): the overall accuracy is sum_i W_i U_i with the variance
    sum_i W_i^2 V(U_i); the producer's accuracy P_j = W_j U_j / sum_i W_i n_ij / n_i has the variance
    (W_j^2 (1 - P_j)^2 V(U_j) + P_j^2 sum_(i != j) W_i^2 (n_ij / n_i) (1 - n_ij / n_i) / (n_i - 1)) / p_j^2.

    Args:
        mapped_K: Area mapped as each class, (K,).
        confusion_KK: Sampled pixels, true class x map class.
        sampled_K: Share of each map class that was sampled, as for `adjusted_areas`.
    """
    weights_K = mapped_K / max(mapped_K.sum(), 1e-300)
    shares_KK, sizes_K, assessed_K = _shares(confusion_KK)
    known_K = assessed_K & (mapped_K > 0)
    shares_KK[~known_K] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        variance_KK = shares_KK * (1 - shares_KK) / (sizes_K - 1)[:, None] * (1 - sampled_K)[:, None]
        variance_KK[(sampled_K >= 1) | ~known_K] = 0
        users_K, by_users_K = np.diag(shares_KK).copy(), np.diag(variance_KK).copy()
        true_K = weights_K @ shares_KK
        producers_K = np.where(true_K > 0, weights_K * users_K / true_K, np.nan)
        of_others_K = weights_K**2 @ variance_KK - weights_K**2 * by_users_K
        of_own_K = weights_K**2 * (1 - producers_K) ** 2 * by_users_K
        producers_error_K = np.sqrt((of_own_K + producers_K**2 * of_others_K) / true_K**2)
    overall, variance = float(weights_K @ users_K), float(weights_K**2 @ by_users_K)
    users_K[~known_K] = by_users_K[~known_K] = np.nan
    return Accuracies(overall, variance**0.5, users_K, np.sqrt(by_users_K), producers_K, producers_error_K)


def tile_errors(mapped_K: Counts | Floats, evidence: Evidence) -> Floats | None:
    """Standard errors of the same areas over whole tiles of the assessment, see `seg.metrics.jackknife`.

    Args:
        mapped_K: Area mapped as each class, (K,).
        evidence: The assessment.

    Returns:
        float64 (K,); None if there are fewer than two tiles.
    """
    names, tile_N = numbered_tiles(evidence)
    if len(names) < 2:
        return None
    by_tile_TX = evidence.confusion.grouped(tile_N, len(names))
    observed_KK, _, _ = _shares(total_counts(evidence))
    areas = [mapped_K @ observed_KK]
    for left_out_X in by_tile_TX:
        rest_KK = (by_tile_TX.sum(0) - left_out_X).reshape(NUM_CLASSES, NUM_CLASSES)
        shares_KK, sizes_K, _ = _shares(rest_KK)
        # A map class that the other tiles do not have is as it was observed.
        shares_KK[sizes_K == 0] = observed_KK[sizes_K == 0]
        areas.append(mapped_K @ shares_KK)
    return standard_error(np.stack(areas))


def tile_quantile(evidence: Evidence) -> float:
    """What standard errors over tiles are multiplied with for an interval of `LEVEL`: Student's, see `jackknife`.

    The effective number of tiles is that of their labelled pixels; NaN if one tile holds them all.
    """
    names, tile_N = numbered_tiles(evidence)
    pixels_T = evidence.confusion.grouped(tile_N, len(names)).sum(1)
    return float(student_quantile(effective_number(pixels_T), LEVEL))


def _shares(confusion_KK: Counts) -> tuple[Floats, Counts, Bools]:
    """Share of each true class in each map class, (map class, true class), its pixels, and whether there are any."""
    by_map_KK = confusion_KK.T
    sizes_K = by_map_KK.sum(1)
    assessed_K = sizes_K > 0
    shares_KK = np.where(assessed_K[:, None], by_map_KK / np.maximum(sizes_K, 1)[:, None], np.eye(len(sizes_K)))
    return shares_KK, sizes_K, assessed_K
