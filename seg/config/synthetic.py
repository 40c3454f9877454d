"""What of a result is simulated: the data it was measured on, what the model learned from, or both."""

from collections.abc import Mapping
from enum import Flag

_TAG, _WHAT = "SYNTHETIC", "SYNTHETIC_WHAT"


class Synthetic(Flag):
    """False where nothing is; ``|`` puts two together."""

    NOTHING = 0
    DATA = 1
    MODEL = 2

    @classmethod
    def of(cls, *, data: bool = False, model: bool = False) -> "Synthetic":
        """What is simulated.

        Args:
            data: The images that a result was measured on or made of.
            model: Those that the model learned from.
        """
        return (cls.DATA if data else cls.NOTHING) | (cls.MODEL if model else cls.NOTHING)

    @classmethod
    def in_tags(cls, tags: Mapping[str, str]) -> "Synthetic":
        """What the metadata of a file say; earlier files say only that something is."""
        said = tags.get(_WHAT, "data and model" if _TAG in tags else "")
        return cls.of(data="data" in said, model="model" in said)

    @property
    def tags(self) -> dict[str, str]:
        """Metadata of a file."""
        parts = [part for part, kind in (("data", Synthetic.DATA), ("model", Synthetic.MODEL)) if self & kind]
        return {_TAG: "YES", _WHAT: " and ".join(parts)} if parts else {}

    @property
    def words(self) -> str:
        """In two words, for titles: images that are simulated come first, as nothing real was seen."""
        return "SYNTHETIC data" if self & Synthetic.DATA else "SYNTHETIC model" if self else ""

    @property
    def warning(self) -> str:
        """The beginning of the title of a table."""
        return f"{self.words}, no benchmark result: " if self else ""

    @property
    def mark(self) -> str:
        """The beginning of the title of a page or picture."""
        return "" if not self else "SYNTHETIC – " if self & Synthetic.DATA else "SYNTHETIC MODEL – "

    @property
    def sentence(self) -> str:
        """What that means."""
        if self == Synthetic.MODEL:
            return "No benchmark result: the images are real, but the model was trained on simulated ones."
        if self == Synthetic.DATA:
            return "No benchmark result: the images are simulated; the model was not trained on such."
        return "No benchmark result: the images are simulated." if self else ""
