"""What is worth knowing of several labels per text before training."""

from finewright.data.dataset import Dataset
from finewright.data.multi_label_rows import make_row
from finewright.tasks.multi_label_checks import check_multi_label_texts


def check(train, *, validation=(), test=()):
    parts = [
        [make_row(f"{name} {number}", own, f"{name}:{number}") for number, own in enumerate(rows)]
        for name, rows in (("train", train), ("validation", validation), ("test", test))
    ]
    labels = tuple(sorted({label for own in train for label in own}))
    found = check_multi_label_texts(Dataset(*parts, labels, "text", [], "", row_kind="multi-label"))
    return {finding.code: finding for finding in found}


USUAL = [("a",), ("b",), ("a", "b"), ("c",), ()] * 8


def test_usual_rows_have_no_finding():
    assert {*check(USUAL)} == {"no_validation", "no_test"}


def test_labels_that_nothing_can_be_learnt_of():
    assert check([()] * 9)["no_label"].severity == "error"
    assert check([("a", *own) for own in [("b",), ()] * 9])["constant_label"].message.startswith("a is a label of every")
    assert check([*USUAL, ("d",)])["single_row"].message == "1 label has one training row: d"
    unseen = check(USUAL, test=[("a",), ("a", "z")])["unseen_label"]
    assert (unseen.severity, unseen.message) == ("error", "1 test row has a label that no training row has: z")
    assert "drop_unseen_labels" in unseen.fix


def test_labels_that_never_occur_alone_or_always_together():
    found = check([("a",), ("b",), ("a", "urgent"), ("b", "urgent")] * 4)
    assert found["never_alone"].message == "1 label never occurs alone: urgent"
    assert "always_together" not in found
    found = check([("a", "b"), ("c",)] * 8)
    assert found["always_together"].message == (
        "'a' and 'b' nearly always occur together: in 8 of the 8 training rows with one of them"
    )


def test_rows_with_one_label_each_have_an_easier_task():
    assert "--task text-classification" in check([("a",), ("b",)] * 9)["one_label_each"].fix


def test_labels_that_look_alike_are_uneven_or_contradict():
    found = check([("Urgent",), ("urgent",)] * 4 + [("b",)] * 90)
    assert found["twin_labels"].message == "labels that look the same: 'Urgent' (4 rows), 'urgent' (4 rows)"
    assert found["imbalance"].message == "labels are uneven: 'b' has 90 training rows, 'urgent' 4"
    rows = [make_row("the same", ("a",), "x:1"), make_row("the same", ("b",), "x:2"), make_row("other", ("a", "b"), "x:3")]
    codes = [
        one.code for one in check_multi_label_texts(Dataset(rows, [], [], ("a", "b"), "text", [], "", row_kind="multi-label"))
    ]
    assert "two_labels" in codes
