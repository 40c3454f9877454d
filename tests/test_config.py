"""Configuration: YAML, overrides, errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg.config.load import ConfigError, dump_config, load_config
from seg.config.sections import Config


def test_defaults_round_trip(tmp_path):
    file = tmp_path / "config.yaml"
    config = load_config(None, ["data.bands=[VV,VH,B04]", "train.lr=3e-4"], data__store=tmp_path / "store")
    file.write_text(dump_config(config))
    assert load_config(file) == config


def test_later_settings_win(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("train: {lr: 1e-2, epochs: 3}\nmodel: {arch: fpn}\n")
    config = load_config(file, ["train.lr=1e-4"], train__lr=1.0, model__arch=None)
    assert (config.train.lr, config.train.epochs, config.model.arch) == (1e-4, 3, "fpn")


@given(st.floats(1e-12, 1e3))
def test_numbers_in_any_notation(value):
    for text in (f"{value:e}", repr(value), f"{value:.17g}"):
        assert load_config(None, [f"loss.scene_weight={text}"]).loss.scene_weight == float(text)


def test_exponent_without_point_is_a_number():
    assert load_config(None, ["train.lr=1e-3"]).train.lr == 1e-3
    assert load_config(None, ["train.lr=2E-3"]).train.lr == 2e-3


def test_sections_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Config().train.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lrr=1", r"no setting 'train\.lrr'; did you mean 'train\.lr'"),
        ("trian.lr=1", "no setting 'trian'; did you mean 'train'"),
        ("train.lr=fast", r"'train\.lr' has the value 'fast'"),
        ("train.lr=-1", "greater than 0"),
        ("train.lr=.nan", "finite"),
        ("train.epochs=0", "greater than or equal to 1"),
        ("data.bands=s3", "neither a band nor a modality"),
        ("data.bands=VV,B99", "'B99'"),
        ("data.classes=[Sea]", "'Sea' is not one of the 19"),
        ("train.monitor=loss", "miou"),
        ("train.lr", "has no '='"),
        ("train.lr=[", "no valid YAML"),
        ("model.arch.x=1", r"'model\.arch'"),
    ],
)
def test_mistakes_are_one_sentence(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(None, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["- a\n- b\n", "just text", "train: [", "\x00"])
def test_files_that_are_no_configuration(tmp_path, content):
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_config(file)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no configuration file .*nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


def test_empty_file_means_defaults(tmp_path):
    file = tmp_path / "empty.yaml"
    file.write_text("")
    assert load_config(file) == Config()
