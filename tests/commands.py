"""Runs the commands that messages print, as a user would type them: with what rasterio brings, in some folder."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner
from rasterio.rio.main import main_group

from seg.cli import main as cli


def run_seg(*words: object) -> tuple[int, str]:
    """Run a command of seg in this process, on a wide screen; gives exit code and what it said."""
    said = io.StringIO()
    before, sys.argv = sys.argv, ["seg", *map(str, words)]
    wide = mock.patch.dict(os.environ, {"COLUMNS": "1000"})
    code = 0
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), wide:
            cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    return code, said.getvalue()


def typed(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str, str]:
    """The same; gives exit code, standard output and standard error, also of processes that it starts."""
    monkeypatch.setattr(sys, "argv", ["seg", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capfd.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def printed(message: str) -> list[list[str]]:
    """The commands of a message, word by word.

    They begin with ``rio``, ``python``, ``seg`` or ``mkdir`` after a colon, ``type`` or ``with``, are joined by ``&&``,
    and end where the sentence goes on: at a semicolon, a comma, a bracket or the end of the line.
    """
    begin = re.search(r"(?:: |\btype )(?=(?:rio|python|seg|mkdir) )", message)
    assert begin, message
    text, quote = message[begin.end() :].partition("\n")[0], ""
    for place, letter in enumerate(text):
        if not quote and (letter in ";(" or text.startswith(", ", place)):
            text = text[:place]
            break
        if letter in "'\"":
            quote = "" if letter == quote else quote or letter
    return [shlex.split(command) for command in text.split(" && ")]


def type_in(commands: list[list[str]], folder: Path, filled: dict[str, str] | None = None) -> None:
    """Run commands in a folder, with what stands for their words in capitals or for ``zz``."""
    with contextlib.chdir(folder):
        for program, *told in commands:
            words = told
            for name, value in (filled or {}).items():
                words = [re.sub(rf"(?<![A-Z]){name}(?![a-z])", value, word) for word in words]
            if program == "rio":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    result = CliRunner().invoke(main_group, words)
                assert result.exit_code == 0, (words, result.output, result.exception)
            elif program == "mkdir":
                for word in words:
                    Path(word).mkdir()
            else:
                start = [sys.executable] if program == "python" else [sys.executable, "-m", program]
                subprocess.run([*start, *words], check=True)


def run_printed(message: str, folder: Path, **filled: str) -> list[str]:
    """Run the commands of a message.

    Args:
        message: What was said.
        folder: Where they run.
        filled: What stands for words in capitals, such as ``X="300000"``, or for ``zz``.

    Returns:
        The words of the first command of rasterio, else of the first of all.
    """
    commands = printed(message)
    type_in(commands, folder, filled)
    return next((command for command in commands if command[0] == "rio"), commands[0])
