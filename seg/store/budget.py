"""A label budget: the part of a split that somebody with so much time would have labelled.

Neighbouring patches show nearly the same. A share of the patches drawn from everywhere would leave each of the others a
labelled neighbour, and say little of how a model does where nobody has labelled. So a budget takes few places and all
that is around them: whole tiles where it reaches that far, and squares of neighbouring patches where it does not, since
1 % of reBEN's train split is less than one of its tiles and no tile has all classes.

The patches are put in an order, of which a budget takes the beginning; so a smaller one lies within a larger one:

1. as few patches as have every class of the split between them (a smallest set cover, found exactly), so that a budget
   has every class if that many patches can have;
2. a patch with the rarest class, with the rarest that it lacks, and so on, from few tiles; and around each of them its
   tile, in squares that grow at the same pace until the tiles are whole;
3. the second step again with the tiles that are left.

Which of several patches is taken is drawn by a hash of its id and the seed: the part depends on ids and labels alone,
not on the order of the index, the machine or the bands.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from seg.reben.classes import NUM_CLASSES
from seg.store.geography import Geography, geography
from seg.store.index import Index, Rows, id_hashes

Bits = npt.NDArray[np.uint32]
_ALL = np.uint32((1 << NUM_CLASSES) - 1)


def part_of(index: Index, rows: Rows, fraction: float, seed: int = 0) -> Rows:
    """The rows that a label budget has, in the order of the index.

    Args:
        index: The patches.
        rows: Those of the split, at least one.
        fraction: The budget: their share, above 0 and up to 1. The part has this share of them, rounded, and at least
            one.
        seed: Which of the possible parts.
    """
    wanted = max(1, int(fraction * len(rows) + 0.5))
    if wanted >= len(rows):
        return rows
    whole = index.take(rows)
    places, hashes = geography(whole), _mixed(id_hashes(whole.patch_ids), seed)
    order: list[Rows] = []
    for group in _groups(whole.label_bits, places, hashes):
        order.append(group)
        wanted -= len(group)
        if wanted <= 0:
            break
    return np.sort(rows[np.concatenate(order)[: wanted or None]])


def _groups(bits_N: Bits, places: Geography, hashes_N: npt.NDArray[np.uint64]) -> Iterator[Rows]:
    """Positions of the patches in the order of the module, some at a time."""
    # By hash, so that whatever takes the first of several takes one at random.
    left = np.argsort(hashes_N, kind="stable")
    cover = left[_first_of_cover(bits_N[left])]
    yield cover
    left = left[~np.isin(left, cover)]
    while len(left):
        anchors = left[_anchors(bits_N[left], places.tile_N[left])]
        here = np.isin(places.tile_N[left], places.tile_N[anchors])
        members, left = left[here], left[~here]
        distances = np.full(len(members), np.iinfo(np.int64).max)
        for anchor in anchors:
            across = np.abs(places.column_N[members] - places.column_N[anchor])
            down = np.abs(places.row_N[members] - places.row_N[anchor])
            same = places.tile_N[members] == places.tile_N[anchor]
            np.minimum(distances, np.maximum(across, down), out=distances, where=same)
        yield members[np.argsort(distances, kind="stable")]


def _anchors(bits_N: Bits, tile_N: Rows) -> list[int]:
    """Positions of patches with all the classes of all of them; the first that will do, from tiles already chosen."""
    counts = [int(_has(bits_N, bit).sum()) for bit in range(NUM_CLASSES)]
    missing, chosen = int(np.bitwise_or.reduce(bits_N)), [0][bool(bits_N.any()) :]
    while missing:
        rarest = min((bit for bit in range(NUM_CLASSES) if missing >> bit & 1), key=counts.__getitem__)
        having = np.flatnonzero(_has(bits_N, rarest))
        near = having[np.isin(tile_N[having], tile_N[chosen])]
        chosen.append(int((near if len(near) else having)[0]))
        missing &= ~int(bits_N[chosen[-1]])
    return chosen


def _first_of_cover(bits_N: Bits) -> list[int]:
    """Positions of as few patches as have all the classes of all of them; the first of those that serve alike."""
    # One at a time: what the others of the cover lack is what each patch must have.
    cover = _smallest_cover(bits_N)
    positions = []
    for number, own in enumerate(cover):
        needed = own & ~np.bitwise_or.reduce(np.array([0, *cover[:number], *cover[number + 1 :]], np.uint32))
        positions.append(int(np.argmax((bits_N & needed) == needed)))
        cover[number] = bits_N[positions[-1]]
    return sorted(set(positions))


def _smallest_cover(bits_N: Bits) -> list[np.uint32]:
    """As few sets of classes, of those given, as have all classes between them.

    Breadth first over what is still missing. Only a set with the rarest class that is missing is a step forward, only
    sets that lie in no other are tried, and of what may be missing after so many steps only what holds nothing else.
    """
    distinct, first = np.unique(bits_N, return_index=True)
    distinct = distinct[np.argsort(first)]
    sets = distinct[_minimal(~distinct & _ALL)]
    having = {bit: sets[_has(sets, bit)] for bit in range(NUM_CLASSES)}
    rarity = sorted(having, key=lambda bit: len(having[bit]))
    covered = _spread(~sets & _ALL)[::-1]  # by what is missing: whether one set has all of it
    missing = np.bitwise_or.reduce(sets, keepdims=True)
    steps: list[tuple[Bits, Bits]] = []
    while not covered[missing].any():
        chosen, before = np.zeros((2, 1 << NUM_CLASSES), np.uint32)
        reached = np.zeros(1 << NUM_CLASSES, np.bool_)
        for state in missing:
            options = having[next(bit for bit in rarity if state >> np.uint32(bit) & 1)]
            after = state & ~options
            chosen[after], before[after], reached[after] = options, state, True
        steps.append((chosen, before))
        missing = np.flatnonzero(reached).astype(np.uint32)
        missing = missing[_minimal(missing)]
    state = missing[np.argmax(covered[missing])]
    cover = [sets[np.argmax((sets & state) == state)]]
    for chosen, before in reversed(steps):
        cover.append(chosen[state])
        state = before[state]
    return cover


def _has(sets: Bits, bit: int) -> npt.NDArray[np.bool_]:
    return (sets >> np.uint32(bit) & 1).astype(np.bool_)


def _spread(sets: Bits) -> npt.NDArray[np.bool_]:
    """By set of classes: whether it holds one of the given sets."""
    holds = np.zeros(1 << NUM_CLASSES, np.bool_)
    holds[sets] = True
    for bit in range(NUM_CLASSES):
        halves = holds.reshape(-1, 2, 1 << bit)
        halves[:, 1] |= halves[:, 0]
    return holds


def _minimal(sets: Bits) -> npt.NDArray[np.bool_]:
    """Which of some distinct sets of classes hold none of the others."""
    holds = _spread(sets)
    less = [_has(sets, bit) & holds[sets ^ np.uint32(1 << bit)] for bit in range(NUM_CLASSES)]
    none: npt.NDArray[np.bool_] = ~np.logical_or.reduce(less)
    return none


def _mixed(hashes: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """Hashes that differ throughout from seed to seed: the last steps of SplitMix64 (Steele et al. 2014)."""
    mixed = hashes + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
