"""Pages of HTML that need no other file: how templates are filled in, and the colours that all pages share."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

_TEMPLATES = "templates"
_COLOURS = "colours.css"


def render_html(package: str, template: str, style: str, scripts: Sequence[str], **context: Any) -> str:
    """A page that needs no other file.

    Args:
        package: Whose templates these are.
        template: Its template, which gets ``style`` and ``script``.
        style: File of its style; the colours that all pages share come before.
        scripts: Files of its script, in order.
        **context: What the template shows; what is text is escaped.
    """
    shared, own = _text("seg.styles", _COLOURS), _text(package, style)
    script = "\n".join(_text(package, name) for name in scripts)
    return (
        _environment(package).get_template(template).render(context, style=Markup(shared + own), script=Markup(script))
    )


@cache
def _environment(package: str) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, _TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _text(package: str, name: str) -> str:
    resource: Any = files(package) / _TEMPLATES / name
    return str(resource.read_text(encoding="utf-8"))
