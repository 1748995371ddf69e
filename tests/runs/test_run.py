"""A finished run in Python: predictions of whatever is given, files, evaluation."""

import copy
import json

import numpy as np
import pytest

import finewright
from finewright.core.config import DataConfig
from finewright.core.errors import UserError
from finewright.runs import reading
from finewright.runs.run import DEFAULT_THRESHOLD, Run

ROWS = [
    {"Subject": "a", "Message": "where is my parcel", "Team": "shipping"},
    {"Subject": "", "Message": None, "Team": "billing"},
]


def test_it_says_what_it_is_and_can_be_sent_to_another_process(message_run):
    shown = repr(message_run)
    assert shown.startswith(f"Run('{message_run.path}', lora on ")
    assert "2 labels, test accuracy " in shown
    other = copy.copy(message_run)  # by the same protocol
    assert isinstance(other, Run)
    assert other is not message_run
    assert other.result == message_run.result
    assert message_run.classes_.tolist() == ["billing", "shipping"]


def test_rows_with_columns_are_read_as_in_training(message_run):
    assert message_run.columns.texts == ("Subject", "Message")
    (expected,) = message_run.predict(["a / where is my parcel"])
    found = message_run.predict(ROWS)
    assert found[0] == expected
    assert found[1] == {"text": "", "label": None, "probability": None, "probabilities": {}}
    assert message_run.predict(ROWS[0]) == [expected], "one row"
    pandas = pytest.importorskip("pandas")
    assert message_run.predict(pandas.DataFrame(ROWS)) == found
    with pytest.raises(UserError, match="no column 'Subject' and no 'Message', which the model was trained on"):
        message_run.predict(pandas.DataFrame({"text": ["x"]}))
    with pytest.raises(UserError, match="wanted several texts, found one string"):
        message_run.predict("where is my parcel")


def test_probabilities_have_a_row_for_each_text(message_run):
    shares = message_run.predict_proba(["parcel", None, "invoice"])
    assert shares.shape == (3, 2)
    assert np.isnan(shares[1]).all()
    assert shares[[0, 2]].sum(axis=1) == pytest.approx([1, 1])


def test_a_file_is_labelled(message_run, tmp_path):
    (tmp_path / "new.jsonl").write_text("".join(json.dumps({**row, "id": 7}) + "\n" for row in ROWS))
    heard = []
    found = message_run.predict_file(tmp_path / "new.jsonl", on_progress=lambda *told: heard.append(told), top_k=1)
    assert found.output == tmp_path / "new.labelled.jsonl"
    assert heard == [(1, 1, 1.0)]
    lines = [json.loads(line) for line in found.output.read_text().splitlines()]
    assert [line["id"] for line in lines] == [7, 7]
    assert lines[0]["label"] == lines[0]["label_1"] == next(iter(found.counts))
    assert lines[1]["label"] is None
    with pytest.raises(UserError, match="exists already"):
        message_run.predict_file(tmp_path / "new.jsonl")
    message_run.predict_file(tmp_path / "new.jsonl", tmp_path / "out.csv", min_confidence=0.9)
    assert message_run.predict(tmp_path / "new.jsonl") == message_run.predict(ROWS)


def test_it_evaluates_what_is_given(message_run, tmp_path):
    rows = [*ROWS[:1] * 3, {"Subject": "b", "Message": "invoice", "Team": "other"}]
    with pytest.raises(UserError, match="row 4: the model does not know the label 'other'"):
        message_run.evaluate(rows)
    for options in ({"drop_unseen_labels": True}, {"data.drop_unseen_labels": True}, DataConfig(drop_unseen_labels=True)):
        assert message_run.evaluate(rows, options=options)["num_rows"] == 3
    assert finewright.evaluate(message_run.path, rows[:3])["num_rows"] == 3
    with pytest.raises(UserError, match="data.drop_unsen: unknown option; did you mean 'drop_unseen_labels'"):
        message_run.evaluate(rows, options={"drop_unsen": True})
    with pytest.raises(UserError, match="no row has a label that the model knows"):
        message_run.evaluate(rows[3:], options={"drop_unseen_labels": True})


def test_an_old_run_that_recorded_less_still_works(message_run):
    old = finewright.open_run(message_run.path)
    old.config = old.config.model_copy(update={"columns": None})
    assert old.columns == reading.NO_COLUMNS
    assert old.predict([{"text": "parcel"}])[0]["label"] in ("billing", "shipping")
    result = old.result.model_copy(update={"review": None})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "result", result)
        assert old.labelling_options().threshold == DEFAULT_THRESHOLD
    assert old.labelling_options(min_confidence=0.25).threshold == 0.25


def test_what_is_given_goes_before_what_training_had(message_run):
    config = message_run.config
    assert reading.data_options(config).text_separator == " / "
    assert reading.data_options(config, {"text_separator": "-"}).text_separator == "-"
    assert reading.data_options(config).drop_unseen_labels is False
