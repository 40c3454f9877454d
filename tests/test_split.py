"""Splitting patches anew, and what a split lets through, against brute force and the official metadata."""

import json
import math
import os
import shutil
from itertools import product
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, jensenshannon
from shapely import box
from typer.testing import CliRunner

from seg.cli.main import app
from seg.errors import SegError, WrongUseError
from seg.metrics.leakage import NEXT_DOOR, correlogram, divergence, leakage, nearness, seen_ground
from seg.pipeline.split import split
from seg.prepare.audit import audit_store
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.prepare.split import LEFT_OUT, RULES, SplitPlan, assign, check_split, plans_of, published, with_buffer
from seg.reben.classes import CLASS_NAMES
from seg.reben.patch import SPLITS, PatchId
from seg.store.geography import geography
from seg.store.index import Index, read_index
from seg.store.notes import synthetic_mark
from seg.store.open import open_store, read_description

TILES = ("32UPC", "32UQC", "33UUT", "32UPB")
"""Two neighbours in a zone, one across the border of zones, and one to the south."""
WEST = tuple(product(range(88, 91), range(10, 13)))
EAST = tuple(product(range(3, 7), range(10, 12)))
ACROSS = tuple(product((9, 10, 11), (10, 11, 12)))
"""Cells of 32UQC around which 33UUT has those of `BEYOND`."""
BEYOND = tuple(product((1, 2, 3), (10, 11, 12)))


def made_index(tmp_path: Path, ids: list[str], labels: np.ndarray | None = None) -> Index:
    """An index by way of a parquet, as published."""
    import pyarrow as pa

    if labels is None:
        labels = np.ones((len(ids), 1), bool)
    columns = {
        "patch_id": ids,
        "labels": pa.array([[CLASS_NAMES[k] for k in np.flatnonzero(row)] for row in labels], pa.list_(pa.string())),
        "split": [PatchId.parse(name).split for name in ids],
        "country": ["Austria"] * len(ids),
        "s1_name": [""] * len(ids),
        "s2v1_name": [""] * len(ids),
        "contains_seasonal_snow": [False] * len(ids),
        "contains_cloud_or_shadow": [False] * len(ids),
    }
    path = tmp_path / "made.parquet"
    pq.write_table(pa.table(columns), path)
    return read_index([path])


def patch_ids(tile: str, cells: tuple[tuple[int, int], ...], day: int = 13) -> list[str]:
    return [f"S2A_MSIL2A_201706{day:02d}T101031_N9999_R022_T{tile}_{c:02d}_{r:02d}" for c, r in cells]


@pytest.fixture(scope="module")
def official(real: Path) -> Index:
    folder = real / "official-metadata"
    return read_index([folder / "metadata.parquet", folder / "metadata_for_patches_with_snow_cloud_or_shadow.parquet"])


@pytest.fixture
def index(tmp_path: Path) -> Index:
    ids = [*patch_ids("32UPC", WEST), *patch_ids("32UQC", EAST), *patch_ids("32UQC", EAST[1:4], day=20)]
    ids += [*patch_ids("32UQC", ACROSS), *patch_ids("33UUT", BEYOND), *patch_ids("32UPB", WEST)]
    return made_index(tmp_path, ids)


# ---------------------------------------------------------------------------------------------------- where patches lie


def test_places_are_those_of_the_ids(index: Index):
    places = geography(index)
    assert places.tile_names == tuple(sorted(TILES))
    products = sorted({name[:44] for name in index.patch_ids.to_pylist()})
    for row in range(len(index)):
        patch = PatchId.parse(index.patch_id(row))
        assert places.tile_names[places.tile_N[row]] == patch.tile
        assert products[places.product_N[row]] == patch.product
        assert (places.column_N[row], places.row_N[row]) == (patch.column, patch.row)


def test_distances_are_those_on_the_ground(index: Index):
    """Against geopandas, in the UTM zone of the patches: its scale errs by at most one in a thousand."""
    places = geography(index)
    centres = [PatchId.parse(name).georef.bounds for name in index.patch_ids.to_pylist()]
    epsg = [PatchId.parse(name).georef.epsg for name in index.patch_ids.to_pylist()]
    points = [
        geopandas.GeoSeries([box(*bounds).centroid], crs=code).to_crs(32632).iloc[0]
        for bounds, code in zip(centres, epsg, strict=True)
    ]
    flat = np.array([(point.x, point.y) for point in points])
    near = cdist(flat, flat)
    chords = cdist(places.centres(), places.centres())
    close = (near > 0) & (near < 50_000)
    assert np.abs(chords / np.where(near, near, 1) - 1)[close].max() < 1e-3


