"""Labels that look the same."""

import json
from decimal import Decimal

from finewright.core.config import DataConfig
from finewright.data import labels
from finewright.data.dataset import read_dataset
from finewright.data.splits import Example


def test_spellings_of_one_label_look_the_same():
    alike = ["Fees", "fees ", "FEES", "fe es", "fees\u200b", "f\u00adees"]
    assert {labels.normalise_label(one) for one in alike} == {"fees"}
    assert labels.normalise_label("caf\u00e9") == labels.normalise_label("Cafe\u0301") != labels.normalise_label("cafe")


def test_a_number_is_one_however_it_is_written():
    assert len({labels.normalise_label(one) for one in ("1", "1.0", "01", "+1", "1e0", "\uff11")}) == 1
    longer = ["1" * 40, "1" * 39 + "2", "9007199254740993", "9007199254740992", "9" * 5000, "1.5", "1.05", "-1", "--1", "1-1"]
    assert len({labels.normalise_label(one) for one in longer}) == len(longer)
    assert labels.find_similar_labels({"1": 5, "01": 2, "10": 1}) == {"01": "1"}


def test_the_most_frequent_spelling_in_training_wins():
    assert labels.find_similar_labels({"Fees": 5, "fees": 9, "FEES": 1, "ATM": 3}) == {"Fees": "fees", "FEES": "fees"}
    assert labels.find_similar_labels({"a": 2, "A": 2}) == {"a": "A"}, "of equals the first"
    assert labels.find_similar_labels({"Fees": 5, "fees": 9}, known=["FEES"]) == {"Fees": "FEES", "fees": "FEES"}
    assert labels.find_similar_labels({"fees": 9, "FEES": 1}, known=["FEES", "fees"]) == {}, "a model may have both"


def test_labels_are_merged_on_request_and_that_is_said(tmp_path):
    def write(name, some):
        rows = [{"text": f"text number {n} of {name}", "label": some[n % len(some)]} for n in range(60)]
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        return tmp_path / name

    train, test = write("a.jsonl", ["Fees", "fees", "Fees", "ATM"]), write("b.jsonl", ["FEES", "atm"])
    options = DataConfig(merge_similar_labels=True, validation_fraction=0)
    dataset = read_dataset(train, options=options, test=test)
    assert dataset.labels == ("ATM", "Fees")
    assert {row.label for row in dataset.test} == {"ATM", "Fees"}
    assert "labels merged: 'fees' (15 rows) is now 'Fees'" in dataset.notes
    assert "labels merged: 'atm' (30 rows) is now 'ATM'" in dataset.notes
    plain = read_dataset(train, options=DataConfig(), test=train)
    assert plain.labels == ("ATM", "Fees", "fees")


def test_rows_are_merged_to_the_spelling_of_a_model():
    rows, notes = labels.merge_similar_labels({"test": [Example("x", "fees", "a:1"), Example("y", "ATM", "a:2")]}, known=["Fees"])
    assert [row.label for row in rows["test"]] == ["Fees", "ATM"]
    assert notes == ["labels merged: 'fees' (1 row) is now 'Fees'"]


def test_exact_numbers_of_a_database_are_the_labels_that_a_text_file_has():
    cells = [Decimal(1), Decimal("2.0"), Decimal("1.50"), Decimal("1E+2")]
    assert [labels.read_label(cell) for cell in cells] == [("1", ""), ("2", ""), ("1.5", ""), ("100", "")]
    assert labels.read_label(Decimal("NaN"))[1] == "wanted one label, found Decimal('NaN')"
