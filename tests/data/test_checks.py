"""What is wrong with texts, whatever the task."""

import pytest

from finewright.core.errors import ExitCode, UserError
from finewright.data import checks
from finewright.data.checks import Finding
from finewright.data.dataset import Dataset
from finewright.data.splits import Example


def dataset(train, validation=(), test=()):
    parts = [
        [Example(text, str(index), f"{name}.csv:{index + 2}") for index, text in enumerate(texts)]
        for texts, name in ((train, "train"), (validation, "validation"), (test, "test"))
    ]
    return Dataset(*parts, (), "text", [], "")


def test_texts_are_checked_without_a_look_at_their_labels():
    """Every row has a label of its own here, as numbers have."""
    found = checks.check_texts(dataset(["a", "b", "A"], ["c", " b"]))
    assert [(finding.code, finding.rows) for finding in found] == [
        ("no_test", ()),
        ("duplicates", ("train.csv:4",)),
        ("leak", ("validation.csv:3",)),
    ]
    (error, *_) = checks.check_texts(dataset([]))
    assert (error.code, error.severity) == ("no_train", "error")


def test_one_cut_or_empty_text_is_said_as_one():
    (none,) = checks.check_truncation([0, 3], limit=5, side="right", places=["t.csv:2", "t.csv:3"])
    assert none.message == "1 text has no token: nothing of it would reach the model"
    (cut,) = checks.check_truncation([9, 3], limit=5, side="right", places=["t.csv:2", "t.csv:3"])
    assert cut.message == "t.csv: 1 of 2 texts (50.0%) is longer than 5 tokens"


def test_truncation_says_count_share_and_end():
    (finding,) = checks.check_truncation(
        [3, 9, 12, 1], limit=8, side="right", places=["a.csv:2", "a.csv:3", "a.csv:4", "a.csv:5"]
    )
    assert finding.message == "a.csv: 2 of 4 texts (50.0%) are longer than 8 tokens"
    assert finding.rows == ("a.csv:3", "a.csv:4")
    assert finding.fix.startswith("the end is cut off")
    (finding,) = checks.check_truncation([9, 3], limit=8, side="left", places=["a.csv:2", "a.csv:3"])
    assert finding.fix.startswith("the start is cut off")
    assert checks.check_truncation([8, 3], limit=8, side="left", places=["a.csv:2", "a.csv:3"]) == []
    assert checks.check_truncation([], limit=8, side="left", places=[]) == []


def test_a_text_without_tokens_is_an_error():
    (finding,) = checks.check_truncation([0, 2], limit=8, side="left", places=["a.csv:2", "a.csv:3"])
    assert (finding.severity, finding.rows) == ("error", ("a.csv:2",))


def test_errors_stop_with_every_row_named_and_the_rest_counted():
    findings = [
        Finding("x", "error", "wrong labels", tuple(f"a.csv:{line}" for line in range(2, 62)), "mend them"),
        Finding("y", "warning", "harmless", (), "nothing"),
    ]
    with pytest.raises(UserError) as caught:
        checks.raise_on_errors(findings)
    text = str(caught.value)
    assert caught.value.code == ExitCode.BAD_DATA
    assert "a.csv:51" in text
    assert "a.csv:52" not in text
    assert "and 10 more" in text
    assert "harmless" not in text
    checks.raise_on_errors(findings[1:])
