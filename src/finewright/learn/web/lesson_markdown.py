"""A lesson's Markdown as HTML."""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from finewright.learn.course import Lesson

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_PICTURE_ALONE = re.compile(r"<p>(<img [^>]*>)</p>")
_REGION = 'tabindex="0" role="region" aria-label'
"""What is wider than a phone scrolls inside its own frame, by keyboard too."""


def render_markdown(text: str, lesson: Lesson) -> Markup:
    """Return a lesson's Markdown as HTML. Raw HTML is escaped; pictures come only from the lesson's own folder."""
    tokens = _MARKDOWN.parse(text)
    for token in tokens:
        token.children = [_use_local_picture(child, lesson) for child in token.children] if token.children else token.children
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    html = html.replace("<pre>", '<pre tabindex="0">')
    html = _PICTURE_ALONE.sub(rf'<div class="scroll" {_REGION}="Picture">\1</div>', html)
    html = html.replace("<table>", f'<div class="scroll" {_REGION}="Table"><table>')
    return Markup(html.replace("</table>", "</table></div>"))  # markdown-it has escaped the text


def _use_local_picture(token: Token, lesson: Lesson) -> Token:
    """Point a picture to the lesson's file of that name; replace others by their text."""
    if token.type != "image":
        return token
    name = str(token.attrs.get("src", ""))
    if name in lesson.pictures:
        token.attrs["src"] = f"/pictures/{lesson.name}/{name}"
        return token
    return Token("text", "", 0, content=token.content)
