"""Which evaluation of an entry somebody means: from what people type to a `seg.config.scope.Scope`."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from seg.config.scope import DATA_NAME, Scope
from seg.config.wording import listed
from seg.errors import EvidenceError
from seg.metrics.evidence_file import FILE_NAME, load_origin
from seg.reben.bands import Sensor
from seg.reben.patch import Split
from seg.runs.entry import Entry
from seg.runs.folder import EVALUATIONS, EVIDENCE, other_data

ALL_COUNTRIES = "all"
"""What people type for an evaluation that is not restricted to countries."""


def named_scope(
    entry: Entry,
    split: Split | None = None,
    *,
    without: Sensor | None = None,
    on: str = "",
    countries: str | None = None,
    unit: float = 0.0,
) -> Scope:
    """The evaluation of an entry that somebody names.

    Args:
        entry: The entry.
        split: None: that which the entry is reported on.
        without: The sensor that the model was not shown.
        on: A fingerprint of the data or its beginning; empty: the data of the training.
        countries: As `named_countries`, in any case.
        unit: The minimum mapping unit of the predicted maps, hectares; 0: none.

    Raises:
        WrongUseError: If a country is empty or the unit is none.
    """
    where = countries_of(entry.folder, entry.countries, countries)
    return Scope(split or entry.split, without, _named_data(entry, on), where, unit)


def named_countries(text: str | None) -> tuple[str, ...] | None:
    """Countries as people type them: separated by commas; ``all``: none; None: as the run's settings say.

    Raises:
        WrongUseError: If one of them is empty.
    """
    if text is None:
        return None
    return () if text == ALL_COUNTRIES else tuple(listed(text))


def countries_of(run: Path, default: Sequence[str], named: str | None = None) -> tuple[str, ...]:
    """Countries that an evaluation of a run is restricted to, as its evidence spells them.

    Args:
        run: The run folder.
        default: What the run's settings say.
        named: As `named_countries`, in any case.
    """
    told = named_countries(named)
    asked = sorted(set(default if told is None else told))
    wanted = {country.casefold() for country in asked}
    for file in sorted((run / EVALUATIONS).glob(f"*/{EVIDENCE}/{FILE_NAME}")) if asked else ():
        with suppress(EvidenceError):
            found = load_origin(file.parent).countries
            if {country.casefold() for country in found} == wanted:
                return found
    return tuple(asked)


def _named_data(entry: Entry, name: str) -> str:
    """What names the data of an evaluation, see `seg.config.scope.scored_on`, from what somebody types."""
    if entry.fingerprint.startswith(name):
        return ""
    found = [known for known in other_data(entry.folder, "*") if known.startswith(name[:DATA_NAME])]
    return found[0] if len(found) == 1 else name[:DATA_NAME]
