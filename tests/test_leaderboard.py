"""Leaderboards: who is ranked and where, what is refused, and names from anybody in every format."""

import csv
import html
import io
import json
import math
import os
import re
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from entries import (
    ANSWERS,
    evidence_on,
    in_this_process,  # noqa: F401
    small_store,
    three_runs,
    verified_here,
    write_run,
)
from hypothesis import given
from hypothesis import strategies as st

from seg.benchmark import seeds
from seg.benchmark.apart import Examiner
from seg.benchmark.board import BOARD_FILES, board_files, read_board
from seg.benchmark.form import form_text
from seg.benchmark.outcome import Outcome, SeedOutcome, measured
from seg.benchmark.ranking import ranks
from seg.benchmark.verify import Verified
from seg.errors import ForeignFileError, SubmissionError, WrongUseError
from seg.metrics.evidence import Evidence
from seg.metrics.evidence_file import load_evidence
from seg.metrics.jackknife import Replicates, paired_test
from seg.pipeline.leaderboard import leaderboard
from seg.pipeline.submit import submit
from seg.report.results import text_difference

HOSTILE = '=HYPERLINK("x")<script>alert(1)</script>[a](javascript:b)\\input{c}|$d$'
WHO = {"NAME": "A. Author", "EMAIL": "a@example.org"}
SKILLS = {"good": 6.0, "better": 6.02, "poor": 0.3, "middle": 2.5}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("leaderboard")


@pytest.fixture(scope="module")
def store(place: Path):
    return small_store(place)


def enter(folder: Path, runs: list[Path], name: str, /, **changes: Any) -> Path:
    """Submit runs to the leaderboard in a folder."""
    answers = folder / f"{name}.yaml"
    answers.write_text(form_text(ANSWERS | {"name": name} | changes)[0])
    submit(runs, folder / "submissions" / name, answers=answers)
    answers.unlink()
    return folder / "submissions" / name


def commit(folder: Path, date: str = "2026-01-01T00:00:00+0000") -> None:
    """Commit all that is in a folder, which becomes a repository."""
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in WHO.items()}
    dates = {f"GIT_{role}_DATE": date for role in ("AUTHOR", "COMMITTER")}
    alone = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "entries")):
        subprocess.run(("git", "-C", str(folder), *words), env=alone | who | dates, check=True)


@pytest.fixture(scope="module")
def entered(place: Path, store) -> Path:
    """Four entries of one track, one of another, and four that are not as they should be."""
    folder = place / "board"
    leaderboard(folder, init=True)
    for name, skill in SKILLS.items():
        enter(folder, three_runs(place / f"runs-{name}", store, skill), name)
    others = three_runs(place / "runs-hostile", store, 4.0)
    for run in others:  # trained on something that seg has not recorded
        record = json.loads((run / "run.json").read_text())
        del record["data"]["bands"]
        (run / "run.json").write_text(json.dumps(record))
    hostile = enter(folder, others, "hostile", name=HOSTILE, inputs="any")
    hostile.rename(hostile.with_name("other-track"))
    commit(folder)
    shutil.copytree(folder / "submissions/good", folder / "submissions/twice")
    forged = Path(shutil.copytree(folder / "submissions/good", folder / "submissions/forged"))
    (forged / "scores.json").write_text("{}")
    (folder / "submissions" / "empty").mkdir()
    (folder / "submissions" / "<b>.txt").write_text("x")
    return folder


@pytest.fixture(scope="module")
def made(entered: Path):
    board = read_board(entered)
    return board, board_files(board)


