"""Predictions as arrays of one file: a row for each patch beside its id, or an array for each patch.

- ``ids`` (or ``patch_ids``, ``patch_id``): text (N,), or bytes (N, L); of safetensors also a JSON list in
  the metadata;
- ``masks``: numbers of classes (N, 120, 120);
- ``probabilities``: (N, 19, 120, 120), floats, or whole numbers with
- ``scale``: what a stored 1 of the probabilities stands for, such as 0.004.

Without ids, each array is that of the patch it is named by, as files of a folder would be.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from seg.config.wording import clipped
from seg.errors import EvidenceError, PredictionError
from seg.predictions.containers import Container, explained, format_of, opened, require_installed
from seg.predictions.pixels import SIZE, PatchPixels, Read, class_map, is_patch, probabilities, split_name
from seg.reben.classes import NUM_CLASSES
from seg.reben.patch import PatchId

IDS = ("ids", "patch_ids", "patch_id")
MASKS, SHARES, SCALE = "masks", "probabilities", "scale"
_MOST_IDS, _MOST_BYTES = 2_000_000, 1 << 28
"""Number of ids, and bytes that they may take: those of all of reBEN as text of four bytes a letter are half of it."""
_LONGEST_ID = 128
_NAMED = 3


@dataclass(frozen=True)
class Arrays:
    """Arrays of one file, see `seg.predictions.pixels.Source`.

    Attributes:
        path: The file.
        names: Names of the patches.
        places: Row of each, or, without ids, the arrays of its class map and of its probabilities; empty: none.
        scale: What a stored 1 of the probabilities stands for; None: they are fractions.
        masks, shares: Whether there are class maps and probabilities.
        stamp, remarks: See there.
    """

    path: Path
    names: tuple[str, ...]
    places: dict[str, int | tuple[str, str]]
    scale: float | None
    masks: bool
    shares: bool
    stamp: str
    remarks: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """In a few words."""
        parts = [word for word, there in (("class maps", self.masks), ("probabilities", self.shares)) if there]
        return f"arrays of {' and '.join(parts)} ({format_of(self.path).lstrip('.')})"

    @property
    def files(self) -> int:
        """How many."""
        return 1

    def only(self, names: Sequence[str]) -> "Arrays":
        """The same of some patches."""
        return replace(self, names=tuple(names), places={name: self.places[name] for name in names})

    @contextmanager
    def opened(self) -> Iterator[Read]:
        """Reads the patches."""
        with opened(self.path) as container:
            blocks: dict[str, tuple[int, npt.NDArray[Any]]] = {}

            def row(name: str, position: int) -> npt.NDArray[Any]:
                """A row of an array, out of the rows that were last read together."""
                step = min(container.at_once(name), _MOST_AT_ONCE)
                begin = position // step * step
                if blocks.get(name, (-1,))[0] != begin:
                    end = min(begin + step, container.header(name)[0][0])
                    blocks[name] = begin, container.rows(name, begin, end)
                array: npt.NDArray[Any] = blocks[name][1][position - begin]
                return array

            def read(name: str, _: PatchId) -> PatchPixels:
                with explained(self.path):
                    place = self.places[name]
                    if isinstance(place, int):
                        values = row(MASKS, place) if self.masks else None
                        shares = row(SHARES, place) if self.shares else None
                    else:
                        values, shares = (_whole(self.path, container, array) for array in place)
                if (values is None) == self.masks or (shares is None) == self.shares:
                    raise PredictionError(
                        f"has no {'class map' if values is None else 'probabilities'}, and others have"
                    )
                return PatchPixels(
                    None if values is None else class_map(values),
                    None if shares is None else probabilities(shares, self.scale),
                )

            yield read


_MOST_AT_ONCE = 64


def open_arrays(path: Path) -> Arrays:
    """A file of arrays.

    Raises:
        EvidenceError: If its arrays are not those of patches.
        WrongUseError: If a package that it needs is not installed.
    """
    require_installed(path)
    with opened(path) as container, explained(path):
        scale = _scale(path, container)
        ids = _ids(path, container)
        stamp = _stamp(path)
        if ids is None:
            places, masks, shares = _by_patch(path, container)
            return Arrays(path, tuple(places), places, scale, masks, shares, stamp)
        if doubled := [name for name, times in Counter(ids).items() if times > 1]:
            raise EvidenceError(
                f"{path}: {len(doubled):,} ids are there more than once, such as {clipped(doubled[0])}; leave one each"
            )
        parts = {MASKS: SIZE, SHARES: (NUM_CLASSES, *SIZE)}
        there = [name for name in parts if name in container.names]
        if not there:
            raise EvidenceError(f"{path} has ids, and neither {MASKS} nor {SHARES}; name the arrays so")
        for name in there:
            shape, dtype = container.header(name)
            _require_numbers(path, name, dtype)
            if shape != (len(ids), *parts[name]):
                found, expected = (" x ".join(map(str, size)) for size in (shape, (len(ids), *parts[name])))
                raise EvidenceError(f"{path}: {name} is {found}, and has to be {expected} for the {len(ids):,} ids")
        rows: dict[str, int | tuple[str, str]] = {name: row for row, name in enumerate(ids)}
        remarks = tuple(filter(None, map(container.doubt, there)))
        return Arrays(path, tuple(ids), rows, scale, MASKS in there, SHARES in there, stamp, remarks)


def _by_patch(path: Path, container: Container) -> tuple[dict[str, int | tuple[str, str]], bool, bool]:
    """The arrays of each patch, and whether there are class maps and probabilities."""
    found: dict[str, tuple[str, str]] = {}
    names = [name for name in container.names if name != SCALE]
    if not names:
        raise EvidenceError(f"{path} holds no arrays; it needs {IDS[0]} and {MASKS}, or an array for each patch")
    if whole := [name for name in names if name in (MASKS, SHARES)]:
        raise EvidenceError(f"{path} has {whole[0]}, and {IDS[0]} is missing; add it, with the patch of each row")
    if not any(is_patch(split_name(name)[0]) for name in names):
        raise EvidenceError(
            f"{path} has {_some(names)}, which seg does not know; name the arrays {IDS[0]} and {MASKS} or {SHARES}, or "
            "each of them after its patch"
        )
    volumes = any(split_name(name)[1] for name in names)
    bare_are_shares = not volumes and len(container.header(names[0])[0]) > len(SIZE)
    for array in names:
        name, are_shares = split_name(array)
        pair = found.get(name, ("", ""))
        second = are_shares or bare_are_shares
        if pair[second]:
            raise EvidenceError(
                f"{path}: {clipped(pair[second])} and {clipped(array)} are of one patch; leave one of them"
            )
        found[name] = (pair[0], array) if second else (array, pair[1])
    places: dict[str, int | tuple[str, str]] = dict(found)
    return places, any(a for a, _ in found.values()), any(b for _, b in found.values())


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(clipped, names[:_NAMED])) + ", ..." * (len(names) > _NAMED)


def _whole(path: Path, container: Container, name: str) -> npt.NDArray[Any] | None:
    """The array of a patch, which is not read if it is another size."""
    if not name:
        return None
    shape, dtype = container.header(name)
    if int(np.prod(shape, dtype=object)) > NUM_CLASSES * SIZE[0] * SIZE[1]:
        raise PredictionError(f"is {' x '.join(map(str, shape))}, and a patch has {SIZE[0]} x {SIZE[1]} pixels")
    _require_numbers(path, name, dtype)
    return container.whole(name)


def _require_numbers(path: Path, name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "uif":
        told = "of a kind that NumPy lacks, such as bfloat16" if dtype.kind == "V" else f"{dtype}, and no numbers"
        raise EvidenceError(f"{path}: {clipped(name)} is {told}; write whole numbers, or floats of 16 or 32 bits")


def _ids(path: Path, container: Container) -> list[str] | None:
    """The ids of the rows; None if there are none."""
    noted = next((container.notes[name] for name in IDS if name in container.notes), None)
    if noted is not None:
        ids = None
        with suppress(ValueError, RecursionError):
            ids = json.loads(noted)
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise EvidenceError(f"{path}: the ids in its metadata are no JSON list of names; write json.dumps(ids)")
        return ids
    name = next((name for name in IDS if name in container.names), None)
    if name is None:
        return None
    shape, dtype = container.header(name)
    size = int(np.prod(shape, dtype=object)) * max(dtype.itemsize, 1)
    if len(shape) not in (1, 2) or shape[0] > _MOST_IDS or size > _MOST_BYTES:
        raise EvidenceError(f"{path}: {name} is far larger than ids of patches; write one id for each row")
    array = container.whole(name)
    if array.ndim == 2 and array.dtype == np.uint8 and array.shape[1] <= _LONGEST_ID:
        array = np.ascontiguousarray(array).view(f"S{array.shape[1]}")[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "SUOT":
        raise EvidenceError(f"{path}: {name} is {array.dtype}, and ids are text; write np.array(ids, dtype='U')")
    return [one.decode("ascii", "replace") if isinstance(one, bytes) else str(one) for one in array.tolist()]


def _scale(path: Path, container: Container) -> float | None:
    if SCALE not in container.names:
        return None
    shape, dtype = container.header(SCALE)
    if int(np.prod(shape, dtype=object)) != 1 or dtype.kind not in "uif":
        raise EvidenceError(f"{path}: {SCALE} is no single number; write what a stored 1 stands for, such as 0.004")
    scale = float(container.whole(SCALE).reshape(()))
    if not 0 < scale <= 1:
        raise EvidenceError(f"{path}: {SCALE} is {scale:g}; write what a stored 1 stands for, such as 0.004")
    return scale


def _stamp(path: Path) -> str:
    digest = xxhash.xxh3_128()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        status = file.stat()
        digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
