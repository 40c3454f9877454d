"""The leaderboard of a folder of submissions: verified, ranked by track, as Markdown, CSV, JSON and a page."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Any
from unicodedata import normalize

from seg.benchmark.apart import Examiner
from seg.benchmark.card import statements_table
from seg.benchmark.checks import Checks, by_submission, compared_words, read_checks
from seg.benchmark.first import held_twice
from seg.benchmark.outcome import tiles_of
from seg.benchmark.protocol import ALPHA, INPUT_WORDS, PROTOCOL, EntryTrack
from seg.benchmark.ranking import RANKED, Rank, ranks
from seg.benchmark.verify import Verified
from seg.config.synthetic import Synthetic
from seg.config.track import Track as Progress
from seg.config.track import silent
from seg.config.wording import SENTENCE, clipped
from seg.errors import SegError, SubmissionError
from seg.rasters.listing import is_litter
from seg.report.compare_tables import SCORES
from seg.report.coverage import brackets_note
from seg.report.formats import FORMATS, Column, Table, Value, percent_columns
from seg.report.html import render_page
from seg.report.html_tables import html_table
from seg.report.record import json_text
from seg.store.open import Store

SUBMISSIONS = "submissions"
PAGE_FILE = "index.html"
BOARD_FILES = (PAGE_FILE, "leaderboard.md", "leaderboard.csv", "leaderboard.json")
_SHOWN = ("miou", "oa", "ap_macro", "ap_micro", "f1_macro", "f1_micro")
_TRACK_COLUMNS = (
    Column("data", "Data", "text"),
    Column("inputs", "Inputs", "text"),
    Column("pretraining", "Pretraining", "text"),
    Column("labels_percent", "Labels %", "count"),
)
"""What the entries of a group have in common; the page can be filtered by it."""


_VOID = "it is of no submission that is here and verified; compare the predictions again where a file of it was changed"
UNCOMPARED = (
    "WARNING: what these entries say is true was compared with nothing but each other; give their data with --data."
)


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A verified entry with its ranks.

    Attributes:
        name: What it is called: its name, with that of its folder where another has the same.
        verified: The submission.
        ranks: By score; of one that it does not have there is none.
        compared: What was compared with its predictions, in words; empty: nothing.
    """

    name: str
    verified: Verified
    ranks: dict[str, Rank]
    compared: str = ""

    @property
    def track(self) -> EntryTrack:
        """The track that it is entered in."""
        return self.verified.answers.track


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """A leaderboard.

    Attributes:
        groups: Entries that compare, by data and track: the official data first, the best entry first.
        refused: Submissions that are not ranked, with the sentence that says why.
    """

    groups: tuple[tuple[Placed, ...], ...]
    refused: tuple[tuple[str, str], ...]

    @property
    def entries(self) -> tuple[Placed, ...]:
        """All of them."""
        return tuple(entry for group in self.groups for entry in group)

    @property
    def referenced(self) -> bool:
        """Whether what every entry says is true was compared."""
        return all(entry.verified.referenced for entry in self.entries)

    @property
    def synthetic(self) -> Synthetic:
        """Which of data and models of any entry is simulated."""
        return reduce(or_, (entry.verified.synthetic for entry in self.entries), Synthetic.NOTHING)


def read_board(
    folder: Path, store: Store | None = None, sort: str = RANKED[0], only: str = "", track: Progress = silent
) -> Board:
    """Verify and rank the submissions of a folder.

    Args:
        folder: What holds `SUBMISSIONS`, a folder or zip for each.
        store: The data, to compare with what their evidence says is true.
        sort: The score of `RANKED` that entries of a track are sorted by.
        only: Name of the track that is shown, see `EntryTrack.name`; empty: all.
        track: Progress.

    Raises:
        SubmissionError: If there is no such folder.
    """
    if not (folder / SUBMISSIONS).is_dir():
        raise SubmissionError(
            f"{folder} has no folder {SUBMISSIONS}; make one with: seg leaderboard --init {shlex.quote(str(folder))}",
            wrong_use=True,
        )
    paths = [path for path in sorted((folder / SUBMISSIONS).iterdir()) if _is_meant(path)]
    checks, no_checks = read_checks(folder)
    found: dict[Path, Verified] = {}
    refused: dict[Path, str] = {}
    with Examiner(store) as examiner:
        for path in track(paths, "submissions verified", len(paths)):
            try:
                found[path] = examiner.verify(path)
            except (SegError, OSError) as error:
                refused[path] = str(error)
            except Exception as error:
                # Whoever submits is unknown, and what one of them hits upon may not take the others off the page.
                refused[path] = f"it cannot be verified: {type(error).__name__}, which is also worth a bug report"
    refused |= held_twice(found)
    ranked = [one for path, one in found.items() if path not in refused and only in ("", one.answers.track.name)]
    digests = {one.manifest.digest for one in found.values()}
    void = {name: _VOID for name, check in checks.items() if check.submission not in digests}
    listed = [(clipped(path.name), clipped(refused[path], SENTENCE)) for path in sorted(refused)]
    listed += sorted((no_checks | void).items())
    return Board(_grouped(ranked, sort, by_submission(checks.values())), tuple(listed))


