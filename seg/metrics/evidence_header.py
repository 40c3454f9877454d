"""What the header of evidence says: sealed when it is written, and found to be of the kind it should be when read."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from seg.errors import EvidenceError
from seg.metrics.evidence import Origin
from seg.reben.bands import SENSORS
from seg.reben.classes import NUM_CLASSES
from seg.reben.patch import SPLITS

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
            None if model is None and synthetic else synthetic,
            header["weights"],
            None if thresholds is None else tuple(map(float, thresholds)),
            None if header["temperature"] is None else float(header["temperature"]),
            header.get("without"),
            header.get("on", ""),
            model,
            header.get("left_out", 0),
            header.get("masks", True),
            header.get("ranked", True),
            tuple(header.get("countries", ())),
            float(header.get("unit", 0)),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise EvidenceError(f"{path} is no evidence of seg; give the folder that 'seg eval' wrote") from None
    if not _is_typed(origin):
        raise damaged(path, "its header holds something else than seg writes")
    known = origin.split in SPLITS and origin.without in (None, *SENSORS) and 0 <= origin.unit < math.inf
    if not known or (origin.thresholds and len(origin.thresholds) != NUM_CLASSES):
        raise damaged(path, "its split or its thresholds are not those that seg writes")
    return origin


def _is_typed(origin: Origin) -> bool:
    """Whether what a header says is of the kind that it should be: anybody may have written it."""
    texts = (origin.split, origin.fingerprint, origin.weights, origin.on, *origin.countries)
    flags = (origin.synthetic, origin.synthetic_model, origin.masks, origin.ranked)
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(origin.without, str | None)
        and all(isinstance(flag, bool | None) for flag in flags)
        and None not in (origin.masks, origin.ranked)
        and type(origin.left_out) is int
        and 0 <= origin.left_out < _MOST_LEFT_OUT
        and (origin.temperature is None or 0 < origin.temperature < math.inf)
        and not any(map(math.isnan, origin.thresholds or ()))
    )


def damaged(path: Path, reason: str) -> EvidenceError:
    """The refusal of evidence that is not as it was written."""
    return EvidenceError(f"{path} is damaged ({reason}); move it away and run 'seg eval' again")
