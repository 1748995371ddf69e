"""What two or more text columns are: one text, one with the names of the columns, or a pair."""

import json

import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data import dataset
from finewright.data.columns import Columns
from finewright.data.inputs import read_text_rows
from finewright.data.row_kinds import detect_row_kind
from finewright.data.text_pairs import TextPair

NUM_ROWS = 30


def table(path, first="premise", second="hypothesis", **more):
    columns = {
        first: [f"the first text of row {n}" for n in range(NUM_ROWS)],
        second: [f"and the second {n}" for n in range(NUM_ROWS)],
    }
    columns |= {"label": [("yes", "no")[n % 2] for n in range(NUM_ROWS)]} | more
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    file = path / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def read(file, **options):
    return dataset.read_dataset(file, options=DataConfig(**options))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("premise", "hypothesis"),
        ("sentence1", "sentence2"),
        ("Question", "Passage"),
        ("question", "sentence"),
        ("question1", "question2"),
        ("question", "answer"),
        ("text_a", "text_b"),
        ("text", "text_pair"),
    ],
)
def test_columns_with_the_names_of_a_pair_are_one(tmp_path, first, second):
    file = table(tmp_path, first, second)
    found = read(file)
    assert found.columns == Columns((first, second), "label", form="pair")
    assert f"pairs of texts: {first!r} and {second!r}, one label each (guessed; --text-column changes it)" in found.notes
    row = next(row for row in found.train if row.where.endswith(":1"))
    assert row.pair == ("the first text of row 0", "and the second 0")
    assert row.text == "the first text of row 0\nand the second 0"
    assert detect_row_kind(file, options=DataConfig())[0] == "labelled"


def test_a_parquet_file_with_text_and_text_pair_is_read_as_pairs(tmp_path):
    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    columns = {"text": [f"one {n}" for n in range(NUM_ROWS)], "label": ["yes", "no"] * 15}
    columns |= {"text_pair": [f"two {n}" for n in range(NUM_ROWS)]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").columns.form == "pair"


def test_a_label_that_is_named_by_number_is_no_text_of_a_pair(tmp_path):
    file = table(tmp_path, hypothesis=["few", "values"] * 15)
    found = read(file, text_column="premise", label_column="2")
    assert found.columns == Columns(("premise",), "hypothesis")


def test_questions_with_answers_and_something_about_each_stay_conversations(tmp_path):
    file = table(tmp_path, "question", "answer", label=[f"label of its own {n}" for n in range(NUM_ROWS)])
    assert detect_row_kind(file, options=DataConfig())[0] == "conversation"


def test_the_order_is_that_of_the_names_not_of_the_file(tmp_path):
    file = table(tmp_path, "hypothesis", "premise")
    assert read(file).columns.texts == ("premise", "hypothesis")


def test_a_text_column_is_taken_alone(tmp_path):
    found = read(table(tmp_path, text=[f"a text of its own, number {n}" for n in range(NUM_ROWS)]))
    assert found.columns == Columns(("text",), "label")


def test_an_answer_with_few_values_is_the_label(tmp_path):
    file = tmp_path / "a.csv"
    lines = [f"is this the row with the number {n},{('yes', 'no')[n % 2]}" for n in range(NUM_ROWS)]
    file.write_text("question,answer\n" + "\n".join(lines) + "\n")
    assert read(file).columns == Columns(("question",), "answer")


@pytest.mark.parametrize(
    ("names", "wanted", "form", "said"),
    [
        (("premise", "hypothesis"), "auto", "pair", "--text-columns-as joined makes one text of them"),
        (("premise", "hypothesis"), "joined", "joined", "joined by '\\n'"),
        (("subject", "body"), "auto", "joined", "--text-columns-as pair makes pairs"),
        (("subject", "body"), "pair", "pair", "pairs of texts: 'subject' and 'body', one label each"),
        (("subject", "body"), "named", "named", "each behind the name of its column"),
    ],
)
def test_what_named_columns_are_is_said(tmp_path, names, wanted, form, said):
    found = read(table(tmp_path, *names), text_column=names, text_columns_as=wanted)
    assert found.columns.form == form
    assert any(said in note for note in found.notes)
    row = next(row for row in found.train if row.where.endswith(":1"))
    assert (row.pair is None) == (form != "pair")
    if form == "named":
        assert row.text == "subject: the first text of row 0\nbody: and the second 0"


def test_joined_takes_both_columns_of_a_usual_pair(tmp_path):
    found = read(table(tmp_path), text_columns_as="joined")
    assert found.columns == Columns(("premise", "hypothesis"), "label")
    assert found.train[0].pair is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"text_column": "premise", "text_columns_as": "pair"}, "a pair of texts is two columns, found 1 (premise)"),
        ({"text_column": ("premise", "hypothesis", "more"), "text_columns_as": "pair"}, "is two columns, found 3"),
        ({"text_column": "premise", "text_columns_as": "named"}, "is about several text columns, found 'premise'"),
    ],
)
def test_what_no_pair_can_be_made_of_is_refused(tmp_path, options, said):
    with pytest.raises(UserError) as caught:
        read(table(tmp_path, more=[f"a third text {n}" for n in range(NUM_ROWS)]), **options)
    assert said in str(caught.value)


