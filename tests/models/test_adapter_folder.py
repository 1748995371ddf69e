"""The folder of an adapter: its base, and what is said where a whole model is wanted."""

import json
import shutil

import pytest

from finewright import methods
from finewright.core.errors import ExitCode, UserError
from finewright.models import adapter_folder, hub, loading
from finewright.runs import model_folder
from support import tiny


@pytest.fixture
def place(tmp_path):
    """A base, and `run/model` with an adapter on it, as a run saves it."""
    source = hub.resolve_model(str(tiny.folder(tmp_path / "base")))
    base, method = loading.load_model(source, head_spec=tiny.head_spec(("a", "b", "c"))), methods.build_method("lora", {})
    prepared_model = method.prepare(base)
    folder = tmp_path / "run" / "model"
    model_folder.save_model(folder, prepared_model=prepared_model, method=method, origin=base.origin, source=source)
    (tmp_path / "run" / "checks.json").write_text("{}")
    return tmp_path


def refusal(action, *arguments, **options):
    with pytest.raises(UserError) as caught:
        action(*arguments, **options)
    return caught.value


def test_the_config_does_not_hide_the_adapter(place):
    names = {path.name for path in (place / "run" / "model").iterdir()}
    assert "config.json" not in names
    assert {"adapter_config.json", "adapter_model.safetensors", "base.json", "base_config"} <= names
    config = json.loads((place / "run" / "model" / "base_config" / "config.json").read_text())
    assert config["id2label"] == {"0": "a", "1": "b", "2": "c"}


def test_an_adapter_is_no_model_to_start_from(place):
    error = refusal(hub.resolve_model, str(place / "run" / "model"), weights=False)
    assert error.what == "this is an adapter, not a whole model"
    assert error.fix.startswith(f"give its base, --model {place / 'base'}")
    (place / "run" / "model" / "adapter_config.json").write_text("{")
    assert refusal(hub.resolve_model, str(place / "run" / "model")).fix.startswith("give its base, or ")


def test_the_base_of_an_adapter_is_named_as_it_is_given_here(place, monkeypatch):
    monkeypatch.chdir(place)
    folder = place / "run" / "model"
    assert refusal(hub.resolve_model, str(folder), weights=False).fix.startswith("give its base, --model base, or ")
    path = folder / "adapter_config.json"
    place_of_mini = "/other/place/finewright/assets/models/mini"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": place_of_mini}))
    assert refusal(hub.resolve_model, str(folder), weights=False).fix.startswith("give its base, --model mini, or ")


def test_a_run_stands_for_its_model(place):
    run = place / "run"
    error = refusal(hub.resolve_model, str(run))
    assert error.what == "the model of this run is an adapter, not a whole model"
    assert error.fix.startswith(f"`finewright export {run}`")
    shutil.copytree(place / "base", run / "merged")
    assert hub.resolve_model(str(run)).path == run / "merged"
    shutil.rmtree(run / "model")
    shutil.copytree(place / "base", run / "model")
    found = hub.resolve_model(str(run))
    assert (found.path, found.name) == (run / "model", str(run / "model"))


def test_a_run_without_a_model_says_so(place):
    shutil.rmtree(place / "run" / "model")
    error = refusal(hub.resolve_model, str(place / "run"))
    assert (error.what, error.fix) == (
        "this run has no model yet",
        f"`finewright train --resume {place / 'run'}` continues it",
    )


def test_a_base_that_is_gone_is_called_the_adapters_base(place):
    (place / "base").rename(place / "moved")
    error = refusal(loading.reload_model, place / "run" / "model", auto_model=tiny.head_spec().auto_model, bfloat16=False)
    assert error.what.startswith("the adapter's base model cannot be loaded: no such model folder")
    assert error.where == str(place / "base")
    assert error.fix == "bring the base back to this place, or train again"


def test_an_adapter_of_an_older_version_says_train_again(place):
    folder = place / "run" / "model"
    (folder / "base_config" / "config.json").rename(folder / "config.json")
    error = refusal(loading.reload_model, folder, auto_model=tiny.head_spec().auto_model, bfloat16=False)
    assert error.what == "the adapter was saved by an older version of finewright"
    assert (error.fix, error.code) == ("train it again", ExitCode.MISMATCH)
    (folder / "config.json").unlink()
    error = refusal(loading.reload_model, folder, auto_model=tiny.head_spec().auto_model, bfloat16=False)
    assert error.what == "no saved model here"
    assert adapter_folder.is_adapter(folder)
