"""Rows in, the same rows with their answers out; the scores come from a fake."""

import numpy as np
import pytest

from finewright.core.errors import UserError
from finewright.data.inputs import TextRows
from finewright.data.readers.base import FileFormat, FileTable, Record
from finewright.inference import labelling
from finewright.inference.labelling import LabellingOptions
from finewright.inference.predictor import ScoredPiece
from finewright.tasks.text_classification import TextClassification

LABELS = ("a", "b", "c")
SHARES = {"sure": (0.9, 0.06, 0.04), "unsure": (0.35, 0.45, 0.2), "edge": (0.2, 0.0, 0.8), "rounds": (0.2, 0.00004, 0.79996)}


class FakePredictor:
    """Known probabilities for known texts, in pieces of two."""

    task, labels, limit = TextClassification(LABELS), LABELS, 7

    def score_pieces(self, texts, *, on_progress=None):
        for start in range(0, len(texts), 2):
            some = texts[start : start + 2]
            if on_progress:
                on_progress(start + len(some), len(texts), (start + len(some)) / len(texts))
            with np.errstate(divide="ignore"):
                yield ScoredPiece(start, np.log(np.array([SHARES[text] for text in some])), num_cut=1)


def rows(*texts, columns=("id", "text")):
    records = [Record(f"t.csv:{n}", dict(zip(columns, (str(n), text or ""), strict=True))) for n, text in enumerate(texts, 2)]
    return TextRows(list(texts), FileTable(records, columns, FileFormat(".csv"), header=columns), "t.csv")


def label(*texts, threshold=0.8, columns=("id", "text"), **options):
    how = LabellingOptions(threshold, "because", **options)
    return labelling.label_rows(FakePredictor(), rows(*texts, columns=columns), how)


def column(found, name):
    return [record.values[name] for record in found.table.records]


def test_every_row_has_its_answer_and_an_empty_one_shifts_nothing():
    found = label(None, "sure", "unsure", None, "edge")
    assert found.table.columns == ("id", "text", "label", "confidence", "second_label", "second_confidence", "needs_review")
    assert column(found, "id") == ["2", "3", "4", "5", "6"]
    assert column(found, "label") == [None, "a", "b", None, "c"]
    assert column(found, "confidence") == [None, 0.9, 0.45, None, 0.8]
    assert column(found, "second_label") == [None, "b", "a", None, "a"]
    assert column(found, "second_confidence") == [None, 0.06, 0.35, None, 0.2]
    assert column(found, "needs_review") == [None, False, True, None, False]
    assert (found.counts, found.num_empty, found.num_review, found.num_cut) == ({"a": 1, "b": 1, "c": 1}, 2, 1, 2)


def test_a_confidence_is_compared_as_it_is_written():
    found = label("rounds", threshold=0.8)
    assert (column(found, "confidence"), column(found, "needs_review")) == ([0.8], [False])


def test_rows_that_need_review_may_have_a_label_of_their_own():
    found = label("sure", "unsure", None, otherwise="ask")
    assert column(found, "label") == ["a", "ask", None]
    assert found.counts == {"a": 1, "ask": 1}
    assert found.least_certain[0]["label"] == "b", "what the model says is still shown"


@pytest.mark.parametrize(("word", "message"), [("b", "'b' is a label of the model"), (" B", "' B' looks like the label 'b'")])
def test_rows_that_need_review_get_no_label_of_the_model(word, message):
    with pytest.raises(UserError, match=message) as caught:
        label("sure", otherwise=word)
    assert "\n" not in caught.value.what
    assert "--else unsure" in caught.value.fix


def test_the_most_probable_labels_are_columns_of_their_own():
    found = label("unsure", None, top_k=5)
    assert [column(found, f"label_{place}")[0] for place in (1, 2, 3)] == ["b", "a", "c"]
    assert [column(found, f"confidence_{place}")[0] for place in (1, 2, 3)] == [0.45, 0.35, 0.2]
    assert column(found, "label_3")[1] is None
    assert "label_4" not in found.table.columns
    assert found.notes == ["the model has 3 labels: 5 were wanted"]


def test_a_name_that_is_taken_gets_a_suffix_which_is_said():
    found = label("sure", columns=("label", "text"))
    assert (column(found, "label"), column(found, "label_predicted")) == (["2"], ["a"])
    assert found.notes == ["the file has a column 'label' (the new one is 'label_predicted') already"]


def test_the_least_certain_rows_come_first_and_are_few(monkeypatch):
    monkeypatch.setattr(labelling, "NUM_SHOWN", 2)
    found = label(*["edge", "sure", "unsure"] * 15, threshold=0.95)
    assert [line["text"] for line in found.least_certain] == ["unsure", "edge"], "a text that occurs often is named once"
    assert found.num_review == 45
    found = label("unsure", "edge", threshold=0.9)
    assert found.least_certain[0] == {
        "where": "t.csv:2", "label": "b", "confidence": 0.45, "second_label": "a", "second_confidence": 0.35, "text": "unsure",
    }  # fmt: skip
    assert label("sure").least_certain == []


def test_rows_without_any_text_are_answered_too():
    found = label(None, None)
    assert column(found, "label") == [None, None]
    assert (found.counts, found.num_empty) == ({}, 2)


@pytest.mark.parametrize(
    ("options", "message"), [({"threshold": 1.5}, "found 1.5"), ({"top_k": -1}, "found -1"), ({"otherwise": " "}, "an empty one")]
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        LabellingOptions(**({"threshold": 0.5, "reason": ""} | options))


def test_progress_counts_rows_with_a_text():
    heard = []
    labelling.find_answers(FakePredictor(), ["sure", None, "edge", "sure"], on_progress=lambda *told: heard.append(told))
    assert heard == [(2, 3, 2 / 3), (3, 3, 1.0)]


def test_cut_texts_are_said():
    assert labelling.describe_cut(37, limit=128) == "37 texts are longer than 128 tokens and were cut: each lost its end"
    assert labelling.describe_cut(1, limit=9, keep_end=True).endswith(
        "1 text is longer than 9 tokens and was cut: each lost its start"
    )
    assert labelling.describe_cut(0, limit=9) == ""
