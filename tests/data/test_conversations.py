"""Conversations from files: reading, held-out rows, fingerprints, duplicates."""

import json
from dataclasses import replace

import pyarrow
import pyarrow.parquet
import pytest

from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.data import checks, splits
from finewright.data import dataset as dataset_module
from finewright.data.conversations import Conversation, Message, conversation_of
from finewright.data.tables import to_table
from support.chat import talk

OPTIONS = DataConfig()


def read(source, *, test=None, **options):
    return dataset_module.read_dataset(source, options=DataConfig(**options), test=test, row_kind="conversation")


def jsonl(path, rows):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def pairs(count, start=0):
    return [{"prompt": f"question {number}", "completion": f"answer {number}"} for number in range(start, start + count)]


def everything(dataset):
    return [*dataset.train, *dataset.validation, *dataset.test]


def test_what_a_person_sees_of_a_row():
    row = talk("Where?", "There.", "When?", "Friday.", system="Brief.")
    assert (row.text, row.label, row.form) == ("When?", "Friday.", "chat")
    assert row.prompt == row.messages[:-1]
    assert row.duplicate_key() == "system: Brief.\nuser: Where?\nassistant: There.\nuser: When?"
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    assert conversation_of((Message("user", "a"), Message("assistant", "", (call,))), where="x").label == (
        '{"name": "f", "arguments": {}}'
    )


ROW = talk("a", "b", "c", "d")


@pytest.mark.parametrize(
    "other",
    [
        talk("a", "B", "c", "d"),
        talk("a", "b", "c", "d", system="s"),
        replace(ROW, tools=({"type": "function"},)),
        replace(ROW, choices=("d", "e")),
        replace(ROW, messages=(*ROW.messages[:-1], replace(ROW.messages[-1], is_trained=False))),
        replace(ROW, messages=(*ROW.messages[:-1], replace(ROW.messages[-1], reasoning="hm"))),
        replace(ROW, messages=(*ROW.messages[:-1], replace(ROW.messages[-1], tool_calls=({"x": 1},)))),
        replace(ROW, ids=(1, 2), trained=(False, True)),
        Conversation("c", "d", "x", form="text"),
    ],
)
def test_a_fingerprint_covers_all_that_is_learnt_and_nothing_else(other):
    assert other.as_json() != ROW.as_json()
    assert replace(ROW, where="elsewhere").as_json() == ROW.as_json()
    assert replace(other, ids=(1, 3), trained=(False, True)).as_json() != other.as_json()


def test_the_fingerprint_of_a_data_set_tells_every_message(tmp_path):
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}] * 3
    one = read(jsonl(tmp_path / "a.jsonl", rows)).fingerprint
    assert read(jsonl(tmp_path / "b.jsonl", rows)).fingerprint == one
    assert read(tmp_path / "a.jsonl", system_prompt="x").fingerprint != one


def test_held_out_rows_are_few_and_by_chance(tmp_path):
    dataset = read(jsonl(tmp_path / "a.jsonl", pairs(400)))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (306, 34, 60)
    assert dataset.labels == ()
    assert dataset.row_kind == "conversation"
    assert dataset.columns.texts == ("prompt",)
    assert dataset.columns.label == "completion"
    assert "no test file: 60 of 400 rows held out by chance, seed 0" in dataset.notes
    assert {row.text for row in everything(dataset)} == {f"question {number}" for number in range(400)}
    assert read(tmp_path / "a.jsonl", split_seed=1).test != dataset.test
    assert read(tmp_path / "a.jsonl").fingerprint == dataset.fingerprint
    assert all(isinstance(row, Conversation) for row in everything(dataset))


def test_at_most_so_many_rows_are_held_out(tmp_path):
    dataset = read(jsonl(tmp_path / "a.jsonl", pairs(6000)))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (5300, 200, 500)
    assert "no test file: 500 of 6,000 rows held out by chance, seed 0 (at most 500)" in dataset.notes


def test_few_rows_are_all_trained_on(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "LEAST_VALIDATION_ROWS", 20)
    dataset = read(jsonl(tmp_path / "a.jsonl", pairs(100)))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (85, 0, 15)
    assert dataset.trains_on_all


