"""Pack the runs of a sweep over recipes as entries, one for each recipe."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from seg.benchmark.form import form_text, read_answers
from seg.benchmark.layout import MANIFEST_FILE
from seg.benchmark.pack import fill_submission, known_answers, read_seeds
from seg.benchmark.recipes import stated_of
from seg.config.paths import AnyPath
from seg.config.track import Track, silent
from seg.errors import RunError
from seg.runs.entry import read_entry
from seg.runs.sweep import SweepRun
from seg.store.whole import whole_folder

ENTRIES = "submissions"


def enter(recipes: Sequence[Path], runs: Sequence[SweepRun], out: AnyPath, track: Track = silent) -> list[Path]:
    """Pack the runs of recipes as submissions, ``<out>/submissions/<recipe>``, with the answers beside the recipes.

    Args:
        recipes: The configurations.
        runs: Their runs, from `seg.runs.sweep.sweep_runs`; trained and scored.
        out: The folder of the runs.
        track: Progress.

    Returns:
        The submissions.

    Raises:
        RunError: If a run is missing.
        SubmissionError: If answers contradict the records, or the evidence is against the protocol.
    """
    submissions = []
    for recipe in recipes:
        folders = [run.folder for run in runs if run.name.startswith(f"{recipe.stem}-seed")]
        if not folders:
            raise RunError(f"there is no run of {shlex.quote(str(recipe))}; train it first")
        seeds = read_seeds([read_entry(folder) for folder in folders])
        form, _ = form_text({**known_answers(seeds), **stated_of(recipe)})
        answers = read_answers(form, f"the form of {recipe.stem}")
        place = Path(out) / ENTRIES / recipe.stem
        with whole_folder(place, MANIFEST_FILE, "a submission") as folder:
            fill_submission(folder, seeds, answers, form, track)
        submissions.append(place)
    return submissions