# ---------------------------------------------------------------------------------------------------------------- rules


def test_the_published_rule_gives_the_official_split(official: Index):
    assert np.array_equal(assign(official, SplitPlan()), official.splits)


@pytest.mark.parametrize("rule", ["tile", "block", "random"])
def test_shares_are_met(official: Index, rule: str):
    splits = assign(official, SplitPlan(rule, (6, 1, 3)))
    assert np.bincount(splits) / len(official) == pytest.approx((0.6, 0.1, 0.3), abs=0.01)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_order_of_the_rows_does_not_matter(official: Index, rule: str):
    rows = np.random.default_rng(0).permutation(len(official))[:20_000]
    some, plan = official.take(np.sort(rows)), SplitPlan(rule, seed=3)
    shuffled = np.random.default_rng(1).permutation(len(some))
    assert np.array_equal(assign(some, plan)[shuffled], assign(some.take(shuffled), plan))


def test_blocks_and_tiles_stay_whole_on_all_dates(official: Index):
    places = geography(official)
    by_tile = assign(official, SplitPlan("tile"))
    assert all(len(np.unique(by_tile[places.tile_N == tile])) == 1 for tile in range(len(places.tile_names)))
    by_block = assign(official, SplitPlan("block", block=12_000))
    blocks = {}
    for tile, row, column, found in zip(
        places.tile_N, places.row_N // 10, places.column_N // 10, by_block, strict=True
    ):
        assert blocks.setdefault((tile, row, column), found) == found
    assert len(blocks) > 2000


def test_another_seed_gives_another_split(official: Index):
    for rule in ("block", "random"):
        first, second = (assign(official, SplitPlan(rule, seed=seed)) for seed in (0, 1))
        assert 0.2 < (first != second).mean() < 0.8


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from((1000.0, 1300.0, 2500.0, 9000.0)))
def test_the_buffer_parts_the_splits(index_of_all: Index, seed: int, metres: float):
    """Against all distances: the test split stays whole, and nothing is left out without need."""
    places = geography(index_of_all)
    splits = np.random.default_rng(seed).integers(0, 3, len(places)).astype(np.int8)
    kept = with_buffer(splits, places, metres)
    distance = cdist(places.centres(), places.centres())
    assert np.array_equal(kept[splits == 2], splits[splits == 2])
    assert ((kept == splits) | (kept == LEFT_OUT)).all()
    for row in range(len(kept)):
        others = kept > splits[row]
        near = bool((distance[row, others] < metres).any())
        assert near == (kept[row] == LEFT_OUT)


@pytest.fixture(scope="module")
def index_of_all(tmp_path_factory: pytest.TempPathFactory) -> Index:
    ids = [*patch_ids("32UPC", WEST), *patch_ids("32UQC", EAST), *patch_ids("32UQC", EAST[1:4], day=20)]
    return made_index(tmp_path_factory.mktemp("made"), ids)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"rule": "kmeans"}, "there is no rule 'kmeans'; rules are published, tile, block, random"),
        ({"shares": (1, 1)}, "three numbers above 0"),
        ({"shares": (1, 0, 1)}, "three numbers above 0"),
        ({"shares": (1, math.nan, 1)}, "three numbers above 0"),
        ({"block": 500.0}, "1.2 to 109.8 km, not 0.5 km"),
        ({"buffer": -1.0}, "0 to 109.8 km wide"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_plans_that_make_no_sense(plan: dict, words: str):
    with pytest.raises(WrongUseError, match=words):
        SplitPlan(**plan)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (SplitPlan("published"), "leaves validation and test without a patch; these few patches lie in other parts"),
        (SplitPlan("tile"), "at least 3 MGRS tiles, but there are 2; .*, or split by block"),
        (SplitPlan("block", block=109_800), "at least 3 blocks, but there are 2; .* smaller blocks"),
        (SplitPlan("random", buffer=50_000), "leaves train and validation without a patch; make the buffer narrower"),
    ],
)
def test_sets_that_cannot_be_split_so(index_of_all: Index, plan: SplitPlan, words: str):
    with pytest.raises(WrongUseError, match=words):
        assign(index_of_all, plan)


