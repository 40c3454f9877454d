"""Label budgets and countries: which patches a model learns from, and which it is scored on."""

import shlex
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import made_up_evidence

from seg.config.load import load_config
from seg.config.scope import Scope, data_in
from seg.config.sections import Config, DataConfig
from seg.errors import EmptySelectionError, EvidenceError, RunError, WrongUseError
from seg.metrics.evidence import take_patches
from seg.metrics.evidence_file import load_evidence, save_evidence
from seg.reben.classes import NUM_CLASSES
from seg.runs.entry import entry_of
from seg.runs.folder import RunFiles, check_evidence
from seg.runs.scopes import countries_of, named_scope
from seg.store.budget import part_of
from seg.store.geography import geography
from seg.store.index import Index, read_index
from seg.store.selection import known_countries, select

TILES = ("33UUP", "29SNC", "34VER")


def index_of(places: list[tuple[int, int, int]], bits: list[int]) -> Index:
    """An index of train patches at (tile, column, row) with label bits."""
    ids = [f"S2A_MSIL2A_20170613T101031_N9999_R022_T{TILES[t]}_{c:02d}_{r:02d}" for t, c, r in places]
    n = len(ids)
    yes = np.ones(n, np.bool_)
    return Index(
        pa.array(ids, pa.string()),
        pa.array([""] * n, pa.string()),
        pa.array([""] * n, pa.string()),
        np.array(bits, np.uint32),
        np.zeros(n, np.int8),
        pa.array(["Austria", "Portugal", "Finland"] * n, pa.string())[:n].dictionary_encode(),
        ~yes,
        ~yes,
        yes,
        yes,
        yes,
        np.zeros((n, 3), np.uint64),
    )


places = st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9))
labels = st.one_of(st.integers(1, 63), st.integers(1, 2**NUM_CLASSES - 1))


@st.composite
def indices(draw: st.DrawFn, most: int = 40) -> Index:
    where = draw(st.lists(places, min_size=1, max_size=most, unique=True))
    return index_of(where, draw(st.lists(labels, min_size=len(where), max_size=len(where))))


def ids_of(index: Index, rows: np.ndarray) -> set[str]:
    return set(index.patch_ids.take(pa.array(rows)).to_pylist())


def classes_of(index: Index, rows: np.ndarray) -> int:
    return int(np.bitwise_or.reduce(index.label_bits[rows]))


@settings(max_examples=40, deadline=None)
@given(indices(), st.lists(st.floats(0.001, 1), min_size=2, max_size=4), st.integers(0, 3), st.randoms())
def test_a_budget_is_nested_exact_and_told_by_ids_and_labels_alone(index, fractions, seed, random):
    rows = np.arange(len(index))
    parts = [part_of(index, rows, fraction, seed) for fraction in sorted(fractions)]
    for part, fraction in zip(parts, sorted(fractions), strict=True):
        assert abs(len(part) - fraction * len(index)) <= 0.5 or len(part) == 1
        assert np.array_equal(part, np.unique(part))
    for smaller, larger in pairwise(parts):
        assert set(smaller.tolist()) <= set(larger.tolist())
    order = list(rows)
    random.shuffle(order)
    shuffled = index.take(np.array(order))
    assert ids_of(shuffled, part_of(shuffled, rows, fractions[0], seed)) == ids_of(
        index, part_of(index, rows, fractions[0], seed)
    )


@settings(max_examples=60, deadline=None)
@given(indices(most=9), st.integers(1, 9), st.integers(0, 2))
def test_a_budget_has_every_class_if_so_many_patches_can_have(index, patches, seed):
    rows = np.arange(len(index))
    patches = min(patches, len(index))
    part = part_of(index, rows, patches / len(index), seed)
    assert len(part) == patches
    every = classes_of(index, rows)
    possible = any(classes_of(index, np.array(some)) == every for some in combinations(rows.tolist(), patches))
    assert (classes_of(index, part) == every) == possible


