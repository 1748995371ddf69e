"""Rows, columns, labels, splits."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.data import dataset as dataset_module
from finewright.data import readers, source_tables, splits
from support.texts import read_texts

OPTIONS = DataConfig()


def jsonl(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def many(count=40, **extra):
    return [{"text": f"text number {index}", "label": "ab"[index % 2], **extra} for index in range(count)]


@given(st.lists(st.sampled_from("abc"), max_size=80), st.floats(0, 0.5), st.integers(0, 9))
def test_a_split_parts_the_rows_and_keeps_every_label(labels, fraction, seed):
    kept, held = splits.stratified_split(labels, fraction, seed=seed)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert {labels[index] for index in kept} == set(labels)
    assert (kept, held) == splits.stratified_split(labels, fraction, seed=seed)
    for label in set(labels):
        wanted = min(round(labels.count(label) * fraction), labels.count(label) - 1)
        assert sum(labels[index] == label for index in held) == wanted


def test_missing_splits_are_held_out_and_said(tmp_path):
    dataset = dataset_module.read_dataset(jsonl(tmp_path / "a.jsonl", many(240)), options=OPTIONS)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (184, 20, 36)
    assert "no test file: 36 of 240 rows held out, stratified by label, seed 0" in dataset.notes
    assert dataset.labels == ("a", "b")
    again = dataset_module.read_dataset(tmp_path / "a.jsonl", options=OPTIONS)
    assert again.fingerprint == dataset.fingerprint
    other = dataset_module.read_dataset(tmp_path / "a.jsonl", options=DataConfig(split_seed=1))
    assert other.fingerprint != dataset.fingerprint


def test_few_rows_are_all_trained_on(tmp_path, monkeypatch):
    """A tenth of them would show little, and training needs every row; a file or a wanted share still counts."""
    monkeypatch.setattr(splits, "LEAST_VALIDATION_ROWS", 20)
    dataset = dataset_module.read_dataset(jsonl(tmp_path / "a.jsonl", many(200)), options=OPTIONS)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (170, 0, 30)
    what = "no validation file, and a tenth of 170 rows would show little: all of them are trained on"
    assert f"{what}; data.validation_fraction=0.1 keeps some" in dataset.notes
    wanted = dataset_module.read_dataset(tmp_path / "a.jsonl", options=DataConfig(validation_fraction=0.1))
    assert (len(wanted.train), len(wanted.validation)) == (154, 16)
    assert dataset.trains_on_all
    assert not wanted.trains_on_all


@pytest.mark.parametrize(("num_rows", "expected"), [(784, 0), (800, 80)])
def test_validation_has_as_many_rows_as_there_are_labels_or_none(num_rows, expected):
    rows = [splits.Example(f"text {n}", f"label {n % 80}", f"a:{n}") for n in range(num_rows)]
    kept, held, _ = splits.hold_out_validation(rows, None, seed=0)
    assert (len(kept), len(held)) == (num_rows - expected, expected)


def test_of_thousands_of_labels_validation_need_not_have_a_row_of_each():
    rows = [splits.Example(f"text {n}", f"label {n % 1500}", f"a:{n}") for n in range(3000)]
    kept, held, _ = splits.hold_out_validation(rows, None, seed=0)
    assert (len(kept), len(held)) == (2700, 300)


def test_many_small_classes_still_give_validation_rows():
    """A tenth of 3 rows is none, a tenth of 3,000 is 300."""
    rows = [splits.Example(f"text {n}", f"label {n % 1000}", f"a:{n}") for n in range(3000)]
    kept, held, note = splits.hold_out(rows, 0.1, seed=0, name="validation")
    assert (len(kept), len(held)) == (2700, 300)
    assert {row.label for row in kept} == {row.label for row in rows}
    assert len({row.label for row in held}) == 300
    assert "too few rows" in note
    assert (kept, held, note) == splits.hold_out(rows, 0.1, seed=0, name="validation")
    assert held != splits.hold_out(rows, 0.1, seed=1, name="validation")[1]


def test_small_classes_beside_large_ones_change_nothing():
    labels = ["a"] * 100 + ["b"] * 60 + [f"rare {n % 5}" for n in range(10)]
    rows = [splits.Example(f"text {n}", label, f"a:{n}") for n, label in enumerate(labels)]
    _, held, note = splits.hold_out(rows, 0.1, seed=0, name="validation")
    assert held == [rows[index] for index in splits.stratified_split(labels, 0.1, seed=0)[1]]
    assert "too few" not in note
    alone = [splits.Example(f"text {n}", f"label {n}", f"a:{n}") for n in range(50)]
    assert splits.hold_out(alone, 0.1, seed=0, name="validation")[1] == [], "every label keeps a row"


def test_one_text_is_never_torn_over_our_own_splits(tmp_path):
    rows = [{"text": f"Same  TEXT {index % 20}" if index % 2 else f"same text {index % 20}", "label": "a"} for index in range(60)]
    dataset = dataset_module.read_dataset(jsonl(tmp_path / "a.jsonl", rows + many(40)), options=DataConfig(test_fraction=0.4))
    parts = [{splits.normalise_text(row.text) for row in part} for part in (dataset.train, dataset.validation, dataset.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert any("went back to it" in note for note in dataset.notes)


def test_a_folder_brings_its_own_splits(tmp_path):
    jsonl(tmp_path / "train.jsonl", many(20))
    jsonl(tmp_path / "dev.jsonl", many(6))
    (tmp_path / "test.csv").write_text("text,label\nx,a\ny,b\n")
    dataset = dataset_module.read_dataset(tmp_path, options=OPTIONS)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (20, 6, 2)
    (tmp_path / "train.csv").write_text("text,label\n")
    with pytest.raises(UserError, match=r"several files for the train split: train\.csv, train\.jsonl"):
        dataset_module.read_dataset(tmp_path, options=OPTIONS)


def test_a_test_file_can_be_named(tmp_path):
    train, test = jsonl(tmp_path / "a.jsonl", many(20)), jsonl(tmp_path / "b.jsonl", many(4))
    assert len(dataset_module.read_dataset(train, options=OPTIONS, test=test).test) == 4


def test_a_folder_without_training_rows(tmp_path):
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(UserError, match=r"no train file; the folder has notes\.md"):
        dataset_module.read_dataset(tmp_path, options=OPTIONS)


def test_guessed_columns_are_said_aloud(tmp_path):
    rows = [{"Sentence": f"t{index}", "category": "ab"[index % 2]} for index in range(20)]
    dataset = dataset_module.read_dataset(jsonl(tmp_path / "a.jsonl", rows), options=OPTIONS)
    assert "text column: 'Sentence' (guessed; --text-column changes it)" in dataset.notes
    assert "label column: 'category' (guessed; --label-column changes it)" in dataset.notes


def test_columns_can_be_named_and_are_looked_for(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"body_text": f"t{index}", "y": "ab"[index % 2]} for index in range(20)])
    dataset = dataset_module.read_dataset(path, options=DataConfig(text_column="body_text", label_column="y"))
    assert dataset.labels == ("a", "b")
    with pytest.raises(UserError, match=r"no text column; the columns are body_text, y\n.*--text-column NAME"):
        dataset_module.read_dataset(path, options=OPTIONS)
    with pytest.raises(UserError, match=r"no column 'bodytext', no label column; .*\n.*did you mean 'body_text'"):
        dataset_module.read_dataset(path, options=DataConfig(text_column="bodytext"))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1, 0], ("0", "1")),
        ([10, 9], ("9", "10")),
        ([True, False], ("False", "True")),
        (["TRUE", "FALSE"], ("FALSE", "TRUE")),
        ([1.0, 2.0], ("1", "2")),
        ([0.5, 2.0], ("0.5", "2")),
        ([1.0, 2], ("1", "2")),
        ([1.0, "x"], ("1", "x")),
        ([1e30, 2.0], ("1e+30", "2")),
        (["01", "1"], ("01", "1")),
        (["NA", "None"], ("NA", "None")),
        (["null", "nan"], ("nan", "null")),
        ([-1, 2**63], ("-1", str(2**63))),
    ],
)
def test_labels_keep_their_names(tmp_path, values, labels):
    rows = [{"text": f"t{index}", "label": values[index % 2]} for index in range(20)]
    assert dataset_module.read_dataset(jsonl(tmp_path / "a.jsonl", rows), options=OPTIONS).labels == labels


BAD = [
    {"text": "", "label": "a"},
    {"text": "  \n", "label": "a"},
    {"text": None, "label": "a"},
    {"text": [7], "label": "a"},
    {"text": "x", "label": ""},
    {"text": "x", "label": None},
    {"text": "x", "label": ["a"]},
    {"text": "\ud800", "label": "a"},
    {"text": "x"},
    {"text": "x", "label": "\udfff"},
    {"text": "x\0", "label": "a"},
    {"text": " ", "label": ""},
]


def test_every_bad_row_is_named(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [*many(4), *BAD])
    with pytest.raises(UserError) as caught:
        dataset_module.read_dataset(path, options=OPTIONS)
    faults = [
        "text is empty",
        "text is empty",
        "no text",
        "wanted text, found list",
        "no label",
        "no label",
        "wanted one label, found ['a']",
        "surrogate",
    ]
    faults += ["no label", "the label was cut inside a character", "a NUL character in the text", "the text is empty, no label"]
    for line, fault in enumerate(faults, start=5):
        assert any(f"a.jsonl:{line}: " in said and fault in said for said in str(caught.value).splitlines()), (line, fault)
    assert "data.skip_invalid_rows" in str(caught.value)


def test_bad_rows_can_be_dropped_and_that_is_said(tmp_path):
    dataset = dataset_module.read_dataset(
        jsonl(tmp_path / "a.jsonl", [*many(20), *BAD]), options=DataConfig(skip_invalid_rows=True)
    )
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 20
    assert sum(note.count("a.jsonl:") for note in dataset.notes) == 5
    assert any(note.startswith("12 rows dropped: a.jsonl:21: the text is empty") for note in dataset.notes)


def test_unseen_labels_can_be_left_out(tmp_path):
    train, test = jsonl(tmp_path / "a.jsonl", many(20)), jsonl(tmp_path / "b.jsonl", [*many(4), {"text": "x", "label": "z"}])
    dataset = dataset_module.read_dataset(train, options=DataConfig(drop_unseen_labels=True), test=test)
    assert len(dataset.test) == 4
    assert "1 test row left out: labels unseen in training (z)" in dataset.notes


@pytest.mark.parametrize(
    ("values", "kind"),
    [([3, -1], "integer"), (["10", "9"], "integer"), (["01", "1"], "text"), ([True, False], "boolean"), (["a", "1"], "text")],
)
def test_the_kind_of_the_labels(tmp_path, values, kind):
    rows = [{"text": f"t{index}", "label": values[index % 2]} for index in range(20)]
    assert dataset_module.read_dataset(jsonl(tmp_path / "a.jsonl", rows), options=OPTIONS).label_kind == kind


def test_spaces_around_a_label_are_taken_off_and_that_is_said(tmp_path):
    rows = [{"text": f"t{index}", "label": ("pos", " pos", "neg")[index % 3]} for index in range(30)]
    dataset = dataset_module.read_dataset(jsonl(tmp_path / "a.jsonl", rows), options=OPTIONS)
    assert dataset.labels == ("neg", "pos")
    assert "a.jsonl: 10 labels had spaces around, which were removed" in dataset.notes


def test_a_label_that_json_makes_infinite_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": 1e400}\n')
    with pytest.raises(UserError, match=r"a\.jsonl:1: wanted one label, found inf"):
        dataset_module.read_dataset(tmp_path / "a.jsonl", options=OPTIONS)


def test_missing_numbers_of_parquet_are_missing_labels(tmp_path):
    table = pyarrow.table({"text": [f"t{index}" for index in range(4)], "label": [1.0, 2.0, float("nan"), None]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: row 3: no label\na\.parquet: row 4: no label"):
        dataset_module.read_rows(tmp_path / "a.parquet", options=OPTIONS)
    rows, notes = dataset_module.read_rows(tmp_path / "a.parquet", options=DataConfig(skip_invalid_rows=True))
    assert [row.label for row in rows] == ["1", "2"]
    assert notes == ["2 rows dropped: a.parquet: row 3: no label; a.parquet: row 4: no label"]


def test_an_exact_name_wins_over_a_guess(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"Text": "no", "sentence": "no", **row} for row in many(20)])
    dataset = dataset_module.read_dataset(path, options=OPTIONS)
    assert dataset.train[0].text.startswith("text number")
    assert not any("guessed" in note for note in dataset.notes)


def test_a_column_that_the_first_row_lacks_is_found(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"text": "x"}, *many(4)])
    with pytest.raises(UserError, match=r"^a\.jsonl:1: no label\n"):
        dataset_module.read_dataset(path, options=OPTIONS)


def test_one_column_cannot_be_both(tmp_path):
    with pytest.raises(UserError, match=r"a\.jsonl: the column 'label' cannot be both text and label"):
        dataset_module.read_dataset(jsonl(tmp_path / "a.jsonl", many(4)), options=DataConfig(text_column="label"))


def test_many_columns_are_not_all_listed(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{f"c{index}": 1 for index in range(1000)}])
    with pytest.raises(UserError, match=r"c18, c19 and 980 more"):
        dataset_module.read_dataset(path, options=OPTIONS)


def test_the_fingerprint_sees_every_text_label_and_the_order(tmp_path):
    def fingerprint(rows):
        return dataset_module.read_dataset(
            jsonl(tmp_path / "a.jsonl", rows), options=DataConfig(test_fraction=0, validation_fraction=0)
        ).fingerprint

    rows = many(20)
    changed = [*rows[:-1], {**rows[-1], "text": "text number 19."}]
    relabelled = [{**rows[0], "label": "b"}, *rows[1:]]
    assert len({fingerprint(variant) for variant in (rows, changed, relabelled, rows[::-1], rows[:-1])}) == 5
    assert len(fingerprint(rows)) == 64


def test_a_validation_file_without_a_test_file(tmp_path):
    jsonl(tmp_path / "train.jsonl", many(100))
    jsonl(tmp_path / "valid.jsonl", many(6))
    dataset = dataset_module.read_dataset(tmp_path, options=OPTIONS)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (84, 6, 16)
    assert dataset.notes == ["no test file: 16 of 100 rows held out, stratified by label, seed 0"]


def test_a_named_test_file_takes_the_place_of_the_one_in_the_folder(tmp_path):
    jsonl(tmp_path / "train.jsonl", many(20))
    jsonl(tmp_path / "test.jsonl", many(6))
    dataset = dataset_module.read_dataset(tmp_path, options=OPTIONS, test=jsonl(tmp_path / "other.jsonl", many(4)))
    assert len(dataset.test) == 4
    assert f"the data's own test rows (6) are replaced by {tmp_path / 'other.jsonl'}" in dataset.notes


def test_a_link_that_leads_nowhere_and_a_name_no_file_can_have(tmp_path):
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(UserError, match="a link that leads nowhere"):
        dataset_module.read_dataset(tmp_path / "loop.csv", options=OPTIONS)
    for name in ("x" * 300 + ".csv", "a\0b.csv", "no/such/folder/a.csv"):
        with pytest.raises(UserError, match="no such file") as caught:
            dataset_module.read_dataset(name, options=OPTIONS)
        assert caught.value.code == ExitCode.BAD_DATA


def test_labels_of_a_model_are_required():
    rows = [splits.Example("x", "a", "a.csv:2"), splits.Example("y", "z", "a.csv:3")]
    dataset_module.check_known_labels(rows[:1], ("a", "b"))
    with pytest.raises(
        UserError, match=r"a\.csv:3: the model does not know the label 'z'\n.*its labels are a, b; --set data.drop"
    ):
        dataset_module.check_known_labels(rows, ("a", "b"))
    many = [*rows, *(splits.Example("x", f"l{n % 30 // 2 * 2 % 24}", f"a.csv:{n + 4}") for n in range(90))]
    with pytest.raises(UserError) as caught:
        dataset_module.check_known_labels(many, ("a", "b"))
    assert "\n" not in caught.value.what
    assert caught.value.what.startswith(
        "91 of 92 rows, from here on, have labels that the model does not know: 'l0' (12), 'l2' (12)"
    )
    assert (caught.value.where, caught.value.what[-12:]) == ("a.csv:3", ") and 3 more")


def test_a_path_that_is_not_there_offers_the_nearest(tmp_path):
    jsonl(tmp_path / "tickets.jsonl", many(4))
    with pytest.raises(UserError, match=r"no such file\n.*did you mean .*tickets\.jsonl\?"):
        dataset_module.read_dataset(tmp_path / "tikcets.jsonl", options=OPTIONS)


@pytest.fixture
def reachable(monkeypatch):
    monkeypatch.setattr(source_tables, "check_reachable", lambda identity, *, cache, fix: None)


def hub_library(load):
    return SimpleNamespace(load_dataset=load, config=SimpleNamespace(HF_DATASETS_CACHE="none"))


class Split(list):
    features = {"text": object(), "label": SimpleNamespace(int2str=lambda number: ["neg", "pos"][number])}


def test_a_hub_id_goes_through_datasets(monkeypatch, reachable):
    def load(identity):
        assert identity == "owner/films"
        return {"train": Split({"text": f"t{i}", "label": i % 2} for i in range(20)), "test": Split([{"text": "x", "label": 1}])}

    monkeypatch.setitem(sys.modules, "datasets", hub_library(load))
    dataset = dataset_module.read_dataset("owner/films", options=OPTIONS)
    assert dataset.labels == ("neg", "pos")
    assert dataset.test == [splits.Example("x", "pos", "owner/films/test: row 1")]


def test_a_hub_split_without_labels(monkeypatch, reachable):
    train = Split({"text": f"t{index}", "label": index % 2} for index in range(20))
    loaded = {"train": train, "test": Split([{"text": "x", "label": -1}])}
    monkeypatch.setitem(sys.modules, "datasets", hub_library(lambda identity: loaded))
    with pytest.raises(UserError, match="films/test: row 1: no label"):
        dataset_module.read_dataset("films", options=OPTIONS)
    dataset = dataset_module.read_dataset("films", options=DataConfig(skip_invalid_rows=True))
    assert len(dataset.test) == 4
    assert any(note.startswith("no test file: 4 of 20 rows") for note in dataset.notes)


def test_a_hub_data_set_without_training_rows(monkeypatch, reachable):
    loaded = {"test": Split([{"text": "x", "label": 1}]), "extra": Split()}
    monkeypatch.setitem(sys.modules, "datasets", hub_library(lambda identity: loaded))
    with pytest.raises(UserError, match="films: no train split, found test, extra"):
        dataset_module.read_dataset("films", options=OPTIONS)


def test_a_typo_of_a_folder_is_offered_when_the_hub_has_no_such_name(tmp_path, monkeypatch, reachable):
    def load(identity):
        raise FileNotFoundError(identity)

    monkeypatch.setitem(sys.modules, "datasets", hub_library(load))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tickets").mkdir()
    with pytest.raises(UserError, match=r"did you mean tickets\?"):
        dataset_module.read_dataset("tikcets", options=OPTIONS)


def test_a_hub_that_cannot_be_reached_is_one_message(monkeypatch, reachable):
    def load(identity):
        raise ConnectionError("no route\nmany\nlines")

    monkeypatch.setitem(sys.modules, "datasets", hub_library(load))
    with pytest.raises(UserError, match=r"owner/films: cannot load the data set: no route\n.*local file or folder"):
        dataset_module.read_dataset("owner/films", options=OPTIONS)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'finewright\[hub\]'"):
        dataset_module.read_dataset("owner/films", options=OPTIONS)


def test_texts_without_labels(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b.csv").write_text("id,text\n1,x\n2,y\n")
    assert read_texts(tmp_path / "a.txt", options=OPTIONS) == ["one", "two"]
    assert read_texts(tmp_path / "b.csv", options=OPTIONS) == ["x", "y"]
    assert read_texts(tmp_path / "b.csv", options=DataConfig(text_column="id")) == ["1", "2"]


def test_a_text_line_ends_where_a_line_ends(tmp_path):
    (tmp_path / "a").write_bytes("one\u2028still one\r\ntwo\x85still two\nthree\fstill three".encode())
    texts = read_texts(tmp_path / "a", options=OPTIONS)
    assert texts == ["one\u2028still one", "two\x85still two", "three\fstill three"]


def test_a_row_without_a_text_keeps_its_place(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"text": "x"}, {"label": "a"}, {"text": ""}])
    assert dataset_module.find_texts(dataset_module.read_table(path))[0] == ["x", None, None]


def test_texts_come_from_a_file(tmp_path):
    with pytest.raises(UserError, match="not a regular file"):
        read_texts(tmp_path, options=OPTIONS)


def test_rows_of_a_label_share_its_name_and_rows_of_a_file_their_columns(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"text": f"text {index}", "label": "some label"} for index in range(3)])
    rows, _ = dataset_module.read_rows(path, options=OPTIONS)
    assert rows[0].label is rows[1].label is rows[2].label
    first, second, _ = (list(record.values) for record in readers.read_records(path)[0])
    assert all(one is other for one, other in zip(first, second, strict=True))


def test_columns_that_nobody_wants_are_not_read_from_parquet(tmp_path):
    ends = pyarrow.py_buffer((0).to_bytes(4, "little") + (1).to_bytes(4, "little"))
    broken = pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, ends, pyarrow.py_buffer(b"\xff")])
    table = pyarrow.table({"label": ["a"], "other": broken, " text": ["x"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    rows, _ = dataset_module.read_rows(tmp_path / "a.parquet", options=OPTIONS)
    assert [(row.text, row.label) for row in rows] == [("x", "a")]
    with pytest.raises(UserError, match="not readable as Parquet"):
        dataset_module.read_rows(tmp_path / "a.parquet", options=DataConfig(text_column="sentence"))


def test_a_hub_that_does_not_answer_is_looked_for_once(tmp_path):
    """In a process of its own: the client reads its settings when it is imported."""
    code = (
        "from finewright.core.config import DataConfig\n"
        "from finewright.core.errors import UserError\n"
        "from finewright.data.dataset import read_dataset\n"
        "try:\n    read_dataset('owner/films', options=DataConfig())\n"
        "except UserError as error:\n    print(error)\n"
    )
    pytest.importorskip("datasets")
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "owner/films: the hub cannot be reached (http://127.0.0.1:9), and the data set is not in the cache" in done.stdout
    assert "Retry" not in done.stderr


def test_held_out_rows_have_the_label_in_the_column_that_was_guessed_for_training(tmp_path):
    rows = [f"message number {row},{'ab'[row % 2]},{row / 7:.2f}" for row in range(40)]
    (tmp_path / "train.csv").write_text("\n".join(["message,kind,x", *rows]))
    (tmp_path / "test.csv").write_text(
        "message,kind,x\nfirst of all messages,a,u\nsecond of all messages,b,v\nthird of all,a,u\n"
    )
    for source, test in ((tmp_path, None), (tmp_path / "train.csv", tmp_path / "test.csv")):
        found = dataset_module.read_dataset(source, options=DataConfig(), test=test)
        assert [row.label for row in found.test] == ["a", "b", "a"]
