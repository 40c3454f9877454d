"""What a pretraining leaves: an encoder whose file says what it is, and, while it goes on, all that it needs to.

Without torch, so that a folder that cannot be used is refused before that is loaded.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from seg.errors import DamagedError, WrongUseError
from seg.models.weights_file import WEIGHTS_FILE

RECORD_FILE = "pretraining.json"
STATE_FILE = "state.safetensors"
FILES = (WEIGHTS_FILE, RECORD_FILE, STATE_FILE)
_IDENTITY = "identity"

Identity = Mapping[str, Any]
"""What makes a pretraining what it is, by name: its settings and its data."""


@dataclass(frozen=True)
class Found:
    """What lies in the folder of a pretraining.

    Attributes:
        finished: What its record says, if it has ended.
        begun: Whether it has begun and can go on.
    """

    finished: dict[str, Any] | None
    begun: bool


def look(folder: Path, identity: Identity) -> Found:
    """What of a pretraining is there, which must be the very one that is asked for.

    Raises:
        WrongUseError: If it is another one.
        DamagedError: If a file of it is.
    """
    record, state = folder / RECORD_FILE, folder / STATE_FILE
    if record.is_file() and (folder / WEIGHTS_FILE).is_file():
        try:
            held = json.loads(record.read_text(encoding="utf-8"))
            there = held[_IDENTITY]
        except (OSError, ValueError, KeyError, TypeError):
            raise DamagedError(f"{record} is damaged; move {folder} away and begin anew") from None
        _require_same(folder, there, identity)
        return Found(held, False)
    if state.is_file():
        _require_same(folder, read_about(state)[_IDENTITY], identity)
        return Found(None, True)
    return Found(None, False)


def read_about(state: Path) -> dict[str, Any]:
    """What a saved state says of itself: its identity, epoch and errors.

    Raises:
        DamagedError: If it does not.
    """
    try:
        with safe_open(state, framework="np") as file:
            return dict(json.loads((file.metadata() or {})["about"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{state} is damaged ({error}); move it away and begin anew") from None


def _require_same(folder: Path, there: Any, here: Identity) -> None:
    there = there if isinstance(there, dict) else {}
    # As JSON gives them back.
    here = json.loads(json.dumps(dict(here)))
    for name in here | there:
        if there.get(name) != here.get(name):
            raise WrongUseError(
                f"{folder} holds another pretraining ({name} is {there.get(name)} there and {here.get(name)} here); "
                "name another --out"
            )