def test_a_pair_without_one_text_names_the_row(tmp_path):
    file = table(tmp_path, hypothesis=["", *[f"second {n}" for n in range(1, NUM_ROWS)]])
    with pytest.raises(UserError, match=r"data.jsonl:1: the text in 'hypothesis' is empty"):
        read(file)
    assert any("1 row dropped" in note for note in read(file, skip_invalid_rows=True).notes)


def test_splits_of_pairs_and_of_single_texts_are_refused(tmp_path):
    rows = [{"premise": f"a {n}", "hypothesis": f"b {n}", "label": "xy"[n % 2]} for n in range(20)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    single = [{"text": f"a {n}", "label": "xy"[n % 2]} for n in range(20)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in single))
    with pytest.raises(UserError, match="the rows of train are pairs of texts, those of test single texts"):
        read(tmp_path)


def test_labels_that_are_whole_numbers_keep_their_pairs(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("premise,hypothesis,label\n" + "".join(f"one {n},two {n},{n % 2}.0\n" for n in range(NUM_ROWS)))
    found = read(file)
    assert found.labels == ("0", "1")
    assert all(row.pair is not None for row in found.train)


def test_the_fingerprint_knows_where_the_first_text_ends(tmp_path):
    one = read(table(tmp_path)).fingerprint
    file = tmp_path / "data.jsonl"
    file.write_text(file.read_text().replace("row 0", "row\\n0").replace("row\\n0", "row 0"))
    assert read(file).fingerprint == one
    moved = file.read_text().replace('text of row 0", "hypothesis": "and', 'text of row 0\\nand", "hypothesis": "')
    file.write_text(moved.replace('0\\nand", "hypothesis": " the', '0\\nand", "hypothesis": "the'))
    assert read(file).fingerprint != one


class TestOtherRows:
    trained = Columns(("premise", "hypothesis"), "label", form="pair")

    def rows(self, tmp_path, text, **options):
        (tmp_path / "new.csv").write_text(text)
        return read_text_rows(tmp_path / "new.csv", options=DataConfig(**options), trained=self.trained).texts

    def test_the_columns_of_training_are_taken(self, tmp_path):
        assert self.rows(tmp_path, "Hypothesis,premise\nb,a\n,c\n") == [TextPair("a", "b"), None]

    def test_so_are_text_and_text_pair(self, tmp_path):
        assert self.rows(tmp_path, "text,text_pair\na,b\n") == [TextPair("a", "b")]

    def test_those_of_training_go_first(self, tmp_path):
        assert self.rows(tmp_path, "text,text_pair,premise,hypothesis\nx,y,a,b\n") == [TextPair("a", "b")]

    def test_a_model_of_single_texts_refuses_a_file_of_pairs(self, tmp_path):
        (tmp_path / "new.csv").write_text("premise,hypothesis\na,b\n")
        with pytest.raises(UserError, match="these are pairs of texts .'premise' and 'hypothesis'., and the model reads single"):
            read_text_rows(tmp_path / "new.csv", options=DataConfig(), trained=Columns(("text",), "label"))

    def test_so_are_other_columns_that_are_named(self, tmp_path):
        assert self.rows(tmp_path, "one,two\na,b\n", text_column=("one", "two")) == [TextPair("a", "b")]

    @pytest.mark.parametrize("given", [{"text_columns_as": "joined"}, {"text_column": "one"}])
    def test_single_texts_are_refused(self, tmp_path, given):
        with pytest.raises(UserError, match="the model reads pairs of texts|a pair of texts is two columns"):
            self.rows(tmp_path, "one,two\na,b\n", **given)

    def test_a_named_form_is_that_of_training(self, tmp_path):
        (tmp_path / "new.csv").write_text("subject,body\nhello,world\nonly,\n")
        trained = Columns(("subject", "body"), "label", form="named")
        found = read_text_rows(tmp_path / "new.csv", options=DataConfig(), trained=trained)
        assert found.texts == ["subject: hello\nbody: world", "subject: only"]

    def test_runs_from_before_that_joined_a_pair_go_on_joining_it(self, tmp_path):
        (tmp_path / "new.csv").write_text("premise,hypothesis\na,b\n")
        trained = Columns(("premise", "hypothesis"), "label")
        assert read_text_rows(tmp_path / "new.csv", options=DataConfig(), trained=trained).texts == ["a\nb"]


def test_an_answer_is_no_label_beside_a_column_that_is_one(tmp_path):
    rows = [
        {"question": f"is it so {n}?", "answer": ("yes", "no")[n % 2], "label": ("right", "wrong")[n // 2 % 2]} for n in range(30)
    ]
    for name, part in (("train", rows), ("test", rows[:3])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    found = read(tmp_path)
    assert found.columns == Columns(("question", "answer"), "label", form="pair")
    assert [row.pair for row in found.test] == [(row["question"], row["answer"]) for row in rows[:3]]
    assert read(tmp_path / "train.jsonl", label_column="answer").columns == Columns(("question",), "answer")


def test_few_held_out_answers_are_no_labels(tmp_path):
    rows = [{"question": f"is it so {n}?", "answer": f"it is {n}", "score": n / 7} for n in range(30)]
    for name, part in (("train", rows), ("test", rows[:2])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    found = dataset.read_dataset(tmp_path, options=DataConfig(), row_kind="number")
    assert found.columns.form == "pair"
    assert found.test[1].pair == ("is it so 1?", "it is 1")