def board_files(board: Board) -> dict[str, str]:
    """The files of a leaderboard by name; `BOARD_FILES`."""
    groups = [_group_table(group) for group in board.groups]
    refused = [_refused_table(board)] if board.refused else []
    everything = _whole_table(board)
    head = {"protocol": PROTOCOL, "synthetic": bool(board.synthetic)}
    entries = [_document(entry) for entry in board.entries]
    listed = [{"submission": name, "why": why} for name, why in board.refused]
    tables = [*groups, *refused] or [replace(everything, title="No entry yet")]
    return {
        PAGE_FILE: _page(board),
        "leaderboard.md": "# Leaderboard\n\n" + "\n".join([*map(FORMATS["md"], tables), *_notes(board)]) + "\n",
        "leaderboard.csv": FORMATS["csv"](everything),
        "leaderboard.json": json_text(head | {"entries": entries, "not_ranked": listed}),
    }


def _is_meant(path: Path) -> bool:
    """Whether something in the folder is meant to be a submission."""
    return not is_litter(path.name) and not path.name.startswith(".") and (path.is_dir() or path.suffix != ".md")


def _grouped(found: Sequence[Verified], sort: str, checks: Checks) -> tuple[tuple[Placed, ...], ...]:
    """Entries that compare: of one track, on one set of patches with one reference."""
    names = [_looks(one.answers.name) for one in found]
    groups: dict[tuple[bool, str, str], list[Verified]] = {}
    for one in found:
        key = (bool(one.synthetic), one.subject, one.answers.track.name)
        groups.setdefault(key, []).append(one)
    placed = []
    # Whoever brings a reference of their own brings as many entries as they like, so its number does not count first.
    for _, group in sorted(groups.items(), key=lambda item: (item[0][0], *_trust(item[1]), item[0])):
        by_score = {key: ranks([one.outcome for one in group], key) for key in RANKED}
        entries = [
            Placed(
                one.answers.name if names.count(_looks(one.answers.name)) == 1 else f"{one.answers.name} ({one.name})",
                one,
                {key: found[position] for key, found in by_score.items() if position in found},
                compared_words(checks.get(one.manifest.digest, {}), one.manifest.seeds, one.outcome.keys),
            )
            for position, one in enumerate(group)
        ]
        placed.append(tuple(sorted(entries, key=partial(_order, sort))))
    return tuple(placed)


def _looks(name: str) -> str:
    """What a name looks like: accents and capitals can be written in several ways."""
    return normalize("NFKC", name).casefold()


def _trust(group: Sequence[Verified]) -> tuple[bool, int]:
    """Those first whose reference was compared, then the larger group."""
    return not all(one.referenced for one in group), -len(group)


def _order(sort: str, entry: Placed) -> tuple[Any, ...]:
    """The best by a score first; of those whose ranks begin alike, the higher one."""
    rank = entry.ranks.get(sort)
    score = entry.verified.outcome.mean(sort)
    return (rank is None, rank.first if rank else 0, -score if rank else 0.0, entry.name)


def _columns() -> tuple[Column, ...]:
    return (
        Column("rank_miou", "Rank by mIoU", "text"),
        Column("entry", "Entry", "text"),
        Column("compared", "Predictions compared", "text"),
        *percent_columns(*((key, SCORES[key]) for key in _SHOWN)),
        Column("rank_ap_macro", "Rank by AP", "text"),
        Column("seeds", "Seeds", "count"),
        Column("parameters", "Parameters", "count"),
        Column("multiply_adds", "10^9 multiply-adds", "number"),
        Column("hours", "Device hours", "number"),
        Column("encoder", "Encoder", "text"),
        Column("origin", "Scored by seg", "text"),
        Column("authors", "Authors", "text"),
    )


def _row(entry: Placed) -> tuple[Value, ...]:
    answers, estimates = entry.verified.answers, entry.verified.outcome.estimates
    first, second = (entry.ranks[key].words if key in entry.ranks else None for key in RANKED)
    return (
        first,
        entry.name,
        entry.compared or None,
        *(estimates.get(key) for key in _SHOWN),
        second,
        len(entry.verified.outcome.seeds),
        answers.parameters,
        answers.multiply_adds,
        answers.hours,
        answers.encoder,
        _origin(entry.verified),
        ", ".join(answers.authors),
    )