def test_answers_to_one_prompt_stay_together(tmp_path):
    prompts = [f"question {number % 50}" if number < 90 else f"QUESTION  {number % 50}" for number in range(200)]
    rows = [{"prompt": prompt, "completion": str(number)} for number, prompt in enumerate(prompts)]
    dataset = read(jsonl(tmp_path / "a.jsonl", rows))
    parts = (dataset.train, dataset.validation, dataset.test)
    keys = [{splits.normalise_text(row.duplicate_key()) for row in part} for part in parts]
    assert all(keys)
    assert keys[0] & keys[1] == keys[0] & keys[2] == keys[1] & keys[2] == set()
    assert len(dataset.test) == 28
    same = read(jsonl(tmp_path / "b.jsonl", [{"prompt": "q", "completion": str(number)} for number in range(40)]))
    assert (len(same.train), len(same.test)) == (40, 0)


def test_a_folder_with_splits_in_mlx_style_and_duplicates_across_them(tmp_path):
    def rows(*texts):
        return [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]} for text in texts]

    jsonl(tmp_path / "d/train.jsonl", rows("a", "b", "c"))
    jsonl(tmp_path / "d/valid.jsonl", rows("B", "e"))
    jsonl(tmp_path / "d/test.jsonl", rows("f"))
    dataset = read(tmp_path / "d")
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [3, 2, 1]
    leak = [one for one in checks.check_texts(dataset) if one.code == "leak"]
    assert [one.rows for one in leak] == [("valid.jsonl:1",)]


def test_neither_a_short_last_message_nor_another_answer_makes_a_duplicate():
    rows = [talk(f"about {number}", "well", "go on", "yes") for number in range(3)]
    again = replace(rows[0], where="a.jsonl:9")
    parts = {"train": [*rows, talk("about 0", "well", "go on", "no"), again], "validation": [], "test": []}
    found = list(checks.find_duplicates(parts, checks.group_repeated_texts(parts)))
    assert [(one.code, one.rows) for one in found] == [("duplicates", ("a.jsonl:9",))]


