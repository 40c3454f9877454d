"""What predictions were found to give, as whoever keeps a leaderboard notes it beside the submissions.

Predictions of the official test split are gigabytes, so that they lie in no leaderboard: they are compared once, by
`seg.benchmark.predicted`, and what came of it is kept. It names the submission by the digest of its manifest and is
void as soon as a file of that changes. It is the word of whoever keeps the leaderboard; whoever has data and
predictions can compare again.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seg.benchmark.container import read_text
from seg.benchmark.layout import Manifest
from seg.config.wording import clipped
from seg.errors import SubmissionError
from seg.report.record import json_text, run_record

CHECKS = "checks"
"""The folder of a leaderboard that holds them."""
Part = Literal["masks", "confidences of pixels", "probabilities of scene labels"]
MASKS, CONFIDENCES, SCENES = PARTS = get_args(Part)
"""What evidence tells of predictions."""
Checks = Mapping[str, Mapping[str, Collection[str]]]
"""By digest of the submission and by seed, what predictions were found to give."""
_RANKED = {MASKS: "miou", SCENES: "f1_macro"}
"""Those that scores of the leaderboard hang on, by one of these."""


class Check(BaseModel):
    """What was found of a submission.

    Attributes:
        format: Version of this.
        name: Of the entry, for readers.
        submission: Digest of its manifest, see `seg.benchmark.layout.Manifest.digest`.
        data: Fingerprint of the store that the predictions were scored on.
        compared: By seed, what its predictions were found to give.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    format: Annotated[int, Field(ge=1, le=1)]
    name: Annotated[str, Field(max_length=80)]
    submission: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    data: Annotated[str, Field(max_length=80)]
    compared: Annotated[
        dict[Annotated[str, Field(pattern=r"^[0-9]{1,10}$")], list[Part]], Field(min_length=1, max_length=50)
    ]


def check_in(path: Path) -> Check | None:
    """The check that is in a file; None if there is none."""
    try:
        return None if path.is_symlink() else Check.model_validate_json(read_text(path.parent, path.name))
    except (ValidationError, SubmissionError):
        return None


def check_text(
    manifest: Manifest, compared: Mapping[str, Collection[str]], fingerprint: str, earlier: Check | None = None
) -> str:
    """A check as JSON.

    Args:
        manifest: Of the submission.
        compared: By seed, what its predictions were found to give, of `PARTS`.
        fingerprint: Of the store that they were scored on.
        earlier: A check that it replaces: what was found of the same files and data holds on.
    """
    if earlier is not None and (earlier.submission, earlier.data) == (manifest.digest, fingerprint):
        seeds = compared.keys() | earlier.compared.keys()
        compared = {seed: {*compared.get(seed, ()), *earlier.compared.get(seed, ())} for seed in sorted(seeds)}
    found = {seed: sorted(parts, key=PARTS.index) for seed, parts in compared.items()}
    known = {"format": 1, "name": manifest.name, "submission": manifest.digest, "data": fingerprint, "compared": found}
    return json_text(run_record(**known))


def read_checks(folder: Path) -> tuple[dict[str, Check], dict[str, str]]:
    """The checks of a leaderboard by name of their file, and what in `CHECKS` is none, with the reason."""
    found: dict[str, Check] = {}
    refused: dict[str, str] = {}
    for path in sorted((folder / CHECKS).glob("*.json")):
        if path.name.startswith("."):
            continue
        name = f"{CHECKS}/{clipped(path.name)}"
        if (check := check_in(path)) is None:
            refused[name] = "it is no check of predictions; remove it"
        else:
            found[name] = check
    return found, refused


def by_submission(checks: Iterable[Check]) -> Checks:
    """What was compared, of all checks of a submission together."""
    found: dict[str, dict[str, set[str]]] = {}
    for check in checks:
        seeds = found.setdefault(check.submission, {})
        for seed, parts in check.compared.items():
            seeds.setdefault(seed, set()).update(parts)
    return found


def compared_words(compared: Mapping[str, Collection[str]], seeds: Collection[str], scores: Collection[str]) -> str:
    """What of an entry was compared with predictions, for a cell of a table; empty if nothing was.

    Args:
        compared: As of `by_submission`, of one.
        seeds: Names of its seeds.
        scores: Names of its scores.
    """
    words = []
    for part, score in _RANKED.items():
        number = sum(part in compared.get(seed, ()) for seed in seeds)
        if score in scores and number:
            what = part.rpartition(" ")[2]
            words.append(what if number == len(seeds) else f"{what} of {number} of {len(seeds)} seeds")
    return ", ".join(words)
