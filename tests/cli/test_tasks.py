"""`finewright tasks`."""

import json

import pytest

from finewright import tasks
from finewright.core.config import RunConfig
from finewright.data.dataset import DatasetCache
from finewright.planning.task_choice import choose_task
from support.commands import call


def test_every_task_is_listed_with_its_columns():
    code, out, _ = call("tasks")
    assert code == 0
    listed = {line.split()[0] for line in out.splitlines() if line and not line.startswith((" ", "The"))}
    assert listed == {*tasks.task_names()}
    assert "columns tokens, tags; try it: finewright train entities" in out


def test_json_is_the_same_list():
    found = json.loads(call("tasks", "--json")[1])["tasks"]
    assert found == tasks.describe_tasks()
    assert all(one["summary"] and one["columns"] and one["metric"] for one in found)


@pytest.mark.parametrize("name", tasks.task_names())
def test_the_example_data_is_for_the_task(name):
    data = tasks.get_task(name).example_data
    if not data:
        pytest.skip("no data set for it comes with the program")
    assert choose_task(RunConfig(), data, datasets=DatasetCache())[0].task == name
