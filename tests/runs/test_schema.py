"""The files of a run: what is written is what is read, and what cannot be read is one message."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel

from finewright.core.errors import ExitCode, UserError
from finewright.runs import schema
from finewright.runs.artifact import SCHEMA_VERSION
from finewright.runs.run import open_run
from finewright.runs.schema import ChecksFile, MetricsLine, PlanFile, RunConfigFile, RunResult
from support import sessions

FILES = {"config.json": RunConfigFile, "plan.json": PlanFile, "checks.json": ChecksFile, "result.json": RunResult}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with sessions.quickly():
        root = sessions.place(tmp_path_factory.mktemp("schema"))
        return sessions.train(root, root / "run", method_name="freeze")


@pytest.mark.parametrize("name", FILES)
def test_what_is_written_is_read_again_and_no_key_is_unknown(run, name):
    kept = json.loads((run.path / name).read_text())
    read = schema.read(FILES[name], run.path / name)
    assert kept["schema_version"] == SCHEMA_VERSION
    assert schema.dump(read) == kept


def test_every_line_of_the_metrics_has_its_model(run):
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert {bool(line.get("validation")) for line in lines} == {True, False}
    for line in lines:
        assert schema.dump(MetricsLine.model_validate(line)).items() >= line.items()


def test_a_result_has_types(run):
    result = schema.read(RunResult, run.result)
    assert result.metrics.test is not None
    assert 0 <= result.metrics.test.accuracy <= 1
    assert result.metrics.test.per_class.keys() == {"billing", "shipping"}
    assert (result.task, result.sessions, result.verification_difference) == ("text-classification", 1, 0.0)


def write(path: Path, value) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_a_newer_file_is_refused_in_one_sentence(run, tmp_path):
    newer = json.loads(run.result.read_text()) | {"schema_version": SCHEMA_VERSION + 1}
    with pytest.raises(
        UserError, match=r"result\.json: written by a newer version of finewright \(schema 3, known here: 2\)"
    ) as caught:
        schema.read(RunResult, write(tmp_path / "result.json", newer))
    assert caught.value.code == ExitCode.MISMATCH


def test_a_file_of_an_older_version_says_so(tmp_path):
    old = {"order": {"source": "t.csv"}, "changes": []}
    with pytest.raises(UserError, match="request: Field required; it was written by an older version") as caught:
        schema.read(RunConfigFile, write(tmp_path / "config.json", old))
    assert caught.value.code == ExitCode.MISMATCH


def test_a_damaged_change_is_one_message(run, tmp_path):
    damaged = json.loads(run.config.read_text()) | {"changes": [{"x": 1}]}
    with pytest.raises(UserError, match=r"not readable: changes\.0\.option: Field required"):
        schema.read(RunConfigFile, write(tmp_path / "config.json", damaged))


def test_a_config_without_its_data_options_is_one_message(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    write(tmp_path / "run" / "config.json", json.loads(run.config.read_text()) | {"settings": {}})
    with pytest.raises(UserError, match=r"the run's config lacks max_length or data\.truncation_side"):
        open_run(tmp_path / "run")


def test_unknown_keys_are_ignored(run, tmp_path):
    more = json.loads(run.result.read_text()) | {"more": 1}
    assert schema.read(RunResult, write(tmp_path / "result.json", more)) == schema.read(RunResult, run.result)


@pytest.mark.parametrize("text", ["{", "[]", "5", ""])
def test_a_broken_file_is_one_message(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UserError, match="not readable"):
        schema.read(RunResult, tmp_path / "result.json")
    with pytest.raises(UserError, match=r"the run has no plan\.json"):
        schema.read(PlanFile, tmp_path / "plan.json")


def test_every_model_is_documented():
    models = [one for one in vars(schema).values() if isinstance(one, type) and issubclass(one, BaseModel)]
    assert [one.__name__ for one in models if not one.__doc__] == []
