"""Recipes of reference entries: configurations with their hashes, and what their authors state of them.

A folder of recipes holds ``NAME.yaml``, ``answers/NAME.yaml`` with those lines of the form that no record answers, and
``SHA256SUMS`` as ``sha256sum`` writes it.
"""

from pathlib import Path
from typing import Any

from seg.benchmark.container import digest_of
from seg.benchmark.form import Answers
from seg.config.yaml_text import YamlTextError, parse
from seg.errors import WrongUseError

HASHES_FILE, ANSWERS = "SHA256SUMS", "answers"


def check_recipe(recipe: Path) -> None:
    """Refuse a recipe of reference that was changed: its entry would not be the one that its name says.

    Raises:
        WrongUseError: If it, or what is stated of it, has another hash than `HASHES_FILE` beside it says.
    """
    hashes = recipe.with_name(HASHES_FILE)
    if not hashes.is_file():
        return
    lines = (line.split(maxsplit=1) for line in hashes.read_text(encoding="utf-8").splitlines())
    known = {parts[1].lstrip("*"): parts[0] for parts in lines if len(parts) > 1}
    for name in (recipe.name, f"{ANSWERS}/{recipe.name}"):
        path = recipe.parent / name
        if path.is_file() and digest_of(path) != known.get(name):
            raise WrongUseError(
                f"{path} is not the recipe whose hash stands in {hashes}; copy it to a folder of your own to change it"
            )


def stated_of(recipe: Path) -> dict[str, Any]:
    """What is stated of the entry of a recipe, lines of the form by name.

    Raises:
        WrongUseError: If nothing is, or it is no part of the form.
    """
    path = recipe.parent / ANSWERS / recipe.name
    if not path.is_file():
        raise WrongUseError(f"{recipe} has no {ANSWERS}/{recipe.name} beside it, which states what no record answers")
    try:
        stated = parse(path.read_text(encoding="utf-8"))
    except YamlTextError as error:
        raise WrongUseError(f"{path} {error}") from None
    if not isinstance(stated, dict) or (unknown := stated.keys() - Answers.model_fields.keys()):
        named = f": {min(map(str, unknown))}" if isinstance(stated, dict) else ""
        raise WrongUseError(f"{path} holds what is no line of the form of a submission{named}")
    return stated
