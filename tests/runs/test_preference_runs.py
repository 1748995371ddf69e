"""Runs of preference tuning: first losses, plans, saved models, interrupted runs, and what is refused."""

import json
import math

import pytest

from finewright.core import cache, events, interrupts
from finewright.core.errors import UserError
from finewright.inference import reference
from finewright.models import loading
from finewright.runs.run import open_run
from support import preferred, sessions

METHODS = {"full": {}, "freeze": {"num_layers": 1}, "lora": {}, "prompt": {"num_virtual_tokens": 4}}
FIRST = {"dpo": math.log(2), "ipo": 25.0, "kto": 0.5}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with sessions.quickly():
        yield preferred.place(tmp_path_factory.mktemp("preferences"))


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "store"))


def heard(place, out, **extra):
    said = []
    folder = preferred.train(place, out, on_event=said.append, **extra)
    steps = [one.result.loss for one in said if isinstance(one, events.StepCompleted)]
    return folder, steps, [one.message for one in said if isinstance(one, events.Notice)]


@pytest.mark.parametrize("name", ["dpo", "ipo", "orpo", "kto", "simpo"])
def test_the_chosen_answers_become_likelier(place, tmp_path, name):
    folder, steps, said = heard(place, tmp_path / "run", preference={"loss": name}, max_steps=12)
    result = json.loads(folder.result.read_text())
    if name in FIRST:
        assert steps[0] == pytest.approx(FIRST[name], rel=1e-4)
        assert steps[-1] < steps[0]
    before, after = (result[key]["metrics"]["test"] if key else result["metrics"]["test"] for key in ("untuned", ""))
    assert after["reward_margin"] > before["reward_margin"]
    if name != "simpo":  # the few updates move some test rows the wrong way
        assert after["loss"] < before["loss"]
    assert result["verification_difference"] == 0
    assert any("task: preference" in one for one in said)
    logged = [json.loads(line).get("validation") for line in folder.metrics.read_text().splitlines()]
    assert all({"loss", "reward_accuracy", "reward_margin", "logp_chosen"} <= one.keys() for one in logged if one)
    assert ("kl" in after) == (name == "kto")


@pytest.mark.parametrize("method_name", METHODS)
def test_every_method_is_planned_and_saved_as_it_was_trained(place, tmp_path, method_name):
    folder, steps, _ = heard(place, tmp_path / "run", method_name=method_name, options=METHODS[method_name], max_steps=3)
    result = json.loads(folder.result.read_text())
    assert result["verification_difference"] == 0
    assert result["planned_peak_memory_bytes"] == pytest.approx(result["peak_memory_bytes"], rel=0.05)
    if method_name != "prompt":  # the reference has no prompt
        assert steps[0] == pytest.approx(math.log(2), rel=1e-4)
    assert result["untuned"]["metrics"]["test"]["loss"] == pytest.approx(math.log(2), rel=1e-4)


def test_defaults_are_recorded_with_their_reasons(place, tmp_path):
    folder = preferred.train(place, tmp_path / "run", source="judged.jsonl", learning_rate=None, max_steps=1)
    choices = {one["option"]: one for one in json.loads(folder.config.read_text())["choices"]}
    assert choices["preference.loss"]["value"] == "kto"
    assert "one by one" in choices["preference.loss"]["reason"]
    assert choices["preference.beta"]["value"] == 0.1
    assert choices["training.learning_rate"]["value"] == pytest.approx(1e-4), "a twentieth of that of other tasks"
    assert choices["training.epochs"]["value"] == 1


@pytest.mark.parametrize(("source", "name"), [("pairs.jsonl", "dpo"), ("judged.jsonl", "kto")])
def test_an_interrupted_run_ends_as_if_it_had_not_been(place, tmp_path, monkeypatch, source, name):
    extra = {"source": source, "save_steps": 2, "preference": {"loss": name}, "max_steps": 6}
    expected = sessions.made(preferred.train(place, tmp_path / "whole", **extra))
    first = {path.name: path.read_bytes() for path in cache.cache_folder().glob("reference/*/sums.bin")}
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "another store"))
    stop = interrupts.StopRequest()

    def end_after_four(event):
        if isinstance(event, events.StepCompleted) and event.step == 4:
            stop.number = 15

    with pytest.raises(interrupts.Interrupted):
        preferred.train(place, tmp_path / "cut", on_event=end_after_four, stop=stop, **extra)
    computed, honest = [], reference.scoring.score_split

    def counted(model, encoded):
        computed.append(honest(model, encoded))
        return computed[-1]

    monkeypatch.setattr(reference.scoring, "score_split", counted)
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "a third store"))  # the reference is gone: it is measured again
    again = preferred.train(place, tmp_path / "cut", **extra)
    assert sessions.made(again) == expected
    assert len(computed) >= 3
    third = {path.name: path.read_bytes() for path in cache.cache_folder().glob("reference/*/sums.bin")}
    assert third == first, "of the untrained model, though this session began with trained weights"
    computed.clear()
    preferred.train(place, tmp_path / "found", **extra)
    assert not [one for one in computed if one.shape[1] == 4], "found in the cache"