# -------------------------------------------------------------------------------------------------------------- leakage


def test_the_official_split_keeps_train_and_test_apart(official: Index):
    """What was measured before on the official metadata: nothing within 6 km, at random almost all next door."""
    places, labels = geography(official), official.labels(np.arange(len(official)))
    found = leakage("published", places, labels, official.splits)
    assert found.patches == (272_544, 139_577, 137_367, 0)
    assert found.within([6000.0]) == [(0.0, 0.0)]
    assert found.seen.any_N.max() == 0
    drawn = leakage("random", places, labels, assign(official, SplitPlan("random")))
    assert drawn.within([NEXT_DOOR])[0][0] > 0.99
    assert drawn.seen.any_N.mean() > 0.6


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_nearness_is_the_least_distance(index_of_all: Index, seed: int):
    places = geography(index_of_all)
    splits = np.random.default_rng(seed).permutation(np.arange(len(places)) % 3)
    train, test = np.flatnonzero(splits == 0), np.flatnonzero(splits == 2)
    found = nearness(places, test, train)
    distance = cdist(places.centres()[test], places.centres()[train])
    assert found.anywhere_N == pytest.approx(distance.min(1))
    distance[places.tile_N[test][:, None] != places.tile_N[train]] = np.inf
    assert found.same_tile_N == pytest.approx(distance.min(1), abs=1e-6)


def test_seen_ground_is_what_footprints_share(index: Index):
    """Against polygons, in the zone of the test patch; measured at points, so to within their spacing."""
    places = geography(index)
    test, train = np.arange(0, len(places), 2), np.arange(1, len(places), 2)
    found = seen_ground(places, test, train)

    def footprint(row: int, epsg: int | None = None):
        georef = PatchId.parse(index.patch_id(row)).georef
        polygon = geopandas.GeoSeries([box(*georef.bounds)], crs=georef.epsg)
        return polygon.to_crs(epsg or georef.epsg).iloc[0]

    for i, row in enumerate(test):
        epsg = PatchId.parse(index.patch_id(row)).georef.epsg
        own = footprint(row)
        trained = geopandas.GeoSeries([footprint(other, epsg) for other in train])
        assert found.any_N[i] == pytest.approx(own.intersection(trained.union_all()).area / own.area, abs=0.17)
        foreign = trained[places.tile_N[train] != places.tile_N[row]]
        assert found.other_tiles_N[i] == pytest.approx(own.intersection(foreign.union_all()).area / own.area, abs=0.17)
    # Other dates and neighbours of either zone occur.
    assert (found.any_N > found.other_tiles_N).any()
    for tile in ("32UPC", "32UQC", "33UUT"):
        assert (found.other_tiles_N[places.tile_N[test] == places.tile_names.index(tile)] > 0).any()


def test_moran_by_all_pairs(tmp_path: Path):
    cells = tuple((c, r) for c, r in product(range(12), range(9)) if (c * 7 + r * 3) % 5)
    ids = [*patch_ids("32UPC", cells), *patch_ids("32UQC", cells[:30])]
    labels = np.random.default_rng(5).random((len(ids), 19)) < np.linspace(0.2, 0.8, 19)
    labels[:, 3] = True
    labels[:60, 4] = True
    index = made_index(tmp_path, ids, labels)
    places = geography(index)
    found = correlogram(places, index.labels(np.arange(len(index))), farthest=12_000)
    offset = np.hypot(
        np.subtract.outer(places.column_N, places.column_N), np.subtract.outer(places.row_N, places.row_N)
    )
    lag = np.rint(offset)
    lag[places.product_N[:, None] != places.product_N] = -1
    deviation = labels - labels.mean(0)
    for position in range(10):
        i, j = np.nonzero(np.triu(lag == position + 1, 1))
        assert found.pairs_L[position] == len(i)
        with np.errstate(invalid="ignore"):
            expected = (deviation[i] * deviation[j]).mean(0) / (deviation**2).mean(0)
        expected[3] = np.nan
        assert found.moran_LK[position] == pytest.approx(expected, nan_ok=True, abs=1e-9)
        assert found.mean_moran[position] == pytest.approx(np.nanmean(expected))