def test_budgets_of_many_label_sets_are_found_at_once():
    random = np.random.default_rng(0)
    where = [(t, c, r) for t in range(3) for c in range(91) for r in range(91)]
    bits = (random.random((len(where), NUM_CLASSES)) < 0.3) @ (1 << np.arange(NUM_CLASSES))
    index = index_of(where, np.maximum(bits, 1).tolist())
    part = part_of(index, np.arange(len(index)), 0.001)
    assert classes_of(index, part) == 2**NUM_CLASSES - 1


@pytest.fixture(scope="module")
def official(real: Path) -> Index:
    return read_index([real / "official-metadata" / "metadata.parquet"])


def test_budgets_of_the_official_train_split(official):
    train = np.flatnonzero(official.splits == 0)
    place = geography(official)
    parts = {}
    for fraction in (0.01, 0.1):
        part = parts[fraction] = part_of(official, train, fraction)
        assert len(part) == pytest.approx(fraction * len(train), rel=0.001)
        assert classes_of(official, part) == classes_of(official, train) == 2**NUM_CLASSES - 1
        where = np.stack([place.tile_N[part], place.column_N[part], place.row_N[part]], axis=1)
        taken = set(map(tuple, where.tolist()))
        beside = [(0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
        alone = sum(not any(tuple(np.add(one, step)) in taken for step in beside) for one in taken)
        assert alone < 0.01 * len(taken)
    assert set(parts[0.01].tolist()) <= set(parts[0.1].tolist())
    tiles, counts = np.unique(place.tile_N[parts[0.1]], return_counts=True)
    whole = [count == (place.tile_N[train] == tile).sum() for tile, count in zip(tiles, counts, strict=True)]
    assert len(tiles) <= 6
    assert sum(whole) >= len(tiles) // 3
    others = [part_of(official, train, 0.1, seed) for seed in (1, 2)]
    assert all(len(np.intersect1d(parts[0.1], other)) < 0.9 * len(other) for other in others)


def test_budgets_are_of_the_train_split_and_of_what_is_selected(official):
    data = DataConfig(fraction=0.1, except_countries=("finland",))
    rows = select(official, data, "train")
    everything = select(official, replaced(data, fraction=1.0), "train")
    assert len(rows) == round(0.1 * len(everything))
    assert set(rows.tolist()) <= set(everything.tolist())
    countries = official.countries.to_numpy(zero_copy_only=False)
    assert set(countries[everything]) == set(official.countries.dictionary.to_pylist()) - {"Finland"}
    for split in ("validation", "test"):
        assert np.array_equal(select(official, data, split), select(official, replaced(data, fraction=1.0), split))


def replaced(data: DataConfig, **changes: object) -> DataConfig:
    return data.model_copy(update=changes)


def test_what_is_scored_does_not_depend_on_what_was_learned_from():
    config = load_config(
        None, ["data.fraction=0.1", "data.fraction_seed=3", "data.except_countries=Finland", "eval.countries=Finland"]
    )
    assert config.scored_data == replaced(
        config.data, countries=("Finland",), except_countries=(), fraction=1.0, fraction_seed=0
    )
    assert load_config(None, ["data.countries=Finland"]).scored_data.countries == ()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.fraction=0"], "fraction"),
        (["data.fraction=1.1"], "fraction"),
        (["data.fraction_seed=1"], "fraction_seed=1 has an effect only with a fraction below 1"),
        (["data.countries=Finland", "data.except_countries=finland"], "both name finland"),
        (["model.encoder_mode=frozen", "train.freeze_epochs=1"], "freeze_epochs=1 has an effect only with model.enc"),
        (["model.encoder_mode=frozen", "model.drop_path=0.1"], "drop_path=0.1 has an effect only with encoder_mode"),
    ],
)
def test_settings_that_make_no_sense(overrides, message):
    with pytest.raises(WrongUseError, match=message):
        load_config(None, overrides)


