"""Which input bands weights take, and who says so: every kind of statement, alone, together and against another.

Filter k of the first convolution of a marked file sees channel k of the file alone, so the bands that it sees in the
network show what each channel was taken for.
"""

import json
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from seg.config.load import dump_config, load_config
from seg.config.sections import ModelConfig
from seg.errors import ModelError
from seg.models.start import Loaded, start_segmenter
from seg.models.weights_bands import names_in
from seg.models.weights_catalogue import L1C_BANDS, ORDERS, REBEN_BANDS
from seg.reben.bands import MODALITIES, S1_BANDS, S2_BANDS

ALL = (*L1C_BANDS, *S1_BANDS)
IN_REBEN = MODALITIES["s1s2"]
V2, V1 = REBEN_BANDS["0.2"], REBEN_BANDS["0.1"]
REBEN_PREFIX = "model.vision_encoder."


@cache
def marked(channels: int) -> dict[str, Tensor]:
    network = timm.create_model("test_resnet", in_chans=channels, num_classes=0)
    state = dict(network.state_dict())
    weight = torch.zeros_like(state["conv1.0.weight"])
    for k in range(channels):
        weight[k % len(weight), k] = 1
    return {name: value.contiguous().clone() for name, value in (state | {"conv1.0.weight": weight}).items()}


def written(file: Path, channels: int, prefix: str = "", /, **metadata: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({prefix + name: value for name, value in marked(channels).items()}, file, metadata or None)
    return file


def start(bands: tuple[str, ...] = IN_REBEN, **model: object) -> tuple[Loaded, str, dict[int, str]]:
    """What was loaded, what was said, and the band of the network that sees each channel of the file."""
    said: list[str] = []
    model = {"arch": "linknet", "encoder": "tu-test_resnet", **model}
    network, (loaded,) = start_segmenter(ModelConfig(**model), bands, said.append)
    weight = network.network.encoder.state_dict()["model.conv1.0.weight"]
    seen: dict[int, str] = {}
    for k in range(weight.shape[0]):
        strength = weight[k].abs().sum((1, 2))
        if strength.max() > 0 and (strength == strength.max()).sum() == 1:
            seen[k] = bands[int(strength.argmax())]
    return loaded, said[0], seen


def refused(**model: object) -> str:
    with pytest.raises(ModelError) as caught:
        start(**model)
    text = str(caught.value)
    assert "\n" not in text
    return text


def expected(order: tuple[str, ...], bands: tuple[str, ...] = IN_REBEN) -> dict[int, str]:
    return {k: name for k, name in enumerate(order) if name in bands}


# ------------------------------------------------------------------------------------------------------ number alone


@pytest.mark.parametrize("channels", sorted(ORDERS))
def test_a_number_of_bands_names_none_and_the_orders_that_are_offered_can_be_typed(tmp_path: Path, channels: int):
    file = written(tmp_path / "some.safetensors", channels)
    sentence = refused(weights=str(file))
    assert f"takes {channels} bands and nothing says in which order" in sentence
    offered = [part.split(" ")[0] for part in sentence.split("--set ")[1:]]
    assert len(offered) == len(ORDERS[channels]) > 1
    for typed in offered:
        config = load_config(None, [typed], model__weights=str(file))
        assert load_config(_saved(tmp_path, dump_config(config))).model == config.model
        loaded, said, seen = start(weights=str(file), weights_bands=config.model.weights_bands)
        assert loaded.inputs is not None
        assert loaded.inputs.names in ORDERS[channels]
        assert loaded.inputs.source == "model.weights_bands"
        assert f"for bands {','.join(loaded.inputs.names)} (model.weights_bands)" in said
        assert seen.items() <= expected(loaded.inputs.names).items()
        assert len(seen) > 1
        recorded = json.loads(json.dumps(loaded.record()))["inputs"]
        assert recorded == {"names": list(loaded.inputs.names), "source": "model.weights_bands"}


def _saved(folder: Path, text: str) -> Path:
    (folder / "config.yaml").write_text(text)
    return folder / "config.yaml"


@pytest.mark.parametrize("channels", [1, 5, 6, 7, 9, 15])
def test_other_numbers_need_their_names_too(tmp_path: Path, channels: int):
    assert "nothing says which; name them in order with --set model.weights_bands=" in refused(
        weights=str(written(tmp_path / "some.safetensors", channels))
    )


def test_every_order_names_each_band_once():
    for channels, orders in ORDERS.items():
        assert all(len(order) == len(set(order)) == channels and set(order) <= set(ALL) for order in orders)
    for orders_of in REBEN_BANDS.values():
        assert all(order in ORDERS[channels] for channels, order in orders_of.items())
    assert V2[12] == ("VV", "VH", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
    assert V1[12] == ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B11", "B12", "B8A", "VH", "VV")


# ------------------------------------------------------------------------------------------------- what names bands


@settings(deadline=None, max_examples=12)
@given(order=st.permutations(IN_REBEN), count=st.integers(1, 14), way=st.integers(0, 4))
def test_bands_in_the_metadata_of_a_file_are_taken_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], count: int, way: int
):
    names = tuple(order[:count])
    folder = tmp_path_factory.mktemp("weights")
    written_as = [
        ",".join(names),
        json.dumps(names),
        " ".join(names).lower(),
        "; ".join(name.replace("B0", "B") for name in names),
        str(list(names)),
    ][way]
    key = ["bands", "band_order", "input_bands", "Channel-Names", "channels"][way]
    loaded, said, _ = start(weights=str(written(folder / "x.safetensors", count, **{key: written_as})))
    assert loaded.inputs is not None
    assert loaded.inputs.names == names
    assert f"('{key}' of the metadata of x.safetensors)" in said