def test_csv_with_json_in_a_cell_parquet_and_excel(tmp_path):
    messages = [{"role": "user", "content": 'say "a"'}, {"role": "assistant", "content": "b"}]
    cell = json.dumps(messages).replace('"', '""')
    (tmp_path / "a.csv").write_text("id,messages\n" + "".join(f'{number},"{cell}"\n' for number in range(3)))
    assert read(tmp_path / "a.csv", test_fraction=0).train[0].text == 'say "a"'
    table = {"text": ["x"] * 3, "prompt": ["p"] * 3, "completion": ["c"] * 3, "label": [None] * 3}
    pyarrow.parquet.write_table(pyarrow.table({"messages": [messages] * 3, "n": [1, 2, 3]}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", test_fraction=0).train[2].where == "a.parquet: row 3"
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "b.parquet")
    assert read(tmp_path / "b.parquet", test_fraction=0).train[0].label == "c"
    (tmp_path / "a.tsv").write_text("prompt\tcompletion\nHow are you\tfine\nWho\tme\n")
    assert [row.label for row in read(tmp_path / "a.tsv", test_fraction=0).train] == ["fine", "me"]


def test_faults_name_the_line_of_the_file(tmp_path):
    jsonl(tmp_path / "a.jsonl", [{"messages": []}, {"messages": [{"role": "x", "content": "a"}]}])
    with pytest.raises(UserError) as error:
        read(tmp_path / "a.jsonl")
    assert "a.jsonl:1: no message" in str(error.value)
    assert "a.jsonl:2: message 1: unknown role 'x'" in str(error.value)
    with pytest.raises(UserError, match="no row is left to train on"):
        read(tmp_path / "a.jsonl", skip_invalid_rows=True)


def test_a_text_file_has_one_text_a_line(tmp_path):
    (tmp_path / "a.txt").write_text("Once upon a time, there was a fox.\n\nThe fox slept\nAnd woke.\n")
    assert dataset_module.detect_row_kind(tmp_path / "a.txt", options=OPTIONS) == ("conversation", "texts without labels")
    dataset = read(tmp_path / "a.txt", test_fraction=0)
    assert [row.text for row in dataset.train] == ["Once upon a time, there was a fox.", "The fox slept", "And woke."]
    assert [row.where for row in dataset.train] == ["a.txt:1", "a.txt:3", "a.txt:4"]
    assert dataset.train[0].form == "text"
    assert dataset.train[0].label == ""


def test_a_folder_of_texts(tmp_path):
    for name, text in (("b.txt", "one\ntwo"), ("a.txt", "three")):
        (tmp_path / name).write_text(text)
    assert dataset_module.detect_row_kind(tmp_path, options=OPTIONS)[0] == "conversation"
    dataset = read(tmp_path, test_fraction=0)
    assert [(row.text, row.where) for row in dataset.train] == [("three", "a.txt"), ("one\ntwo", "b.txt")]
    (tmp_path / "s").mkdir()
    (tmp_path / "s/train.txt").write_text("one\ntwo\n")
    (tmp_path / "s/test.txt").write_text("three\n")
    assert [len(part) for part in (read(tmp_path / "s").train, read(tmp_path / "s").test)] == [2, 1]


def test_a_text_beside_a_table_is_about_it(tmp_path):
    jsonl(tmp_path / "train.jsonl", pairs(3))
    (tmp_path / "README.txt").write_text("Read me.")
    assert len(read(tmp_path, test_fraction=0).train) == 3


def test_test_rows_of_another_file(tmp_path):
    dataset = read(jsonl(tmp_path / "a.jsonl", pairs(30)), test=jsonl(tmp_path / "t.jsonl", pairs(3, start=100)))
    assert [row.text for row in dataset.test] == ["question 100", "question 101", "question 102"]


def test_the_kind_is_found_and_the_rows_are_read_in_one_reading(tmp_path, monkeypatch):
    from finewright.data import source_tables

    opened = []
    real = source_tables.readers.read_file
    monkeypatch.setattr(source_tables.readers, "read_file", lambda path, *a, **k: opened.append(path.name) or real(path, *a, **k))
    cache = dataset_module.DatasetCache()
    kind, reason = cache.detect_row_kind(jsonl(tmp_path / "a.jsonl", pairs(30)), options=OPTIONS)
    assert (kind, reason) == ("conversation", "the columns are those of prompts with answers ('prompt', 'completion')")
    found = cache.read(tmp_path / "a.jsonl", options=OPTIONS, row_kind=kind)
    assert opened == ["a.jsonl"]
    assert cache.read(tmp_path / "a.jsonl", options=OPTIONS, row_kind=kind) is found
    assert cache.take_read_seconds() > 0
    assert found.fingerprint == read(tmp_path / "a.jsonl").fingerprint


def test_what_cannot_be_read_is_labelled_so_that_reading_says_why(tmp_path):
    assert dataset_module.detect_row_kind(tmp_path / "absent.jsonl", options=OPTIONS)[0] == "labelled"
    (tmp_path / "bad.jsonl").write_text('{"messages": [')
    assert dataset_module.detect_row_kind(tmp_path / "bad.jsonl", options=OPTIONS)[0] == "labelled"


def test_rows_in_memory():
    dataset = read(to_table({"train": pairs(4), "test": pairs(2, start=10)}), validation_fraction=0)
    assert [row.where for row in dataset.test] == ["test row 1", "test row 2"]
    assert len(dataset.train) == 4


def test_prompts_without_answers(tmp_path):
    (tmp_path / "p.txt").write_text("Who?\nWhere?\n")
    options = DataConfig(system_prompt="Brief.")
    rows = dataset_module.read_prompts(tmp_path / "p.txt", options=options, as_messages=True).rows
    assert [[(one.role, one.content) for one in row.messages] for row in rows] == [
        [("system", "Brief."), ("user", "Who?")],
        [("system", "Brief."), ("user", "Where?")],
    ]
    rows = dataset_module.read_prompts(tmp_path / "p.txt", options=options, as_messages=False).rows
    assert [(row.text, row.form) for row in rows] == [("Who?", "text"), ("Where?", "text")]
    for table in ([{"prompt": "a"}], [{"question": "a", "id": 1}], [{"messages": [{"role": "user", "content": "a"}]}]):
        found = dataset_module.read_prompts(to_table(table), options=OPTIONS, as_messages=True).rows
        assert [(one.role, one.content) for one in found[0].messages] == [("user", "a")]
    answered = dataset_module.read_prompts(to_table(pairs(1)), options=OPTIONS, as_messages=True).rows
    assert answered[0].label == "answer 0"
    with pytest.raises(UserError, match="the prompt is empty"):
        dataset_module.read_prompts(to_table([{"prompt": " "}]), options=OPTIONS, as_messages=True)
