"""Every public function that takes a path takes a string, and anything else that is like a path."""

import inspect
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

import seg
from seg.config.load import load_config
from seg.config.paths import path_list, path_or_none
from seg.config.sections import DataConfig
from seg.errors import EmptySelectionError, StoreError
from seg.reben.bands import MODALITIES
from seg.runs.data import SEG_DATA, find_store, split_rows
from seg.runs.plan import plan

BESIDE_THEM = {
    "plan": "seg.runs.plan",
    "split": "seg.pipeline.split",
    "request": "seg.region.request",
    "make": "seg.pipeline.make",
    "check_store": "seg.pipeline.audit",
    "describe_store": "seg.pipeline.describe",
    "synthesise_scene": "seg.synthetic.scene",
    "fetch": "seg.pipeline.fetch",
    "diagnose": "seg.pipeline.doctor",
    "draw_sample": "seg.pipeline.sample",
    "map_areas": "seg.pipeline.areas",
}
"""What the commands call that have no public name."""

PUBLIC: dict[str, Callable[..., Any]] = {name: getattr(seg, name) for name in seg.__all__}
ALL = PUBLIC | {name: getattr(import_module(module), name) for name, module in BESIDE_THEM.items()}


class LikeAPath:
    """Neither a string nor a `Path`."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __fspath__(self) -> str:
        return self.text


@pytest.mark.parametrize("name", ALL)
def test_no_signature_asks_for_a_path_object(name: str) -> None:
    hints = inspect.get_annotations(ALL[name], eval_str=False)
    for parameter, kind in hints.items():
        text = kind if isinstance(kind, str) else str(kind)
        assert parameter == "return" or "pathlib.Path" not in text, f"{name}({parameter}: {text})"


MISSING: dict[str, tuple[Any, dict[str, Any]]] = {
    "load_config": (("nowhere",), {}),
    "load_checkpoint": (("nowhere",), {}),
    "write_card": (("nowhere", "out"), {}),
    "compare": ((["nowhere"],), {"out": "out"}),
    "build": (("out",), {"s2": "nowhere", "s1": "nowhere", "maps": "nowhere", "metadata": ["nowhere"]}),
    "evaluate": (("nowhere",), {"data": "d", "metadata": "m"}),
    "export": (("nowhere", "out"), {"data": "d"}),
    "load_model": (("nowhere",), {}),
    "predict": (("nowhere", ["nowhere"], "out.tif"), {"s1": ["nowhere"], "geometry": "nowhere"}),
    "pretrain": (("nowhere", "out"), {}),
    "report_run": (("nowhere",), {}),
    "dataset": (("nowhere",), {"metadata": "nowhere"}),
    "loader": (("nowhere",), {}),
    "datamodule": (("nowhere",), {"metadata": "nowhere"}),
    "open_store": (("nowhere",), {"metadata": ["nowhere"]}),
    "check_store": (("nowhere",), {"metadata": "nowhere"}),
    "describe_store": (("nowhere",), {"metadata": ["nowhere"]}),
    "split": ((["nowhere"], []), {"report": "out"}),
    "submit": ((["nowhere"],), {"out": "out", "answers": None}),
    "verify": (("nowhere",), {"data": None}),
    "leaderboard": (("nowhere",), {"out": "out"}),
    "draw_sample": (("nowhere", "sample.gpkg"), {}),
    "map_areas": (("nowhere", "sample.gpkg"), {"out": "out.csv", "zones": None, "run": None}),
}
"""Arguments of which something is missing."""


def _as(kind: Callable[[str], Any], given: Any) -> Any:
    if isinstance(given, str):
        return kind(given)
    return type(given)(_as(kind, one) for one in given) if isinstance(given, list | tuple) else given


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_refused_alike_whatever_the_path_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, options = MISSING[name]
    said = []
    for kind in (Path, str, LikeAPath):
        with pytest.raises((ValueError, OSError)) as caught:
            ALL[name](*_as(kind, arguments), **{key: _as(kind, value) for key, value in options.items()})
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1] == said[2]
    assert "nowhere" in said[0][1]


def test_every_public_function_with_a_path_is_among_those_tried() -> None:
    def takes_paths(function: Callable[..., Any]) -> bool:
        return any("PathLike" in str(kind) for name, kind in function.__annotations__.items() if name != "return")

    # These are called below.
    works_with_strings = {
        "synthesise",
        "demo",
        "plan",
        "fetch",
        "synthesise_scene",
        "request",
        "make",
        "diagnose",
        "score",
    }  # below
    assert {name for name in ALL if takes_paths(ALL[name])} == MISSING.keys() | works_with_strings


def test_strings_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seg.synthesise("tree", 12)
    one = seg.build("store", s2="tree/BigEarthNet-S2", maps="tree/Reference_Maps", metadata="tree/metadata.parquet")
    assert len(seg.open_store("store").index) == one.patches
    ALL["synthesise_scene"]("scene", 120)
    assert any(Path("scene").iterdir())
    with pytest.raises(ValueError, match="there are no predictions nowhere"):
        seg.score("nowhere", name="n", out="scored", classes="reben", data="store", scene=Path("labels.csv"))
    assert plan(out="run").folder == Path("run")
    with pytest.raises(ValueError, match="is there already"):
        seg.demo("store")
    with pytest.raises(ValueError, match="store"):
        plan(out="store")
    assert ALL["diagnose"]("store").store.info is not None
    asked = ALL["request"]("product", "clc.tif", s1=["a.tif"], countries="b.gpkg")
    assert (asked.s2, asked.clc, asked.s1) == ((Path("product"),), Path("clc.tif"), (Path("a.tif"),))
    with pytest.raises((ValueError, OSError), match="clc"):
        ALL["make"](asked, "out")


def _paths() -> Iterator[Any]:
    yield from ("a", Path("a"), PurePosixPath("a"), LikeAPath("a"))


@pytest.mark.parametrize("given", list(_paths()), ids=lambda given: type(given).__name__)
def test_one_path_alone_is_a_list_of_one(given: Any) -> None:
    assert path_list(given) == path_list([given]) == [Path("a")]
    assert path_list(iter([given, "b"])) == [Path("a"), Path("b")]
    assert path_or_none(given) == Path("a")
    assert path_or_none(None) is None
    assert path_list(()) == []


# What names the data


@pytest.mark.parametrize("value", ["nowhere", "a file", " nowhere "])
def test_a_wrong_variable_is_named_with_its_value(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("x")
    monkeypatch.setenv(SEG_DATA, value)
    with pytest.raises(StoreError) as caught:
        find_store(DataConfig())
    assert str(caught.value).startswith(f"the environment variable SEG_DATA is '{value.strip()}', but ")
    # One that is named otherwise is not blamed on the variable.
    with pytest.raises(StoreError) as caught:
        find_store(load_config(None, data__store="elsewhere").data)
    assert "SEG_DATA" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_said_to_be_empty(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seg.runs.data.DEMO_PATCHES", 12)
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    monkeypatch.setenv(SEG_DATA, value)
    said: list[str] = []
    find_store(DataConfig(), notify=said.append)
    assert "SEG_DATA which is set but empty" in said[0]
    monkeypatch.delenv(SEG_DATA)
    find_store(DataConfig(), notify=said.append)
    assert "empty" not in said[2]


def test_data_that_lack_bands_and_a_split_are_told_both(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    seg.synthesise(tree, 12)
    sources = {"s2": tree / "BigEarthNet-S2", "maps": tree / "Reference_Maps", "metadata": [tree / "metadata.parquet"]}
    from seg.prepare.build import Subset

    seg.build(tmp_path / "store", subset=Subset("train", (), ("B02", "B03"), None), **sources)
    store = seg.open_store(tmp_path / "store")
    with pytest.raises(EmptySelectionError) as caught:
        split_rows(store, DataConfig(), "test")
    assert "split test is empty" in str(caught.value)
    assert "needs B01, B04" in str(caught.value)
    assert "it has B02, B03" in str(caught.value)
    with pytest.raises(StoreError, match="needs B01"):
        split_rows(store, DataConfig(), "train")
    with pytest.raises(EmptySelectionError) as caught:
        split_rows(store, DataConfig(bands=("B02",)), "test")
    assert "besides" not in str(caught.value)
    assert len(split_rows(store, DataConfig(bands=("B02",)), "train")) == np.sum(store.index.splits == 0)
    assert set(store.info.bands) < set(MODALITIES["s2"])
