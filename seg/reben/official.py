"""The official split of reBEN, known by digests: of which patches are in a part of it, and of their labels.

Digests are SHA-256, in hexadecimal digits, of a text in UTF-8 without a line feed at its end: a line for each
patch, sorted by code point and joined by a line feed. A line is the patch id; for the labels it goes on with a
tabulator and the official names of the classes, sorted by code point and joined by a semicolon; for the reference it
goes on further with a tabulator and the labelled pixels of the 19 classes, joined by a comma. Those here are of
``metadata.parquet`` as published (md5 55687065e77b6d0b0f1ff604a6e7b49c): no patch with snow, cloud or shadow.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from seg.reben.patch import Split


@dataclass(frozen=True, slots=True)
class OfficialPart:
    """A part of the official split.

    Attributes:
        ids: Digest of its patch ids.
        labels: Digest of its patch ids with their labels.
    """

    ids: str
    labels: str


OFFICIAL: dict[Split, OfficialPart] = {
    "train": OfficialPart(
        "fda779ef0ea3f246e01d8e17361667d0d5f0deea568534048e44955cd0c914c0",
        "c3879bca9cb59d750feba167d6c24db62cda407489cc31ed045b3f8d56d3bcce",
    ),
    "validation": OfficialPart(
        "3ed8fb168a04c2e15bf6d5ce85ef7080ffa05638fa23e765b22f478ec258a8de",
        "30124e2c54b306b7395f8bc7ea95cbf829164b0c503c03eacf256593933b9ae0",
    ),
    "test": OfficialPart(
        "979abdfda82885e7a2271db6af2340a3f0c75c1180fb3d4cc53c334e157768ca",
        "5fbc130a12c672d672c00e21f078e7e70b565139043c52d6b0f67c9ef23728e7",
    ),
}
"""The parts of the official split; `seg.reben.patch.PUBLISHED_PATCHES` has their numbers of patches."""


def ids_digest(patch_ids: Iterable[str]) -> str:
    """Digest of some patch ids, whatever their order."""
    return _digest(patch_ids)


def labels_digest(patch_ids: Iterable[str], labels: Iterable[Sequence[str]]) -> str:
    """Digest of some patch ids with their labels, whatever their order.

    Args:
        patch_ids: The ids.
        labels: Official names of the classes of each patch.
    """
    return _digest(f"{patch_id}\t{';'.join(sorted(names))}" for patch_id, names in zip(patch_ids, labels, strict=True))


def reference_digest(patch_ids: Iterable[str], labels: Iterable[Sequence[str]], areas: Iterable[Sequence[int]]) -> str:
    """Digest of some patch ids with what is true of them, whatever their order.

    Args:
        patch_ids: The ids.
        labels: Official names of the classes of each patch.
        areas: Labelled pixels of each patch by class, in the order of the nomenclature.
    """
    rows = zip(patch_ids, labels, areas, strict=True)
    return _digest(
        f"{name}\t{';'.join(sorted(classes))}\t{','.join(map(str, pixels))}" for name, classes, pixels in rows
    )


def is_official(patch_ids: Sequence[str], split: Split) -> bool:
    """Whether some patches are all of those of a part of the official split, each once."""
    return ids_digest(patch_ids) == OFFICIAL[split].ids


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
