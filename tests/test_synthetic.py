"""The synthetic reBEN against the real one: format, names, split, statistics, and the landscape's own laws."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import rasterio
from scipy.stats import spearmanr

from seg.config.synthetic import SYNTHETIC_FILE
from seg.prepare.published_tree import encode_band, encode_map
from seg.reben.bands import BANDS, S2_BANDS
from seg.reben.classes import CLASS_NAMES, CLASSES, IGNORE_INDEX, UNLABELLED_CODES, UNLABELLED_LIMIT, names_of_bits
from seg.reben.patch import SPLITS, PatchId, geographic_split, s1_scene
from seg.reben.reference_map import class_indices, implied_bits
from seg.synthetic import radiometry
from seg.synthetic.landscape import MINIMUM_MAPPING_UNIT, land_cover
from seg.synthetic.materials import MATERIAL_NUMBER, MATERIALS, VARIANTS, backscatter_table, reflectance_table
from seg.synthetic.places import REGIONS, Visit, capacity, plan
from seg.synthetic.surface import draw_surface
from seg.synthetic.tree import SynthesisReport, draw_block, synthesise

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real samples at {REAL}")
PATCHES = 360
CLEAR, FLAGGED = "metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet"

# Share of the patches in the official metadata.parquet (480,038 rows) that carry each label, in the order of `CLASSES`.
OFFICIAL_SHARE = (
    0.1328, 0.0232, 0.3917, 0.0616, 0.1992, 0.2075, 0.2556, 0.0691, 0.2832, 0.3228, 0.3453, 0.0248, 0.0289, 0.2940,
    0.0027, 0.0436, 0.0029, 0.1317, 0.1288,
)  # fmt: skip


class Tree:
    """A published tree, read back with rasterio and pyarrow alone."""

    def __init__(self, root: Path, report: SynthesisReport) -> None:
        self.root, self.report = root, report
        self.clear: list[dict[str, Any]] = pq.read_table(root / CLEAR).to_pylist()
        self.flagged: list[dict[str, Any]] = pq.read_table(root / FLAGGED).to_pylist()
        self.rows = self.clear + self.flagged

    def path(self, row: dict[str, Any], band: str) -> Path:
        name, s1 = row["patch_id"], row["s1_name"]
        product = name[:-6]
        if band == "reference_map":
            return self.root / "Reference_Maps" / product / name / f"{name}_reference_map.tif"
        if band in ("VV", "VH"):
            return self.root / "BigEarthNet-S1" / s1_scene(s1) / s1 / f"{s1}_{band}.tif"
        return self.root / "BigEarthNet-S2" / product / name / f"{name}_{band}.tif"

    def read(self, row: dict[str, Any], band: str) -> npt.NDArray[Any]:
        with rasterio.open(self.path(row, band)) as raster:
            return np.asarray(raster.read(1))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    root = tmp_path_factory.mktemp("synthetic") / "reben"
    return Tree(root, synthesise(root, PATCHES, seed=0))


@pytest.fixture(scope="module")
def maps(tree: Tree) -> dict[str, npt.NDArray[np.uint16]]:
    return {row["patch_id"]: tree.read(row, "reference_map") for row in tree.rows}


# --- the published tree -----------------------------------------------------------------------------------------------


def test_exactly_the_files_of_the_published_tree_are_there(tree: Tree) -> None:
    expected = {tree.path(row, band) for row in tree.rows for band in (*BANDS, "reference_map")}
    expected |= {tree.root / name for name in (CLEAR, FLAGGED, SYNTHETIC_FILE)}
    assert {p for p in tree.root.rglob("*") if p.is_file()} == expected
    assert len(tree.rows) == len({row["patch_id"] for row in tree.rows}) == PATCHES
    assert list(tree.root.parent.iterdir()) == [tree.root]


@pytest.mark.parametrize("band", [*BANDS, "reference_map"])
def test_format_and_georeference_of_every_band(tree: Tree, band: str) -> None:
    for row in tree.rows[::29]:
        with rasterio.open(tree.path(row, band)) as raster:
            corner = PatchId.parse(row["patch_id"]).georef
            size, pixel = (BANDS[band].size, BANDS[band].pixel_size) if band in BANDS else (120, 10)
            assert raster.shape == (size, size)
            assert raster.dtypes == (BANDS[band].dtype if band in BANDS else "uint16",)
            assert raster.nodata == (None if band in ("VV", "VH") else 0)
            assert raster.crs.to_epsg() == corner.epsg
            assert tuple(raster.transform)[:6] == (pixel, 0, corner.x_min, 0, -pixel, corner.y_max)
            structure = raster.tags(ns="IMAGE_STRUCTURE")
            assert structure.get("COMPRESSION") == ("DEFLATE" if band == "reference_map" else None)
            assert structure.get("PREDICTOR") == ("2" if band == "reference_map" else None)
            pixels = raster.read(1)
            assert np.isfinite(pixels).all()
            assert band not in S2_BANDS or pixels.min() > 0


@needs_real
def test_real_files_are_reproduced_byte_for_byte() -> None:
    files = sorted((REAL / "reben-full-4").rglob("*.tif"))
    kinds: Counter[str] = Counter()
    for path in files:
        with rasterio.open(path) as raster:
            pixels = raster.read(1)
        kind = "reference_map" if path.stem.endswith("reference_map") else path.stem.rsplit("_", 1)[1]
        if "BigEarthNet-S1" in path.parts:  # their names hold the place without padding
            tile, column, row = path.stem.split("_")[5:8]
            patch = PatchId.parse(f"S2A_MSIL2A_20170613T101031_N9999_R022_T{tile}_{int(column):02d}_{int(row):02d}")
        else:
            patch = PatchId.parse(path.parent.name)
        made = (
            encode_map(pixels, patch.georef)
            if kind == "reference_map"
            else encode_band(BANDS[kind], pixels, patch.georef)
        )
        assert made == path.read_bytes(), path
        kinds[kind] += 1
    assert set(kinds) == {*BANDS, "reference_map"}


def test_names_follow_the_published_rules(tree: Tree) -> None:
    for row in tree.rows:
        patch = PatchId.parse(row["patch_id"])
        assert str(patch) == row["patch_id"]
        assert "20170601" <= f"{patch.acquired:%Y%m%d}" <= "20180531"
        assert row["s1_name"] == f"{s1_scene(row['s1_name'])}_{patch.tile}_{patch.column}_{patch.row}"
        assert row["s2v1_name"] == f"{patch.product[:26]}_{patch.column}_{patch.row}"


def test_metadata_has_the_official_columns(tree: Tree) -> None:
    columns = [
        "patch_id",
        "labels",
        "split",
        "country",
        "s1_name",
        "s2v1_name",
        "contains_seasonal_snow",
        "contains_cloud_or_shadow",
    ]
    for name in (CLEAR, FLAGGED):
        assert pq.read_schema(tree.root / name).names == columns
        if REAL.is_dir():
            assert pq.read_schema(tree.root / name) == pq.read_schema(REAL / "official-metadata" / name)
    assert not any(r["contains_seasonal_snow"] or r["contains_cloud_or_shadow"] for r in tree.clear)
    assert all(r["contains_seasonal_snow"] != r["contains_cloud_or_shadow"] for r in tree.flagged)


def test_report_and_marker_agree_with_the_tree(tree: Tree) -> None:
    report = tree.report
    assert report.patches == PATCHES
    assert report.per_split == Counter(row["split"] for row in tree.rows)
    assert report.products == len({row["patch_id"][:-6] for row in tree.rows})
    assert report.tiles == len({PatchId.parse(row["patch_id"]).tile for row in tree.rows})
    assert report.snow == sum(row["contains_seasonal_snow"] for row in tree.flagged)
    assert report.cloud == sum(row["contains_cloud_or_shadow"] for row in tree.flagged)
    marker = json.loads((tree.root / SYNTHETIC_FILE).read_text())
    assert marker["synthetic"] is True
    assert (marker["seed"], marker["patches"]) == (0, PATCHES)


# --- realism ----------------------------------------------------------------------------------------------------------


def test_split_is_the_official_rule_in_official_proportions(tree: Tree) -> None:
    for row in tree.rows:
        patch = PatchId.parse(row["patch_id"])
        assert row["split"] == geographic_split(patch.column, patch.row)
    shares = [tree.report.per_split[s] / PATCHES for s in SPLITS]
    assert np.allclose(shares, (0.5, 0.25, 0.25), atol=0.03)
    assert len({row["country"] for row in tree.rows}) == 10


def test_labels_are_the_classes_of_the_map_sorted_by_name(tree: Tree, maps: dict[str, npt.NDArray[np.uint16]]) -> None:
    for row in tree.rows:
        bits = implied_bits(class_indices(maps[row["patch_id"]], row["patch_id"]))
        assert row["labels"] == list(names_of_bits(bits)) == sorted(row["labels"])
        assert row["labels"]


def test_unlabelled_area_stays_below_a_quarter(maps: dict[str, npt.NDArray[np.uint16]]) -> None:
    shares = [(class_indices(codes, name) == IGNORE_INDEX).mean() for name, codes in maps.items()]
    assert 0 < max(shares) < UNLABELLED_LIMIT
    found = set(np.unique(np.stack(list(maps.values()))).tolist())
    assert len(found & UNLABELLED_CODES) >= 2


def test_every_class_occurs_and_most_in_every_split(tree: Tree) -> None:
    assert {label for row in tree.clear for label in row["labels"]} == set(CLASS_NAMES)
    for split in SPLITS:
        assert len({label for row in tree.clear if row["split"] == split for label in row["labels"]}) >= 15


def test_class_frequencies_rank_as_in_the_official_metadata(tree: Tree) -> None:
    counts = Counter(label for row in tree.clear for label in row["labels"])
    assert abs(sum(counts.values()) / len(tree.clear) - 2.95) < 0.6
    assert spearmanr([counts[name] for name in CLASS_NAMES], OFFICIAL_SHARE).statistic > 0.7


def test_band_statistics_are_near_the_official_ones(tree: Tree) -> None:
    train = [row for row in tree.clear if row["split"] == "train"]
    off = []
    for name, band in BANDS.items():
        pixels = np.stack([tree.read(row, name) for row in train]).astype(np.float64)
        mean, std = pixels.mean(), pixels.std()
        near = abs(mean - band.mean) < 3 if band.sensor == "s1" else abs(mean / band.mean - 1) < 0.25
        if not (near and abs(std / band.std - 1) < 0.25):
            off.append(f"{name}: mean {mean:.1f} against {band.mean:.1f}, std {std:.1f} against {band.std:.1f}")
    assert not off


def test_flagged_patches_look_flagged(tree: Tree) -> None:
    assert 0.02 < len(tree.flagged) / PATCHES < 0.25
    median = np.median([np.median(tree.read(row, "B02")) for row in tree.clear])
    for row in tree.flagged:
        blue = tree.read(row, "B02")
        if row["contains_seasonal_snow"]:
            assert np.percentile(blue, 90) > 2500
        else:  # some of it cloud, or all of it shadow
            assert np.percentile(blue, 98) > 2000 or np.percentile(blue, 25) < 0.7 * median


# --- the landscape ----------------------------------------------------------------------------------------------------


def _regions_of(codes: npt.NDArray[np.uint16]) -> list[tuple[int, bool, int]]:
    """Code, whether the edge cuts it, and area of every connected region."""
    height, width = codes.shape
    found = []
    for code in np.unique(codes).tolist():
        count, _, stats, _ = cv2.connectedComponentsWithStats((codes == code).astype(np.uint8), connectivity=8)
        for x, y, w, h, area in stats[1:count].tolist():
            found.append((code, x == 0 or y == 0 or x + w == width or y + h == height, area))
    return found


@pytest.mark.parametrize("region", range(len(REGIONS)))
def test_minimum_mapping_unit_holds_inside_a_block(region: int) -> None:
    codes = land_cover(REGIONS[region], 3, 4, np.random.default_rng(region))
    assert codes.shape == (360, 480)
    areas = [area for _, cut, area in _regions_of(codes) if not cut]
    assert min(areas, default=MINIMUM_MAPPING_UNIT) >= MINIMUM_MAPPING_UNIT
    assert len(_regions_of(codes)) > 1


def test_patches_of_a_block_join_without_a_seam(tree: Tree, maps: dict[str, npt.NDArray[np.uint16]]) -> None:
    """Pixels on either side of a patch border are as alike as pixels inside a patch."""
    by_place = {(r["patch_id"][:-6], *map(int, r["patch_id"][-5:].split("_"))): r for r in tree.rows}
    across: list[float] = []
    inside: list[float] = []
    map_across: list[float] = []
    for (product, column, row), meta in by_place.items():
        east = by_place.get((product, column + 1, row))
        if east is None:
            continue
        left, right = (tree.read(r, "B08").astype(float) for r in (meta, east))
        across.append(np.corrcoef(left[:, -1], right[:, 0])[0, 1])
        inside.append(np.corrcoef(left[:, -2], left[:, -1])[0, 1])
        map_across.append(float((maps[meta["patch_id"]][:, -1] == maps[east["patch_id"]][:, 0]).mean()))
    assert len(across) > 100
    assert np.median(across) > 0.9 * np.median(inside) > 0.5
    assert np.mean(map_across) > 0.97


def test_objects_below_the_mapping_unit_are_in_the_image_but_not_in_the_map() -> None:
    """Inside polygons of arable land the fields are far smaller than 25 ha, and some pixels are no crop at all."""
    region = next(r for r in REGIONS if r.tile == "34TCR")
    rng = np.random.default_rng(0)
    codes = land_cover(region, 4, 4, rng)
    state = draw_surface(codes, rng).state
    arable = cv2.erode((codes == 211).astype(np.uint8), np.ones((15, 15))) > 0
    assert arable.sum() > 20000
    areas = []
    for value in np.unique(state[arable]).tolist():
        _, _, stats, _ = cv2.connectedComponentsWithStats((arable & (state == value)).astype(np.uint8))
        areas += stats[1:, cv2.CC_STAT_AREA].tolist()
    assert np.quantile(areas, 0.95) < MINIMUM_MAPPING_UNIT
    others = [MATERIAL_NUMBER[name] for name in ("roof", "asphalt", "broadleaf", "river", "garden")]
    assert 0.01 < np.isin(state[arable] // VARIANTS, others).mean() < 0.3


def test_pixels_on_an_edge_mix() -> None:
    """Between water and land lie values that neither has: the point spread mixes them."""
    state = np.full((120, 120), MATERIAL_NUMBER["sea"] * VARIANTS, dtype=np.uint8)
    state[:, 60:] = MATERIAL_NUMBER["meadow"] * VARIANTS + 3
    surface = _flat(state)
    scene = radiometry.observe(surface, REGIONS[0], Visit("20170613"), 164, _no_residual(), np.random.default_rng(0))
    profile = scene.bands["B08"].astype(float).mean(axis=0)
    dark, bright = profile[:50].mean(), profile[70:].mean()
    assert dark + 0.05 * (bright - dark) < profile[59] < profile[60] < bright - 0.05 * (bright - dark)


def _flat(state: npt.NDArray[np.uint8]) -> Any:
    zero = np.zeros(state.shape, dtype=np.float32)
    return radiometry.Surface(state, zero, zero)


def _no_residual() -> radiometry.Correction:
    return radiometry.Correction(0.0, (1.0,) * len(S2_BANDS), 0.0)


# --- physics ----------------------------------------------------------------------------------------------------------


def test_speckle_has_the_looks_of_grd() -> None:
    speckle = radiometry.speckle(np.random.default_rng(0), (1000, 1000)).astype(float)
    assert abs(speckle.mean() - 1) < 0.01
    assert abs(1 / speckle.var() - radiometry.LOOKS) < 0.1
    # A gamma distribution of n looks has a skewness of 2 / sqrt(n).
    skewness = ((speckle - 1) ** 3).mean() / speckle.var() ** 1.5
    assert abs(skewness / (2 / np.sqrt(radiometry.LOOKS)) - 1) < 0.15
    neighbours = np.corrcoef(speckle[:, :-1].ravel(), speckle[:, 1:].ravel())[0, 1]
    far = np.corrcoef(speckle[:, :-4].ravel(), speckle[:, 4:].ravel())[0, 1]
    second = np.corrcoef(speckle[:, :-2].ravel(), speckle[:, 2:].ravel())[0, 1]
    # Measured over the open sea of official patches: 0.7 and 0.25.
    assert abs(neighbours - 0.7) < 0.05
    assert abs(second - 0.25) < 0.05
    assert abs(far) < 0.01


def test_homogeneous_water_has_the_looks_of_grd_in_the_image() -> None:
    state = np.full((360, 360), MATERIAL_NUMBER["sea"] * VARIANTS, dtype=np.uint8)
    scene = radiometry.observe(
        _flat(state), REGIONS[0], Visit("20170613"), 164, _no_residual(), np.random.default_rng(0)
    )
    power = 10 ** (scene.bands["VV"].astype(float) / 10)
    # The sea is slightly rougher in places, which costs a little of the looks.
    assert 3.6 < power.mean() ** 2 / power.var() < 4.6


def _state(name: str, variant: int = 3) -> int:
    return MATERIAL_NUMBER[name] * VARIANTS + variant


def test_phenology_moves_the_red_edge_the_right_way() -> None:
    def ndvi(name: str, day: int, latitude: float) -> float:
        table = reflectance_table(day, latitude, 0.0)
        red, near = (float(table[S2_BANDS.index(b), _state(name)]) for b in ("B04", "B08"))
        return (near - red) / (near + red)

    assert ndvi("broadleaf", 180, 48) > ndvi("broadleaf", 15, 48) + 0.2
    assert abs(ndvi("conifer", 180, 60) - ndvi("conifer", 15, 60)) < 0.15
    assert ndvi("winter crop", 130, 48) > ndvi("winter crop", 230, 48) + 0.3
    assert ndvi("summer crop", 215, 48) > ndvi("summer crop", 110, 48) + 0.3
    assert ndvi("dry grass", 60, 38) > ndvi("dry grass", 225, 38) + 0.2
    assert ndvi("sea", 180, 48) < 0 < ndvi("meadow", 180, 48)


def test_backscatter_follows_structure_wind_and_water() -> None:
    def decibels(name: str, wind: float = 0.4, wet: float = 0.0, frozen: bool = False) -> npt.NDArray[np.float32]:
        return np.asarray(backscatter_table(160, 48, wind, wet, frozen)[:, _state(name)])

    assert decibels("conifer")[1] > decibels("meadow")[1] + 2
    assert decibels("roof")[0] > decibels("conifer")[0] + 2
    assert decibels("sea", wind=0.0)[0] < decibels("sea", wind=1.0)[0] - 8
    assert decibels("bare", wet=1.0)[0] > decibels("bare", wet=-1.0)[0] + 1
    assert decibels("conifer", frozen=True)[0] < decibels("conifer")[0]


def test_every_code_and_material_has_a_look() -> None:
    for region in REGIONS:
        assert set(region.always) <= set(region.shares) <= {c for k in CLASSES for c in k.codes} | UNLABELLED_CODES
    for day in (15, 105, 195, 285):
        table = reflectance_table(day, 50.0, 0.0)
        assert (table[:, : len(MATERIALS) * VARIANTS] > 0).all()
        assert table.max() < 6000


# --- the entry point --------------------------------------------------------------------------------------------------


def _digest(root: Path) -> str:
    """Of the names and bytes of a whole tree."""
    total = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        total.update(str(path.relative_to(root)).encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        synthesise(tmp_path / name, 24, seed)
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b") != _digest(tmp_path / "c")
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "c"}


@pytest.mark.parametrize("patches", [12, 13, 37])
def test_small_sets_fill_every_split(tmp_path: Path, patches: int) -> None:
    seen: list[tuple[str, int]] = []

    def track(items: Any, description: str, total: int) -> Any:
        seen.append((description, total))
        return items

    report = synthesise(tmp_path / "out", patches, track=track)
    assert sum(report.per_split.values()) == report.patches == patches
    assert all(report.per_split[split] >= 3 for split in SPLITS)
    assert len(seen) == 1
    assert seen[0][1] >= 3


@pytest.mark.parametrize("patches", [11, 0, -1, 10**6])
def test_impossible_sizes_are_refused(tmp_path: Path, patches: int) -> None:
    with pytest.raises(ValueError, match=r"holds 12 to \d+ patches"):
        synthesise(tmp_path / "out", patches)
    assert not list(tmp_path.iterdir())


def test_negative_seed_and_occupied_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seed"):
        synthesise(tmp_path / "out", 12, seed=-1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="not an empty folder"):
        synthesise(tmp_path / "out", 12)
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


def test_failure_leaves_nothing_behind_and_an_empty_folder_is_fine(tmp_path: Path) -> None:
    def interrupt(items: Any, description: str, total: int) -> Any:
        yield next(iter(items))
        raise KeyboardInterrupt

    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        synthesise(tmp_path / "out", 12, track=interrupt)
    assert [p.name for p in tmp_path.rglob("*")] == ["out"]
    synthesise(tmp_path / "out", 12)
    assert (tmp_path / "out" / SYNTHETIC_FILE).is_file()


@pytest.mark.parametrize("patches", [12, 100, 5000, 100_000])
def test_plan_places_every_patch_once_within_its_split(patches: int) -> None:
    seen = set()
    for block in plan(patches, seed=3):
        for column, row in block.cells():
            assert geographic_split(column, row) == block.split
            seen.add((block.region, block.visit, column, row))
    assert len(seen) == patches


def test_a_later_visit_sees_the_same_land_on_another_day() -> None:
    """The map depends on the place alone; the images do not."""
    first = next(b for b in plan(10_000, 0) if b.visit == 0 and b.patches == 36)
    again = next(
        b
        for b in plan(10_000, 0)
        if b.visit == 1 and (b.region, b.slot, b.split) == (first.region, first.slot, first.split)
    )
    (codes, scene), (later_codes, later_scene) = draw_block(first, 0), draw_block(again, 0)
    assert np.array_equal(codes, later_codes)
    difference = np.abs(scene.bands["B08"].astype(float) - later_scene.bands["B08"]).mean()
    assert difference > 200
    assert capacity() > 100_000


def test_other_processes_draw_the_same_bytes(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert synthesise(here, 24, seed=1, workers=1) == synthesise(there, 24, seed=1, workers=2)
    files = sorted(file.relative_to(here) for file in here.rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(there) for file in there.rglob("*") if file.is_file())
    assert all((here / file).read_bytes() == (there / file).read_bytes() for file in files)
