"""Baselines for tags of words, and tagged texts in the splits of a comparison."""

import json

import pytest

from finewright.baselines import tagging, word_window
from finewright.comparison import folder, tag_baselines
from finewright.comparison.spec import baselines_for
from finewright.core.config import DataConfig, RunConfig
from finewright.data.dataset import read_dataset
from finewright.data.tagged_tokens import make_tagged_text, split_words

ROWS = [
    ("send the tent", ["O", "O", "B-X"]),
    ("the tent is new", ["O", "B-X", "O", "O"]),
    ("pay 12 euros", ["O", "B-Y", "I-Y"]),
    ("pay 250 euros please", ["O", "B-Y", "I-Y", "O"]),
    ("tent", ["O"]),
]


def rows():
    return [make_tagged_text(text, split_words(text), tags, where="") for text, tags in ROWS]


def test_a_word_gets_its_most_frequent_tag():
    tagger, num_values, chosen = tagging.fit_tagger(tagging.WORD_TAGS, rows())
    new = make_tagged_text("Tent 99 euros", split_words("Tent 99 euros"), ["O"] * 3, where="")
    assert tagger([new]) == [["B-X", "O", "I-Y"]]
    assert num_values == len({word for row in rows() for word in row.tokens})
    assert chosen.endswith("others O")


def test_the_regression_reads_shapes_and_neighbours():
    tagger, num_values, _ = tagging.fit_tagger(tagging.WINDOW, rows() * 5)
    new = make_tagged_text("pay 77 euros", split_words("pay 77 euros"), ["O"] * 3, where="")
    assert tagger([new]) == [["O", "B-Y", "I-Y"]], "a number that it never saw, after pay"
    assert num_values > 100
    first, second = word_window.word_features(["Anna", "3"])
    assert {"word=anna", "shape=Xx4", "1:word=3", "-1:word="} <= first.keys()
    assert "-1:shape=Xx4" in second


def test_both_are_measured_for_rows_with_tags(tmp_path):
    lines = [json.dumps({"tokens": text.split(), "tags": tags}) for text, tags in ROWS for _ in range(4)]
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    data = read_dataset(tmp_path, options=DataConfig(), row_kind="tagged-tokens")
    assert [*baselines_for("tagged-tokens")] == [tagging.WORD_TAGS, tagging.WINDOW]
    for name in baselines_for("tagged-tokens"):
        found = tag_baselines.measure(name, {"all": data}, source=None, settings=RunConfig(), known={}).sizes["all"]
        assert len(found.scores) == len(found.predicted) == len(found.rows) == 20
        assert found.metrics.model_dump()["text_f1"] == pytest.approx(sum(found.scores) / 20)


def test_a_row_in_the_splits_of_a_comparison_is_the_row_again(tmp_path):
    text = "Anna's  tent"
    row = make_tagged_text(text, split_words(text), ["B-X", "O", "O", "B-Y"], where="a.conll:3")
    line = folder._split_line(row).model_dump(by_alias=True, exclude_none=True)
    (tmp_path / "train.jsonl").write_text("\n".join([json.dumps(line)] * 2))
    again = read_dataset(tmp_path, options=DataConfig(test_fraction=0.0), row_kind="tagged-tokens").train[0]
    assert (again.text, again.words, again.tags, again.label) == (row.text, row.words, row.tags, row.label)
