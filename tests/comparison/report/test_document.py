"""One self-contained page, in which no outside text becomes HTML or Markdown."""

import re

from finewright.comparison.report.document import Cell, Code, Document, Figure, Fold, Section, Table, html, markdown
from finewright.comparison.report.markup import tag
from support import made
from support.markup import read

TABLE = Table(made.HOSTILE, ["method", made.HOSTILE], [[Cell(made.HOSTILE, style=3), made.HOSTILE], ["b", Cell("2", shade=0.5)]])
EVERYTHING = Document(
    made.HOSTILE,
    made.HOSTILE,
    [made.HOSTILE],
    [
        Section(made.HOSTILE, [made.HOSTILE, TABLE, Code(made.HOSTILE), [made.HOSTILE, "b"]]),
        Section("pictures", [Figure(tag("svg"), made.HOSTILE), [Figure(tag("svg"), "two"), Figure(tag("svg"), "three")]]),
        Section("folded", [Fold(made.HOSTILE, [TABLE, made.HOSTILE])]),
    ],
)


def test_nothing_from_outside_becomes_an_element():
    page = html(EVERYTHING)
    reader = read(page)
    assert not {"script", "a", "iframe", "object"} & set(reader.tags)
    assert reader.text.count("<script>alert('x')</script>") == 19
    assert reader.tags.count("h1") == reader.tags.count("title") == 1
    assert reader.tags.count("svg") == 3 + 2


def test_the_page_loads_nothing():
    page = html(EVERYTHING)
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!data:,)", page)
    assert "url(" not in page
    assert "@import" not in page


def test_tables_can_be_read_aloud():
    reader = read(html(Document("t", "s", [], [Section("a", [TABLE])])))
    page = html(Document("t", "s", [], [Section("a", [TABLE])]))
    assert reader.tags.count("th") == 4
    assert page.count('scope="col"') == page.count('scope="row"') == 2
    (identity,) = set(re.findall(r'<p id="(t\w+)"', page))
    assert page.count(f'aria-labelledby="{identity}"') == 2


def test_markdown_has_no_pictures_and_shows_hostile_text_unchanged():
    text = markdown(EVERYTHING)
    assert "two" not in text
    assert not re.search(r"(?<!\\)<script", "".join(part for part in re.split(r"```.*?```", text, flags=re.DOTALL)))
    outside = re.split(r"`{3,}\n.*?\n`{3,}", text, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)[<>\[]", "".join(outside))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_sections_without_text_are_left_out_of_markdown():
    assert "## only pictures" not in markdown(Document("t", "s", [], [Section("only pictures", [Figure(tag("svg"), "x")])]))
