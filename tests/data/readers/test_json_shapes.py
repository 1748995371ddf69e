"""JSON in the shapes that other programs write."""

import json

import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data.dataset import read_dataset, read_rows, read_table

ROWS = [{"text": f"text number {n}", "label": "ab"[n % 2]} for n in range(20)]
PAIRS = [(row["text"], row["label"]) for row in ROWS]
COLUMNS = {"text": [row["text"] for row in ROWS], "label": [row["label"] for row in ROWS]}
LINES = "\n".join(json.dumps(row) for row in ROWS)


def read(tmp_path, name, content):
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    rows, notes = read_rows(tmp_path / name, options=DataConfig())
    return [(row.text, row.label) for row in rows], " | ".join(notes)


@pytest.mark.parametrize("suffix", ["json", "jsonl", "ndjson", "txt"])
@pytest.mark.parametrize(
    "content",
    [
        LINES,
        LINES.replace("}\n", "},\n") + ",",
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps({"data": ROWS}),
        json.dumps({"version": "1", "data": ROWS}),
        json.dumps({"schema": {"fields": []}, "data": ROWS}),
        json.dumps({"rows": ROWS, "total": 20}, indent=1),
        json.dumps(COLUMNS),
        json.dumps({key: dict(enumerate(values)) for key, values in COLUMNS.items()}),
        json.dumps({"columns": ["text", "label"], "index": list(range(20)), "data": PAIRS}),
    ],
    ids=["lines", "commas", "array", "pretty", "data", "version", "table", "rows", "columns", "pandas", "split"],
)
def test_every_shape_gives_the_same_rows_by_every_name(tmp_path, suffix, content):
    assert read(tmp_path, f"a.{suffix}", content)[0] == PAIRS


def test_what_the_name_does_not_say_is_said(tmp_path):
    assert "a.json: read as one object a line" in read(tmp_path, "a.json", LINES)[1]
    assert "a.jsonl: read as one JSON value" in read(tmp_path, "a.jsonl", ROWS)[1]
    assert "a.jsonl: 20 lines end with a comma" in read(tmp_path, "a.jsonl", LINES.replace("}\n", "},\n") + ",")[1]
    assert read(tmp_path, "a.jsonl", LINES)[1] == read(tmp_path, "a.json", ROWS)[1] == ""


def test_lines_keep_their_places_in_a_json_file(tmp_path):
    (tmp_path / "a.json").write_text('{"text": "x", "label": "a"}\n{"text": "y"}\n')
    with pytest.raises(UserError, match=r"a\.json:2: no label"):
        read_rows(tmp_path / "a.json", options=DataConfig())


@pytest.mark.parametrize(
    ("content", "places"),
    [
        ('[{"text": "x"}, {"text": "y"}]', ["a.json: row 1", "a.json: row 2"]),
        ('{"data": [{"text": "x"}, {"text": "y"}]}', ["a.json: row 1", "a.json: row 2"]),
        ('[{"text": "x"}, {"text": "y"},\n{"text": "z"}]', ["a.json: row 1", "a.json: row 2", "a.json: row 3"]),
        ('[\n{"text": "x"},\n{"text": "y"}\n]', ["a.json:2", "a.json:3"]),
        ('[{"text": "x"}]', ["a.json:1"]),
    ],
)
def test_rows_on_one_line_are_told_by_their_numbers(tmp_path, content, places):
    (tmp_path / "a.json").write_text(content)
    assert [record.where for record in read_table(tmp_path / "a.json").records] == places


@pytest.mark.parametrize("rows", [ROWS, COLUMNS, {"data": ROWS}], ids=["rows", "columns", "data"])
def test_splits_in_one_file(tmp_path, rows):
    (tmp_path / "a.json").write_text(json.dumps({"train": rows, "dev": ROWS[:4], "test": ROWS[:6]}))
    dataset = read_dataset(tmp_path / "a.json", options=DataConfig())
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (20, 4, 6)
    assert dataset.test[2].where == "a.json: test row 3"


def test_numbers_are_texts_as_in_csv(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n12,a\n1.5,b\ntrue,a\n7,b\n")
    rows = [{"text": 12, "label": "a"}, {"text": 1.5, "label": "b"}, {"text": True, "label": "a"}, {"text": 7.0, "label": "b"}]
    assert read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))[0] == [
        (row.text, row.label) for row in read_rows(tmp_path / "a.csv", options=DataConfig())[0]
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"text": ["x", "y"], "label": ["a"]}, "columns of one length, found text: 2, label: 1"),
        ({"a": [{"text": "x"}], "b": [{"text": "y"}]}, "columns of one length|wanted an array of objects"),
        ({}, "wanted an array of objects, found dict"),
        ([[1]], "wanted an object, found list"),
    ],
)
def test_other_shapes_are_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, "a.json", content)
