"""Runs the commands that messages print, as a user would type them: with what rasterio brings, in some folder."""

import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

from click.testing import CliRunner
from rasterio.rio.main import main_group


def run_printed(message: str, folder: Path, monkeypatch, **filled: str) -> list[str]:
    """Run the commands at the end of a message.

    Args:
        message: Its commands begin with ``: rio`` or ``: python`` and are joined by ``&&``.
        folder: Where they run.
        monkeypatch: Of pytest.
        filled: What stands for words in capitals, such as ``X="300000"``, or for ``zz``.

    Returns:
        The words of the first command.
    """
    text = message[re.search(r": (?=(rio|python) )", message).end() :]  # type: ignore[union-attr]
    for word, value in filled.items():
        text = re.sub(rf"(?<![A-Z]){word}(?![a-z])", value, text)
    monkeypatch.chdir(folder)
    words: list[str] = []
    for command in text.split(" && "):
        program, *arguments = shlex.split(command)
        words = words or [program, *arguments]
        if program == "rio":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = CliRunner().invoke(main_group, arguments)
            assert result.exit_code == 0, (command, result.output, result.exception)
        else:
            assert program == "python"
            subprocess.run([sys.executable, *arguments], check=True, cwd=folder)
    return words