def test_no_site_is_put_into_a_store_or_run(tmp_path):
    (tmp_path / "board/submissions").mkdir(parents=True)
    for name in ("store.json", "config.yaml"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("{}")
        with pytest.raises(WrongUseError, match=r"is a run or a store; name a folder of its own, such as .*site"):
            leaderboard(tmp_path / "board", out=tmp_path / name)
        assert [path.name for path in (tmp_path / name).iterdir()] == [name]


def test_what_fails_verification_is_listed_with_its_sentence_and_not_ranked(made):
    board, files = made
    assert {name for name, _ in board.refused} == {"twice", "forged", "empty", "<b>.txt"}
    why = dict(board.refused)
    assert why["forged"].startswith("scores.json is not the file that was packed")
    assert why["twice"] == "it holds predictions of good, there before it; an entry is submitted once"
    assert {entry.verified.name for entry in board.entries} == {*SKILLS, "other-track"}
    for name in ("index.html", "leaderboard.md", "leaderboard.json"):
        for one, sentence in board.refused:
            assert html.escape(one, quote=False).replace("&lt;", "&lt;") in files[name] or one in files[name].replace(
                "\\", ""
            )
            assert sentence[:20] in files[name].replace("\\", "").replace("&#39;", "'")
    assert "forged" not in files["leaderboard.csv"]


def test_the_best_come_first_and_those_that_are_not_told_apart_share_ranks(made):
    board, files = made
    (group,) = (group for group in board.groups if len(group) > 1)
    assert [entry.verified.name for entry in group][2:] == ["middle", "poor"]
    # Two tiles tell nobody apart.
    assert {entry.ranks["miou"].words for entry in group} == {"1–4"}
    document = json.loads(files["leaderboard.json"])
    assert document["synthetic"] is True
    shown = [one["submission"] for one in document["entries"]]
    assert shown.index("middle") < shown.index("poor")


def test_scores_on_the_board_are_those_of_the_evidence(made, place):
    _, files = made
    rows = {row["entry"]: row for row in csv.DictReader(io.StringIO(files["leaderboard.csv"]))}
    for name in SKILLS:
        evidences = [load_evidence(place / f"runs-{name}/seed{seed}/eval/test/evidence") for seed in range(3)]
        scores = [measured(seed, one).scores for seed, one in enumerate(evidences)]
        for key in ("miou", "oa", "ap_macro"):
            values = [one[key] for one in scores]
            assert float(rows[name][key]) == pytest.approx(np.mean(values), abs=1e-12)
            assert float(rows[name][f"{key}_sd"]) == pytest.approx(np.std(values, ddof=1), abs=1e-12)


def test_tracks_are_apart_and_can_be_filtered(made):
    board, files = made
    assert [len(group) for group in board.groups] == [4, 1]
    assert {group[0].track.inputs for group in board.groups} == {"s2", "any"}
    page = files["index.html"]
    assert page.count('<select data-position="') == 1
    assert page.count("<table") == 2
    words = "Sentinel-2, from scratch, 100 % of the labels"
    assert page.index(f"<h3>{words}</h3>") < page.index("<h3>any inputs, from scratch")
    assert words in files["leaderboard.md"]
    assert "any inputs, from scratch" in files["leaderboard.md"]


def test_the_same_scene_labels_beside_other_masks_are_the_same_predictions(store, tmp_path):
    others = [evidence_on(store, seed) for seed in (5, 6, 7)]
    runs = [write_run(tmp_path / f"a{seed}", one, seed) for seed, one in enumerate(others)]
    enter(tmp_path, runs, "one")
    made = [
        replace(evidence_on(store, seed + 20, skill=2.0), probabilities=one.probabilities)
        for seed, one in enumerate(others)
    ]
    enter(tmp_path, [write_run(tmp_path / f"b{seed}", one, seed) for seed, one in enumerate(made)], "two")
    assert set(dict(read_board(tmp_path).refused)) == {"one", "two"}


def test_who_was_first_stays_first_under_another_name(entered, tmp_path):
    """What is renamed, or may be run now, is the same evidence."""
    place = tmp_path / "submissions"
    shutil.copytree(entered / "submissions/good", place / "honest")
    commit(tmp_path)
    shutil.copytree(entered / "submissions/good", place / "thief")
    commit(tmp_path)
    (place / "honest").rename(place / "renamed")
    commit(tmp_path)
    assert set(dict(read_board(tmp_path).refused)) == {"thief"}
    (place / "renamed/seeds/0/patches.parquet").chmod(0o755)
    assert set(dict(read_board(tmp_path).refused)) == {"thief"}
    commit(tmp_path)
    assert set(dict(read_board(tmp_path).refused)) == {"thief"}


def test_of_zips_it_is_not_known_who_was_first_where_both_were_there(entered, tmp_path):
    place = tmp_path / "submissions"
    place.mkdir()
    shutil.make_archive(str(place / "honest"), "zip", entered / "submissions/good")
    commit(tmp_path)
    shutil.make_archive(str(place / "thief"), "zip", entered / "submissions/good")
    commit(tmp_path)
    assert set(dict(read_board(tmp_path).refused)) == {"thief.zip"}
    # The same evidence, packed again, as with other answers.
    with zipfile.ZipFile(place / "honest.zip", "w", zipfile.ZIP_STORED) as archive:
        for path in sorted((entered / "submissions/good").rglob("*")):
            archive.write(path, path.relative_to(entered / "submissions/good"))
    commit(tmp_path)
    refused = dict(read_board(tmp_path).refused)
    assert set(refused) == {"honest.zip", "thief.zip"}
    assert all("which was there first is not known here" in why for why in refused.values())


def test_of_the_same_predictions_those_stay_that_a_repository_had_first(entered, tmp_path):
    def not_ranked() -> dict[str, str]:
        return dict(read_board(tmp_path).refused)

    place = tmp_path / "submissions"
    shutil.copytree(entered / "submissions/good", place / "original")
    shutil.copytree(entered / "submissions/good", place / "aaa")
    commit_of = "which was there first is not known here"
    # In a folder, whatever the names and the dates of files.
    os.utime(place / "original" / "submission.json", (0, 0))
    for name, other in {"original": "aaa", "aaa": "original"}.items():
        assert not_ranked()[name].startswith(f"it and {other} hold the same predictions, and {commit_of}")
    # What is not committed comes last, what was changed too, and dates say nothing.
    shutil.move(place / "aaa", tmp_path / "aaa")
    commit(tmp_path, "2026-05-01T00:00:00+0000")
    shutil.move(tmp_path / "aaa", place / "aaa")
    expected = {"aaa": "it holds predictions of original, there before it; an entry is submitted once"}
    assert not_ranked() == expected
    commit(tmp_path, "2001-01-01T00:00:00+0000")
    assert not_ranked() == expected
    # Both came in one commit, such as the only one of a shallow clone.
    shutil.rmtree(tmp_path / ".git")
    commit(tmp_path)
    assert set(not_ranked()) == {"original", "aaa"}
    # A place that was taken early with other evidence does not count.
    shutil.rmtree(tmp_path / ".git")
    shutil.rmtree(place / "aaa")
    shutil.copytree(entered / "submissions/poor", place / "aaa")
    commit(tmp_path)
    shutil.rmtree(place / "aaa")
    shutil.copytree(entered / "submissions/good", place / "aaa")
    assert set(not_ranked()) == {"aaa"}
    commit(tmp_path)
    assert set(not_ranked()) == {"aaa"}


def test_seeds_that_hardly_differ_are_refused_or_remarked(store, tmp_path, monkeypatch):
    leaderboard(tmp_path, init=True)
    genuine = [evidence_on(store, seed) for seed in range(3)]
    same = [replace(one, probabilities=genuine[0].probabilities) for one in genuine]
    runs = [write_run(tmp_path / f"same{seed}", one, seed) for seed, one in enumerate(same)]
    with pytest.raises(SubmissionError, match="the scene predictions of seeds 0 and 1 differ by 0 %"):
        enter(tmp_path, runs, "same")
    monkeypatch.setattr(seeds, "FEW", 2.0)
    enter(tmp_path, [write_run(tmp_path / f"r{seed}", one, seed) for seed, one in enumerate(genuine)], "close")
    board = read_board(tmp_path)
    sentence = "which tells little of the spread over seeds"
    (remarks,) = [entry.verified.remarks for entry in board.entries]
    # A model that sees little also predicts classes that are not there.
    of_seeds = [remark for remark in remarks if "no patch of the reference has" not in remark]
    assert [sentence in remark for remark in of_seeds] == [True] * 3
    for name, text in board_files(board).items():
        assert name.endswith("csv") or sentence in text


def test_one_track_and_another_score(entered, tmp_path):
    board = leaderboard(entered, out=tmp_path / "site", sort="ap_macro", only="s2-scratch-100")
    (group,) = board.groups
    means = [entry.verified.outcome.mean("ap_macro") for entry in group]
    assert means == sorted(means, reverse=True)
    assert {name for name, _ in board.refused} == {"twice", "forged", "empty", "<b>.txt"}
    with pytest.raises(
        SubmissionError, match="there is no track 's2'; choose one like s1-scratch-1, any-pretrained-100"
    ):
        leaderboard(entered, out=tmp_path / "site", only="s2")


def test_names_from_anybody_do_no_harm_in_any_format(made):
    _, files = made
    page = files["index.html"]
    assert "<script>alert" not in page
    assert html.escape(HOSTILE, quote=False).partition("(&quot;")[0].partition('("')[0] in page
    markdown = files["leaderboard.md"]
    assert "](javascript" not in markdown
    assert "<script>" not in markdown.replace("\\<script", "")
    assert "\\|\\$d\\$" in markdown
    rows = list(csv.reader(io.StringIO(files["leaderboard.csv"])))
    assert any(cell == f"'{HOSTILE}" for row in rows for cell in row)
    assert not any(cell[:1] in "=+-@" for row in rows for cell in row if cell and not re.fullmatch(r"-?[\d.e-]+", cell))
    assert any(one["name"] == HOSTILE for one in json.loads(files["leaderboard.json"])["entries"])


def test_the_page_needs_nothing_else_and_says_synthetic(made):
    _, files = made
    page = files["index.html"]
    assert len(page) < 300_000
    assert "SYNTHETIC" in page
    assert "default-src 'none'" in page
    assert not re.findall(r'(?:src|href)="(?!#|data:|https://example\.org)', page)


def test_the_files_are_written_claimed_and_replaced(entered, tmp_path):
    for _ in range(2):
        leaderboard(entered, out=tmp_path / "site")
    there = {path.name for path in (tmp_path / "site").iterdir() if not path.name.startswith(".")}
    assert there == set(BOARD_FILES)
    (tmp_path / "site" / "leaderboard.md").write_text("mine")
    with pytest.raises(ForeignFileError, match=r"leaderboard\.md"):
        leaderboard(entered, out=tmp_path / "site")
    with pytest.raises(SubmissionError, match="has no folder submissions; make one with: seg leaderboard --init"):
        leaderboard(tmp_path, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(SubmissionError, match="nothing is asked for"):
        leaderboard(entered)


def test_an_empty_leaderboard_is_made_ready_and_written(tmp_path):
    leaderboard(tmp_path / "new", init=True)
    leaderboard(tmp_path / "new", init=True)
    workflow = yaml.safe_load((tmp_path / "new/.github/workflows/verify.yml").read_text())
    text = (tmp_path / "new/.github/workflows/verify.yml").read_text()
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request" in workflow[True]
    assert "pull_request_target" not in text
    assert "seg verify" in text
    assert "seg leaderboard . --out site" in text
    assert "${{ github.event.pull_request.base.sha }}" in text
    board = leaderboard(tmp_path / "new", out=tmp_path / "site")
    assert board.entries == ()
    assert "There is no entry yet" in (tmp_path / "site/index.html").read_text()
    (tmp_path / "new/README.md").write_text("mine")
    with pytest.raises(ForeignFileError, match=r"README\.md"):
        leaderboard(tmp_path / "new", init=True)


def test_entries_on_other_references_are_never_ranked_together(store, tmp_path):
    leaderboard(tmp_path, init=True)
    enter(tmp_path, three_runs(tmp_path / "a", store, 3.0), "a")

    def other(evidence: Evidence) -> Evidence:
        labels = evidence.labels.copy()
        labels[0, 0] = ~labels[0, 0]
        return replace(evidence, labels=labels)

    runs = [write_run(tmp_path / f"b{seed}", other(evidence_on(store, seed, 5.0)), seed) for seed in range(3)]
    enter(tmp_path, runs, "b")
    board = read_board(tmp_path)
    assert [len(group) for group in board.groups] == [1, 1]
    refused = dict(read_board(tmp_path, store).refused)
    assert "labels of 1 patches are not those of the store" in refused["b"]


def test_an_entry_of_a_name_that_is_taken_is_told_by_its_folder(store, tmp_path):
    leaderboard(tmp_path, init=True)
    enter(tmp_path, three_runs(tmp_path / "a", store, 3.0), "a", name="same")
    enter(tmp_path, three_runs(tmp_path / "b", store, 4.0), "b", name="same")
    assert {entry.name for entry in read_board(tmp_path).entries} == {"same (a)", "same (b)"}


def test_an_entry_whose_name_only_looks_like_another_is_told_by_its_folder(store, tmp_path):
    """An accent may be a letter of its own, and capitals are small letters to many readers."""
    leaderboard(tmp_path, init=True)
    enter(tmp_path, three_runs(tmp_path / "a", store, 3.0), "a", name="caf\u00e9")
    enter(tmp_path, three_runs(tmp_path / "b", store, 4.0), "b", name="Cafe\u0301")
    assert {entry.name for entry in read_board(tmp_path).entries} == {"caf\u00e9 (a)", "Cafe\u0301 (b)"}


def test_git_leaves_the_ends_of_lines_as_they_were_hashed(store, tmp_path):
    """Elsewhere git may be told to end lines of all texts as Windows does, and every hash would differ."""
    leaderboard(tmp_path / "board", init=True)
    enter(tmp_path / "board", three_runs(tmp_path / "a", store, 3.0), "a")
    commit(tmp_path / "board")
    clone = tmp_path / "clone"
    command = ("git", "-c", "core.autocrlf=true", "clone", "-q", str(tmp_path / "board"), str(clone))
    subprocess.run(command, check=True, capture_output=True)
    assert b"\r\n" in (clone / "README.md").read_bytes()
    assert len(read_board(clone).entries) == 1


# --------------------------------------------------------------------------------------------------------------- ranks


def made_up(mean: float, noise: np.ndarray, support: float = 5.0) -> Outcome:
    """An entry of one seed with a score, and what it would be without each tile."""
    values = np.concatenate([[mean], mean + noise])
    replicates = Replicates({f"{tile}UUP": 3 for tile in range(len(noise))}, {"oa": values}, {"oa": np.array(support)})
    return Outcome((SeedOutcome(0, {"oa": mean}, {}, replicates),))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7), st.integers(0, 99))
