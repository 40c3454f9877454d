"""Pictures of a few patches, kept beside the evidence, so that a report needs no images.

The file is a safetensors file; patch ids, scores and labels stand as JSON in its header.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from seg.errors import EvidenceError, UnknownNameError
from seg.metrics.evidence import Evidence, labelled_pixels
from seg.metrics.patch import label_differences, patch_accuracy
from seg.metrics.sparse import Rows
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES, class_index
from seg.store.atomic import write_bytes

FILE_NAME = "gallery.safetensors"
FORMAT = 1
"""Version of the file's format."""
BEST, MEDIAN, WORST, DISAGREEING = REASONS = ("best", "median", "worst", "most disagreeing")
EACH = 3
"""Pictures for each reason."""
MIN_LABELLED = 0.25
"""Share of the pixels that must be labelled: a score of a few pixels says little about a patch."""

_KEY = "seg.gallery"
_TEXTS = ("patch_id", "why", "score", "labels", "decided")
_ARRAYS = {"rgb": 3, "s1": 2, "reference": 2, "predicted": 2}
"""Arrays of a picture, with their number of axes."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A patch to look at.

    Attributes:
        patch_id: Its id.
        why: One of `REASONS`.
        rgb_HW3: True-colour image, uint8, see `seg.figures.pictures.true_colour`; None without Sentinel-2.
        s1_HW: VV backscatter, uint8, -25 to 0 dB; None without Sentinel-1.
        reference_HW: Class indices, uint8; 255 where unlabelled.
        predicted_HW: Class indices, uint8.
        score: Overall accuracy of the patch, 0 to 1.
        labels: Official names of its labels.
        decided: Names that the scene head decided for; empty also without a head.
    """

    patch_id: str
    why: str
    rgb_HW3: npt.NDArray[np.uint8] | None
    s1_HW: npt.NDArray[np.uint8] | None
    reference_HW: npt.NDArray[np.uint8]
    predicted_HW: npt.NDArray[np.uint8]
    score: float
    labels: tuple[str, ...]
    decided: tuple[str, ...]


