"""The leaderboard of a folder of submissions."""

from pathlib import Path
from typing import Literal

from seg.benchmark.board import BOARD_FILES, PAGE_FILE, Board, board_files, read_board
from seg.benchmark.protocol import TRACKS
from seg.benchmark.template import FILES
from seg.config.paths import AnyPath, path_or_none
from seg.config.track import Track, silent
from seg.errors import SubmissionError
from seg.runs.folder import CONFIG_FILE
from seg.store.atomic import write_text
from seg.store.open import INFO_FILE, open_store
from seg.store.targets import Known, claimed_folder, require_own_folder


def leaderboard(
    folder: AnyPath,
    *,
    out: AnyPath | None = None,
    data: AnyPath | None = None,
    sort: Literal["miou", "ap_macro"] = "miou",
    only: str = "",
    init: bool = False,
    track: Track = silent,
) -> Board:
    """Verify every submission of a folder, rank them by track and write the leaderboard.

    Args:
        folder: What holds ``submissions/``, a folder or zip for each of them.
        out: Folder for ``index.html`` and ``leaderboard.md``, ``.csv`` and ``.json``; needed but with `init`.
        data: The store that they were scored on, to compare labels, class areas and boundaries of every patch with.
        sort: Score that the entries of a track are sorted by.
        only: Name of the track that is shown, such as ``s2-scratch-100``; empty: all.
        init: First make the folder such a one, with a workflow that verifies pull requests.
        track: Progress.

    Returns:
        Entries with their ranks, and what is not ranked, with the sentence that says why.

    Raises:
        SubmissionError: If nothing is asked for, or the folder has no submissions.
        ForeignFileError: If files are in the way that are not seg's.
        OSError: If the folder cannot be written.
    """
    folder, out, data = Path(folder), path_or_none(out), path_or_none(data)
    if init:
        with claimed_folder(folder, FILES, Known(contents=FILES)):
            for name, text in FILES.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                write_text(folder / name, text)
    elif out is None:
        raise SubmissionError("nothing is asked for; give --out for the leaderboard, or --init", wrong_use=True)
    if out is None:
        return Board((), ())
    if only and only not in TRACKS:
        raise SubmissionError(f"there is no track '{only}'; choose one like {TRACKS[0]}, {TRACKS[-1]}", wrong_use=True)
    require_own_folder(out, "site", CONFIG_FILE, INFO_FILE)
    store = None if data is None else open_store(data)
    with claimed_folder(out, BOARD_FILES, Known(vouchers=(PAGE_FILE,))):
        board = read_board(folder, store, sort, only, track)
        for name, text in board_files(board).items():
            write_text(out / name, text)
    return board
