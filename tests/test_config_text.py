"""What people write into configurations by mistake or malice: a sentence of a few lines, soon."""

import math
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.config.load import load_config
from seg.config.sections import Config
from seg.config.wording import SENTENCE, clipped
from seg.config.yaml_text import DEEPEST, LONGEST, MOST_NODES, YamlTextError, dump, parse
from seg.errors import WrongUseError

MOST = 800
"""Characters of a message: a clipped sentence and what says how much was left out."""

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [*{chr(97 + i)}, *{chr(97 + i)}]}}\n" for i in range(24)
)
HUGE = {
    "nested aliases": (LAUGHS, "stands for more than 20,000 values"),
    "nested aliases in a setting": (f"data:\n  augment: [{{p: 1}}]\n{LAUGHS}", "stands for more than 20,000 values"),
    "nested merges": (MERGES, "stands for more than 20,000 values"),
    "a cycle": ("train: &t\n  lr: *t\n", "has an alias within what it names"),
    "a million keys": ("train:\n" + "".join(f"  k{i}: 1\n" for i in range(1_000_000)), "is too long"),
    "a megabyte in a value": (f"train:\n  lr: {'9' * 1_000_000}\n", "is too long"),
    "thousands of keys": ("".join(f"k{i}: 1\n" for i in range(5000)), "there is no setting 'k0'"),
    "a long key": (f"{'k' * 1_000}: 1\n", "there is no setting"),
    "a long value": (f"train:\n  lr: {'v' * 50_000}\n", "it should be a number"),
    "a long list": (f"train:\n  lr: [{', '.join('v' * 9000)}]\n", "it should be a number"),
    "flow lists": ("train: " + "[" * 40_000, f"goes deeper than {DEEPEST} levels"),
    "block mappings": ("".join(" " * i + "a:\n" for i in range(300)), f"goes deeper than {DEEPEST} levels"),
    "a tag that does not fit": ("train:\n  lr: !!bool maybe\n", "is no valid YAML"),
    "a date that is none": ("train:\n  lr: 2001-99-99\n", "is no valid YAML"),
    "a number of many digits": (f"train:\n  lr: {'9' * 9000}\n", "is no valid YAML"),
    "a key that is a list": ("? [train]\n: 1\n", "keys should be strings"),
    "a key that is a number": ("1: 2\n", "setting '1'"),
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_configuration_of_any_size_is_refused_in_a_few_lines_and_soon(kind: str, tmp_path: Path) -> None:
    text, said = HUGE[kind]
    path = tmp_path / "huge.yaml"
    path.write_text(text, encoding="utf-8")
    began = time.process_time()
    with pytest.raises(WrongUseError) as caught:
        load_config(path)
    assert time.process_time() - began < 5
    assert said in str(caught.value)
    assert len(str(caught.value)) < MOST


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60) | st.text("{}[]:,&*!?|>-'\"#%@`~ \n\tab01.<=", max_size=40))
def test_any_text_is_a_configuration_or_a_configuration_error(text: str) -> None:
    for override in (f"train.lr={text}", f"{text}=1", text):
        try:
            load_config(None, [override])
        except WrongUseError as error:
            assert len(str(error)) < MOST  # noqa: PT017
    try:
        parse(text)
    except YamlTextError as error:
        assert str(error)  # noqa: PT017


@settings(max_examples=60, deadline=None)
@given(
    tree=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text("ab: é1e3-no0x~'\"#"),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
        max_leaves=12,
    )
)
def test_what_is_written_is_read_back(tree: object) -> None:
    assert parse(dump({"a": tree})) == {"a": tree}


def test_aliases_within_bounds_are_followed() -> None:
    assert parse("a: &a [1, 2]\nb: [*a, *a]\n") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}
    nine = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    level = math.ceil(math.log(MOST_NODES, 9))
    lines = [f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(level)]
    parse(nine + "".join(lines[: level - 3]))
    with pytest.raises(YamlTextError, match="aliases"):
        parse(nine + "".join(lines))
    assert len(nine + "".join(lines)) < LONGEST


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("lr=1", "did you mean 'train.lr'?"),
        ("LR=1", "did you mean 'train.lr'?"),
        ("epoch=1", "did you mean 'train.epochs'?"),
        ("arch=unet", "did you mean 'model.arch'?"),
        ("batch_size=8", "did you mean 'train.batch_size' or 'eval.batch_size'?"),
        ("batch-size=8", "did you mean 'train.batch_size' or 'eval.batch_size'?"),
        ("modality=s1", "did you mean 'data.bands'?"),
        ("learning_rate=1", "did you mean 'train.lr'?"),
        ("train.encoder=resnet50", "did you mean 'model.encoder'?"),
        ("model.lr=1", "did you mean 'train.lr'?"),
        ("eval.batchsize=8", "did you mean 'eval.batch_size'?"),
        ("train.optimizer=sgd", "did you mean 'train.optimiser'?"),
        ("tarin.lr=1", "did you mean 'train', as in train.lr?"),
        ("Train.epochs=1", "did you mean 'train', as in train.epochs?"),
        ("optim.lr=1", "did you mean 'train.lr'?"),
        ("eval.zzzzzz=1", "the settings of 'eval' are split, countries, batch_size"),
    ],
)
def test_a_setting_that_is_misspelled_finds_the_one_that_was_meant(override: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(WrongUseError) as caught:
        load_config(None, [override])
    assert str(caught.value).endswith(hint)
    key, _, value = override.partition("=")
    tree: object = yaml.safe_load(value)
    for part in reversed(key.split(".")):
        tree = {part: tree}
    path = tmp_path / "typed.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(WrongUseError) as caught:
        load_config(path)
    assert str(caught.value).endswith(hint)


def test_every_setting_is_found_without_its_section() -> None:
    for section, field in Config.model_fields.items():
        for name in field.default.__class__.model_fields:
            with pytest.raises(WrongUseError) as caught:
                load_config(None, [f"{name}=1"])
            hint = str(caught.value)
            # A setting that is called as a section is that section to whoever types it.
            assert f"'{section}.{name}'" in hint or name in Config.model_fields, hint


@settings(max_examples=80, deadline=None)
@given(text=st.text(max_size=50), times=st.sampled_from([1, 50, 2000]), most=st.integers(20, SENTENCE))
def test_clipped_text_is_short_printable_and_on_one_line(text: str, times: int, most: int) -> None:
    shown = clipped(text * times, most)
    assert len(shown) <= most + 50
    assert shown.isprintable()
    shown.encode()
    if (text * times).isprintable() and len(text * times) <= most:
        assert shown == " ".join((text * times).split())


def test_a_name_that_was_clipped_shows_both_ends_and_its_length() -> None:
    shown = clipped("begin" + "x" * 10_000 + "end")
    assert shown.startswith("begin")
    assert shown.endswith("end")
    assert "10,008 characters" in shown


@pytest.mark.parametrize("epochs", ["1000001", "1e400", "9" * 400])
def test_counts_beyond_reason_are_refused(epochs: str) -> None:
    with pytest.raises(WrongUseError, match=r"train\.epochs"):
        load_config(None, [f"train.epochs={epochs}"])
