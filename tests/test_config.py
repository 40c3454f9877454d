"""Configuration: YAML, overrides, errors."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg.config.load import dump_config, load_config
from seg.config.sections import Config
from seg.errors import WrongUseError


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
        ("train.lr=", r"'train\.lr' has no value, but it should be a number"),
        ("train.epochs=1.5", "it should be a whole number"),
        ("train.epochs=true", "epochs is a number, not true"),
        ("train.cache_features=false", "cache_features is a number, not false"),
        ("data.workers=true", "workers is a number, not true"),
        ("model.drop_path=false", "drop_path is a number, not false"),
        ("train.nesterov=[]", "it should be true or false"),
        ("loss=3", "'loss' has the value 3, but it should be a section"),
        ("data.months=3", "it should be a list"),
        (
            "train.loggers=comet",
            r"'train\.loggers' has the value 'comet', but it should be 'wandb' or 'mlflow'",
        ),
    ],
)
def test_mistakes_are_one_sentence(override, message):
    with pytest.raises(WrongUseError, match=message) as caught:
        load_config(None, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["- a\n- b\n", "just text", "train: [", "\x00"])
def test_files_that_are_no_configuration(tmp_path, content):
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(WrongUseError, match=r"bad\.yaml"):
        load_config(file)


def test_missing_file(tmp_path):
    with pytest.raises(WrongUseError, match=r"there is no configuration file .*nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


def test_empty_file_means_defaults(tmp_path):
    file = tmp_path / "empty.yaml"
    file.write_text("")
    assert load_config(file) == Config()


def test_runs_of_version_0_2_without_a_scene_head_are_read():
    """Every setting stands in their configuration, the earlier default of one without effect too."""
    config = load_config(None, ["model.scene_head=none", "loss.scene_weight=1"])
    assert config.loss.scene_weight == 1.0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.momentum=0.5"], "train: momentum=0.5 has an effect only with optimiser=sgd"),
        (["train.nesterov=true"], "train: nesterov=True has an effect only with optimiser=sgd"),
        (["train.poly_power=0.5"], "train: poly_power=0.5 has an effect only with schedule=poly"),
        (["train.plateau_epochs=3"], "train: plateau_epochs=3 has an effect only with schedule=plateau"),
        (["loss.effective_beta=0.9", "loss.class_weights=inverse"], "loss: effective_beta=0.9 has an effect only with"),
        (["data.rare_share=0.5"], "data: rare_share=0.5 has an effect only with sampling=rare"),
        (["model.weights_bands=s2"], "model: weights_bands=.* has an effect only with weights"),
        (["model.scene_head=none", "loss.scene=focal"], "configuration: loss.scene=.* only with a scene head"),
        (
            ["model.scene_head=none", "loss.scene_weight=2"],
            "scene_weight=2.0 has an effect only with a scene head",
        ),
        (["loss.pixel_weight=0", "loss.scene_weight=0"], "leaves nothing to train on"),
        (["loss.pixel_weight=0", "model.scene_head=none"], "leaves nothing to train on"),
        (["loss.symmetric_alpha=0", "loss.symmetric_beta=0"], "leave nothing of symmetric cross-entropy"),
        (["model.scene_head=none", "train.monitor=ap_macro"], "train.monitor=ap_macro is a score of the scene head"),
    ],
)
def test_settings_without_effect_are_refused(overrides, message):
    with pytest.raises(WrongUseError, match=message):
        load_config(None, overrides)


def test_settings_with_an_effect_are_taken():
    overrides = ["train.optimiser=sgd", "train.momentum=0.5", "train.schedule=poly", "train.poly_power=0.5",
                 "loss.effective_beta=0.9", "loss.positive_weights=effective", "data.sampling=rare",
                 "data.rare_share=0.5", "model.weights=imagenet", "model.weights_bands=rgb"]  # fmt: skip
    config = load_config(None, overrides)
    assert (config.train.momentum, config.train.poly_power, config.loss.effective_beta) == (0.5, 0.5, 0.9)
    assert config.data.rare_share == 0.5


@pytest.mark.parametrize("key", ["", "train.", ".lr", "train..lr", "."])
def test_a_setting_needs_its_whole_name(key):
    with pytest.raises(WrongUseError, match=f"'--set {re.escape(key)}=3' names no setting; write it as --set train.lr"):
        load_config(None, [f"{key}=3"])


def test_one_country_needs_no_brackets():
    assert load_config(None, ["data.countries=Austria"]).data.countries == ("Austria",)


def test_a_setting_that_occurs_twice(tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text("train:\n  lr: 1e-3\n  epochs: 3\n  lr: 1e-4\n")
    with pytest.raises(WrongUseError, match=r"twice\.yaml is no valid YAML in line 4: found duplicate key .lr."):
        load_config(file)


def test_a_folder_is_no_configuration(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder; name a YAML file, such as .*config\.yaml of a run$"):
        load_config(tmp_path)