def choose_pictures(evidence: Evidence) -> list[tuple[int, str]]:
    """The patches worth a look: the best, median and worst, and those where mask and scene head disagree most.

    Only patches with at least 25 % of their pixels labelled are chosen, none of them twice. Of patches that are as
    good, the one whose id comes first is taken. A small split has fewer pictures.

    Returns:
        Row of the evidence and one of `REASONS`, in the order of these; nothing without masks.
    """
    if not evidence.origin.masks:
        return []
    eligible = np.flatnonzero(labelled_pixels(evidence) >= MIN_LABELLED * PATCH_SIZE * PATCH_SIZE)
    by_id = np.empty(len(evidence), dtype=np.int64)
    by_id[pc.sort_indices(evidence.patch_ids).to_numpy()] = np.arange(len(evidence))
    accuracy = patch_accuracy(evidence)

    def first(candidates: Rows, key: npt.NDArray[Any], number: int) -> Rows:
        """The candidates with the smallest keys, one key for each row of the evidence."""
        return candidates[np.lexsort((by_id[candidates], key[candidates]))][:number]

    left = len(eligible)
    # Shared out evenly where there are too few for all.
    best = first(eligible, -accuracy, min(EACH, -(-left // 3)))
    left -= len(best)
    rest = np.setdiff1d(eligible, best)
    worst = first(rest, accuracy, min(EACH, -(-left // 2)))
    rest = np.setdiff1d(rest, worst)
    middle = float(np.median(accuracy[eligible])) if len(eligible) else 0.0
    median = first(rest, np.abs(accuracy - middle), EACH)
    rest = np.setdiff1d(rest, median)
    chosen = {BEST: best, MEDIAN: median, WORST: worst}
    differences = label_differences(evidence)
    if differences is not None:
        chosen[DISAGREEING] = first(rest[differences[rest] > 0], -differences, EACH)
    return [(int(row), why) for why, rows in chosen.items() for row in rows]


def save_gallery(folder: Path, pictures: tuple[Picture, ...]) -> Path:
    """Write ``gallery.safetensors`` into a folder, which is made if need be. It appears complete or not at all.

    Returns:
        The file.
    """
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    for number, picture in enumerate(pictures):
        values = (picture.rgb_HW3, picture.s1_HW, picture.reference_HW, picture.predicted_HW)
        for name, array in zip(_ARRAYS, values, strict=True):
            if array is not None:
                assert array.dtype == np.uint8, f"{name} is uint8, not {array.dtype}"
                arrays[f"{number}.{name}"] = np.ascontiguousarray(array)
    texts = [{name: getattr(picture, name) for name in _TEXTS} for picture in pictures]
    document = {"format": FORMAT, "checksum": _checksum(arrays), "pictures": texts}
    header = {_KEY: json.dumps(document, allow_nan=False)}
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / FILE_NAME, save(arrays, header))
    return folder / FILE_NAME


def load_gallery(folder: Path) -> tuple[Picture, ...]:
    """Read ``gallery.safetensors`` from a folder.

    Raises:
        EvidenceError: If the file is missing, damaged or of another format.
    """
    path = folder / FILE_NAME
    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {}).get(_KEY)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise EvidenceError(f"there is no gallery at {path}; run 'seg eval' to make it") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    try:
        document = json.loads(header or "")
        version, expected, texts = document["format"], document["checksum"], document["pictures"]
    except (KeyError, TypeError, ValueError):
        raise EvidenceError(f"{path} is no gallery of seg; move it away and run 'seg eval' to make one") from None
    if version != FORMAT:
        raise EvidenceError(f"{path} has format {version} and this seg reads {FORMAT}; run 'seg eval' again")
    if _checksum(arrays) != expected:
        raise _damaged(path, "the images are not those that were written")
    try:
        pictures = tuple(_picture(number, text, arrays) for number, text in enumerate(texts))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    if arrays:
        raise _damaged(path, "it holds images of no patch")
    return pictures


def _picture(number: int, text: Mapping[str, Any], arrays: dict[str, npt.NDArray[np.uint8]]) -> Picture:
    """The picture with a number; its arrays are taken out of `arrays`.

    Raises:
        KeyError, TypeError, ValueError: What is wrong with it.
    """
    found = {name: arrays.pop(f"{number}.{name}", None) for name in _ARRAYS}
    reference, predicted = found["reference"], found["predicted"]
    if reference is None or predicted is None:
        raise EvidenceError(f"picture {number} lacks a map")
    for name, axes in _ARRAYS.items():
        array = found[name]
        expected = (*reference.shape[:2], 3)[:axes]
        if array is not None and (array.dtype != np.uint8 or array.shape != expected):
            raise EvidenceError(f"{name} of picture {number} is {array.dtype} {array.shape}")
    for name, classes_HW in (("reference", reference), ("predicted", predicted)):
        values = np.unique(classes_HW)
        if ((values >= NUM_CLASSES) & (values != IGNORE_INDEX)).any():
            raise EvidenceError(f"the {name} map of picture {number} holds values that are no class")
    patch_id, why, score = text["patch_id"], text["why"], float(text["score"])
    if not isinstance(patch_id, str) or why not in REASONS or not 0 <= score <= 1:
        raise EvidenceError(f"the description of picture {number} makes no sense")
    labels, decided = (tuple(text[key]) for key in ("labels", "decided"))
    try:
        for label in (*labels, *decided):
            class_index(label)
    except UnknownNameError as error:
        raise EvidenceError(str(error).partition(";")[0]) from None
    return Picture(patch_id, why, found["rgb"], found["s1"], reference, predicted, score, labels, decided)


def _checksum(arrays: Mapping[str, npt.NDArray[np.uint8]]) -> str:
    digest = xxhash.xxh3_64()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape} ".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _damaged(path: Path, reason: str) -> EvidenceError:
    return EvidenceError(f"{path} is cut off or damaged ({reason}); move it away and run 'seg eval' again")
