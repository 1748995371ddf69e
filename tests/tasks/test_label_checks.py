"""What is wrong with labelled texts."""

import pytest

from finewright.data import checks
from finewright.data.dataset import Dataset
from finewright.data.splits import Example
from finewright.tasks import label_checks


def rows(*pairs, name="train"):
    return [Example(text, label, f"{name}.csv:{index + 2}") for index, (text, label) in enumerate(pairs)]


def dataset(train, validation=(), test=()):
    parts = [rows(*part, name=name) for part, name in ((train, "train"), (validation, "validation"), (test, "test"))]
    return Dataset(*parts, tuple(sorted({row.label for row in parts[0]})), "text", [], "")


GOOD = [(f"first {index}", "a") for index in range(6)] + [(f"second {index}", "b") for index in range(6)]
EVAL = [("third", "a"), ("fourth", "b")]


def found(train=GOOD, validation=EVAL, test=(("fifth", "a"), ("sixth", "b"))):
    return {finding.code: finding for finding in label_checks.check_labelled_texts(dataset(train, validation, test))}


def test_good_data_has_no_finding():
    assert found() == {}


def test_one_class_is_an_error():
    finding = found(train=[("x", "a"), ("y", "a")], validation=[("z", "a")], test=[("w", "a")])["one_class"]
    assert finding.severity == "error"
    assert "one class only (a)" in finding.message


def test_a_label_unseen_in_training_names_its_rows():
    finding = found(test=[("fifth", "a"), ("sixth", "z"), ("seventh", "z")])["unseen_label"]
    assert finding.rows == ("test.csv:3", "test.csv:4")
    assert "2 test rows have labels that never occur in training: 'z'" in finding.message
    assert "data.drop_unseen_labels=true" in finding.fix


def test_an_unseen_label_is_shown_with_the_one_it_was_meant_to_be():
    train = [(f"first {index}", "Refund") for index in range(6)] + [(f"second {index}", "b") for index in range(6)]
    finding = found(train=train, validation=[("third", "Refund"), ("fourth", "b")], test=[("x", "refund "), ("y", "b")])
    assert "'refund ' (in training: 'Refund')" in finding["unseen_label"].message


def test_no_training_rows_is_an_error():
    finding = found(train=[])["no_train"]
    assert (finding.severity, finding.message) == ("error", "no training rows")


def test_errors_stand_before_warnings():
    severities = [
        finding.severity for finding in label_checks.check_labelled_texts(dataset([("x", "a"), ("X", "a")], [("y", "z")]))
    ]
    assert severities == sorted(severities)
    assert set(severities) == {"error", "warning"}


def test_a_finding_goes_into_json():
    finding = found(train=[*GOOD, ("first 0", "b")])["two_labels"]
    assert finding.as_json() == {
        "code": "two_labels",
        "severity": "warning",
        "message": "2 rows have a text that also occurs with another label",
        "rows": ("train.csv:2", "train.csv:14"),
        "fix": "decide on one label: no model can get both right",
    }


def test_duplicates_within_and_across_splits():
    seen = found(train=[*GOOD, ("First  0", "a")], test=[("FIRST 0", "a"), ("new", "b")])
    assert seen["duplicates"].rows == ("train.csv:14",)
    assert "1 test row (50.0%) has a text that is also in train" in seen["leak"].message
    assert seen["leak"].rows == ("test.csv:2",)


def test_one_is_said_as_one():
    seen = found(train=[*GOOD, ("First  0", "a"), ("once", "A")], test=[("fifth", "a"), ("sixth", "z")])
    assert seen["duplicates"].message.startswith("1 row of train repeats a text")
    assert seen["unseen_label"].message == "1 test row has a label that never occurs in training: 'z'"
    assert seen["single_row"].message == "1 label has one training row: A"
    assert "'A' (1 row)" in seen["twin_labels"].message


def test_a_text_shared_by_validation_and_test():
    leak = found(validation=[("third", "a"), ("fourth", "b")], test=[("Third", "a"), ("fifth", "b"), ("sixth", "b"), ("7", "a")])
    assert leak["leak"].message == "1 test row (25.0%) has a text that is also in validation"
    assert leak["leak"].rows == ("test.csv:2",)


def test_the_same_text_with_two_labels():
    finding = found(train=[*GOOD, ("first 0", "b")])["two_labels"]
    assert finding.rows == ("train.csv:2", "train.csv:14")


def test_labels_that_look_like_one():
    pairs = [(f"first {index}", "Pos") for index in range(6)] + [(f"second {index}", "pos ") for index in range(6)]
    finding = found(train=pairs, validation=[("x", "Pos"), ("y", "pos ")], test=[("v", "Pos"), ("w", "pos ")])["twin_labels"]
    assert "'Pos' (6 rows), 'pos ' (6 rows)" in finding.message
    assert finding.rows == tuple(f"train.csv:{line}" for line in range(8, 14))


