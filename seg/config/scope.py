"""What an evaluation is of: which patches, and how the model saw and mapped them; and what that is called."""

import hashlib
import math
import re
import shlex
from dataclasses import dataclass

from seg.errors import WrongUseError
from seg.reben.bands import Sensor
from seg.reben.patch import Split

DATA_NAME = 8
"""Characters of a fingerprint that name data."""
_LONGEST = 60
"""Characters of countries in a name, which is that of a folder; of more, there is a number and a digest."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What tells the evaluations of a run from each other.

    Attributes:
        split: The split that the patches belong to.
        without: The sensor that the model was not shown; None: it saw all its bands.
        on: What names the data, see `scored_on`; empty: those that the model was trained on.
        countries: What the patches were restricted to, in alphabetical order; empty: they were not.
        unit: Hectares of the minimum mapping unit that the predicted maps were brought to; 0: they were not.

    Raises:
        WrongUseError: If the unit is none.
    """

    split: Split
    without: Sensor | None = None
    on: str = ""
    countries: tuple[str, ...] = ()
    unit: float = 0.0

    def __post_init__(self) -> None:
        check_unit(self.unit)

    @property
    def name(self) -> str:
        """Of the evaluation and its folder, such as ``test``, ``test-in-finland`` or ``test-on-b6b20e5f``."""
        where = "+".join(re.sub(r"\W+", "_", country.casefold()) for country in self.countries)
        if len(where) > _LONGEST:
            where = f"{len(self.countries)}-countries-{hashlib.sha256(where.encode()).hexdigest()[:8]}"
        parts = {"on": self.on, "in": where, "without": self.without, "mmu": self.unit and unit_text(self.unit)}
        return self.split + "".join(f"-{word}-{value}" for word, value in parts.items() if value)

    @property
    def words(self) -> str:
        """The same for a reader, such as ``test split of other data (b6b20e5f) in Finland without Sentinel-1``."""
        data = f" of other data ({self.on})" if self.on else ""
        where = f" in {', '.join(self.countries)}" if self.countries else ""
        without = f" without Sentinel-{self.without[1:]}" if self.without else ""
        unit = f" in units of at least {unit_text(self.unit)} ha" if self.unit else ""
        return f"{self.split} split{data}{where}{without}{unit}"

    @property
    def eval_options(self) -> str:
        """Options of ``seg eval`` that make the evaluation."""
        return self._options + (" --data STORE" if self.on else "")

    @property
    def report_options(self) -> str:
        """Options of ``seg report`` that name it."""
        return self._options + (f" --on {self.on}" if self.on else "")

    @property
    def _options(self) -> str:
        where = f" --countries {shlex.quote(','.join(self.countries))}" if self.countries else ""
        maps = f" --mmu {unit_text(self.unit)}" if self.unit else ""
        return f"--split {self.split}" + (f" --drop {self.without}" if self.without else "") + where + maps


def check_unit(unit: float) -> None:
    """Refuse a minimum mapping unit that is none.

    Raises:
        WrongUseError: If it is negative or no number.
    """
    if not 0 <= unit < math.inf:
        raise WrongUseError(f"a minimum mapping unit of {unit} ha makes no sense; name hectares, such as --mmu 25")


def unit_text(unit: float) -> str:
    """Hectares of a minimum mapping unit as people type them, such as ``25`` or ``0.5``."""
    return f"{unit:.10g}"


def scored_on(scored: str, trained: str) -> str:
    """What names the data of an evaluation: the beginning of their fingerprint; empty if the model was trained on them.

    Args:
        scored, trained: Fingerprints.
    """
    return "" if scored == trained else scored[:DATA_NAME]


def data_in(name: str) -> str:
    """The data in the name of an evaluation, see `Scope.name`; empty: those that the model was trained on."""
    return name.partition("-on-")[2][:DATA_NAME]
