"""What the process that verifies a submission replies, as JSON: nothing that it says is run by who hears it."""

import builtins
import json
from typing import Any

import numpy as np

from seg import errors
from seg.benchmark.form import Answers
from seg.benchmark.layout import Manifest
from seg.benchmark.outcome import Outcome, SeedOutcome
from seg.benchmark.verify import Verified
from seg.config.synthetic import Synthetic
from seg.errors import SegError
from seg.metrics.jackknife import Replicates
from seg.metrics.ratio import Floats

_PLAIN = ("name", "patches", "subject", "referenced", "trained")
_TEXTS = ("checked", "remarks", "unrecorded", "unverified")


def verified_text(verified: Verified) -> str:
    """A submission that was found to be good, in a line of JSON. Floats are written so that they are read the same."""
    document = {name: getattr(verified, name) for name in (*_PLAIN, *_TEXTS)}
    document |= {
        "answers": verified.answers.model_dump(mode="json"),
        "manifest": verified.manifest.model_dump(mode="json"),
        "synthetic": verified.synthetic.value,
        "predictions": sorted(verified.predictions),
        "prints": [one.tolist() for one in verified.prints],
        "seeds": [_seed_document(one) for one in verified.outcome.seeds],
    }
    return json.dumps(document)


def _seed_document(one: SeedOutcome) -> dict[str, Any]:
    replicates = one.replicates
    return {
        "seed": one.seed,
        "scores": one.scores,
        "per_class": _lists(one.per_class),
        "patches": replicates.patches,
        "values": _lists(replicates.values),
        "support": _lists(replicates.support),
    }


def _lists(arrays: dict[str, Floats]) -> dict[str, Any]:
    return {name: np.asarray(values).tolist() for name, values in arrays.items()}


def read_verified(text: str) -> Verified:
    """What `verified_text` wrote.

    Raises:
        ValueError: If it is something else.
    """
    try:
        document = json.loads(text)
        plain: dict[str, Any] = {name: document[name] for name in _PLAIN}
        texts: dict[str, Any] = {name: tuple(document[name]) for name in _TEXTS}
        return Verified(
            **plain,
            **texts,
            answers=Answers.model_validate(document["answers"]),
            manifest=Manifest.model_validate(document["manifest"]),
            synthetic=Synthetic(document["synthetic"]),
            predictions=frozenset(document["predictions"]),
            prints=tuple(np.array(one, np.uint64) for one in document["prints"]),
            outcome=Outcome(tuple(map(_read_seed, document["seeds"]))),
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no reply: {error}") from None


def _read_seed(document: dict[str, Any]) -> SeedOutcome:
    replicates = Replicates(document["patches"], _arrays(document["values"]), _arrays(document["support"]))
    return SeedOutcome(document["seed"], document["scores"], _arrays(document["per_class"]), replicates)


def _arrays(lists: dict[str, Any]) -> dict[str, Floats]:
    return {name: np.array(values, np.float64) for name, values in lists.items()}


def error_text(error: Exception) -> str:
    """An error in a line of JSON."""
    system = [error.errno, error.strerror, error.filename] if isinstance(error, OSError) and error.errno else None
    wrong_use = error.wrong_use if isinstance(error, SegError) else None
    return json.dumps([type(error).__name__, str(error), wrong_use, system], default=str)


def read_error(text: str) -> Exception:
    """The error that `error_text` wrote: of seg, or of Python itself; any other is a `RuntimeError` with its name.

    Raises:
        ValueError: If it is something else.
    """
    name, said, wrong_use, system = json.loads(text)
    kind = getattr(errors, str(name), None) or getattr(builtins, str(name), None)
    if isinstance(kind, type) and issubclass(kind, SegError):
        return kind(str(said), wrong_use=bool(wrong_use))
    if isinstance(kind, type) and issubclass(kind, OSError) and system:
        return kind(*system)
    try:
        if isinstance(kind, type) and issubclass(kind, Exception):
            return kind(str(said))
    except TypeError:
        pass
    return RuntimeError(f"{name}: {said}")