def test_an_accent_encoded_in_two_ways_makes_similar_labels():
    pairs = [(f"first {index}", "caf\u00e9") for index in range(6)] + [("second", "cafe\u0301"), ("third", "cafe\u0301")]
    finding = found(train=pairs, validation=[], test=[])["twin_labels"]
    assert finding.rows == ("train.csv:8", "train.csv:9")


def test_a_label_that_stands_in_its_own_texts():
    pairs = [(f"a refund please {index}", "refund") for index in range(6)] + [(f"second {index}", "other") for index in range(6)]
    seen = found(train=pairs, validation=[("x", "refund"), ("y", "other")], test=[("v", "refund"), ("w", "other")])
    assert "the label 'refund' occurs in 6 of its 6 training texts" in seen["label_in_text"].message
    assert "and in 0 of the 6 others" in seen["label_in_text"].message
    assert len(seen["label_in_text"].rows) == 6


@pytest.mark.parametrize(
    ("own", "others", "leaks"),
    [
        (["refund {}"] * 6, ["x {}"] * 6, True),
        (["REFUND! {}"] * 6, ["x {}"] * 6, True),
        (["refund {}"] * 4, ["x {}"] * 6, False),  # too few rows
        (["refund {}"] * 9 + ["money back {}"], ["x {}"] * 6, False),  # 90% of its rows
        (["refund {}"] * 6, ["refund {}"] + ["x {}"] * 4, False),  # 20% of the others
        (["refund {}"] * 6, ["refund {}"] + ["x {}"] * 5, True),
    ],
)
def test_where_a_leaking_label_begins(own, others, leaks):
    pairs = [(text.format(f"o{index}"), "refund") for index, text in enumerate(own)]
    pairs += [(text.format(f"e{index}"), "other") for index, text in enumerate(others)]
    assert ("label_in_text" in found(train=pairs, validation=[], test=[])) == leaks


def test_a_label_of_signs_alone_does_not_leak():
    pairs = [(f"a, b: {index}", "+++") for index in range(6)] + [(f"x{index}", "---") for index in range(6)]
    assert "label_in_text" not in found(train=pairs, validation=[], test=[])


def test_a_word_inside_a_word_is_no_leak():
    pairs = [(f"warship {index}", "war") for index in range(6)] + [(f"second {index}", "other") for index in range(6)]
    assert "label_in_text" not in found(
        train=pairs, validation=[("x", "war"), ("y", "other")], test=[("v", "war"), ("w", "other")]
    )


def test_imbalance_offers_class_weights():
    pairs = [(f"many {index}", "a") for index in range(20)] + [("few 1", "b"), ("few 2", "b")]
    finding = found(train=pairs)["imbalance"]
    assert "'a' has 20 training rows, 'b' 2" in finding.message
    assert "training.class_weights=balanced" in finding.fix
    assert "imbalance" not in found(train=pairs[1:])


def test_single_rows_and_small_splits():
    seen = found(train=[*GOOD, ("lonely", "c")], validation=[], test=[("fifth", "a"), ("sixth", "a")])
    assert seen["single_row"].rows == ("train.csv:14",)
    assert seen["no_validation"].message == "no validation rows"
    assert seen["one_class_split"].message == "every test row has the label 'a'"
    assert seen["one_class_split"].rows == ("test.csv:2", "test.csv:3")


def test_only_texts_that_may_occur_twice_are_held_by_their_text(monkeypatch):
    seen = []
    monkeypatch.setattr(checks, "normalise_text", lambda text: seen.append(text) or text.casefold())
    findings = found(train=[*GOOD, ("First 3", "a"), ("FIFTH", "b")])
    assert set(findings) == {"duplicates", "leak", "two_labels"}
    assert sorted(seen) == ["FIFTH", "First 3", "fifth", "first 3"]


def test_numbers_that_are_equal_by_chance_change_nothing(monkeypatch):
    parts = {"train": [*GOOD, ("b", "a"), ("a", "a"), ("A", "b"), ("B", "a")], "validation": [("a", "a"), ("z", "b")]}
    wanted = found(**parts)
    monkeypatch.setattr(checks, "find_possible_duplicates", lambda texts: [list(range(len(some))) for some in texts])
    assert found(**parts) == wanted
    assert wanted["duplicates"].rows == ("train.csv:17", "train.csv:16"), "in the order of the first of each text"