def test_moran_without_pairs_is_undefined(tmp_path: Path):
    index = made_index(tmp_path, patch_ids("32UPC", ((0, 0), (20, 0))))
    found = correlogram(geography(index), index.labels(np.arange(2)), farthest=6000)
    assert found.pairs_L.sum() == 0
    assert np.isnan(found.mean_moran).all()


@given(st.lists(st.integers(0, 9), min_size=19, max_size=19), st.lists(st.integers(0, 9), min_size=19, max_size=19))
def test_divergence_is_that_of_scipy(first: list[int], second: list[int]):
    p, q = np.array(first, float), np.array(second, float)
    found = divergence(p, q)
    if p.sum() and q.sum():
        assert found == pytest.approx(np.nan_to_num(jensenshannon(p, q, base=2)) ** 2, abs=1e-9)
    else:
        assert math.isnan(found)


# -------------------------------------------------------------------------------------------------- metadata and stores


@pytest.fixture(scope="module")
def store(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "ten"
    build_store(published_sources(real / "reben-10m-80"), folder)
    return folder


def test_a_new_store_shares_its_images(store: Path, tmp_path: Path):
    out = tmp_path / "random"
    done = split([store], [SplitPlan("random", seed=4)], out=out)
    old, new = open_store(store), open_store(out)
    assert np.array_equal(new.index.splits, assign(old.index, SplitPlan("random", seed=4)))
    assert done.patches == new.info.splits == {"train": 40, "validation": 20, "test": 20}
    assert new.info.resplit == "random, seed 4"
    assert new.info.fingerprint != old.info.fingerprint
    assert os.path.samefile(store / "data.mdb", out / "data.mdb")
    assert not audit_store(out, new.index, new.info).findings
    name = old.index.patch_id(0)
    assert all(np.array_equal(v, new.patches.tensors(name)[k]) for k, v in old.patches.tensors(name).items())


def test_what_lies_in_the_buffer_is_left_out(store: Path, tmp_path: Path):
    out = tmp_path / "apart"
    plan = SplitPlan("random", buffer=3000)
    done = split([store], [plan], out=out)
    splits = assign(open_store(store).index, plan)
    index, info = read_description(out)
    assert done.left_out == (splits == LEFT_OUT).sum() > 0
    assert len(index) == 80 - done.left_out == info.patches
    assert not audit_store(out, index, info).findings


def test_new_metadata_are_read_like_the_published_ones(real: Path, tmp_path: Path):
    source, out = real / "reben-10m-80" / "metadata.parquet", tmp_path / "new.parquet"
    split([source], [SplitPlan("tile")], out=out)
    old, new = read_index([source]), read_index([out])
    assert new.patch_ids == old.patch_ids
    assert np.array_equal(new.label_bits, old.label_bits)
    assert np.array_equal(new.splits, assign(old, SplitPlan("tile")))
    assert pq.read_schema(out).names == [name for name in pq.read_schema(source).names if name != "__index_level_0__"]


def test_synthetic_metadata_stay_synthetic(tmp_path: Path):
    from seg.synthetic.tree import synthesise

    synthesise(tmp_path / "tree", 24)
    source = tmp_path / "tree" / "metadata.parquet"
    split([source], [SplitPlan("random")], out=tmp_path / "new.parquet", report=tmp_path / "report")
    assert synthetic_mark([tmp_path / "new.parquet"]) == synthetic_mark([source])
    assert "SYNTHETIC" in (tmp_path / "report" / "leakage.md").read_text()
    assert json.loads((tmp_path / "report" / "leakage.json").read_text())["synthetic"] is True


def test_a_report_on_several_splits(official: Index, real: Path, tmp_path: Path):
    folder = real / "official-metadata"
    with pytest.raises(WrongUseError, match=r"the centres of neighbours are 1\.2 km apart"):
        plans_of(["block"], "2,1,1", 20, 1.2, 0)
    plans = plans_of(["block", "random", "block"], "2,1,1", 20, 0, 0)
    done = split([folder / "metadata.parquet"], plans, report=tmp_path / "report")
    assert [path.name for path in done.report] == ["leakage.md", "leakage.csv", "leakage.json", "leakage.png"]
    tables = {t["name"]: t["rows"] for t in json.loads(done.report[2].read_text())["tables"]}
    names = ["published", "block of 20 km, seed 0", "random, seed 0"]
    assert [row["split"] for row in tables["sizes"]] == names
    assert tables["sizes"][0] == {"split": "published", "train": 237_871, "validation": 122_342, "test": 119_825,
                                  "in_none": 0}  # fmt: skip
    near = {(row["split"], row["where"]): row for row in tables["nearness"]}
    assert near["published", "of any tile"]["within_10_km"] == 0
    assert near[names[2], "of the same tile"]["next_door"] > 0.99
    assert done.report[3].stat().st_size < 300_000
    assert tables["alike"][0]["distance"] == "1.2 km"
    assert tables["alike"][0]["mean"] > tables["alike"][-1]["mean"] > 0


@pytest.mark.parametrize(
    ("sources", "plans", "out", "words"),
    [
        (["a.parquet"], [], None, "say what is to be made"),
        (["a.parquet"], [], "b.parquet", "one split can be written, not none"),
        (["a.parquet"], [SplitPlan(), SplitPlan("tile")], "b.parquet", "one split can be written, not 2"),
        (["a.parquet"], [SplitPlan()], "a.parquet", "is there already"),
        (["a.parquet"], [SplitPlan()], "b", "name it b.parquet"),
        ([".", "a.parquet"], [SplitPlan()], "b", "name one store, or metadata parquets only"),
    ],
)
def test_requests_that_make_no_sense(sources: list[str], plans: list[SplitPlan], out: str | None, words: str):
    with pytest.raises(WrongUseError, match=words):
        check_split([Path(s) for s in sources], plans, Path(out) if out else None, None)


@pytest.mark.parametrize("shares", [(math.nan, 1, 1), (1, math.nan, 1), (1e308, 1e308, 1e308), (1, 0, 1), (1, 1)])
def test_shares_that_have_no_sum(shares: tuple[float, ...]):
    with pytest.raises(WrongUseError, match="three numbers above 0"):
        SplitPlan("random", shares)


@pytest.mark.parametrize("report", ["new", "new/report", "new/../new"])
def test_a_report_is_not_made_where_the_new_store_is_to_be(store: Path, tmp_path: Path, report: str):
    with pytest.raises(WrongUseError, match="name another --report"):
        split([store], [SplitPlan("random")], out=tmp_path / "new", report=tmp_path / report)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_no_store_of_seg(store: Path, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "bare").mkdir()
    shutil.copy(store / "data.mdb", tmp_path / "bare")
    for name, words in [("run", "is no store"), ("bare", "bare LMDB"), ("gone", "there is no .*gone")]:
        with pytest.raises(SegError, match=words):
            split([tmp_path / name], [SplitPlan("random")], out=tmp_path / "new", report=tmp_path / "report")
    shutil.copy(store / "index.parquet", tmp_path / "bare/metadata.parquet")
    with pytest.raises(WrongUseError, match="bare LMDB, whose splits stand in its metadata"):
        split([tmp_path / "bare"], [SplitPlan("random")], out=tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "run"]


def test_a_split_without_a_test_patch_is_not_reported_on(index_of_all: Index, tmp_path: Path):
    made_index(tmp_path, index_of_all.patch_ids.to_pylist())
    assert not (published(index_of_all) == SPLITS.index("test")).any()
    with pytest.raises(WrongUseError, match="the split 'published' has no test patch"):
        split([tmp_path / "made.parquet"], report=tmp_path / "report")


def test_the_command_line(store: Path, tmp_path: Path):
    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["data", "split", str(store), *words])

    assert run("--rule", "tile", "--out", str(tmp_path / "new")).exit_code == 0
    assert read_description(tmp_path / "new")[1].resplit == "tile"
    for words in (
        ("--rule", "tile"),
        ("--rule", "til", "--report", str(tmp_path / "r")),
        ("--rule", "block", "--shares", "a,b", "--report", "r"),
    ):
        assert isinstance(run(*words).exception, WrongUseError)


def test_a_split_that_lacks_a_part_is_left_out_of_the_report(index_of_all: Index, tmp_path: Path):
    made_index(tmp_path, index_of_all.patch_ids.to_pylist())
    done = split(
        [tmp_path / "made.parquet"], [SplitPlan("random")], out=tmp_path / "new.parquet", report=tmp_path / "r"
    )
    tables = {t["name"]: t["rows"] for t in json.loads(done.report[2].read_text())["tables"]}
    assert [row["split"] for row in tables["sizes"]] == ["random, seed 0"]