def _origin(verified: Verified) -> str:
    """What seg has done of it, and which costs are only stated."""
    costs = [name for name in ("parameters", "hours") if name in verified.unrecorded]
    told = "trained and scored" if verified.trained else "scored"
    return f"{told}; {' and '.join(costs)} not recorded" if costs else told


def _group_table(group: tuple[Placed, ...]) -> Table:
    first = group[0].verified
    title = f"{first.synthetic.warning}{first.answers.track.words}; {first.patches:,} patches"
    notes = tuple(f"{entry.name}: {remark}." for entry in group for remark in entry.verified.remarks)
    if _trust([entry.verified for entry in group])[0]:
        notes = (UNCOMPARED, *notes)
    return Table(first.answers.track.name, title, _columns(), tuple(map(_row, group)), notes)


def _whole_table(board: Board) -> Table:
    """All entries, with the columns that they can be filtered by."""
    rows = tuple((*_row(entry), *_of_track(entry)) for entry in board.entries)
    title = f"{board.synthetic.warning}Entries, best of each track first"
    return Table("entries", title, (*_columns(), *_TRACK_COLUMNS), rows)


def _of_track(entry: Placed) -> tuple[str | int, ...]:
    """Values of `_TRACK_COLUMNS`."""
    data = f"{entry.verified.synthetic.words or 'reBEN'} ({entry.verified.subject[:8]})"
    return data, INPUT_WORDS[entry.track.inputs], entry.track.pretraining, entry.track.labels


def _refused_table(board: Board) -> Table:
    columns = (Column("submission", "Submission", "text"), Column("why", "Why it is not ranked", "text"))
    return Table("refused", "Not ranked", columns, board.refused)


def _notes(board: Board) -> list[str]:
    """What a reader must know."""
    tiles = [tiles_of(entry.verified.outcome.seeds) for entry in board.entries]
    return [
        "A rank is what the tests leave open: 1–3 is the place of an entry that no other is told to be better than, "
        "and that two are not told from. All pairs of a track are tested together, on the same S2 tiles and at the "
        f"level {ALPHA} (Holm). Entries of other tracks or data do not compare.",
        "",
        "Scores are means over the seeds, and ± is their standard deviation. "
        + (f"{brackets_note(min(tiles), 'intervals of the mean')} " if tiles else "")
        + "All of them were computed anew from the evidence of each entry; what the authors state was "
        "compared with the records of their trainings where there are any, and not otherwise. Evidence that somebody "
        "makes up so that it agrees with itself everywhere is not told from measured evidence without the predictions. "
        "Where these were compared, whoever keeps this leaderboard says so, and whoever has them can compare again.",
    ]


def _document(entry: Placed) -> dict[str, Any]:
    verified = entry.verified
    track = {"inputs": entry.track.inputs, "pretraining": entry.track.pretraining, "labels": entry.track.labels}
    return {
        "submission": verified.name,
        "name": entry.name,
        "track": track,
        "synthetic": bool(verified.synthetic),
        "trained_by_seg": verified.trained,
        "compared_with_predictions": entry.compared or None,
        "patches": verified.patches,
        "reference": verified.subject,
        "ranks": {key: [rank.first, rank.last] for key, rank in entry.ranks.items()},
        "scores": {
            key: {"mean": one.value, "sd": one.sd, "low": one.low, "high": one.high}
            for key, one in verified.outcome.estimates.items()
        },
        "answers": verified.answers.model_dump(),
        "seg": verified.manifest.seg,
        "remarks": list(verified.remarks),
        "unverified": list(verified.unverified),
    }


def _page(board: Board) -> str:
    """A table for each track: ranks of one say nothing of another."""
    common = [_of_track(group[0]) for group in board.groups]
    tables = []
    for number, (group, values) in enumerate(zip(board.groups, common, strict=True), 1):
        table = _group_table(group)
        first = group[0].verified
        title = f"{first.synthetic.warning}{first.patches:,} patches, reference {first.subject[:8]}"
        shown = html_table(replace(table, name=f"track-{number}", title=title))
        tables.append((group[0].track.words, values, shown))
    filters = []
    for position, column in enumerate(_TRACK_COLUMNS):
        choices = sorted({str(values[position]) for values in common}, key=lambda text: (len(text), text))
        if len(choices) > 1:
            filters.append((column.heading, position, choices))
    facts = [
        (entry.name, entry.verified.answers, statements_table(entry.verified.answers).rows) for entry in board.entries
    ]
    return render_page(
        "leaderboard.html.j2",
        ("report.js", "leaderboard.js"),
        synthetic=board.synthetic,
        protocol=PROTOCOL,
        tables=tables,
        filters=filters,
        entries=facts,
        refused=board.refused,
        notes=[note for note in _notes(board) if note],
    )
