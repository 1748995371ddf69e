"""Whatever is written into a page is text, unless this package made it."""

from hypothesis import given
from hypothesis import strategies as st

from finewright.comparison.report.markup import Safe, join, tag
from support import made
from support.markup import read


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))))
def test_any_text_is_read_back_as_itself(text):
    reader = read(tag("p", text, title=text))
    assert reader.tags == ["p"]
    assert (reader.text, reader.attributes["title"]) == (text, text)


def test_hostile_text_stays_text():
    reader = read(tag("td", made.HOSTILE))
    assert (reader.tags, reader.text) == (["td"], made.HOSTILE)


def test_names_numbers_and_nothing():
    assert tag("rect", class_="a", stroke_width=1.500, x=None, data_n=2) == '<rect class="a" stroke-width="1.5" data-n="2"/>'
    assert tag("p") == "<p></p>"
    assert join(["a<", Safe("<b>"), None, 3]) == "a&lt;<b>3"