def test_ranks_hold_what_the_tests_say(means, seed):
    noise = np.random.default_rng(seed).normal(0, 0.01, (len(means), 12))
    outcomes = [made_up(*pair) for pair in zip(means, noise, strict=True)]
    found = ranks(outcomes, "oa")
    assert set(found) == set(range(len(means)))
    for position, rank in found.items():
        assert 1 <= rank.first <= rank.last <= len(means)
        assert all(means[other] > means[position] for other in rank.better)
        assert all(position in found[other].worse for other in rank.better)
        # The place by the score alone is within the interval.
        place = 1 + sum(other > means[position] for other in means)
        assert rank.first <= place <= rank.last
    assert found[means.index(max(means))].first == 1


def test_pairs_are_told_apart_as_their_tests_adjusted_together_say():
    noise = np.random.default_rng(1).normal(0, 0.01, (5, 12))
    means = [0.2, 0.5, 0.52, 0.55, 0.8]
    outcomes = [made_up(*pair) for pair in zip(means, noise, strict=True)]
    tests = {}
    for i in range(5):
        for j in range(i):
            one, other = ([seed.replicates for seed in outcomes[k].seeds] for k in (i, j))
            tests[i, j] = paired_test(one, other, "oa").p_value
    # Step down by hand: the smallest p-value times the number of tests, the next one times one less, never falling.
    apart, least = set(), 0.0
    for rank, (pair, p) in enumerate(sorted(tests.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, (len(tests) - rank) * p))
        if least < 0.05:
            apart.add(pair)
    found = ranks(outcomes, "oa")
    assert {(position, worse) for position, rank in found.items() for worse in rank.worse} == apart
    assert 0 < len(apart) < len(tests)


