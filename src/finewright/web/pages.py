"""HTML pages from the templates in `assets/web/templates`. Jinja2 escapes every value."""

from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from finewright.core import assets

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment() -> "Environment":
    import jinja2

    loader = jinja2.FileSystemLoader(assets.WEB / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["inline"] = render_inline
    return environment


def render(template: str, **values: Any) -> str:
    """Return a page from its template."""
    return _environment().get_template(template).render(values)


def render_inline(text: str) -> Markup:
    """Return text with its `code` marked up."""
    parts = [Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(text.split("`"))]
    return Markup("").join(parts)
