"""One version and one public API, wherever they are told."""

import ast
import datetime
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import seg

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_version_and_date_are_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, released, *_ = re.findall(r"^## (.*)$", changelog, re.M)
    assert isinstance(citation["date-released"], datetime.date)
    assert unreleased == "Unreleased"
    assert released == f"{seg.__version__} ({citation['date-released']})"
    assert citation["version"] == seg.__version__
    assert f"this is version {seg.__version__}" in README
    assert (ROOT / PYPROJECT["tool"]["hatch"]["version"]["path"]).read_text(encoding="utf-8").count(
        f'VERSION = "{seg.__version__}"'
    ) == 1


def test_versions_of_python_are_the_same_everywhere() -> None:
    prefix = "Programming Language :: Python :: "
    versions = [one.removeprefix(prefix) for one in PYPROJECT["project"]["classifiers"] if one.startswith(prefix)]
    workflow = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["linux"]["strategy"]["matrix"]["python"] == versions
    assert PYPROJECT["project"]["requires-python"] == f">={versions[0]}"
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{versions[0].replace('.', '')}"
    assert f"Python {versions[0]} to {versions[-1]}" in README


def test_the_public_names_are_there() -> None:
    assert dir(seg) == sorted([*seg.__all__, "__version__"])
    for name in seg.__all__:
        thing = getattr(seg, name)
        assert callable(thing)
        assert thing.__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = seg.nothing


def test_type_checkers_and_the_readme_see_the_same_names() -> None:
    """The reference in ``docs`` is written from these names (``tests/test_docs.py``)."""
    (checked,) = (
        node for node in ast.parse(Path(seg.__file__).read_text(encoding="utf-8")).body if isinstance(node, ast.If)
    )
    imported = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {name: f"{getattr(seg, name).__module__}.{name}" for name in seg.__all__}
    # `seg.x` by itself or called; a module goes on with a dot.
    assert set(re.findall(r"(?<![\w./-])seg\.(\w+)\b(?![.\w/])", README)) == set(seg.__all__)
