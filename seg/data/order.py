"""The order in which an epoch reads its samples, and the batches that it is cut into."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch.utils.data import Sampler

from seg.data.sampling import Floats, draw
from seg.store.index import Rows

BLOCK = 16
"""Neighbouring samples that stay together on the way from the disk: 5 MB of Sentinel-1, Sentinel-2 and map."""
WINDOW = 64
"""Blocks whose samples are mixed with each other: 1,024 samples, 300 MB."""
_AHEAD = 512
"""How many samples, at least a batch, the disk is asked for before their turn: 150 MB of Sentinel-1, Sentinel-2 and map
on their way to this process."""

Shuffle = Literal["shuffle", "blocks"]


@dataclass(frozen=True)
class BatchKey:
    """Which samples make up a batch, and the epoch on which their augmentation depends.

    Attributes:
        epoch: The epoch.
        positions: The samples.
        ahead: Samples that will be needed soon, this batch included at the beginning, each named once in an epoch.
        slot: Memory to put the batch into; None: new memory.
        repeats: How often each sample has come before in the epoch; empty: never.
    """

    epoch: int
    positions: tuple[int, ...]
    ahead: tuple[int, ...] = ()
    slot: int | None = None
    repeats: tuple[int, ...] = ()

    def seed(self, place: int) -> tuple[int, ...]:
        """What the augmentation of a sample depends on: it differs between epochs and between repeats."""
        seed = (self.epoch, self.positions[place])
        return (*seed, self.repeats[place]) if any(self.repeats[place : place + 1]) else seed


class BatchOrder(Sampler[BatchKey]):
    """The batches of an epoch: in the order of the data set, or shuffled by seed and epoch alone.

    Every sample comes exactly once an epoch, over all processes together, but for those that would make an incomplete
    last batch where `drop_last` leaves them out. With `factors`, as many samples are drawn, some of them repeatedly.

    Args:
        samples: Number of samples.
        batch_size: Samples per batch, in each process.
        shuffle_seed: Seed of the order; None keeps the order of the data set.
        drop_last: Leave out an incomplete last batch, unless it is the only one. Every process then has equally many.
        shuffle: ``shuffle`` draws any order; ``blocks`` one that reads blocks of neighbouring samples; see
            `block_order`.
        rank, ranks: Which of how many processes this is. A shuffled order deals out its samples one by one. The order
            of the data set deals out whole batches, so that they are the same on any number of processes.

    Attributes:
        batch_size: As given.
        epoch: The epoch that the next iteration is of.
        start: Number of batches that the next iteration leaves out at the beginning, after a resume.
        factors: How often samples come in relation to each other, if shuffled (see `seg.data.sampling`); None: each
            once.
        values: How many patches are read for a sample on average, itself and its neighbours: of so many fewer samples
            the disk is asked for the patches before their turn.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        shuffle_seed: int | None = None,
        drop_last: bool = False,
        shuffle: Shuffle = "shuffle",
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        assert 0 <= rank < ranks, (rank, ranks)
        self._samples = samples
        self.batch_size = batch_size
        self._seed = shuffle_seed
        self._shuffle = shuffle
        self._rank, self._ranks = rank, ranks
        own = len(range(rank, samples, ranks))
        whole = samples // (batch_size * ranks)
        self._batches = -(-own // batch_size)
        if shuffle_seed is None:
            self._batches = len(range(rank, -(-samples // batch_size), ranks))
        if drop_last and whole:
            self._batches = whole
        self.epoch = 0
        self.start = 0
        self.factors: Floats | None = None
        self.values = 1.0

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[BatchKey]:
        # Of when it began: the next one may begin before this one has ended.
        epoch = self.epoch
        order, repeats = (part[: self._batches * self.batch_size] for part in self._own())
        upcoming, lead = self._upcoming(order)
        asked = self.start * self.batch_size
        if self._in_blocks:
            asked = asked // lead * lead
        for number in range(self.start, self._batches):
            begin, end = number * self.batch_size, (number + 1) * self.batch_size
            ahead = upcoming[asked : end + lead]
            asked += len(ahead)
            yield BatchKey(
                epoch,
                tuple(order[begin:end].tolist()),
                tuple(ahead.tolist()),
                repeats=tuple(repeats[begin:end].tolist()),
            )

    def _own(self) -> tuple[Rows, Rows]:
        """The share of this process in the order of the epoch, and how often each sample has come before."""
        order, repeats = self._order()
        if self._seed is None:
            return order[order // self.batch_size % self._ranks == self._rank], repeats
        return order[self._rank :: self._ranks], repeats[self._rank :: self._ranks]

    def _order(self) -> tuple[Rows, Rows]:
        """The samples of the epoch, and how often each has come before; the latter is empty if none comes twice."""
        once = np.empty(0, np.int64)
        if self._seed is None:
            return np.arange(self._samples), once
        random = np.random.default_rng((self._seed, self.epoch))
        order = block_order(self._samples, random) if self._in_blocks else random.permutation(self._samples)
        if self.factors is None:
            return order, once
        drawn = draw(self.factors, random)
        repeats = np.arange(len(drawn)) - np.searchsorted(drawn, drawn)
        return drawn[order], repeats[order]

    @property
    def _in_blocks(self) -> bool:
        return self._seed is not None and self._shuffle == "blocks"

    def _upcoming(self, own: Rows) -> tuple[Rows, int]:
        """The samples in the order in which the disk is asked for them, and how many of them before their turn."""
        if not self._in_blocks:
            return own, max(int(_AHEAD / self.values) // self.batch_size, 1) * self.batch_size
        # Those of a window in the order of the data set, while the window before it is read.
        window = -(-BLOCK * WINDOW // self._ranks)
        return own[np.lexsort((own, np.arange(len(own)) // window))], window


def block_order(samples: int, random: np.random.Generator, block: int = BLOCK, window: int = WINDOW) -> Rows:
    """An order that is nearly random and nearly sequential: blocks are shuffled, then the samples of many blocks.

    Blocks of neighbouring samples come in random order; the samples of each `window` blocks are mixed at random. A
    disk reads whole blocks, and a batch holds samples of up to `window` places.

    Args:
        samples: Number of samples.
        random: Decides the order.
        block: Samples in a block.
        window: Blocks that are mixed.

    Returns:
        Every position once.
    """
    place_of_block = random.permutation(-(-samples // block))
    window_of_sample = place_of_block[np.arange(samples) // block] // window
    return np.lexsort((random.random(samples), window_of_sample))
