"""A document of headings, paragraphs, tables and figures → one self-contained HTML page, or Markdown."""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from string import Template

from finewright.comparison.report import charts
from finewright.comparison.report.markup import Safe, tag
from finewright.core import assets

_TEMPLATE = assets.REPORT


@dataclass(frozen=True)
class Cell:
    """`style`: number of the colour and shape shown before the text. `shade`: 0 to 1, for matrices."""

    text: str
    style: int | None = None
    hollow: bool = False
    shade: float | None = None


@dataclass(frozen=True)
class Table:
    """The first column names the rows. `numeric`: the other columns are right-aligned."""

    caption: str
    headings: list[str]
    rows: list[list[str | Cell]]
    numeric: bool = True


@dataclass(frozen=True)
class Figure:
    """A chart and what it shows."""

    chart: Safe
    caption: str


@dataclass(frozen=True)
class Code:
    """A command."""

    text: str


@dataclass(frozen=True)
class Fold:
    """Blocks that the reader can fold away. In print they are always shown."""

    title: str
    blocks: list["Block"]
    open: bool = False


Block = str | Table | Figure | Code | Fold | list[str] | list[Figure]
"""A paragraph, a table, a figure, a command, something folded, a list of sentences, or figures side by side."""


@dataclass(frozen=True)
class Section:
    """A part with a heading."""

    title: str
    blocks: list[Block]


@dataclass(frozen=True)
class Document:
    """`lead`: what must be read first, sentence by sentence."""

    title: str
    subtitle: str
    lead: list[str]
    sections: list[Section] = field(default_factory=list)


def html(document: Document) -> str:
    """Return one page without scripts, and without pictures or styles from elsewhere."""
    head = Template((_TEMPLATE / "page.html").read_text(encoding="utf-8"))
    style = (_TEMPLATE / "style.css").read_text(encoding="utf-8")
    lead = tag("div", *(tag("p", sentence) for sentence in document.lead), class_="lead")
    sections = []
    for number, section in enumerate(document.sections, start=1):
        heading = tag("h2", section.title, id=f"s{number}")
        sections.append(tag("section", heading, *map(_html, section.blocks), aria_labelledby=f"s{number}"))
    return head.substitute(
        title=tag("title", document.title),
        style=tag("style", Safe(charts.COLORS + charts.STYLE + style)),
        heading=tag("header", tag("h1", document.title), tag("p", document.subtitle, class_="subtitle")),
        main=tag("main", lead, *sections),
    )


def _html(block: Block) -> Safe:
    if isinstance(block, str):
        return tag("p", block)
    if isinstance(block, Table):
        return _html_table(block)
    if isinstance(block, Figure):
        return tag("figure", block.chart, tag("figcaption", block.caption))
    if isinstance(block, Code):
        return tag("pre", tag("code", block.text), tabindex=0, role="region", aria_label="command")
    if isinstance(block, Fold):
        return tag("details", tag("summary", block.title), *map(_html, block.blocks), open="" if block.open else None)
    if block and isinstance(block[0], Figure):
        return tag("div", *map(_html, block), class_="figures")  # type: ignore[arg-type]
    return tag("ul", *(tag("li", sentence) for sentence in block))


def _html_table(table: Table) -> Safe:
    head = tag("thead", tag("tr", *(tag("th", heading, scope="col") for heading in table.headings)))
    rows = [tag("tr", *(_html_cell(cell, first=index == 0) for index, cell in enumerate(row))) for row in table.rows]
    kind = "numeric" if table.numeric else "words"
    identity = f"t{zlib.crc32(repr(table).encode()):08x}"
    caption = tag("p", table.caption, id=identity, class_="caption")
    drawn = tag("table", head, tag("tbody", *rows), class_=kind, aria_labelledby=identity)
    return tag("div", caption, tag("div", drawn, class_="wide", tabindex=0, role="region", aria_labelledby=identity))


def _html_cell(cell: str | Cell, *, first: bool) -> Safe:
    cell = Cell(cell) if isinstance(cell, str) else cell
    sign = charts.mark(cell.style, hollow=cell.hollow) if cell.style is not None else None
    shade = f"--shade: {cell.shade:.2f}" if cell.shade is not None else None
    name, scope = ("th", "row") if first else ("td", None)
    return tag(name, sign, " " if sign else None, cell.text, scope=scope, style=shade, class_="shaded" if shade else None)


def markdown(document: Document) -> str:
    """Return the document as Markdown, without its pictures."""
    parts = [f"# {_escape(document.title)}", _escape(document.subtitle), *(f"**{_escape(line)}**" for line in document.lead)]
    for section in document.sections:
        written = [_markdown(block) for block in section.blocks]
        if any(written):
            parts += [f"## {_escape(section.title)}", *filter(None, written)]
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, str):
        return _escape(block)
    if isinstance(block, Table):
        return _markdown_table(block)
    if isinstance(block, Code):
        fence = "`" * (3 + max((len(run) for run in re.findall(r"`{3,}", block.text)), default=0))
        return f"{fence}\n{block.text}\n{fence}"
    if isinstance(block, Fold):
        inside = [text for text in map(_markdown, block.blocks) if text]
        return "\n\n".join([f"### {_escape(block.title)}", *inside]) if inside else ""
    if isinstance(block, Figure) or (block and isinstance(block[0], Figure)):
        return ""
    return "\n".join(f"- {_escape(str(sentence))}" for sentence in block)


def _markdown_table(table: Table) -> str:
    rows: list[Sequence[str | Cell]] = [table.headings, ["---"] * len(table.headings), *table.rows]
    lines = []
    for number, row in enumerate(rows):
        cells = [cell.text if isinstance(cell, Cell) else cell for cell in row]
        lines.append(f"| {' | '.join(cells if number == 1 else map(_escape, cells))} |")
    return f"{_escape(table.caption)}\n\n" + "\n".join(lines)


def _escape(text: str) -> str:
    """Escape text for Markdown and put it on one line."""
    return re.sub(r"([\\`*_\[\]<>|#~$])", r"\\\1", " ".join(text.split()))
