"""Which columns are the text and the label."""

import json

import pytest

from finewright.core.config import DataConfig, build_options
from finewright.core.errors import UserError
from finewright.data.dataset import read_dataset, read_rows
from support.texts import read_texts

TEXTS = [f"please tell me where the parcel with the number {n} is now" for n in range(30)]
LABELS = [("shipping", "billing", "account")[n % 3] for n in range(30)]


def table(tmp_path, **columns):
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def first(path, **options):
    rows, notes = read_rows(path, options=DataConfig(**options))
    return rows[1].text, rows[1].label, " | ".join(notes)


def refused(path, **options):
    with pytest.raises(UserError) as caught:
        read_rows(path, options=DataConfig(**options))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("tweet", "sentiment"),
        ("headline", "category"),
        ("comment", "toxic"),
        ("text", "y"),
        ("text", "label_name"),
        ("query", "domain"),
        ("Sentence", "Emotion"),
        ("Beschreibung", "Kategorie"),
    ],
)
def test_two_columns_are_guessed_by_content(tmp_path, text, label):
    for columns in ({text: TEXTS, label: LABELS}, {label: LABELS, text: TEXTS}):
        found = first(table(tmp_path, **columns))
        assert found[:2] == (TEXTS[1], "billing")
        for kind, name, usual in (("text", text, "text"), ("label", label, "label")):
            assert (f"{kind} column: {name!r} (guessed; --{kind}-column changes it)" in found[2]) is (name != usual)


def test_a_guess_needs_one_clear_column(tmp_path):
    columns = {"id": list(range(30)), "body1": TEXTS, "body2": TEXTS, "kind": LABELS, "place": LABELS[::-1]}
    assert "a.jsonl: no text and no label column; the columns are id, body1, body2, kind, place" in refused(
        table(tmp_path, **columns)
    )
    said = refused(table(tmp_path, comment_text=TEXTS, tone=["a", "b"] * 15, place=LABELS, size=[0, 1, 2] * 10))
    assert "no label column" in said
    assert "few values: tone, place, size" in said
    assert "did you mean 'comment_text'" not in said, "that one is clear"


def test_a_header_with_one_usual_name_is_a_header(tmp_path):
    (tmp_path / "a.csv").write_text("text,2023\n" + "".join(f"{text},{n}\n" for n, text in enumerate(TEXTS)))
    assert "a.csv: no label column; the columns are text, 2023" in refused(tmp_path / "a.csv")


def test_numbers_and_names_are_no_texts(tmp_path):
    said = refused(table(tmp_path, a=list(range(30)), b=LABELS))
    assert "no text column; the columns are a, b\n  → --text-column NAME" in said


def test_several_text_columns_are_joined_and_that_is_said(tmp_path):
    path = table(tmp_path, subject=["Hello"] * 30, body=TEXTS, label=LABELS)
    for wanted in (("subject", "body"), "subject,body", ("1", "2")):
        text, _, notes = first(path, text_column=wanted)
        assert text == f"Hello\n{TEXTS[1]}"
        assert "texts are 'subject' and 'body', joined by '\\n' (data.text_separator)" in notes
    assert first(path, text_column=("subject", "body"), text_separator=" [SEP] ")[0] == f"Hello [SEP] {TEXTS[1]}"
    assert read_texts(path, options=DataConfig(text_column=("body", "subject")))[1] == f"{TEXTS[1]}\nHello"
    assert "no column 'subjct'" in refused(path, text_column=("subjct", "body"))


def test_an_empty_part_of_a_text_is_left_out_and_an_empty_whole_refused(tmp_path):
    path = table(tmp_path, subject=["a", "", None], body=["b", "c", " "], label=["x", "y", "x"])
    said = refused(path, text_column=("subject", "body"))
    assert said.startswith("a.jsonl:3: the text is empty\n")
    rows, _ = read_rows(path, options=DataConfig(text_column=("subject", "body"), skip_invalid_rows=True))
    assert [row.text for row in rows] == ["a\nb", "c"]


