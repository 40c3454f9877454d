"""The scripts of the research questions: what is done to maps, what is compared, and one of them end to end."""

import importlib
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_context import FIRST, LEFT, SECOND, TOP, store

import seg
from seg.config.load import load_config
from seg.config.sections import DataConfig
from seg.metrics.jackknife import Replicates, paired_test
from seg.reben.classes import CLASS_OF_CODE
from seg.reben.reference_map import class_indices, implied_bits
from seg.report.answer import points
from seg.report.formats import Estimate
from seg.report.outcomes import Outcome
from seg.runs.data import synthetic_store
from seg.runs.plan import with_whole_paths
from seg.runs.study import Study, Variant
from seg.runs.sweep import Scoring
from seg.store.open import open_store
from seg.store.selection import select

__all__ = ["store"]

FOLDER = Path(__file__).resolve().parents[1] / "scripts" / "questions"
CODES = (112, 211, 231, 312, 512)


@pytest.fixture(scope="module")
def scripts():
    """Import a script by name, as one that is started finds those beside it."""
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path.remove(str(FOLDER))
    for name in ("asking", "degrade", *(path.stem for path in FOLDER.glob("*.py"))):
        sys.modules.pop(name, None)


def blocks(seed: int, size: int = 20) -> np.ndarray:
    """A map of random squares."""
    return np.kron(np.random.default_rng(seed).choice(CODES, (120 // size, 120 // size)), np.ones((size, size))).astype(
        np.uint16
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), pixels=st.sampled_from([5, 10]))
def test_shifted_maps_are_moved_whole(scripts, seed, pixels):
    degrade = scripts("degrade")
    codes = blocks(seed)
    moved = degrade.shifted(codes, np.random.default_rng(seed), pixels)
    matches = []
    for dy in range(-pixels, pixels + 1):
        for dx in range(-pixels, pixels + 1):
            if abs(np.hypot(dy, dx) - pixels) >= 1:
                continue
            expected = np.full((120, 120), 999, np.uint16)
            inner = codes[max(0, -dy) : 120 - max(0, dy), max(0, -dx) : 120 - max(0, dx)]
            expected[max(0, dy) : 120 + min(0, dy), max(0, dx) : 120 + min(0, dx)] = inner
            matches.append(np.array_equal(moved, expected))
    assert sum(matches) >= 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), hectares=st.sampled_from([1.0, 5.0, 25.0]))
def test_no_unit_of_a_coarser_map_is_too_small(scripts, seed, hectares):
    degrade = scripts("degrade")
    codes = blocks(seed)
    merged = degrade.coarser(codes, np.random.default_rng(0), hectares)
    _, areas = degrade._units(merged)
    assert len(areas) == 2 or areas[1:].min() >= hectares * 100
    assert set(np.unique(merged)) <= set(np.unique(codes))
    if hectares == 1.0:  # the squares have 4 ha
        assert np.array_equal(merged, codes)


def test_swapped_edges_change_the_neighbourhood_of_boundaries_only(scripts):
    degrade = scripts("degrade")
    codes = np.full((120, 120), 211, np.uint16)
    codes[:, 60:] = 312
    swapped = degrade.swapped_edges(codes, np.random.default_rng(1), 5, 0.4)
    changed = swapped != codes
    assert 0.2 < changed[:, 55:65].mean() < 0.6
    assert not changed[:, :54].any()
    assert not changed[:, 66:].any()
    alone = np.full((120, 120), 211, np.uint16)
    assert np.array_equal(degrade.swapped_edges(alone, np.random.default_rng(1), 5, 0.4), alone)


def test_wrong_units_are_wrong_as_wholes(scripts):
    degrade = scripts("degrade")
    codes = blocks(3, size=10)
    wrong = degrade.wrong_units(codes, np.random.default_rng(2), 0.3)
    units, areas = degrade._units(codes)
    shares = [len(np.unique(wrong[units == unit])) for unit in range(1, len(areas))]
    assert set(shares) == {1}
    assert 0.1 < (wrong != codes).mean() < 0.5
    assert set(np.unique(wrong)) <= set(CLASS_OF_CODE)


def test_a_degraded_store_keeps_its_test_split(scripts, ten_metres, tmp_path):
    degrade = scripts("degrade")
    out = tmp_path / "noisy"
    degrade.degraded_store(ten_metres, out, lambda codes, random: np.full_like(codes, 312), "forest")
    old, new = open_store(ten_metres), open_store(out)
    assert new.info.fingerprint != old.info.fingerprint
    assert new.info.source["degraded"] == "forest"
    for row in range(len(old.index)):
        patch = old.index.patch_id(row)
        before, after = old.patches.reference_map(patch), new.patches.reference_map(patch)
        if old.index.splits[row] == 2:
            assert np.array_equal(before, after)
            assert new.index.label_bits[row] == old.index.label_bits[row]
        else:
            assert (after == 312).all()
            assert new.index.label_bits[row] == implied_bits(class_indices(after, patch))
        tensors, others = old.patches.tensors(patch), new.patches.tensors(patch)
        assert all(np.array_equal(tensors[name], others[name]) for name in tensors)


