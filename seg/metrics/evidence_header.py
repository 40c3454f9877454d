"""What the header of evidence says: sealed when it is written, and found to be of the kind it should be when read."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import xxhash

from seg.config.sections import ContextSplit
from seg.errors import EvidenceError
from seg.metrics.evidence import Origin
from seg.reben.bands import PATCH_SIZE, SENSORS
from seg.reben.classes import NUM_CLASSES
from seg.reben.patch import SPLITS

SCORED_FILE = "scored.json"
"""Record of predictions made elsewhere, which lies where a run has its settings and ``run.json``."""
_MOST_LEFT_OUT = 10**9


def sealed(header: Mapping[str, Any]) -> dict[str, Any]:
    """A header with its own checksum, as parquet checks its pages but not what stands in its schema."""
    bare = {name: value for name, value in header.items() if name != "checksum"}
    return bare | {"checksum": xxhash.xxh3_64_hexdigest(json.dumps(bare, sort_keys=True).encode())}


def origin_of(path: Path, header: Mapping[str, Any]) -> Origin:
    """What a header says that evidence is of.

    Args:
        path: Of the evidence, for messages.
        header: Anything that has been read from it.

    Raises:
        EvidenceError: If something lacks or is none of what seg writes.
    """
    try:
        thresholds, synthetic = header["thresholds"], header["synthetic"]
        # Earlier versions had one flag for data and model.
        model = header.get("synthetic_model", None if synthetic else False)
        origin = Origin(
            header["split"],
            header["fingerprint"],
            synthetic if "synthetic_model" in header or not synthetic else None,
            header["weights"],
            None if thresholds is None else tuple(map(float, thresholds)),
            # Text is none, which ``float`` would read.
            None if header["temperature"] is None else 1.0 * header["temperature"],
            header.get("without"),
            header.get("on", ""),
            model,
            header.get("left_out", 0),
            header.get("masks", True),
            header.get("ranked", True),
            tuple(header.get("countries", ())),
            float(header.get("unit", 0)),
            header.get("context", 0),
            header.get("context_split", "any"),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise EvidenceError(f"{path} is no evidence of seg; give the folder that 'seg eval' wrote") from None
    if not _is_typed(origin):
        raise damaged(path, "its header holds something else than seg writes")
    known = origin.split in SPLITS and origin.without in (None, *SENSORS) and 0 <= origin.unit < math.inf
    known = known and 0 <= origin.context <= PATCH_SIZE and origin.context_split in get_args(ContextSplit)
    if not known or (origin.thresholds is not None and len(origin.thresholds) != NUM_CLASSES):
        raise damaged(path, "its split or its thresholds are not those that seg writes")
    return origin


def _is_typed(origin: Origin) -> bool:
    """Whether what a header says is of the kind that it should be: anybody may have written it."""
    texts = (origin.split, origin.fingerprint, origin.weights, origin.on, *origin.countries, origin.context_split)
    flags = (origin.synthetic, origin.synthetic_model, origin.masks, origin.ranked)
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(origin.without, str | None)
        and all(isinstance(flag, bool | None) for flag in flags)
        and None not in (origin.masks, origin.ranked)
        and type(origin.left_out) is type(origin.context) is int
        and 0 <= origin.left_out < _MOST_LEFT_OUT
        and (origin.temperature is None or 0 < origin.temperature < math.inf)
        and all(0 <= threshold <= 1 for threshold in origin.thresholds or ())
    )


def damaged(path: Path, reason: str) -> EvidenceError:
    """The refusal of evidence that is not as it was written."""
    return EvidenceError(f"{path} is damaged ({reason}); {cure(path)}")


def cure(path: Path, readable: bool = False) -> str:
    """How evidence is made anew: that of a run by itself, that of predictions with all of their scored folder.

    Args:
        path: The evidence.
        readable: Whether it is known for what it is, and replaced.
    """
    scored = next((folder for folder in path.parents[:4] if (folder / SCORED_FILE).is_file()), None)
    if scored is None:
        return "move it away and " * (not readable) + "run 'seg eval' again"
    return f"move {scored} away and score the predictions again with 'seg score'"
