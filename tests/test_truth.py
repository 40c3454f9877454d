"""A model of real or simulated images on data of either kind: every command says the truth of each."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import rasterio
import yaml
from commands import run_seg
from matplotlib.figure import Figure
from quick import quick_run
from rasterio.transform import Affine

from seg.metrics.evidence_file import load_evidence
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.patch import PatchId
from seg.synthetic.scene import synthesise_scene
from seg.synthetic.tree import synthesise

BANDS = ("B02", "B03", "B04", "B08")
KINDS = ("real", "synthetic")
WORDS = {
    ("real", "real"): "",
    ("real", "synthetic"): "SYNTHETIC data",
    ("synthetic", "real"): "SYNTHETIC model",
    ("synthetic", "synthetic"): "SYNTHETIC data",
}
"""What titles begin with, by model and data."""
TOLD = {
    ("real", "real"): None,
    ("real", "synthetic"): "data",
    ("synthetic", "real"): "model",
    ("synthetic", "synthetic"): "data and model",
}
"""What tags say."""
MARKS = {"": "", "SYNTHETIC data": "SYNTHETIC – ", "SYNTHETIC model": "SYNTHETIC MODEL – "}


@dataclass
class World:
    """Stores, scenes and runs by kind, and the name of data to a run of the other kind."""

    place: Path
    stores: dict[str, Path] = field(default_factory=dict)
    scenes: dict[str, Path] = field(default_factory=dict)
    runs: dict[str, Path] = field(default_factory=dict)
    stack: Path = Path()

    def on(self, model: str, data: str) -> list[object]:
        """Options of commands that read evidence."""
        if model == data:
            return []
        fingerprint = json.loads((self.stores[data] / "store.json").read_text())["fingerprint"]
        return ["--on", fingerprint[:8]]

    def evaluation(self, model: str, data: str) -> Path:
        return self.runs[model] / "eval" / "-on-".join(["test", *map(str, self.on(model, data)[1:])])


@pytest.fixture(scope="module")
def world(real: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("truth"))
    synthesise(made.place / "tree", patches=24)
    for kind, tree in {"real": real / "reben-10m-80", "synthetic": made.place / "tree"}.items():
        made.stores[kind] = made.place / f"{kind}-store"
        build_store(published_sources(tree), made.stores[kind], resplit="tile" if kind == "real" else None)
        made.runs[kind] = made.place / f"{kind} run"
        settings = {"model__encoder": "tu-test_efficientnet", "train__batch_size": 8, "data__bands": ",".join(BANDS)}
        quick_run(made.runs[kind], made.stores[kind], **settings)
    simulated = synthesise_scene(made.place / "scene", 240, seed=1)
    made.scenes["synthetic"], made.stack = simulated.product, simulated.stack
    made.scenes["real"] = a_real_scene(real / "reben-10m-80", made.place / "real.tif")
    for model in KINDS:
        for data in KINDS:
            code, said = run_seg("eval", made.runs[model], "--data", made.stores[data], "--device", "cpu")
            assert code == 0, said
            assert f"{WORDS[model, data]}, no benchmark result: " in said or not WORDS[model, data]
            assert ("SYNTHETIC" in said) == bool(WORDS[model, data])
    return made


def a_real_scene(tree: Path, target: Path) -> Path:
    """A real patch as a stack."""
    files = {band: next(iter(sorted(tree.rglob(f"*_{band}.tif")))) for band in BANDS}
    georef = PatchId.parse(files["B02"].parent.name).georef
    with rasterio.open(
        target, "w", driver="GTiff", width=120, height=120, count=len(BANDS), dtype="uint16", crs=f"EPSG:{georef.epsg}",
        transform=Affine(*georef.transform),
    ) as stack:  # fmt: skip
        for place, path in enumerate(files.values(), 1):
            with rasterio.open(path) as file:
                stack.write(file.read(1), place)
        stack.descriptions = BANDS
    return target


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is written on figures."""
    texts: list[str] = []
    write = Figure.text

    def noted(self, x, y, text, *more, **options):
        texts.append(text)
        return write(self, x, y, text, *more, **options)

    monkeypatch.setattr(Figure, "text", noted)
    return texts


def expect_title(texts: Sequence[str], words: str, what: str) -> None:
    (title,) = [text for text in texts if what in text]
    assert title.startswith(f"{MARKS[words]}{what}"), title


def tags_of(path: Path) -> str | None:
    with rasterio.open(path) as raster:
        tags = raster.tags()
    assert ("SYNTHETIC" in tags) == ("SYNTHETIC_WHAT" in tags)
    return tags.get("SYNTHETIC_WHAT")


