"""Version 1 of the protocol, ``docs/protocol.md``, as far as it is enforced: tracks, seeds, known sets of patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from seg.reben.bands import of_sensor
from seg.reben.official import OFFICIAL

PROTOCOL = 1
"""Version of the protocol; raised whenever entries under the old one no longer compare with those under the new one."""
MIN_SEEDS = 3
"""Trainings of an entry, unless its method draws no random numbers (clause 5.1)."""
ALPHA = 0.05
"""Level of the tests that separate entries, all those of a track together (clause 8.2)."""

Inputs = Literal["s1", "s2", "s1s2", "any"]
Pretraining = Literal["scratch", "pretrained"]
Budget = Literal[1, 10, 100]
INPUT_WORDS: dict[Inputs, str] = {
    "s1": "Sentinel-1",
    "s2": "Sentinel-2",
    "s1s2": "Sentinel-1 and Sentinel-2",
    "any": "any inputs",
}
BUDGETS: tuple[Budget, ...] = get_args(Budget)


@dataclass(frozen=True, slots=True)
class EntryTrack:
    """Entries of one track compare with each other (clause 3).

    Attributes:
        inputs: What the method sees of a place.
        pretraining: Whether anything but the labels of the train split has taught it.
        labels: Percent of the train split whose labels it was given.
    """

    inputs: Inputs
    pretraining: Pretraining
    labels: Budget

    @property
    def name(self) -> str:
        """For machines: ``s1s2-scratch-100``."""
        return f"{self.inputs}-{self.pretraining}-{self.labels}"

    @property
    def words(self) -> str:
        """For readers."""
        how = {"scratch": "from scratch", "pretrained": "pretrained"}[self.pretraining]
        return f"{INPUT_WORDS[self.inputs]}, {how}, {self.labels} % of the labels"


TRACKS = tuple(
    EntryTrack(inputs, pretraining, labels).name
    for inputs in get_args(Inputs)
    for pretraining in get_args(Pretraining)
    for labels in BUDGETS
)
"""Names of all tracks."""


@dataclass(frozen=True, slots=True)
class KnownSet:
    """Patches that entries are scored on.

    Attributes:
        name: What a reader calls them.
        ids, labels: Digests of patch ids and labels, see `seg.reben.official`.
        subject: Digest of ids, labels and class areas, see `seg.reben.official`; empty: nobody has published one.
        synthetic: The patches are simulated.
    """

    name: str
    ids: str
    labels: str
    subject: str = ""
    synthetic: bool = False


OFFICIAL_TEST = KnownSet("the official test split of reBEN", OFFICIAL["test"].ids, OFFICIAL["test"].labels)
SYNTHETIC_TEST = KnownSet(
    "the test split of the synthetic demo store",
    "58b5e6152bc7c6c85f931b9752d8391a550a5d949c994bd2fffa879509ac23d7",
    "588fd77423b195b5750aade0d602768199f8688efce2129dd459f2511a9aae87",
    "836254055783b25c298fed93691cab32e82d5f237225cbd8fbed3dc9ba14e83e",
    synthetic=True,
)
"""91 patches: what ``seg data synth --patches 400`` makes is the same everywhere."""
KNOWN_SETS = (OFFICIAL_TEST, SYNTHETIC_TEST)
"""Sets of patches with digests to compare with."""


def inputs_of(bands: Sequence[str], context: int = 0) -> Inputs:
    """The track of inputs that a network with these bands belongs to, and with so many pixels around the patch."""
    if context:
        return "any"
    sensors = [sensor for sensor in ("s1", "s2") if of_sensor(bands, sensor)]
    return "s1s2" if len(sensors) > 1 else "s1" if sensors == ["s1"] else "s2"


def budget_of(fraction: float) -> Budget | None:
    """The label budget that a share of the train split belongs to; None: it belongs to none."""
    return next((budget for budget in BUDGETS if abs(100 * fraction - budget) < 1e-9), None)


MADE_UP = (
    "that the predictions are those of the method: evidence that somebody makes up so that it agrees with itself "
    "everywhere is not told from measured evidence without the predictions"
)
"""What is not known of a submission whose predictions nobody has compared with its evidence."""
SCENES_ALONE = "the probabilities of the scene labels, which nothing else in the evidence depends on"
"""Likewise of its scene labels."""
