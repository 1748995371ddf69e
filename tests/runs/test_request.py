"""The request of a run."""

import json
from pathlib import Path

import pytest

from finewright import methods
from finewright.core.config import RunConfig, build_options
from finewright.core.errors import ExitCode, UserError
from finewright.data.tables import Table
from finewright.runs import baseline_pipeline, pipeline, request, schema
from finewright.runs import folder as run_folder
from finewright.runs.schema import Decision, RequestRecord, RunConfigFile


def made(source="data.csv", *, method="lora", options=None, **settings):
    return request.make_request(
        source, test=None, settings=build_options(RunConfig, settings), candidates=[methods.build_method(method, options or {})]
    )


@pytest.mark.parametrize("method", methods.method_names())
def test_a_request_is_json_and_back(method):
    run_request = made(method=method, training={"learning_rate": 1e-4})
    assert (
        request.read_request(
            schema.parse(RequestRecord, json.loads(json.dumps(schema.dump(run_request.record()))), where=Path("x"))
        )
        == run_request
    )
    assert request.request_differences(run_request.record(), run_request) == []


def test_files_are_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "data.csv").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert made().source == str(tmp_path / "data.csv")
    assert made("some/hub-id").source == "some/hub-id"


def test_a_folder_is_named_after_data_method_and_seed():
    table = Table({"train": []})
    assert request.default_run_name(Path("place/tickets.csv"), method="lora", seed=3) == "tickets-lora-seed3"
    assert request.default_run_name("owner/name", method=methods.AUTO, seed=0) == "name-seed0"
    assert request.default_run_name("-", method=methods.AUTO, seed=0) == "stdin-seed0"
    assert request.default_run_name(table, method="bag-of-words", seed=0) == "data-bag-of-words-seed0"


def test_differences_are_named_as_a_person_types_them():
    saved = made(options={"rank": 4}, seed=1).record()
    found = request.request_differences(saved, made(options={"rank": 8}, training={"save_steps": 5, "learning_rate": 0.5}))
    assert found == ["method.rank: 4 → 8", "seed: 1 → 0", "training.learning_rate: None → 0.5"]


def test_a_damaged_request_is_one_message():
    with pytest.raises(UserError, match=r"config\.json: not readable: method: Field required") as caught:
        schema.parse(RequestRecord, {"source": "x", "test": None, "settings": {}, "schema_version": 2}, where=Path("config.json"))
    assert caught.value.code == ExitCode.MISMATCH


def test_what_was_chosen_stays_chosen():
    choices = [
        {"option": "training.learning_rate", "value": 0.25, "reason": ""},
        {"option": "device", "value": "cpu", "reason": ""},
        {"option": "training.save_steps", "value": "auto", "reason": ""},
        {"option": "data.max_length", "value": 77, "reason": ""},
        {"option": "train.gone", "value": 1, "reason": ""},
    ]
    settings = request.with_decisions(RunConfig(), choices)
    assert (settings.training.learning_rate, settings.data.max_length, settings.training.save_steps) == (0.25, 77, None)


def test_changes_are_made_on_top_of_earlier_ones():
    saved = RunConfigFile(
        request=made().record(),
        choices=[Decision(option="training.learning_rate", value=0.25, reason="")],
        changes=[{"option": "training.epochs", "from": 3.0, "to": 4.0}],
    )
    run_request, changed = request.for_resume(saved, made(), ["learning_rate=0.5", "training.epochs=4"])
    assert (run_request.settings.training.learning_rate, run_request.settings.training.epochs) == (0.5, 4.0)
    assert [change.model_dump(by_alias=True) for change in changed] == [
        {"option": "training.learning_rate", "from": 0.25, "to": 0.5, "step": 0}
    ]


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "method.rank=4",
        "data.max_length=9",
        "training.tokens_per_micro_batch=8",
        "precision=float32",
        "task=text-classification",
    ],
)
def test_another_run_is_not_a_change(change):
    with pytest.raises(UserError, match="cannot change inside a run") as caught:
        request.for_resume(None, made(), [change])
    assert "evals_per_epoch" in caught.value.fix


def test_an_unknown_task_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"unknown task 'text-classfication'\n.*did you mean 'text-classification'\?"):
        made(task="text-classfication")


def test_a_run_of_another_task_is_another_run():
    saved = made().record()
    saved.settings["task"] = "text-regression"
    assert request.request_differences(saved, made()) == ["task: 'text-regression' → 'auto'"]


@pytest.mark.parametrize(("pipe", "method"), [(pipeline, "lora"), (baseline_pipeline, "bag-of-words")])
def test_a_request_with_an_option_that_is_gone_is_refused_and_the_folder_released(tmp_path, pipe, method):
    saved = made().record().model_copy(update={"method": method, "method_options": {"gone": 1}})
    folder = run_folder.create_run(out=tmp_path / "run", name="")
    folder.write(folder.config, RunConfigFile(request=saved))
    folder.checks.write_text("{}")  # a release removes a folder in which nothing was started
    folder.release()
    with pytest.raises(UserError, match="gone: unknown option"):
        pipe.resume(folder.path)
    folder.lock()  # nobody holds it
    folder.release()
