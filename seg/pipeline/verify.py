"""Verify a submission: everything in it that follows from its evidence is computed anew, in a process apart."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from seg.benchmark.apart import Examiner
from seg.benchmark.checks import check_in, check_text
from seg.benchmark.verify import Verified
from seg.config.paths import AnyPath, path_or_none
from seg.config.track import Notify, Track, ignore, silent
from seg.errors import WrongUseError
from seg.store.atomic import write_text
from seg.store.open import open_store
from seg.store.targets import claimed_files


def verify(
    submission: AnyPath,
    *,
    data: AnyPath | None = None,
    predictions: Mapping[str, AnyPath] | None = None,
    scene: Mapping[str, AnyPath] | None = None,
    classes: str | None = None,
    out: AnyPath | None = None,
    track: Track = silent,
    notify: Notify = ignore,
) -> Verified:
    """Verify a submission.

    Args:
        submission: The folder that `submit` wrote, or a zip of it.
        data: The store that it was scored on, to compare labels, class areas and boundaries of every patch with.
        predictions: By seed, what it has predicted of pixels, as `score` takes it: scored anew, and compared with the
            evidence patch by patch.
        scene: Tables of scene labels likewise.
        classes: What the numbers of the predictions mean, as of `score`.
        out: File for what the predictions were found to give, ``<name>.json`` in ``checks/`` of a leaderboard.
        track, notify: Are told of progress, and what the user must not miss.

    Returns:
        What it comes to, what was found to hold, and what cannot be known.

    Raises:
        SubmissionError: Of the first thing that is not as it should be.
        StoreError: If the store cannot be read.
        ForeignFileError: If a file is in the way that is not seg's.
        SegError: One of its other kinds, if predictions cannot be scored.
    """
    pixels, tables = ({seed: Path(one) for seed, one in (given or {}).items()} for given in (predictions, scene))
    if (pixels or tables) and data is None:
        raise WrongUseError("predictions are scored on the data; name its store with --data")
    target = path_or_none(out)
    if target is not None:
        if not (pixels or tables):
            raise WrongUseError(
                "--out keeps what predictions were found to give; name them with --predictions or --scene"
            )
        if target.suffix != ".json":
            raise WrongUseError(f"{target} is no JSON; name one, such as checks/{target.stem or 'entry'}.json")
        if target.resolve().is_relative_to(Path(submission).resolve()):
            raise WrongUseError(f"{target} lies in the submission, which holds nothing else; name one beside it")
    data = path_or_none(data)
    store = None if data is None else open_store(data)
    with Examiner(store) as examiner:
        verified = examiner.verify(Path(submission), track)
    if store is None or not (pixels or tables):
        return verified
    # What reads predictions is loaded when there are any.
    from seg.benchmark.predicted import Predicted, compare_predictions

    with nullcontext() if target is None else claimed_files([target]):
        of_seeds = {seed: Predicted(pixels.get(seed), tables.get(seed)) for seed in {**pixels, **tables}}
        found = compare_predictions(Path(submission), verified, of_seeds, classes, store, track, notify)
        if target is not None:
            write_text(target, check_text(found.manifest, found.compared, store.info.fingerprint, check_in(target)))
    return found
