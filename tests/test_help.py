"""``--help``: quick, and with the default of every option that has one."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from docs.generators.commands import Command, commands, parameters
from seg.cli.command import default_text
from seg.cli.main import app, main
from seg.config.sections import Config
from seg.config.stated import NotStatedError, shown, stated
from seg.metrics.jackknife import LEVEL
from seg.reben.bands import selection_name
from seg.runs.demonstration import DEMO

ALL = list(commands())
NOTHING_IF_NOT_GIVEN = {
    *("bands", "metadata", "config", "set_", "allow", "drop", "s1", "s2", "maps", "geometry", "resplit"),
    *(
        "zones",
        "run",
        "mirror",
        "scene",
        "layer",
        "countries",
        "product",
        "rule",
        "report",
        "arch",
        "encoder",
        "model",
        "grid",
        "slurm",
        "stac_api",
        "date",
    ),
}
"""Options without which nothing is done or chosen; `seg models` takes all architectures and encoders."""
NEEDED_BY_NO_COMMAND = {("compare", "out"), ("data split", "out"), ("leaderboard", "out")}


def show(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int = 300) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "argv", [*command.split(), "--help"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.path)
def test_the_help_names_the_default_of_every_option_that_has_one(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = show(command.path, monkeypatch, capsys)
    lines = {words[1]: line for line in text.splitlines() if len(words := line.replace("*", " ").split()) > 1}
    short = command.path.removeprefix("seg ")
    for one in parameters(command.function):
        if one.argument or one.needed:
            continue
        template = one.info.show_default
        if isinstance(template, str):
            assert default_text(template) in " ".join(text.split()), one.names
            assert "{" not in default_text(template)
        elif one.default not in (None, False, True, ""):
            assert f"[default: {one.default}]" in lines[one.names[0]]
        elif one.default is None:
            parameter = one.names[0].strip("-").replace("-", "_")
            assert parameter in {name.strip("_") for name in NOTHING_IF_NOT_GIVEN} or (
                (short, parameter) in NEEDED_BY_NO_COMMAND
            ), f"{command.path} {one.names[0]} does not say what happens without it"


@pytest.mark.parametrize("option", ["arch", "encoder", "weights", "fusion", "scene_head"])
def test_what_the_help_says_of_the_network_is_what_a_run_gets(option: str) -> None:
    assert shown(f"model.{option}") == str(getattr(Config().model, option) or "none")


def test_what_the_help_says_of_the_training_is_what_a_run_gets() -> None:
    for option in ("epochs", "batch_size", "seed", "device", "modality_dropout"):
        assert stated(f"train.{option}") == getattr(Config().train, option)
    assert shown("data.bands") == selection_name(Config().data.bands)
    assert shown("eval.split") == Config().eval.split
    assert stated("seg.metrics.jackknife.LEVEL") == LEVEL
    assert stated("seg.runs.demonstration.DemoSettings.patches") == DEMO.patches


def _settings() -> Iterator[tuple[str, Any]]:
    for section, field in Config.model_fields.items():
        for name, inner in field.annotation.model_fields.items():  # type: ignore[union-attr]
            yield f"{section}.{name}", inner.default


@pytest.mark.parametrize(
    ("name", "default"), list(_settings()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_setting_is_read_as_it_stands(name: str, default: Any) -> None:
    if name in ("data.bands", "data.augment"):  # a key of a table; computed elsewhere in the module
        default = selection_name(default) if name == "data.bands" else list(default)
        value = stated(name)
        assert (list(value) if name == "data.augment" else value) == default
    else:
        assert stated(name) == default


@pytest.mark.parametrize("name", ["train.nothing", "nothing.lr", "seg.metrics.jackknife.NOTHING"])
def test_a_default_that_is_not_stated_is_a_bug_that_shows(name: str) -> None:
    with pytest.raises(NotStatedError):
        stated(name)


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("data", "make", "--help")])
def test_help_is_quick_because_it_loads_little(arguments: tuple[str, ...]) -> None:
    """Time depends on the machine and what else it does; what is loaded does not, and time is measured on the way."""
    code = (
        "import sys, atexit; sys.argv[0] = 'seg'\n"
        "atexit.register(lambda: print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr))\n"
        "from seg.cli.main import main; main()"
    )
    began = time.process_time()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert "Usage: seg" in done.stdout
    loaded = set(done.stderr.strip("[]\n '").split("', '"))
    assert not loaded & {"torch", "numpy", "pydantic", "yaml", "pyarrow", "rasterio", "matplotlib"}
    assert time.process_time() - began < 1


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["seg", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 2
        return " ".join(word for word in capsys.readouterr().err.split() if word not in "│╭╰╮╯")

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("data make --s2 A B OUT --clc C", "A B OUT was taken for values of --s2; put OUT before the options"),
        ("data make --clc C --s1 A OUT --s2 P", "A OUT was taken for values of --s1; put OUT before the options"),
        ("data check STORE --metadata a b", "repeat it for more: --metadata a --metadata b"),
        ("data build STORE --s2 x --metadata a b", "repeat it for more: --metadata a --metadata b"),
        ("train --set train.lr=1 train.ema=0", "repeat it for more: --set train.lr=1 --set train.ema=0"),
        ("train --allow a b --resume", "repeat it for more: --allow a --allow b"),
    ],
)
def test_values_that_stand_in_a_row_are_told_how_to_be_typed(
    refused: Callable[..., str], arguments: str, said: str
) -> None:
    assert said in refused(*arguments.split())


def test_no_list_option_is_left_out(refused: Callable[..., str]) -> None:
    """Each of them says it, wherever a command takes no more arguments than it has been given."""
    for command in ALL:
        given = list(parameters(command.function))
        places = [one for one in given if one.argument]
        if any(one.several for one in places) or command.path == "seg data make":
            continue
        for one in given:
            if one.several and not one.argument:
                needed = [
                    word for other in given if other.needed and not other.argument for word in (other.names[0], "x")
                ]
                words = [*command.path.split()[1:], *("x" for _ in places), *needed, one.names[0], "y", "z"]
                assert f"repeat it for more: {one.names[0]} y {one.names[0]} z" in refused(*words)


@settings(max_examples=15, deadline=None)
@given(
    syllable=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9),
    times=st.sampled_from([400, 10_000]),
)
def test_wrong_words_make_no_long_messages(syllable: str, times: int) -> None:
    word = syllable * times
    for arguments in (
        [word],
        ["train", "--" + word],
        ["eval", "run", "--split", word],
        ["train", "--epochs", "x" + word],
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["seg", *arguments])
            said = _said()
        assert len(said) < 700
        assert len(said.splitlines()) == 1


def _said() -> str:
    import io
    from contextlib import redirect_stderr, redirect_stdout

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit):
        main()
    return err.getvalue()


def test_what_the_usage_names_can_be_found_in_the_help() -> None:
    """Arguments are named as in the documentation, not as Python names them, and flags take nothing."""
    group: Any = typer.main.get_command(app)
    names = [one.metavar for one in group.commands["compare"].params if one.param_type_name == "argument"]
    assert names == ["RUNS"]
    assert {one.metavar for one in group.commands["predict"].params if getattr(one, "is_flag", False)} == {""}


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.path)
def test_no_option_is_cut_off_in_a_terminal_of_80(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = show(command.path, monkeypatch, capsys, columns=80)
    assert "…" not in text
    for one in parameters(command.function):
        assert one.argument or all(re.search(rf"(?<!\S|-){name}(?![\w-])", text) for name in one.names), one.names
    group: Any = typer.main.get_command(app)
    for word in command.path.split()[1:]:
        group = group.commands[word]
    for option in group.params:
        assert (option.metavar or "") in text, "what stands for a value is broken"
