"""Lists in cells as Python and NumPy write them."""

import pytest

from finewright.data.written_lists import parse_written_list


@pytest.mark.parametrize(
    "written",
    [
        ["Anna", "it's", 'say "so"', """both ' and \"""", "a\\b", "line\nfeed", "Zoë"],
        [0, 3, 12],
        [(0, 4, "PER"), (5, 9, "LOC")],
        [{"start": 0, "end": 4, "label": "PER", "id": None}],
        [],
    ],
)
def test_what_python_writes_is_read_as_it_was(written):
    assert parse_written_list(str(written)) == [list(one) if isinstance(one, tuple) else one for one in written]


def test_what_numpy_writes_has_no_commas():
    assert parse_written_list("['Anna' \"it's\"\n 'a b']") == ["Anna", "it's", "a b"]
    assert parse_written_list("[0 3\n 12]") == [0, 3, 12]


@pytest.mark.parametrize(
    "cell", ["[a, b]", "[open('x')]", "['a' 'b', 'c'", "[1, *x]", "[{**x}]", "[{[1]: 2}]", "[" * 5000, "[0 1 ... 2]", "[\x00]"]
)
def test_other_cells_stay(cell):
    assert parse_written_list(cell) == cell