def test_far_apart_is_told_apart_and_the_same_is_not():
    noise = np.random.default_rng(0).normal(0, 0.001, (3, 12))
    found = ranks([made_up(0.2, noise[0]), made_up(0.8, noise[1]), made_up(0.801, noise[2])], "oa")
    assert (found[0].words, found[1].words, found[2].words) == ("3", "1–2", "1–2")


def test_without_the_score_or_a_second_tile_nobody_is_told_apart():
    noise = np.zeros(12)
    assert ranks([made_up(0.2, noise), made_up(0.8, noise)], "ap_macro") == {}
    found = ranks([made_up(math.nan, noise), made_up(0.8, noise, 1.0), made_up(0.1, noise, 1.0)], "oa")
    assert {position: rank.words for position, rank in found.items()} == {1: "1–2", 2: "1–2"}


def test_a_submission_that_cannot_be_read_does_not_stop_the_others(entered, monkeypatch):
    def failing(examiner: Examiner, path: Path) -> Verified:
        if path.name == "good":
            raise PermissionError(13, "Permission denied", str(path))
        return verified_here(examiner, path)

    monkeypatch.setattr(Examiner, "verify", failing)
    board = read_board(entered)
    assert "Permission denied" in dict(board.refused)["good"]
    assert "twice" in {entry.verified.name for entry in board.entries}


def test_the_sample_leaderboard_is_what_its_submissions_give():
    """SYNTHETIC, in `results`; every submission in it is verified, and every published line compared."""
    folder = Path(__file__).resolve().parents[1] / "results" / "leaderboard"
    board = read_board(folder)
    assert board.refused == ()
    grid = {f"{arch}-{bands}" for arch in ("unet", "deeplabv3plus") for bands in ("s1", "s2", "s1s2")}
    assert {entry.verified.name for entry in board.entries} == grid | {"random-forest", "constant", "linear"}
    s2 = [entry.verified.name for entry in board.entries if not entry.verified.name.endswith(("-s1", "-s1s2"))]
    assert len(s2) == 5
    assert s2[-1] == "constant"
    for name, text in board_files(board).items():
        assert text_difference(name, (folder / name).read_text(encoding="utf-8"), text) is None
        assert "SYNTHETIC" in text or name.endswith(".json")
    assert all(entry.verified.synthetic for entry in board.entries)
    assert not any("class areas" in one for entry in board.entries for one in entry.verified.unverified)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 2_000_000