def test_a_study_end_to_end(scripts, ten_metres, tmp_path, monkeypatch, no_page):
    """Trains, scores, compares and writes; and does nothing twice."""
    question, asking = scripts("scene_labels"), scripts("asking")
    options = ["--data", str(ten_metres), "--seeds", "0,1", "--epochs", "1", "--encoder", "tu-test_resnet"]
    options += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["scene_labels.py", *options])

    def variant(name, settings, *places):
        # The samples have six bands.
        few = {"data__bands": "VV,VH,B02,B03,B04,B08", "data__fraction": 0.3}
        return Variant(name, {**settings, **few}, *places)

    outcomes, ask = [], asking.ask

    def asked(*parts):
        outcomes.extend(ask(*parts))
        return outcomes[-3:]

    monkeypatch.setattr(question, "Variant", variant)
    monkeypatch.setattr(question, "ask", asked)
    question.main()
    for found in outcomes:
        # Mean, deviation and interval are those of the same runs in ``seg compare``.
        (configuration,) = seg.compare(found.runs).comparison.configurations
        for score, estimate in found.scores.items():
            expected = configuration.scores[score]
            assert (estimate.value, estimate.sd, estimate.low, estimate.high) == pytest.approx(
                (expected.value, expected.sd, expected.low, expected.high)
            )
    document = json.loads((tmp_path / "out" / "scene_labels.json").read_text())
    rows = {row["variant"]: row for row in document["tables"][0]["rows"]}
    assert list(rows) == ["scene labels alone", "both, learned head", "both, derived head"]
    first, second, _ = outcomes
    for score in ("miou", "ap_macro"):
        assert rows[first.name][score] == pytest.approx(np.mean(first.values[score]))
        assert rows[first.name][f"{score}_sd"] == pytest.approx(np.std(first.values[score], ddof=1))
    pair = document["tables"][1]["rows"][0]
    observed = np.mean(second.values["ap_macro"]) - np.mean(first.values["ap_macro"])
    test = paired_test(second.replicates, first.replicates, "ap_macro")
    assert pair["ap_macro"] == pytest.approx(observed)
    assert (pair["ap_macro_low"], pair["ap_macro_high"]) == pytest.approx((test.low, test.high))
    assert document["synthetic"] is False
    assert (tmp_path / "out" / "scene_labels.png").stat().st_size < 300_000
    assert "What it does not show" in (tmp_path / "out" / "scene_labels.md").read_text()

    def never(*_, **__):
        raise AssertionError("trained twice")

    monkeypatch.setattr("seg.pipeline.train.train", never)
    monkeypatch.setattr("seg.pipeline.evaluate.evaluate", never)
    question.main()


def made_outcome(name: str, miou: float, seed: int) -> Outcome:
    """One seed of made-up scores on eight tiles: of all, and without each."""
    random = np.random.default_rng(seed)
    spread = {score: random.normal(0, 0.002, 8) for score in ("miou", "boundary_miou", "oa")}
    values = {score: np.concatenate([[miou], miou + off]) for score, off in spread.items()}
    # The two means have intervals from the classes that they are means of.
    values |= {"iou": values["miou"][:, None], "boundary_iou": values["boundary_miou"][:, None]}
    replicates = Replicates(
        {f"t{i}": 5 for i in range(8)}, values, {score: np.full(values[score].shape[1:], 8.0) for score in values}
    )
    return Outcome(name, {"miou": Estimate(miou), "oa": Estimate(miou)}, {"miou": (miou,)}, (replicates,), 40)


@pytest.mark.parametrize("controlled", [True, False])
def test_cures_win_shares_of_what_errors_cost(scripts, tmp_path, monkeypatch, controlled):
    """The settings of every cure load; the table has the differences, and their shares of the cost."""
    noise = scripts("label_noise")
    monkeypatch.setattr(noise, "base_store", lambda args: tmp_path / "store")
    monkeypatch.setattr(scripts("asking"), "base_store", lambda args: tmp_path / "store")
    monkeypatch.setattr(scripts("asking"), "read_info", lambda store: SimpleNamespace(synthetic=True, fingerprint="f"))
    monkeypatch.setattr(noise, "degraded_store", lambda store, out, *rest: out)
    asked = []

    def ask(variants, args):
        asked.extend(variants)
        Study(tmp_path, (0,), {}).runs(variants)
        scores = {"clean maps": 0.30, "15 % of the polygons wrong": 0.24, "units below 25 ha merged": 0.31}
        won = dict.fromkeys(noise.CURES, 0.0) | {"CutMix": 0.03, "copy-paste": -0.01}
        found = [(v.name, *v.name.partition(", ")[::2]) for v in variants]
        return [made_outcome(name, scores[maps] + won.get(cure, 0.0), i) for i, (name, maps, cure) in enumerate(found)]

    monkeypatch.setattr(noise, "ask", ask)
    options = ["--cures", *([] if controlled else ["--without-control"]), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["label_noise.py", *options])
    noise.main()
    assert len(asked) == 3 + (3 if controlled else 2) * len(noise.CURES)
    document = json.loads((tmp_path / "out" / "label_noise_cures.json").read_text())
    rows = {row["cure"]: row for row in document["tables"][0]["rows"]}
    wrong = rows["15 % of the polygons wrong, CutMix"]
    assert (wrong["miou"], wrong["share"]) == pytest.approx((0.03, 0.5))
    assert wrong["miou_low"] > 0
    assert rows["15 % of the polygons wrong, copy-paste"]["share"] == pytest.approx(-1 / 6)
    # An error that costs nothing has nothing to bring back.
    assert rows["units below 25 ha merged, CutMix"]["share"] is None
    assert "by: 15 % of the polygons wrong, CutMix" in document["shows"]
    assert "copy-paste" not in document["shows"]


