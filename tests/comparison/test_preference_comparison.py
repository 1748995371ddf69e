"""A small real comparison on preferences: its files are the rows again, and rewards are compared."""

import pytest

import finewright
from finewright.comparison.folder import ComparisonFolder, _split_line
from finewright.core.config import DataConfig
from finewright.data.conversations import Message
from finewright.data.dataset import read_dataset
from finewright.data.preferences import Preference
from finewright.runs import schema
from support import chatters, preferred

FAST = {"training.max_steps": 2, "training.precision": "float32", "training.num_threads": 1, "training.num_generated": 2}


@pytest.mark.parametrize("source", ["pairs", "judged"])
def test_preferences_are_compared(tmp_path, monkeypatch, quick_comparisons, source):
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "store"))
    chatters.folder(tmp_path / "llama", template=chatters.TEMPLATE)
    preferred.write(tmp_path / "pairs.jsonl", preferred.rows())
    preferred.write(tmp_path / "judged.jsonl", preferred.judged())
    data, out = tmp_path / f"{source}.jsonl", tmp_path / "out"
    options = {"model": str(tmp_path / "llama"), "methods": ["lora"], "seeds": 1, "jobs": 1, "options": FAST}
    found = finewright.compare(data, output_dir=out, **options).file
    assert (found.task, found.metric) == ("preference", "reward_accuracy")
    assert found.by_method["lora"].score is not None
    again = read_dataset(ComparisonFolder(out).data("all"), options=DataConfig(), row_kind="preference")
    asked = read_dataset(data, options=DataConfig(), row_kind="preference")
    for split in ("train", "validation", "test"):
        assert [row.as_json() for row in getattr(again, split)] == [row.as_json() for row in getattr(asked, split)]


def test_answers_that_begin_with_a_question_are_written_whole(tmp_path):
    rows = []
    for number in range(12):
        start = (Message("user", f"hello {number}"), Message("assistant", "hi"))
        good, bad = (
            (Message("user", asked), Message("assistant", said, is_trained=True))
            for asked, said in (("the invoice", "ship it"), ("the tent", "refund"))
        )
        rows.append(Preference("the invoice", "ship it", f"x:{number}", start, good, bad))
    lines = [schema.dump(_split_line(row)) for row in rows]
    preferred.write(tmp_path / "train.jsonl", lines)
    found = read_dataset(tmp_path / "train.jsonl", options=DataConfig(), row_kind="preference")
    read = {row.as_json() for row in (*found.train, *found.validation, *found.test)}
    assert read == {row.as_json() for row in rows}
