"""What ``store.json`` says of a store, compared with its index: somebody may have edited one of them by hand."""

from collections.abc import Iterator
from typing import Any

from seg.reben.bands import BANDS
from seg.store.index import Index
from seg.store.open import StoreInfo, describe

_COUNTED = ("patches", "s1_missing", "s2_missing", "maps_missing", "splits")
"""Fields of `StoreInfo` that follow from the index."""


def contradictions(index: Index, info: StoreInfo) -> Iterator[str]:
    """What ``store.json`` says and the index, or another of its fields, does not; the fingerprint aside.

    Args:
        index: Of the store.
        info: What its ``store.json`` says.

    Yields:
        A few words of each, naming the field as it is written in ``store.json``.
    """
    true = describe(index, info.bands, seg_version=info.seg_version, synthetic=info.synthetic, source=info.source)
    for field in _COUNTED:
        said, found = getattr(info, field), getattr(true, field)
        if said != found:
            yield f"{field} is {_words(said)} in store.json, by the index {_words(found)}"
    if info.bands != true.bands:
        yield f"bands are {_words(info.bands)} in store.json, not bands of reBEN in the order of {_words(tuple(BANDS))}"
    if (marked := info.source.get("synthetic") is True) != info.synthetic:
        are = "" if marked else "not "
        yield f"synthetic is {str(info.synthetic).lower()} in store.json, though its source is {are}marked as synthetic"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "empty"
    return str(value) if isinstance(value, int) else " ".join(value) or "none"