def test_countries_that_are_not_there():
    index = index_of([(0, 1, 1), (1, 1, 1)], [1, 2])
    assert known_countries(index, ("PORTUGAL", "austria", "Austria")) == ("Austria", "Portugal")
    for data in (DataConfig(countries=("Atlantis",)), DataConfig(except_countries=("Atlantis",))):
        with pytest.raises(EmptySelectionError, match="no patches from 'Atlantis'; countries here: Austria, Portugal"):
            select(index, data, "train")
    with pytest.raises(EmptySelectionError, match=r"no patch is left after .* except_countries=Austria,Portugal"):
        select(index, DataConfig(except_countries=("Austria", "Portugal")), "train")


# --- evaluations of some countries -----------------------------------------------------------------------------------


def test_names_of_evaluations_in_countries():
    assert Scope("test", countries=("Finland",)).name == "test-in-finland"
    name = Scope("test", "s1", "b6b20e5f", ("Côte d'Or", "../x")).name
    assert name == "test-on-b6b20e5f-in-côte_d_or+_x-without-s1"
    many = tuple(f"Country {n}" for n in range(30))
    assert len(Scope("test", countries=many).name) < 60
    assert Scope("test", countries=many).name != Scope("test", countries=many[:29]).name
    assert [data_in(each) for each in (name, "test-in-on", "test-on-b6b20e5f")] == ["b6b20e5f", "", "b6b20e5f"]


@pytest.mark.parametrize("sensor", [None, "s1", "s2"])
@pytest.mark.parametrize("on", ["", "b6b20e5f"])
@pytest.mark.parametrize("countries", [(), ("Finland",), ("Côte d'Or", "Ireland")])
@pytest.mark.parametrize("unit", [0, 0.5, 25])
def test_the_options_of_an_evaluation_name_it(tmp_path, sensor, on, countries, unit):
    scope = Scope("validation", sensor, on, countries, unit)
    entry = entry_of(RunFiles(tmp_path, Config(), {"data": {"fingerprint": "0" * 16}}))
    words = iter(shlex.split(scope.report_options))
    typed = dict(zip(words, words, strict=True))
    named = named_scope(
        entry,
        typed.pop("--split"),
        without=typed.pop("--drop", None),
        on=typed.pop("--on", ""),
        countries=typed.pop("--countries", None),
        unit=float(typed.pop("--mmu", 0)),
    )
    assert named == scope
    assert not typed


def test_evidence_of_a_country_is_never_that_of_the_split(tmp_path):
    whole = made_up_evidence()
    countries = whole.countries.to_numpy(zero_copy_only=False)
    finnish = take_patches(whole, np.flatnonzero(countries == "Finland"))
    finnish = replace(finnish, origin=replace(finnish.origin, countries=("Finland",)))
    run = tmp_path / "run"
    save_evidence(run / "eval" / "test-in-finland" / "evidence", finnish)
    assert load_evidence(run / "eval" / "test-in-finland" / "evidence").origin == finnish.origin
    assert finnish.origin.words == "test split in Finland"
    assert check_evidence(run, Scope("test", countries=("Finland",))) == finnish.origin
    assert countries_of(run, ("finland",)) == ("Finland",)
    assert countries_of(run, ("Finland",), "all") == ()
    with pytest.raises(RunError, match=r"was not scored on the test split yet; run: seg eval .* --split test"):
        check_evidence(run, Scope("test"))
    with pytest.raises(RunError, match=r"test split in Austria yet; run: seg eval .* --split test --countries Austria"):
        check_evidence(run, Scope("test", countries=("Austria",)))
    save_evidence(run / "eval" / "test" / "evidence", finnish)
    with pytest.raises(RunError, match="holds evidence of the test split in Finland"):
        check_evidence(run, Scope("test"))


def test_evidence_of_other_countries_than_it_names_is_damaged(tmp_path):
    whole = made_up_evidence()
    save_evidence(tmp_path, replace(whole, origin=replace(whole.origin, countries=("Finland",))))
    with pytest.raises(EvidenceError, match="patches of other countries than it says"):
        load_evidence(tmp_path)