@pytest.mark.parametrize("data", KINDS)
@pytest.mark.parametrize("model", KINDS)
class TestEvery:
    def test_evidence_and_tables(self, model: str, data: str, world: World) -> None:
        folder, words = world.evaluation(model, data), WORDS[model, data]
        origin = load_evidence(folder / "evidence").origin
        assert (origin.synthetic, origin.synthetic_model) == (data == "synthetic", model == "synthetic")
        scores = json.loads((folder / "scores.json").read_text())
        assert (scores["synthetic_data"], scores["synthetic_model"]) == (data == "synthetic", model == "synthetic")
        assert scores["synthetic"] == bool(words)
        record = json.loads((folder / "eval.json").read_text())
        assert (record["synthetic"], record["data"]["synthetic"]) == (bool(words), data == "synthetic")
        for line in (folder / "tables.md").read_text().splitlines():
            assert not line.startswith("### ") or line.startswith(f"### {words}, no " if words else "### ")
            assert words or "SYNTHETIC" not in line

    def test_report(self, model: str, data: str, world: World) -> None:
        code, said = run_seg("report", world.runs[model], *world.on(model, data))
        assert code == 0, said
        words = WORDS[model, data]
        page = (world.evaluation(model, data) / "report.html").read_text()
        assert ("SYNTHETIC" in page) == bool(words) == ("SYNTHETIC" in said)
        assert (f"<strong>{words.upper()}</strong>" in page) == bool(words)
        assert f"<title>{MARKS[words]}" in page
        assert ("the model was not trained on such" in page) == (model == "real" and data == "synthetic")
        assert ("the images are real, but the model was trained on simulated ones" in page) == (
            words == "SYNTHETIC model"
        )

    def test_card(self, model: str, data: str, world: World, tmp_path: Path) -> None:
        code, said = run_seg("card", world.runs[model], "--out", tmp_path / "card", *world.on(model, data))
        assert code == 0, said
        page = (tmp_path / "card" / "README.md").read_text()
        matter = yaml.safe_load(page.split("---")[1])
        assert ("synthetic-data" in matter["tags"]) == bool(WORDS[model, data])
        told = " ".join(page.replace("> ", "").split())
        assert ("This model was trained on simulated data" in told) == (model == "synthetic")
        assert ("This model was scored on simulated data" in told) == (model == "real" and data == "synthetic")
        assert ("its scores, on real images, are no benchmark result" in told) == (
            WORDS[model, data] == "SYNTHETIC model"
        )
        name = matter["model-index"][0]["results"][0]["dataset"]["name"]
        assert ("SYNTHETIC" in name) == (data == "synthetic")

    def test_compare(self, model: str, data: str, world: World, tmp_path: Path) -> None:
        options = [*world.on(model, data), "--out", tmp_path]
        code, said = run_seg("compare", world.runs[model], *options)
        assert code == 0, said
        words = WORDS[model, data]
        titles = [line for line in (tmp_path / "compare.md").read_text().splitlines() if line.startswith("### ")]
        ours = [title for title in titles if "Published" not in title]
        assert ours
        assert all(title.startswith(f"### {words}, no " if words else "### ") for title in ours)
        assert any("SYNTHETIC" in title for title in titles) == bool(words)
        assert json.loads((tmp_path / "compare.json").read_text())["synthetic"] == bool(words)

    def test_export(self, model: str, data: str, world: World, tmp_path: Path, drawn: list[str]) -> None:
        options = ["--out", tmp_path, "--data", world.stores[data], "--mosaic", "--device", "cpu"]
        code, said = run_seg("export", world.runs[model], *options)
        assert code == 0, said
        maps = sorted(tmp_path.glob("*_map.tif"))
        assert maps
        assert {tags_of(path) for path in (*maps, tmp_path / "map.vrt")} == {TOLD[model, data]}
        metadata = pq.read_schema(tmp_path / "footprints.parquet").metadata
        assert (metadata.get(b"SYNTHETIC_WHAT") or b"").decode() == (TOLD[model, data] or "")
        assert (tmp_path / "overview.png").stat().st_size < 300_000
        titles = [text for text in drawn if " · unet " in text or "S2" in text[:30] or "MSIL2A" in text]
        assert titles
        mark = MARKS[WORDS[model, data]]
        assert all(title.startswith(f"{mark}S2") for title in titles), titles

    def test_predict(self, model: str, data: str, world: World, tmp_path: Path, drawn: list[str]) -> None:
        target, run, scene = tmp_path / "map.tif", world.runs[model], world.scenes[data]
        options = ["--areas", "--quicklook", "--labels", "--confidence", "--device", "cpu"]
        code, said = run_seg("predict", run, scene, "--out", target, *options)
        assert code == 0, said
        assert tags_of(target) == tags_of(tmp_path / "map_confidence.tif") == TOLD[model, data]
        labels = pq.read_schema(tmp_path / "map_labels.parquet").metadata
        assert (labels.get(b"SYNTHETIC_WHAT") or b"").decode() == (TOLD[model, data] or "")
        expect_title(drawn, WORDS[model, data], scene.stem)
        title = (tmp_path / "map_areas.md").read_text().splitlines()[0]
        assert title.startswith(f"### {WORDS[model, data]}, no " if WORDS[model, data] else "### Areas"), title
        # Several scenes share a mosaic, which says it if one of them is simulated.
        twin = tmp_path / f"twin{scene.suffix}"
        (shutil.copytree if scene.is_dir() else shutil.copy)(scene, twin)
        code, said = run_seg("predict", run, scene, twin, "--out", tmp_path / "maps", "--device", "cpu")
        assert code == 0, said
        assert tags_of(tmp_path / "maps" / "map.vrt") == TOLD[model, data]


def test_real_bands_of_a_simulated_scene_say_so_one_by_one(world: World, tmp_path: Path) -> None:
    """A folder of bands that were taken out of a simulated stack."""
    from seg.scenes.open import open_scene

    with rasterio.open(world.stack) as file:
        names = list(file.descriptions)
        for band in ("B02", "B03"):
            profile = {**file.profile, "count": 1}
            for plain in (True, False):
                folder = tmp_path / ("plain" if plain else "tagged")
                folder.mkdir(exist_ok=True)
                with rasterio.open(folder / f"{band}.tif", "w", **profile) as single:
                    single.write(file.read(names.index(band) + 1), 1)
                    if not plain:
                        single.update_tags(**file.tags())
    assert open_scene(tmp_path / "tagged", needed=("B02", "B03")).synthetic
    assert not open_scene(tmp_path / "plain", needed=("B02", "B03")).synthetic
