"""Splits in folders, as people and programs lay them out."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data.dataset import read_dataset
from finewright.data.readers.base import FileFormat, FileTable, Record
from finewright.data.readers.columnar import class_names
from finewright.data.writers import write_table

OPTIONS = DataConfig()


def rows(count, first=0):
    return [{"text": f"text number {n}", "label": "ab"[n % 2]} for n in range(first, first + count)]


def write(path, some):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(b"text,label\n" + b"".join(f"{r['text']},{r['label']}\n".encode() for r in some)))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(some), path)
    else:
        path.write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in some))


def sizes(folder, **options):
    dataset = read_dataset(folder, options=DataConfig(**options))
    return len(dataset.train), len(dataset.validation), len(dataset.test)


@pytest.mark.parametrize("place", ["", "data", "plain_text", "default"])
def test_shards_as_on_the_hub(tmp_path, place):
    (tmp_path / "README.md").write_text("x")
    folder = tmp_path / place
    write(folder / "train-00000-of-00002.parquet", rows(10))
    write(folder / "train-00001-of-00002.parquet", rows(10, 10))
    write(folder / "test-00000-of-00001-a09b74b3ef9c3b56.parquet", rows(4))
    write(folder / "validation-00000-of-00001.parquet", rows(6))
    assert sizes(tmp_path) == (20, 6, 4)
    dataset = read_dataset(tmp_path, options=OPTIONS)
    assert [row.text for row in dataset.train] == [row["text"] for row in rows(20)]
    assert dataset.train[12].where == "train-00001-of-00002.parquet: row 3"
    (folder / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match="part 1 of 00002 of the train split is missing"):
        read_dataset(tmp_path, options=OPTIONS)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("tickets_train.csv", "tickets_test.csv"),
        ("train_tickets.csv", "test_tickets.csv"),
        ("Tickets-Train.csv", "Tickets-Test.csv"),
        ("sms.training.csv", "sms.testing.csv"),
        ("train/0000.parquet", "test/0000.parquet"),
        ("training.csv", "testing.csv"),
    ],
)
def test_names_of_splits(tmp_path, train, test):
    write(tmp_path / train, rows(20))
    write(tmp_path / test, rows(4))
    assert sizes(tmp_path, validation_fraction=0.0) == (20, 0, 4)


def test_numbered_parts_are_one_table_in_order(tmp_path):
    for part in (10, 9, 1):
        write(tmp_path / f"train_{part}.csv", rows(10, 10 * part))
    dataset = read_dataset(tmp_path, options=DataConfig(validation_fraction=0, test_fraction=0))
    assert [row.text for row in dataset.train[::10]] == ["text number 10", "text number 90", "text number 100"]


def test_two_tables_for_one_split_are_refused(tmp_path):
    write(tmp_path / "a_train.csv", rows(4))
    write(tmp_path / "b_train.csv", rows(4))
    with pytest.raises(UserError, match=r"several files for the train split: a_train\.csv, b_train\.csv"):
        read_dataset(tmp_path, options=OPTIONS)


def test_several_data_sets_in_a_folder_are_named(tmp_path):
    for name in ("en", "fr"):
        write(tmp_path / name / "train-00000-of-00001.parquet", rows(20))
    with pytest.raises(UserError, match=r"several data sets in this folder: en, fr\n.*such as .*en"):
        read_dataset(tmp_path, options=OPTIONS)


def test_the_one_table_of_a_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    write(tmp_path / "data.csv", rows(20))
    assert sum(sizes(tmp_path)) == 20
    assert any("the one table in it is data.csv" in note for note in read_dataset(tmp_path, options=OPTIONS).notes)


@pytest.mark.parametrize(
    ("files", "output"),
    [
        (("train.csv", "test.csv"), "test.labelled.csv"),
        (("train.csv", "test.csv"), "train.labelled.xlsx"),
        (("train.csv", "test.csv"), "test.errors.csv"),
        (("train.csv", "test.csv.gz"), "test.labelled.csv.gz"),
        (("my_train.csv", "my_test.csv"), "my_test.labelled.jsonl"),
        (("train/0.csv", "test/0.csv"), "test/0.labelled.csv"),
        (("data.csv",), "data.labelled.csv"),
        (("data.csv",), "errors.csv"),
        (("data.v2.csv",), "data.v2.labelled.csv"),
        (("train.csv", "notes.txt"), "notes.labelled.tsv"),
    ],
)
def test_what_predict_and_evaluate_wrote_there_is_no_data(tmp_path, files, output):
    for name in files:
        write(tmp_path / name, rows(20))
    before = sizes(tmp_path)
    command = "predict" if "labelled" in output else "evaluate"
    (write if command == "predict" else write_evaluated)(tmp_path / output, rows(6))
    assert sizes(tmp_path) == before
    note = f"{output.rpartition('/')[2]} left out: looks like an output of {command}"
    assert any(note in one for one in read_dataset(tmp_path, options=OPTIONS).notes)


def write_evaluated(path, some, *, taken=()):
    """Write rows as `evaluate -o` does; the file that was read had columns `taken`."""
    values = {"predicted": "a", "confidence": 0.5, "right": True}
    records = [Record(f"row {number}", row | dict.fromkeys(taken, "x")) for number, row in enumerate(some)]
    names = ("text", "label", *taken)
    table = FileTable(records, names, FileFormat(".csv"), header=names)
    write_table(path, table.with_columns({name: [value] * len(some) for name, value in values.items()}))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx", ".csv.gz"])
def test_an_output_of_evaluate_is_known_by_its_columns_in_every_format_it_has(tmp_path, suffix):
    write(tmp_path / "data.csv", rows(20))
    write_evaluated(tmp_path / f"errors{suffix}", rows(6), taken=("right",))
    assert sum(sizes(tmp_path)) == 20


def test_a_table_is_not_left_out_because_of_its_name(tmp_path):
    for name in ("errors.csv", "warnings.csv"):
        write(tmp_path / name, rows(20))
    with pytest.raises(UserError, match=r"no train file; the folder has errors\.csv, warnings\.csv"):
        read_dataset(tmp_path, options=OPTIONS)
    for name in ("errors.csv", "warnings.csv"):
        (tmp_path / name).unlink()
    write(tmp_path / "train-errors.csv", rows(20))
    write(tmp_path / "test.csv", rows(4))
    assert sizes(tmp_path, validation_fraction=0.0) == (20, 0, 4)


def test_an_output_of_predict_is_known_beside_nothing_by_its_columns(tmp_path):
    write(tmp_path / "data.csv", rows(20))
    write(tmp_path / "new.labelled.csv", rows(6))
    with pytest.raises(UserError, match=r"no train file; the folder has data\.csv, new\.labelled\.csv"):
        read_dataset(tmp_path, options=OPTIONS)
    (tmp_path / "new.labelled.csv").write_text(
        "text,label,label_predicted,confidence,second_label,second_confidence,needs_review\nx,a,a,0.9,b,0.1,false\n"
    )
    assert sum(sizes(tmp_path)) == 20


def test_a_name_alone_makes_no_output(tmp_path):
    write(tmp_path / "train.labelled.csv", rows(20))
    assert sum(sizes(tmp_path)) == 20, "it lies beside nothing that it was made of"
    (tmp_path / "train.labelled.csv").unlink()
    write_evaluated(tmp_path / "errors.csv", rows(20))
    assert sum(sizes(tmp_path)) == 20, "the only table is the data"


def test_loose_tables_beside_a_folder_with_splits_are_ambiguous(tmp_path):
    for name in ("train.csv", "test.csv"):
        write(tmp_path / "sms" / name, rows(20))
    for number in range(12):
        write(tmp_path / f"export{'abcdefghijkl'[number]}.csv", rows(6))
    with pytest.raises(UserError, match=r"12 tables are here \(exporta\.csv, .*…\), and sms below has .*\n.*give the one .*sms"):
        read_dataset(tmp_path, options=OPTIONS)
    (tmp_path / "sms").rename(tmp_path / "data")
    note = f"{tmp_path}: train is data/train.csv; test is data/test.csv; 12 other tables belong to no split (exporta.csv"
    assert any(one.startswith(note) for one in read_dataset(tmp_path, options=OPTIONS).notes), "the usual place"


def test_files_that_are_not_read_are_named(tmp_path):
    for name in ("train.csv", "test.csv"):
        write(tmp_path / name, rows(20))
    assert not any("train is" in note for note in read_dataset(tmp_path, options=OPTIONS).notes)
    write(tmp_path / "old.csv", rows(20))
    note = f"{tmp_path}: train is train.csv; test is test.csv; 1 other table belongs to no split (old.csv)"
    assert note in read_dataset(tmp_path, options=OPTIONS).notes


def test_a_folder_for_each_class(tmp_path):
    for row in rows(20):
        place = tmp_path / row["label"]
        place.mkdir(exist_ok=True)
        (place / f"{row['text']}.txt").write_text(f"{row['text']}\nsecond line\n")
    dataset = read_dataset(tmp_path, options=DataConfig(validation_fraction=0, test_fraction=0))
    assert dataset.labels == ("a", "b")
    assert dataset.train[0].text == "text number 0\nsecond line"
    assert dataset.train[0].where == "a/text number 0.txt"
    assert any("its label the name of its folder: a, b" in note for note in dataset.notes)


def test_folders_of_classes_in_folders_of_splits(tmp_path):
    for split, count in (("train", 20), ("test", 6)):
        for row in rows(count):
            place = tmp_path / split / row["label"]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{row['text']}.txt").write_bytes(f"{row['text']} caf".encode() + b"\xe9\n")
    assert sizes(tmp_path, validation_fraction=0) == (20, 0, 6)


def test_what_save_to_disk_writes(tmp_path):
    datasets = pytest.importorskip("datasets")
    names = ["zeta", "alpha"]
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    columns = {"text": [row["text"] for row in rows(20)], "label": [n % 2 for n in range(20)]}
    one = datasets.Dataset.from_dict(columns, features=features)
    one.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict({"train": one, "test": one.select(range(4))}).save_to_disk(tmp_path / "both")
    one.to_parquet(tmp_path / "x.parquet")
    assert sum(sizes(tmp_path / "one")) == 20
    assert sizes(tmp_path / "both", validation_fraction=0) == (20, 0, 4)
    for place in ("one", "both", "x.parquet"):
        dataset = read_dataset(tmp_path / place, options=OPTIONS)
        assert dataset.labels == ("alpha", "zeta")
        assert {row.label for row in dataset.train if int(row.text.split()[-1]) % 2 == 0} == {"zeta"}
        assert any("has the class names that the file gives: zeta, alpha" in note for note in dataset.notes)


def test_a_damaged_saved_data_set_is_one_message(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(UserError, match=r"state\.json: cannot be read"):
        read_dataset(tmp_path, options=OPTIONS)
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../../secret.arrow"}]}))
    with pytest.raises(UserError, match="no Arrow files are named here"):
        read_dataset(tmp_path, options=OPTIONS)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["extra"]}')
    with pytest.raises(UserError, match="no train split, found extra"):
        read_dataset(tmp_path, options=OPTIONS)


@pytest.mark.parametrize(
    "metadata", [{}, {b"huggingface": b"{"}, {b"huggingface": b"[]"}, {b"huggingface": b'{"info": {"features": {"x": 1}}}'}]
)
def test_metadata_without_class_names(metadata):
    assert class_names(metadata) == {}
