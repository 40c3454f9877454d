"""What lies where in a submission, and the manifest that names its files.

::

    submission.json          format, protocol, versions, name, seeds, and the SHA-256 of every other file
    answers.yaml             what the authors state
    README.md                the entry for a reader; follows from answers and evidence
    scores.json              its scores for machines; follows from the evidence
    CITATION.cff             how to cite it; follows from the answers
    seeds/0/patches.parquet  what was predicted for each patch, see `seg.metrics.evidence_file`
    seeds/0/record.json      what is known of the training
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seg.benchmark.card import CITATION_FILE, PAGE_FILE, SCORES_FILE
from seg.benchmark.container import PACK_AGAIN, digest_of, files_in, read_text
from seg.benchmark.protocol import PROTOCOL
from seg.config.version import VERSION
from seg.errors import SubmissionError
from seg.metrics.evidence_file import FILE_NAME as EVIDENCE_FILE
from seg.metrics.scores import DEFINITIONS
from seg.report.record import json_text

FORMAT = 1
"""Version of the layout and of what is written into it; raised whenever either changes."""
MANIFEST_FILE, ANSWERS_FILE, RECORD_FILE = "submission.json", "answers.yaml", "record.json"
SEEDS = "seeds"
_DIGITS = 20
"""Of a whole number, sign included."""


class Manifest(BaseModel):
    """What ``submission.json`` says.

    Attributes:
        format: Version of this layout.
        protocol: Version of the protocol.
        definitions: Version of the definitions of the scores.
        seg: Version of the program that packed it.
        name: Of the entry.
        seeds: Folders of the seeds, in order.
        files: SHA-256 of every other file by its path.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    protocol: int
    definitions: int
    seg: Annotated[str, Field(max_length=40, pattern=r"^[\w.+-]+$")]
    name: Annotated[str, Field(max_length=80)]
    seeds: Annotated[list[Annotated[str, Field(pattern=r"^\d{1,10}$")]], Field(min_length=1, max_length=50)]
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of all that it says, and so of all files: hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def seed_files(seed: str) -> tuple[str, str]:
    """Paths of the evidence and of the record of a seed."""
    return f"{SEEDS}/{seed}/{EVIDENCE_FILE}", f"{SEEDS}/{seed}/{RECORD_FILE}"


def manifest_text(folder: Path, name: str, seeds: Sequence[str]) -> str:
    """The manifest of the files that are in a folder."""
    files = {path: digest_of(folder / path) for path in files_in(folder) if path != MANIFEST_FILE}
    head = {"format": FORMAT, "protocol": PROTOCOL, "definitions": DEFINITIONS, "seg": VERSION, "name": name}
    return json_text(head | {"seeds": list(seeds), "files": files})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a submission, all of whose files are there and as it says.

    Raises:
        SubmissionError: If it is of another version, or files are missing, altered or too many.
    """
    document = read_document(folder, MANIFEST_FILE)
    for key, ours, what in (
        ("format", FORMAT, "submissions"),
        ("protocol", PROTOCOL, "the protocol"),
        ("definitions", DEFINITIONS, "the scores"),
    ):
        if document.get(key) != ours:
            raise SubmissionError(
                f"it was made by another version: {key} {document.get(key)!r:.40}, and this seg knows version {ours} "
                f"of {what}; take the seg that made it, or {PACK_AGAIN}"
            )
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError:
        raise SubmissionError(f"{MANIFEST_FILE} is no manifest of a submission; {PACK_AGAIN}") from None
    wanted = {ANSWERS_FILE, PAGE_FILE, SCORES_FILE, CITATION_FILE}
    wanted |= {name for seed in manifest.seeds for name in seed_files(seed)}
    there = set(files_in(folder)) - {MANIFEST_FILE}
    for what, names in (
        ("lacks", wanted - there),
        ("holds what is no part of it:", there - wanted),
        ("has no hash of", wanted - manifest.files.keys()),
        ("has a hash of what is no part of it:", manifest.files.keys() - wanted),
    ):
        if names:
            raise SubmissionError(f"it {what} {sorted(names)[0]:.80}; {PACK_AGAIN}")
    for name, digest in manifest.files.items():
        if digest_of(folder / name) != digest:
            raise SubmissionError(f"{name} is not the file that was packed: its hash differs; {PACK_AGAIN}")
    return manifest


def read_document(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object of a submission.

    Raises:
        SubmissionError: If it is missing or damaged.
    """
    try:
        document = json.loads(read_text(folder, name), parse_constant=_no_number, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        if isinstance(error, SubmissionError):
            raise
        raise SubmissionError(f"{name} is no JSON; {PACK_AGAIN}") from None
    if not isinstance(document, dict):
        raise SubmissionError(f"{name} is no JSON object; {PACK_AGAIN}")
    return document


def _no_number(text: str) -> float:
    """JSON has no NaN and no infinity, and Python reads them."""
    raise ValueError(f"{text} is no number of JSON")


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError("a number has too many digits")
    return int(text)
