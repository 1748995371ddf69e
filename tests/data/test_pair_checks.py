"""What is wrong with pairs of texts."""

from finewright.data.columns import Columns
from finewright.data.dataset import Dataset
from finewright.data.splits import Example
from finewright.tasks import label_checks


def rows(*triples, name="train"):
    return [
        Example(f"{first}\n{second}", label, f"{name}.csv:{index + 2}", pair=(first, second))
        for index, (first, second, label) in enumerate(triples)
    ]


def found(train, validation=(), test=()):
    parts = [rows(*part, name=name) for part, name in ((train, "train"), (validation, "validation"), (test, "test"))]
    columns = Columns(("premise", "hypothesis"), "label", form="pair")
    dataset = Dataset(*parts, tuple(sorted({row.label for row in parts[0]})), "text", [], "", columns)
    return {finding.code: finding for finding in label_checks.check_labelled_texts(dataset)}


GOOD = [(f"first {index}", f"second {index}", "ab"[index % 2]) for index in range(8)]


def test_equal_texts_are_named():
    finding = found([*GOOD, ("Same text", " same  TEXT", "a")])["equal_texts"]
    assert finding.message.startswith("1 pair has two equal texts")
    assert finding.rows == ("train.csv:10",)


def test_swapped_pairs_are_named_and_so_is_a_leak_between_splits():
    swapped = [("second 0", "first 0", "a"), ("second 1", "first 1", "a")]
    finding = found(GOOD, test=swapped)["swapped_pairs"]
    assert finding.message == (
        "2 pairs repeat another with the two texts swapped; 2 of them from a training pair to a held-out one; "
        "1 of them with another label"
    )
    assert finding.rows == ("test.csv:2", "test.csv:3")
    assert "swapped_pairs" not in found(GOOD)


def test_pairs_with_the_same_words_apart_are_no_duplicates():
    assert "duplicates" not in found([*GOOD, ("where is", "it now", "a"), ("where", "is it now", "a")])


def test_labels_that_one_text_tells():
    told = [(f"premise {index} of many", f"{('yes', 'no')[index % 2]} so it is {index}", "ab"[index % 2]) for index in range(80)]
    finding = found(told)["one_text_tells"]
    assert (
        "a bag of words of 'hypothesis' alone gets 100% of the labels right (always the most frequent one: 50%)"
        in finding.message
    )
    both = [
        (f"{'xy'[index // 2 % 2]} {index}", f"{'xy'[index % 2]} {index}", "ab"[(index + index // 2) % 2]) for index in range(80)
    ]
    assert "one_text_tells" not in found(both)


def test_test_pairs_with_the_premise_of_a_training_pair_are_named():
    test = [("FIRST 0 ", "new", "a"), ("new", "second 1", "a"), ("first 3", "second 3", "b")]
    finding = found(GOOD, test=test)["shared_texts"]
    assert finding.message == "2 test pairs (67%) have first texts of training pairs"
    assert finding.rows == ("test.csv:2", "test.csv:4")
    assert "shared_texts" not in found(GOOD, test=test[1:2])
