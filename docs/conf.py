"""Sphinx: pages in Markdown, and a reference that is written anew from commands, settings and docstrings."""

import re
import sys
from inspect import isfunction
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from generators import commands, modules, settings  # noqa: E402
from pydantic import BaseModel  # noqa: E402

project = "seg"
author = "The seg authors"
copyright = "The seg authors, MIT licence"  # noqa: A001
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["generators", "_build"]

# Options begin with two hyphens, and typography would make a dash of them.
smartquotes = False

html_theme = "furo"
html_title = "seg"
html_static_path = ["_static"]
html_css_files = ["seg.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}

myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 3

# Single backticks in docstrings name something of seg, where there is such a thing.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
add_module_names = False
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def write_reference(app: Sphinx) -> None:
    """Write the generated pages below ``reference/``; those that did not change keep their time."""
    reference = Path(app.srcdir) / "reference"
    pages = {
        **commands.pages(reference / "commands"),
        reference / "settings.md": settings.page(),
        **modules.pages(reference, app.config.packages),
    }
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for folder in (reference / "commands", reference / "modules"):
        for left in set(folder.glob("*.md")) - pages.keys():
            left.unlink()


def short_signature(
    _app: Sphinx, _what: str, _name: str, thing: Any, _options: Any, _signature: str, _returns: str
) -> tuple[str, None] | None:
    """No signature for sections of the configuration, whose fields stand in their docstring."""
    if isinstance(thing, type) and issubclass(thing, BaseModel):
        return "", None
    return None


def mend_fields(_app: Sphinx, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """What Sphinx misreads in lists of fields.

    Of names that are described together it takes what stands before the last for their type, so they become one word;
    it takes `numpy.object_` for a link.
    """
    for number, line in enumerate(lines):
        one_word = re.sub(r"^:(?:ivar|param) \w+(?:, \w+)+:", lambda found: found[0].replace(", ", ","), line)
        lines[number] = re.sub(r"^(:vartype .*object)_", r"\1\\_", one_word)


def skip_default(_app: Sphinx, what: str, _name: str, thing: Any, _skip: bool, _options: Any) -> bool | None:
    """A function that is the default of a field is no method of its class."""
    return True if what == "class" and isfunction(thing) and "." not in thing.__qualname__ else None


def setup(app: Sphinx) -> None:
    """Tell Sphinx of what is done here; ``-D packages=reben,metrics`` shows the modules of these packages only."""
    app.add_config_value("packages", list(modules.PACKAGES), "env", list)
    app.connect("builder-inited", write_reference, priority=1)
    app.connect("autodoc-process-signature", short_signature)
    # After napoleon.
    app.connect("autodoc-process-docstring", mend_fields, priority=600)
    app.connect("autodoc-skip-member", skip_default)