def labelled(labels, **parts):
    """Find out what is wrong with these labels, each of another text."""
    return found(train=[(f"text {index}", label) for index, label in enumerate(labels)], validation=[], test=[], **parts)


def test_scores_as_labels_stop_unless_forced():
    finding = labelled([f"0.{index:03}" for index in range(1, 61)])["numeric_labels"]
    assert (finding.severity, finding.forcible) == ("error", True)
    assert finding.message.startswith("the labels are numbers, not classes: 60 different ones in 60 rows, such as 0.001, 0.002")
    assert "--task regression predicts a number" in finding.fix
    assert "--force" in finding.fix
    assert finding.rows[0] == "train.csv:2"


def test_scores_that_repeat_are_numbers_too():
    """As similarity scores from 0 to 5, of which many rows share one."""
    assert "numeric_labels" in labelled([f"{index % 40 / 8}" for index in range(4000)])
    assert "numeric_labels" in labelled([f"{index / 7:.3e}" for index in range(100)])


@pytest.mark.parametrize(
    "labels",
    [
        [f"{index % 9 / 2 + 1}" for index in range(60)],  # half stars, 1.0 to 5.0
        [f"{index % 21 / 2}" for index in range(42)],  # half stars, 0.0 to 10.0
        [str(2**62 + index % 20) for index in range(60)],
        [f"label {index % 1000}" for index in range(4000)],
        [str(index % 77) for index in range(770)],
        [str(index) for index in range(6)],  # few rows, each of its own
        [f"v1.{index % 30}.0" for index in range(60)],
    ],
)
def test_classes_that_are_written_as_numbers_or_are_many_are_classes(labels):
    assert not {"numeric_labels", "distinct_labels"} & set(labelled(labels))


def test_a_label_of_its_own_for_nearly_every_row_stops_unless_forced():
    finding = labelled([f"Jane Doe {index}" for index in range(50)] + ["Jim Roe"] * 4)["distinct_labels"]
    assert (finding.severity, finding.forcible) == ("error", True)
    assert finding.message == "50 of 54 rows have a label that no other row has, such as 'Jane Doe 0', 'Jane Doe 1'"
    assert "--label-column" in finding.fix
    assert "--force" in finding.fix
    assert "distinct_labels" in labelled([str(1000 + index) for index in range(60)]), "whole numbers may be ids"
    assert "distinct_labels" not in labelled([f"one {index}" for index in range(30)] + ["many"] * 30)


def test_one_training_row_a_label_is_fine_when_the_labels_repeat_elsewhere():
    train = [(f"text {index}", f"label {index}") for index in range(40)]
    test = [(f"other {index}", f"label {index}") for index in range(40)]
    assert "distinct_labels" not in found(train=train, validation=[], test=test)


@pytest.mark.parametrize("both", ["billing,urgent", "billing | urgent", "urgent;billing", "['billing', 'urgent']"])
def test_several_labels_in_one_cell_are_found(both):
    single = ["['billing']", "['urgent']"] if both.startswith("[") else ["billing", "urgent"]
    finding = labelled([*single * 6, both, both])["several_labels"]
    assert (finding.severity, finding.rows) == ("warning", ("train.csv:14", "train.csv:15"))
    assert finding.message.startswith(f"2 rows look like several labels in one cell, such as {both!r}: each combination")
    assert "one label" in finding.fix


def test_a_comma_in_a_label_is_no_list_unless_its_parts_are_labels():
    assert "several_labels" not in labelled(["Food, drink", "Travel", "Food"] * 4)
    assert "several_labels" not in labelled(["a,", ",", "b"] * 4)


def test_one_number_written_in_several_ways_looks_the_same():
    rows = dataset([(f"text {index}", label) for index, label in enumerate(["0", "0.0", "1", "1.0", "01"] * 6)])
    twins = [one.message for one in label_checks.check_labelled_texts(rows) if one.code == "twin_labels"]
    assert twins == [
        "labels that look the same: '0' (6 rows), '0.0' (6 rows)",
        "labels that look the same: '01' (6 rows), '1' (6 rows), '1.0' (6 rows)",
    ]
    assert "twin_labels" not in labelled(["1", "10", "1.5", "-1", "1e1x"] * 6)


def test_a_zero_width_space_makes_similar_labels():
    finding = labelled(["spam", "spam\u200b", "ham"] * 6)["twin_labels"]
    assert len(finding.rows) == 6


def test_every_finding_has_a_code_a_message_and_a_way_out():
    findings = label_checks.check_labelled_texts(dataset([*GOOD, ("first 0", "A"), ("x", "a,b"), ("y", "c")], [("z", "q")]))
    assert len(findings) > 5
    for finding in findings:
        assert finding.code.isidentifier()
        assert finding.message
        assert finding.fix
