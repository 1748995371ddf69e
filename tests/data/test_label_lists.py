"""Whether the cells of a column have one label or several, and what is written between several."""

import pytest

from finewright.data.label_lists import LIST, choose_written_separator, read_labels, split_cell, tell_label_lists


def told(cells):
    found = tell_label_lists(cells, column="label")
    return found.verdict, found.separator


@pytest.mark.parametrize("separator", ["|", ";", ","])
def test_parts_that_occur_alone_or_in_other_cells_are_labels(separator):
    cells = ["billing", f"billing{separator} urgent", f"shipping{separator}urgent", "shipping", "", None] * 5
    assert told(cells) == ("several", separator)


def test_lists_and_written_lists_are_lists():
    assert told([["a", "b"], ["a"], [], None]) == ("several", LIST)
    assert told(["['a', 'b']", '["a"]', "[]"]) == ("several", LIST)
    assert told([["a", "b"], "a", "b", "a", "b"]) == ("one", ""), "one list is a fault of its row"


def test_a_comma_inside_of_a_label_is_no_separator():
    assert told(["Food, drink", "Travel", "Food"] * 20) == ("one", "")
    assert told(["a,", ",", "b"] * 20) == ("one", "")
    assert told(["Smith, John", "Meyer, Ann", "Miller, Zoe"] * 20) == ("one", "")
    assert told(["a long sentence, which goes on and on for more than sixty characters, does it"] * 3) == ("one", "")


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["1,5", "2,5", "2", "1"] * 20, "decimal comma"),
        (["a", "b"] * 100 + ["a,b"], "of 201 rows 1 row has several labels"),
        (["a", "a,b", "a,c", "a,d"] * 10, "occur alone or in other cells too"),
    ],
)
def test_two_likely_readings_are_told_apart_by_the_user(cells, reason):
    found = tell_label_lists(cells, column="label")
    assert found.verdict == "unclear"
    assert reason in found.reason


def test_cells_become_labels_by_name_each_once():
    assert read_labels("b| a |b||", separator="|") == (("a", "b"), "")
    assert read_labels(["b", "a", "b", ""], separator=LIST) == (("a", "b"), "")
    assert read_labels("one, two", separator="") == (("one, two",), "")
    assert read_labels([1, 2.0], separator=LIST) == (("1", "2"), "")
    for empty in (None, "", "  ", [], float("nan"), "[]"):
        assert read_labels(empty, separator=LIST) == ((), "")
    assert read_labels([{"a": 1}], separator=LIST)[1].startswith("wanted one label, found")


def test_written_lists_are_read_as_python_json_and_numpy_write_them():
    assert split_cell("['a, b', \"it's\"]", LIST) == ["a, b", "it's"]
    assert split_cell("['a' 'b']", LIST) == ["a", "b"]
    assert split_cell("[a, b]", LIST) == ["a", "b"]


def test_what_is_written_between_labels_is_in_none_of_them():
    assert choose_written_separator(";", ["a", "b"]) == ";"
    assert choose_written_separator(LIST, ["a", "b"]) == "|"
    assert choose_written_separator(",", ["a,b", "c|d"]) == ";"
    assert choose_written_separator("", ["a|b;c,d"]) == "\n"


def test_parts_that_each_have_a_place_of_their_own_are_asked_about():
    states = ["Portland, Oregon", "Salem, Oregon", "Portland, Maine", "Salem, Maine"] * 20
    assert told(states) == ("unclear", ",")
    assert "each has 2 parts" in tell_label_lists(states, column="label").reason
    assert told([*states, "Maine"]) == ("several", ",")
    assert told(["a|b", "b|c", "a|c"] * 20) == ("several", "|")
