"""What of a result is simulated: the data it was measured on, what the model learned from, or both."""

from collections.abc import Mapping
from enum import Flag

SYNTHETIC_FILE = "SYNTHETIC.json"
"""Lies beside what is simulated; whatever is made of that says so."""
_TAG, _WHAT = "SYNTHETIC", "SYNTHETIC_WHAT"


class Synthetic(Flag):
    """False where nothing is; ``|`` puts two together."""

    NOTHING = 0
    DATA = 1
    MODEL = 2
    UNTOLD = 4
    """The data or the model are, or both: which was not recorded."""

    @classmethod
    def of(cls, *, data: bool | None = False, model: bool | None = False) -> "Synthetic":
        """What is simulated.

        Args:
            data: The images that a result was measured on or made of; None: not recorded, though something is.
            model: Those that the model learned from; likewise.
        """
        untold = cls.UNTOLD if None in (data, model) else cls.NOTHING
        return (cls.DATA if data else cls.NOTHING) | (cls.MODEL if model else cls.NOTHING) | untold

    @classmethod
    def in_tags(cls, tags: Mapping[str, str]) -> "Synthetic":
        """What the metadata of a file say; earlier files say only that something is."""
        if _TAG not in tags:
            return cls.NOTHING
        return next((cls(what) for what, text in _WORDS.items() if text == tags.get(_WHAT)), cls.UNTOLD)

    @property
    def tags(self) -> dict[str, str]:
        """Metadata of a file."""
        return {_TAG: "YES", _WHAT: _WORDS[self.value]} if self else {}

    @property
    def words(self) -> str:
        """In two words, for titles: images that are simulated come first, as nothing real was seen."""
        return f"SYNTHETIC {self._foremost}" if self else ""

    @property
    def warning(self) -> str:
        """The beginning of the title of a table."""
        return f"{self.words}, no benchmark result: " if self else ""

    @property
    def mark(self) -> str:
        """The beginning of the title of a page or picture."""
        return "" if not self else "SYNTHETIC – " if self & Synthetic.DATA else f"{self.words.upper()} – "

    @property
    def sentence(self) -> str:
        """What that means."""
        return f"No benchmark result: {_SENTENCES[self.value]}." if self else ""

    @property
    def _foremost(self) -> str:
        return "data" if self & Synthetic.DATA else "model" if self & Synthetic.MODEL else "data or model"


_WORDS = {
    1: "data",
    2: "model",
    3: "data and model",
    4: "data or model",
    5: "data and perhaps model",
    6: "model and perhaps data",
    7: "data and model",
}
"""What stands in tags, by value."""
_SENTENCES = {
    1: "the images are simulated; the model was not trained on such",
    2: "the images are real, but the model was trained on simulated ones",
    3: "the images are simulated",
    4: "the images are simulated, or the model was trained on such; which of the two is not recorded",
    5: "the images are simulated",
    6: "the model was trained on simulated images; whether these are simulated too is not recorded",
    7: "the images are simulated",
}
