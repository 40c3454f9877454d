"""A stratified random sample of the pixels of a map, to be labelled by hand.

Each mapped class is a stratum, and within it pixels are drawn at random without replacement, as Olofsson et al. (2014),
section 3, recommend: what is estimated from such a sample is unbiased whatever the errors of the map.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seg.areas.class_map import ClassMap, Strata, map_rows

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Pixels of a map, in random order.

    Attributes:
        row_N, column_N: Which they are, int64.
        stratum_N: What they are mapped as.
    """

    row_N: Ints
    column_N: Ints
    stratum_N: Ints

    def __len__(self) -> int:
        return len(self.row_N)


def draw(of: ClassMap, strata: Strata, per_class: int, seed: int) -> Sample:
    """Draw pixels of each class, all of them where there are no more than that.

    Args:
        of: The map.
        strata: What it holds.
        per_class: Pixels of each class.
        seed: The same seed draws the same pixels.

    Raises:
        OSError: If the map cannot be read.
    """
    random = np.random.default_rng(seed)
    # Ranks of the chosen ones among the pixels of their class, from top to bottom.
    ranks_K = [
        np.sort(random.choice(pixels, min(per_class, pixels), replace=False)) if pixels else np.zeros(0, np.int64)
        for pixels in strata.pixels_K.tolist()
    ]
    seen_K = np.zeros(len(ranks_K), np.int64)
    found: list[Ints] = []
    for top, values_HW, _ in map_rows(of):
        until_K = seen_K + np.bincount(values_HW.ravel(), minlength=256)[: len(seen_K)]
        for k, ranks in enumerate(ranks_K):
            first, last = np.searchsorted(ranks, (seen_K[k], until_K[k]))
            if last > first:
                places = np.flatnonzero(values_HW == k)[ranks[first:last] - seen_K[k]]
                row_N, column_N = np.divmod(places, values_HW.shape[1])
                found.append(np.stack([row_N + top, column_N, np.full(len(places), k)]).astype(np.int64))
        seen_K = until_K
    # Whoever labels them must not see from their order what they are mapped as.
    row_N, column_N, stratum_N = random.permutation(np.concatenate(found, 1), axis=1)
    return Sample(row_N, column_N, stratum_N)