@pytest.mark.parametrize("nested", [False, True])
def test_bands_in_the_config_beside_a_file(tmp_path: Path, nested: bool):
    order = ("B8A", "red", "VH")
    config = {"bands": order} if not nested else {"model": {"input_bands": order}, "channels": 3}
    written(tmp_path / "model.safetensors", 3)
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded, said, seen = start(weights=str(tmp_path))
    assert loaded.inputs is not None
    assert loaded.inputs.names == ("B8A", "B04", "VH")
    assert seen == expected(("B8A", "B04", "VH"))
    assert "config.json beside it" in said


def test_what_seg_writes_for_the_hub_names_its_bands(tmp_path: Path):
    """Without the card of the run, ``config.json`` still does."""
    written(tmp_path / "model.safetensors", 2)
    (tmp_path / "config.json").write_text(json.dumps({"num_channels": 2, "bands": ["VH", "VV"], "image_size": 120}))
    assert start(weights=str(tmp_path))[2] == {0: "VH", 1: "VV"}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("B02,B03,B99", "names an input band 'B99' that is no band"),
        ("B02,nir,B04", "names an input band 'nir' that is no band"),
        ("B02,B03,B02", "names the input band B02 twice"),
        ("B02,B03", "takes 3 bands, not the 2 of B02, B03 ('bands' of the metadata of x.safetensors)"),
    ],
)
def test_metadata_that_cannot_be_right_are_refused(tmp_path: Path, names: str, words: str):
    file = written(tmp_path / "x.safetensors", 3, bands=names)
    assert words in refused(weights=str(file))


@pytest.mark.parametrize("value", ["3", 3, "", [], [1, 2], None, {"a": 1}, "['1', '2']"])
def test_a_number_of_channels_is_no_list_of_names(value: object):
    assert names_in({"channels": value, "bands": value}, "it") == ()


def test_contradictions_are_refused(tmp_path: Path):
    file = written(tmp_path / "x.safetensors", 3, bands="B04,B03,B02")
    sentence = refused(weights=str(file), weights_bands=("B02", "B03", "B04"))
    assert "are B02,B03,B04 (model.weights_bands), but also B04,B03,B02 ('bands' of the metadata" in sentence
    assert "leave model.weights_bands out" in sentence
    assert start(weights=str(file), weights_bands=("B04", "B03", "B02"))[2] == expected(("B04", "B03", "B02"))
    (tmp_path / "config.json").write_text(json.dumps({"bands": ["B02", "B03", "B04"]}))
    assert "but also B02,B03,B04 ('bands' of config.json beside it)" in refused(weights=str(file))


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        (("B02", "B03"), "takes 3 bands, not the 2 of B02, B03 (model.weights_bands)"),
        (("B02", "B03", "B04", "B08"), "takes 3 bands, not the 4"),
    ],
)
def test_a_setting_of_another_number_is_refused(tmp_path: Path, bands: tuple[str, ...], words: str):
    assert words in refused(weights=str(written(tmp_path / "x.safetensors", 3)), weights_bands=bands)


@pytest.mark.parametrize(("value", "words"), [("B02,B99", "'B99' is neither a band"), ("B02,B02", "named twice")])
def test_a_setting_that_names_no_bands_is_refused(value: str, words: str):
    with pytest.raises(ValueError, match=words):
        load_config(None, [f"model.weights_bands={value}"], model__weights="x.safetensors")


def test_only_weights_may_have_the_cirrus_band():
    with pytest.raises(ValueError, match="'B10' is neither a band"):
        load_config(None, ["data.bands=B02,B10"])