def test_a_micro_batch_may_be_split(place, tmp_path):
    for name, source in (("dpo", "pairs.jsonl"), ("kto", "judged.jsonl")):
        runs = [
            heard(place, tmp_path / f"{name}{times}", preference={"loss": name}, source=source, micro_batch_splits=times)[1]
            for times in (0, 2)
        ]
        assert runs[0] == pytest.approx(runs[1], rel=1e-4)


def test_rows_that_do_not_fit_are_left_out(place, tmp_path):
    long = [{"prompt": "the parcel " * 200, "chosen": "ship it", "rejected": "refund"}, *preferred.rows()]
    preferred.write(place / "long.jsonl", long)
    folder, steps, said = heard(place, tmp_path / "run", source="long.jsonl", max_steps=2)
    assert json.loads(folder.result.read_text())["metrics"]["test"]["loss"] < 1
    assert all(map(math.isfinite, steps))
    assert any("1 of" in one and "left out" in one for one in said)
    folder, steps, said = heard(
        place, tmp_path / "cut", source="long.jsonl", max_steps=2, data={"over_long": "cut-prompt", "max_length": 120}
    )
    assert all(map(math.isfinite, steps))
    assert any("1 train prompt is cut" in one for one in said)


def test_a_model_that_is_not_its_reference_is_refused(place, tmp_path, monkeypatch):
    honest = reference.measure_reference
    monkeypatch.setattr(reference, "measure_reference", lambda *some, **more: honest(*some, **more) + [[3.0, 0.0]])
    with pytest.raises(UserError, match=r"own reference is 0\.6931"):
        preferred.train(place, tmp_path / "run", preference={"beta": 1.0})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"source": "judged.jsonl", "preference": {"loss": "dpo"}}, "one answer each"),
        ({"preference": {"loss": "dpo", "gamma": 1.0}}, "preference.gamma means nothing"),
        ({"label_smoothing": 0.1}, "would change the log-probabilities"),
        ({"embedding_noise": 5.0}, "would change the log-probabilities"),
    ],
)
def test_what_means_nothing_is_refused(place, tmp_path, wrong, said):
    with pytest.raises(UserError, match=said):
        preferred.train(place, tmp_path / "run", **wrong)


def test_a_saved_model_is_loaded_and_asked(place, tmp_path):
    folder = preferred.train(place, tmp_path / "run", method_name="full", max_steps=2)
    model, tokenizer = loading.reload_model(folder.model, auto_model="AutoModelForCausalLM", reads="next-token", bfloat16=False)
    assert tokenizer.chat_template
    assert model.num_trainable() == 0
    assert open_run(folder.path).result.task == "preference"


def test_an_evaluation_says_of_prompts_that_they_are_cut_and_of_other_rows_nothing(place, tmp_path):
    folder = preferred.train(place, tmp_path / "run", max_steps=1, data={"max_length": 60})
    long = {"prompt": "where is my parcel " * 20, "chosen": "ship it", "rejected": "refund"}
    files = {"fits": preferred.rows(count=4), "long": [long, *preferred.rows(count=4)]}
    found = {}
    for name, rows in files.items():
        run = open_run(folder.path)
        found[name] = run.evaluate_rows(run.read_labelled_rows(preferred.write(tmp_path / f"{name}.jsonl", rows)))
    assert (found["fits"].num_cut, found["long"].num_cut) == (0, 0), "the limit is that of each text, not of a row"
    assert any("1 evaluated prompt is cut" in note for note in found["long"].notes)
    assert not any("cut" in note for note in found["fits"].notes)


def test_updates_of_one_row_are_warned_of_where_the_loss_takes_a_mean(place, tmp_path):
    small = {"tokens_per_micro_batch": 60, "max_steps": 2}
    _, steps, said = heard(place, tmp_path / "judged", source="judged.jsonl", **small)
    assert any("fewer than 2 rows on average" in one for one in said)
    assert all(map(math.isfinite, steps))
    assert not any("rows on average" in one for one in heard(place, tmp_path / "pairs", **small)[2])