def test_differences_in_words():
    assert points(Estimate(0.0312, None, 0.012, 0.049)) == "+3.1 points [1.2, 4.9]"


def test_the_speed_question_reads_the_benchmarks(scripts, tmp_path, monkeypatch):
    speed = scripts("speed")
    monkeypatch.setattr(sys, "argv", ["speed.py", "--performance", str(FOLDER.parents[1] / "results/performance"),
                                      "--out", str(tmp_path)])  # fmt: skip
    speed.main()
    (ours, *others) = json.loads((tmp_path / "speed.json").read_text())["tables"][0]["rows"]
    train = json.loads((FOLDER.parents[1] / "results/performance/train.json").read_text())["patches_per_second"]
    assert ours["train"] == pytest.approx(237_871 / train["seg"] / 3600)
    assert ours["first"] == pytest.approx(ours["convert"] + max(ours["read"], ours["train"]))
    assert all(row["first"] > ours["first"] for row in others)


def test_every_recipe_is_a_run_of_its_own_that_starts_elsewhere_too(scripts, tmp_path):
    """Their settings hold lists and mappings, which a folder's name and ``--set`` have to take."""
    recipes = dict(scripts("recipes").RECIPES)
    store = tmp_path / "one"
    # Where only the last of a long list of settings differs.
    long = {"model__arch": "deeplabv3plus", "model__encoder": "tu-mobilenetv4_conv_small", "train__lr": 0.002}
    recipes |= {f"long {rate}": {**recipes["all of it"], **long, "train__weight_decay": rate} for rate in (0.01, 0.02)}
    variants = [Variant(name, {"data__bands": "s1s2", **recipe}, store) for name, recipe in recipes.items()]
    runs = Study(tmp_path, (0,), {}).runs(variants)
    assert len({run.folder for run in runs}) == len(recipes)
    for run in runs:
        assert re.fullmatch(r"[\w.+*=-]{5,200}", run.name)
        told = load_config(None, run.options[1::2], data__store=store)
        assert with_whole_paths(told) == run.config


def test_a_synthetic_store_is_made_once(tmp_path, monkeypatch):
    store = synthetic_store(tmp_path / "made", 24)
    assert open_store(store).info.synthetic
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    monkeypatch.setattr("seg.synthetic.tree.synthesise", None)
    assert synthetic_store(tmp_path / "made", 24) == store


def test_variants_that_differ_in_how_they_are_scored_are_trained_once(tmp_path):
    """And every setting that variants do not share is in the name of a folder."""
    study = Study(tmp_path, (0, 1), {"train__epochs": 1})
    one, other = tmp_path / "one", tmp_path / "other"
    variants = [
        Variant("plain", {"data__bands": "s1s2"}, one),
        Variant("blind", {"data__bands": "s1s2"}, one, drop="s1"),
        Variant("elsewhere", {"data__bands": "s1s2"}, one, test=other),
        Variant("optical", {"data__bands": "s2"}, one),
        Variant("searched", {"data__bands": "s2"}, one, split="validation"),
    ]
    runs = study.runs(variants)
    assert [run.name for run in runs] == [f"one-bands_{bands}-seed{s}" for bands in ("s1s2", "s2") for s in (0, 1)]
    assert runs[0].scorings == (Scoring("test"), Scoring("test", drop="s1"), Scoring("test", other))
    assert runs[2].scorings == (Scoring("test"), Scoring("validation"))
    assert runs[1].config.train.seed == 1
    assert "train.epochs=1" in runs[1].options


def test_patches_without_all_neighbours_are_nothing_but_neighbours(scripts, store, tmp_path):
    marked = open_store(scripts("context").surrounded_store(store.folder, tmp_path / "marked"))
    kept = set(marked.index.patch_ids.take(select(marked.index, DataConfig())).to_pylist())
    # In the last two columns Sentinel-1 is of another scene.
    assert kept == {f"{product}_{LEFT + 1:02d}_{TOP + row:02d}" for product in (FIRST, SECOND) for row in (1, 2)}
    assert marked.info.source["flagged"] == "patches without all neighbours"
    assert marked.index.patch_ids == store.index.patch_ids