# -------------------------------------------------------------------------------------------------- reBEN's versions


@pytest.mark.parametrize(
    ("version", "way", "channels"), product(("0.2", "0.1"), ("page", "config", "metadata", "file"), (2, 10, 12))
)
def test_the_version_of_a_reben_file_comes_from_what_says_it(tmp_path: Path, version: str, way: str, channels: int):
    sensors = {2: "s1", 10: "s2", 12: "all"}[channels]
    model = f"resnet18-{sensors}-v{version}.{version[-1]}"
    metadata = {"model_id": model} if way == "metadata" else {}
    # The folder is named after the other version, which says nothing.
    other = "0.1.1" if version == "0.2" else "0.2.0"
    file = written(tmp_path / f"resnet18-{sensors}-v{other}" / "model.safetensors", channels, REBEN_PREFIX, **metadata)
    if way in ("page", "file"):
        (file.parent / "README.md").write_text(f"---\nlicense: mit\n---\n# BIFOLD-BigEarthNetv2-0/{model}\nv9.9.9")
    if way == "config":
        (file.parent / "config.json").write_text(json.dumps({"config": {"version": f"v{version}.0"}, "lr": 0.001}))
    place = file if way == "file" else file.parent
    loaded, said, seen = start(weights=f"reben:{place}")
    order = REBEN_BANDS[version][channels]
    assert seen == expected(order)
    assert loaded.inputs is not None
    assert loaded.inputs.names == order
    assert f"(reBEN v{version} by " in said


@pytest.mark.parametrize("folder", ["weights", "resnet18-all-v0.1.1", "resnet18-all-v0.2.0", "a-v0.1.-b"])
@pytest.mark.parametrize("channels", [2, 10, 12])
def test_the_path_of_a_reben_file_says_nothing(tmp_path: Path, folder: str, channels: int):
    place = written(tmp_path / folder / "model.safetensors", channels, REBEN_PREFIX).parent
    (place / "README.md").write_text("The order differs between v0.1.1 and v0.2.0.")
    (place / "config.json").write_text("{}")
    sentence = refused(weights=f"reben:{place}")
    for version in ("0.2", "0.1"):
        assert f"--set model.weights_bands={','.join(REBEN_BANDS[version][channels])} (reBEN v{version})" in sentence
    assert sentence.count("--set") == 2
    for orders in (V2, V1):
        assert start(weights=f"reben:{place}", weights_bands=orders[channels])[2] == expected(orders[channels])


def test_pages_that_contradict_each_other_need_a_decision(tmp_path: Path):
    place = written(tmp_path / "model.safetensors", 12, REBEN_PREFIX).parent
    (place / "README.md").write_text("resnet18-all-v0.2.0 replaces resnet18-all-v0.1.1")
    assert "say which with --set model.weights_bands=" in refused(weights=f"reben:{place}")
    assert start(weights=f"reben:{place}", weights_bands=V1[12])[2] == expected(V1[12])


def test_a_version_that_is_not_known_is_refused(tmp_path: Path):
    place = written(tmp_path / "model.safetensors", 12, REBEN_PREFIX).parent
    (place / "README.md").write_text("resnet18-all-v0.3.0")
    assert "nothing says in which order" in refused(weights=f"reben:{place}")


# ------------------------------------------------------------------------------------------------------- ssl4eo, runs


@pytest.mark.parametrize(("channels", "order"), [(13, L1C_BANDS), (2, S1_BANDS)])
def test_ssl4eo_says_the_order_of_its_own_files(tmp_path: Path, channels: int, order: tuple[str, ...]):
    file = written(tmp_path / "x.safetensors", channels)
    loaded, said, seen = start(weights=f"ssl4eo:{file}")
    assert seen == expected(order)
    assert loaded.inputs is not None
    assert "(SSL4EO-S12, as 'ssl4eo:' says)" in said


def test_ssl4eo_has_no_order_of_twelve(tmp_path: Path):
    assert "nothing says" in refused(weights=f"ssl4eo:{written(tmp_path / 'x.safetensors', 12)}")


def test_all_of_sentinel_2_is_no_longer_taken_for_granted(tmp_path: Path):
    """The bands of reBEN's models in a plain file: as many as Sentinel-2 has."""
    file = written(tmp_path / "vv_vh_10bands.safetensors", 12)
    sentence = refused(weights=str(file))
    assert f"{','.join(S2_BANDS)} (Sentinel-2 L2A)" in sentence
    assert start(weights=str(file), weights_bands=V2[12])[2] == expected(V2[12])
