"""Pages of the Python reference: the public names, and the modules of each package by their docstrings."""

import pkgutil
from importlib import import_module
from pathlib import Path

import seg

PACKAGES = {
    "reben": "What the data set is: classes, bands, patch ids, georeference, split rule.",
    "config": "The configuration.",
    "store": "The LMDB and its index.",
    "catalogue": "What lies elsewhere: URLs, object stores and the hub, STAC items and searches.",
    "rasters": "Bands in files: where they lie, which of their pixels have data, what they hold.",
    "scenes": "Sentinel products, stacks and folders, read in windows.",
    "foundation": "Foundation models as encoders: bands, units, pyramids.",
    "prepare": "From the published archives to a store.",
    "data": "From a store to a batch.",
    "own": "Networks of one's own: their code, and what they take.",
    "models": "Networks, scene heads, weights and checkpoints.",
    "pretraining": "Encoders that learn from images without labels.",
    "metrics": "Counts in, scores out.",
    "generalise": "Class maps brought to a minimum mapping unit.",
    "stac": "STAC of maps and of the models that made them.",
    "styles": "What maps look like in other programs: palettes, styles of QGIS and GeoServer; what web pages share.",
    "vectors": "Pixels to polygons with shared borders, footprints, GeoPackages and GeoParquet.",
    "figures": "Every picture and chart.",
    "region": "A reBEN of one's own tiles.",
    "synthetic": "A made-up world.",
    "engine": "Losses, optimiser, training and evaluation loops.",
    "inference": "A network over a scene in windows.",
    "report": "Tables, HTML and records.",
    "web": "Pages that show a map in a browser, without a server.",
    "runs": "What a run is: plan, folder, session, loaded model.",
    "areas": "Areas of classes: tables, zones, samples to be labelled, and what they tell.",
    "maps": "GeoTIFFs, mosaics and what lies beside a map.",
    "predictions": "Predictions made elsewhere: readers of files, matching with a split, counting.",
    "benchmark": "The protocol: submissions, their verification, the leaderboard.",
    "pipeline": "The table of contents: what each command does, as functions.",
}
"""Packages that are shown, in the order in which data walk through them."""


def pages(reference: Path, packages: list[str]) -> dict[Path, str]:
    """The page of the public names, a page for each of the packages and one that lists them; by path."""
    found = {reference / "modules" / f"{name}.md": package(name) for name in packages}
    found[reference / "python.md"] = public()
    found[reference / "modules" / "index.md"] = index(packages)
    return found


def public() -> str:
    """The names that ``import seg`` hands out."""
    lines = ["# Python", "", "What `import seg` hands out; each is loaded when it is first used.", ""]
    for name in seg.__all__:
        lines += directive("autoclass" if isinstance(getattr(seg, name), type) else "autofunction", f"seg.{name}")
    lines += ["## What they take and give", ""]
    for name in PLACES:
        module, _, what = name.rpartition(".")
        kind = "autoclass" if isinstance(getattr(import_module(module), what), type) else "autofunction"
        lines += directive(kind, name, ":members:", ":no-index:") if kind == "autoclass" else directive(kind, name)
    return "\n".join(lines)


PLACES = (
    "seg.runs.plan.TrainPlan",
    "seg.pipeline.train.TrainResult",
    "seg.pipeline.evaluate.EvalResult",
    "seg.metrics.scores.Scores",
    "seg.runs.model.Model",
    "seg.runs.model.PatchPrediction",
    "seg.models.card.ModelCard",
    "seg.maps.mapping.SceneMap",
    "seg.store.open.Store",
)
"""What the public functions take and give."""


def index(packages: list[str]) -> str:
    """The page that lists packages."""
    lines = ["# Modules", "", "Data walks one way, upwards: a package imports those above it in this list.", ""]
    lines += ["| package | what it holds |", "|---|---|"]
    lines += [f"| [`seg.{name}`]({name}.md) | {PACKAGES[name]} |" for name in packages]
    lines += ["", "```{toctree}", ":hidden:", "", *packages, "```", ""]
    return "\n".join(lines)


def package(name: str) -> str:
    """Every module of a package."""
    lines = [f"# seg.{name}", "", PACKAGES[name], ""]
    for module in modules_of(f"seg.{name}"):
        lines += [f"## {module.removeprefix('seg.')}", ""]
        lines += directive("automodule", module, ":members:")
    return "\n".join(lines)


def modules_of(name: str) -> list[str]:
    """Full names of the modules in a package and in the packages within it."""
    path = import_module(name).__path__
    return sorted(one.name for one in pkgutil.walk_packages(path, f"{name}.") if not one.ispkg)


def directive(kind: str, name: str, *options: str) -> list[str]:
    """A directive of Sphinx that reads docstrings."""
    return ["```{eval-rst}", f".. {kind}:: {name}", *(f"   {option}" for option in options), "```", ""]
