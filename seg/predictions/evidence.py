"""The evidence of predictions: pieces scored by whoever there is, kept until all are there, and put together."""

import hashlib
import shutil
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np

from seg.config.track import Notify, Track
from seg.metrics.evidence import Evidence, merge_evidence
from seg.predictions.pieces import kept, pieces_of, plan_of, score_piece
from seg.predictions.request import Request
from seg.prepare.executors import LOGS, opened, results
from seg.store.atomic import write_text

PIECES = "pieces"
"""Folder of what is scored, in the one that is worked in."""
_PLAN = "plan.txt"


def is_begun(folder: Path) -> bool:
    """Whether a folder is one that an earlier call has left unfinished: its plan is the first file that it gets."""
    return (folder / _PLAN).is_file()


def scored_evidence(
    request: Request, folder: Path, executor: Executor | str, slurm: Sequence[str], track: Track, notify: Notify
) -> tuple[Evidence, str]:
    """Score predictions, as far as that was not done in the folder by an earlier call.

    Args:
        request: What is scored.
        folder: Where the pieces are kept; `clear` removes what is only needed on the way.
        executor, slurm: Who counts, see `seg.prepare.executors.opened`.
        track, notify: Are told of progress, and what the user must not miss.

    Returns:
        The evidence of all patches, by id, and a digest of what was predicted.

    Raises:
        EvidenceError: If patches cannot be scored.
        OSError: If the disk does not take what is kept.
    """
    pieces = pieces_of(request, folder / PIECES)
    plan = plan_of(pieces, request)
    if is_begun(folder) and (folder / _PLAN).read_text(encoding="utf-8") != plan:
        notify("The predictions or the data are others than those that an earlier call has begun with; it starts anew.")
        shutil.rmtree(folder)
        folder.mkdir()
    write_text(folder / _PLAN, plan)
    (folder / PIECES).mkdir(exist_ok=True)
    left = [piece for piece in pieces if kept(piece) is None]
    with opened(executor, slurm, folder / LOGS) as pool:
        for _, done in track(results(pool, score_piece, left), "pieces scored", len(left)):
            done.result()
    parts, digest = [], hashlib.blake2b(digest_size=16)
    digests: dict[str, str] = {}
    for piece in pieces:
        found = kept(piece)
        if found is None:
            raise OSError(f"what was scored in {folder} is gone or damaged; run the same command again")
        parts.append(found[0])
        digests |= found[1]
    for patch_id, of_patch in sorted(digests.items()):
        digest.update(f"{patch_id} {of_patch}\n".encode())
    evidence = merge_evidence(parts)
    if request.table is not None:
        rows = [request.table_rows[patch_id] for patch_id in evidence.patch_ids.to_pylist()]
        probabilities_NK = np.ascontiguousarray(request.table.probabilities_NK[rows])
        digest.update(probabilities_NK.tobytes())
        evidence = replace(evidence, origin=request.origin, probabilities=probabilities_NK)
    return evidence, digest.hexdigest()


def clear(folder: Path) -> None:
    """Remove what was only needed on the way to the evidence."""
    shutil.rmtree(folder / PIECES)
    shutil.rmtree(folder / LOGS, ignore_errors=True)
    (folder / _PLAN).unlink()