def test_options_take_one_name_or_several():
    for given, kept in (("a", "a"), (["a", "b"], ("a", "b")), (("a",), ("a",)), (None, None)):
        assert build_options(DataConfig, {"text_column": given}).text_column == kept
    assert hash(DataConfig(text_column=("a", "b")))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"messages": [[{"role": "user", "content": "x"}]] * 30}, "this is chat data (`messages`)"),
        ({"instruction": TEXTS, "input": [""] * 30, "output": TEXTS}, "instructions with answers (`instruction`, `output`)"),
        ({"prompt": TEXTS, "completion": TEXTS}, "prompts with completions"),
        ({"chosen": TEXTS, "rejected": TEXTS}, "preferences"),
        ({"tokens": [["a", "b"]] * 30, "ner_tags": [[0, 1]] * 30}, "a tag for each word (`tokens`, `ner_tags`)"),
    ],
)
def test_data_of_other_tasks_is_named_for_what_it_is(tmp_path, columns, said):
    assert said in refused(table(tmp_path, **columns))


def test_pairs_can_be_joined(tmp_path):
    path = table(tmp_path, premise=TEXTS, hypothesis=TEXTS, label=LABELS)
    assert first(path, text_column=("premise", "hypothesis"))[0] == f"{TEXTS[1]}\n{TEXTS[1]}"


def test_texts_of_characters_that_nothing_shows_are_empty(tmp_path):
    path = table(tmp_path, text=["\u200b\u200d \ufeff", "\u00a0\u3000"], label=["a", "b"])
    assert refused(path).startswith("a.jsonl:1: the text is empty\na.jsonl:2: the text is empty")


def test_whole_numbers_are_one_class_in_every_format(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{text},{n % 3}.0\n" for n, text in enumerate(TEXTS)))
    path = table(tmp_path, text=TEXTS, label=[float(n % 3) for n in range(30)])
    dataset = read_dataset(tmp_path / "a.csv", options=DataConfig(), test=path)
    assert (dataset.labels, dataset.label_kind) == (("0", "1", "2"), "integer")
    assert {row.label for row in dataset.test} == {"0", "1", "2"}
    assert "a.csv: labels such as '0.0' are whole numbers, and are read as '0'" in dataset.notes
    (tmp_path / "b.csv").write_text("text,label\nx,1.0\ny,1.5\nz,2.0\n")
    assert [row.label for row in read_rows(tmp_path / "b.csv", options=DataConfig())[0]] == ["1", "1.5", "2"]
    (tmp_path / "c.csv").write_text("text,label\nx,1.0\ny,01\nz,v2.0\n")
    assert [row.label for row in read_rows(tmp_path / "c.csv", options=DataConfig())[0]] == ["1.0", "01", "v2.0"]


def test_several_labels_per_text_are_another_task_which_is_said_once(tmp_path):
    path = table(tmp_path, text=TEXTS, label=[["billing", "urgent"], ["shipping"]] * 15)
    for options in ({}, {"skip_invalid_rows": True}):
        said = refused(path, **options)
        assert said.count("a.jsonl:") == 1
        assert said.startswith("a.jsonl:1: several labels per text: 30 of 30 rows have a list in 'label'")
        assert "--task multi-label-classification" in said
        assert "['billing', 'urgent']" in said
        assert "skip_invalid_rows" not in said


def test_a_column_for_each_label_is_another_task_which_is_said(tmp_path):
    flags = {"toxic": [0, 1] * 15, "insult": [True, False] * 15, "threat": ["0", "1", "1"] * 10}
    path = table(tmp_path, comment_text=TEXTS, **flags)
    said = refused(path)
    assert "several labels per text, one column each (toxic, insult, threat)" in said
    assert "--task multi-label-classification learns all of them, --label-column toxic that one" in said
    said = refused(path, text_column="comment_text", label_column="insult,threat")
    assert "one column each (insult, threat)" in said
    assert first(path, label_column="toxic")[1] == "1"
    assert "no column 'toxic,other'" in refused(path, label_column="toxic,other")
