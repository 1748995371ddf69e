"""A run that is stopped and resumed ends bit for bit like an uninterrupted one, with every method, wherever it is stopped."""

import json
import os
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from finewright import methods
from finewright.core import events as run_events
from finewright.core import files, hardware, interrupts
from finewright.core.errors import ExitCode, UserError
from finewright.inference import scoring
from finewright.runs import checkpoint, model_card, model_folder, pipeline, verify
from finewright.runs.folder import RunFolder
from finewright.training import step as training_step
from support import sessions
from support.killed import killed_session

METHOD = "freeze"  # the quickest
RANDOM = {"head_start": "random"}
"""A run that saves nothing before its first update, and may end at any step."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with sessions.quickly():
        yield sessions.place(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def whole(place):
    """What the run of WAY comes to when nothing stops it."""
    return sessions.made(sessions.train(place, place / "whole", method_name=METHOD, save_steps=3))


@pytest.mark.parametrize("method_name", methods.method_names())
def test_every_method_ends_the_same(place, tmp_path, monkeypatch, method_name):
    """Cut inside an accumulated update, inside an evaluation and after an update; with dropout and early stopping."""
    extra = {"method_name": method_name, "gradient_accumulation_steps": 2, "early_stopping_patience": 3, "save_steps": 2}
    extra |= RANDOM
    expected = sessions.made(sessions.train(place, tmp_path / "whole", **extra))
    out, said = tmp_path / "cut", []
    one_pass = methods.get_method(method_name).objective == "pairs"  # an update of pairs is one pass, and is not evaluated
    killed_session(place, out, monkeypatch, torch.Tensor, "backward", call=3 if one_pass else 6, **extra)
    assert [path.name for path in sorted((out / "checkpoints").iterdir())][-1] == "step-00000002"
    if not one_pass:
        killed_session(place, out, monkeypatch, scoring, "score_batches", call=2, **extra)
    sessions.cut_short(place, out, after=8, **extra)
    folder = sessions.train(place, out, on_event=said.append, **extra)
    assert "continues after step 8, from step-00000008" in map(str, said)
    assert sessions.made(folder) == expected
    assert json.loads(folder.result.read_text())["sessions"] == 3 + (not one_pass)


def test_stopping_early_comes_at_the_same_step(place, tmp_path):
    """Stop after every step: the count of evaluations without improvement must survive each session."""
    extra = {"method_name": METHOD, "early_stopping_patience": 2, "evals_per_epoch": 4, "max_steps": 40, "save_steps": 100}
    ends = []

    def on_event(event):
        if isinstance(event, run_events.TrainingStopped):
            ends.append(event)

    expected = sessions.made(sessions.train(place, tmp_path / "whole", on_event=on_event, **extra))
    assert ends[0].early
    assert 2 < ends[0].step < 40
    for step in range(1, ends[0].step + 1):
        sessions.cut_short(place, tmp_path / "cut", after=step, **extra)
    assert sessions.made(sessions.train(place, tmp_path / "cut", on_event=on_event, **extra)) == expected
    assert ends[1] == ends[0]


def test_packed_moments_come_back_too(place, tmp_path):
    pytest.importorskip("bitsandbytes")
    extra = {"method_name": "full", "optimizer": "adamw8bit", "save_steps": 4}
    expected = sessions.made(sessions.train(place, tmp_path / "whole", **extra))
    sessions.cut_short(place, tmp_path / "cut", after=5, **extra)
    state = load_file(tmp_path / "cut" / "checkpoints" / "step-00000005" / "state.safetensors")
    assert any(tensor.dtype == torch.uint8 for name, tensor in state.items() if "/state1" in name)
    assert sessions.made(sessions.train(place, tmp_path / "cut", **extra)) == expected


@pytest.mark.parametrize(
    ("where", "name", "call"),
    [
        (files, "write", 2),
        (files, "write", 40),
        (files, "sync", 9),
        (files, "rename", 4),
        (files, "append", 9),
        (files, "remove", 12),
        (model_folder, "save_model", 1),
        (verify, "verify_saved_model", 1),
        (model_card, "write_card", 1),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).removeprefix("finewright."),
)
def test_wherever_it_is_cut_it_ends_the_same(place, tmp_path, monkeypatch, whole, where, name, call):
    extra = {"method_name": METHOD, "save_steps": 3}
    killed_session(place, tmp_path / "cut", monkeypatch, where, name, call=call, **extra)
    assert sessions.made(sessions.train(place, tmp_path / "cut", **extra)) == whole


def test_cut_between_the_last_step_and_its_evaluation(place, tmp_path, monkeypatch, whole):
    """The step is committed by the stop, the evaluation comes in the next session, and the best weights are still found."""
    out = tmp_path / "cut"
    sessions.cut_short(place, out, after=12, method_name=METHOD, save_steps=3)
    folder = sessions.train(place, out, method_name=METHOD, save_steps=3)
    assert sessions.made(folder) == whole


def test_a_stop_request_during_an_evaluation_is_handled_at_once(place, tmp_path, monkeypatch, whole):
    stop_request, honest = interrupts.StopRequest(), scoring.evaluate_split

    def looked_at(*args, **kwargs):
        stop_request.request(15)
        return honest(*args, **kwargs)

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "evaluate_split", looked_at)
        with pytest.raises(interrupts.Interrupted) as caught:
            sessions.train(place, out, stop_request=stop_request, method_name=METHOD, save_steps=3)
    assert (caught.value.code, caught.value.run) == (143, out)
    assert sessions.made(sessions.train(place, out, method_name=METHOD, save_steps=3)) == whole


def test_a_step_that_a_stop_request_cannot_wait_for_leaves_no_trace(place, tmp_path, monkeypatch):
    """In the second micro-batch of an accumulated update, with dropout: the update before is saved, with its random state."""
    extra = {"method_name": METHOD, "gradient_accumulation_steps": 2, "save_steps": 100, "evals_per_epoch": 1}
    extra |= RANDOM
    expected = sessions.made(sessions.train(place, tmp_path / "whole", **extra))
    stop_request, honest, calls = interrupts.StopRequest(), torch.Tensor.backward, []

    def endless(tensor, *args, **more):
        calls.append(tensor)
        if len(calls) == 4:
            stop_request.request(15)
            stop_request.overdue()
            pytest.fail("it went on")
        return honest(tensor, *args, **more)

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", endless)
        with pytest.raises(interrupts.Interrupted):
            sessions.train(place, out, stop_request=stop_request, **extra)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000001"]
    assert sessions.made(sessions.train(place, out, **extra)) == expected


def test_a_step_is_finished_once_the_weights_change(place, tmp_path, monkeypatch, whole):
    stop_request, honest, calls = interrupts.StopRequest(), torch.optim.AdamW.step, []

    def slow(self, *args, **more):
        calls.append(self)
        if len(calls) == 5:
            stop_request.request(15)
            stop_request.overdue()
        return honest(self, *args, **more)

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", slow)
        with pytest.raises(interrupts.Interrupted):
            sessions.train(place, out, stop_request=stop_request, method_name=METHOD, save_steps=100)
    assert RunFolder(out).committed_step == 5
    assert sessions.made(sessions.train(place, out, method_name=METHOD, save_steps=100)) == whole


def test_a_first_step_that_is_dropped_leaves_nothing(place, tmp_path, monkeypatch):
    whole = sessions.made(sessions.train(place, tmp_path / "whole", method_name=METHOD, save_steps=3, **RANDOM))
    stop_request = interrupts.StopRequest()

    def endless(*_, **__):
        stop_request.request(2)
        stop_request.overdue()

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", endless)
        with pytest.raises(interrupts.Interrupted):
            sessions.train(place, out, stop_request=stop_request, method_name=METHOD, **RANDOM)
    assert not list(out.glob("checkpoints/*"))
    assert sessions.made(sessions.train(place, out, method_name=METHOD, save_steps=3, **RANDOM)) == whole


def test_how_often_it_is_saved_changes_nothing(place, tmp_path, whole):
    for steps in (1, None):
        assert sessions.made(sessions.train(place, tmp_path / str(steps), method_name=METHOD, save_steps=steps)) == whole


def test_resume_by_its_folder_and_a_finished_run_is_returned(place, tmp_path, whole):
    out, said = tmp_path / "cut", []
    sessions.cut_short(place, out, after=5, method_name=METHOD)
    assert sessions.made(pipeline.resume(out, on_event=said.append)) == whole
    assert pipeline.resume(out, on_event=said.append).complete
    assert sessions.train(place, out, method_name=METHOD, on_event=said.append).complete
    assert [str(event) for event in said[-2:]] == ["the run is already finished: nothing to do"] * 2


def test_without_out_the_same_command_continues_and_another_one_does_not(place, tmp_path, monkeypatch, whole):
    monkeypatch.chdir(tmp_path)
    sessions.cut_short(place, None, after=5, method_name=METHOD)
    other = sessions.train(place, None, method_name=METHOD, learning_rate=1e-5)
    again = sessions.train(place, None, method_name=METHOD)
    third = sessions.train(place, None, method_name=METHOD)
    assert [folder.path.name for folder in (again, other, third)] == [
        f"tickets-{METHOD}-seed0",
        f"tickets-{METHOD}-seed0-2",
        f"tickets-{METHOD}-seed0-3",
    ]
    assert sessions.made(again) == sessions.made(third) == whole


def test_another_place_and_another_process_setting_change_nothing(place, tmp_path, monkeypatch, whole):
    """Working folder, umask and time zone may differ between sessions."""
    out = tmp_path / "cut"
    sessions.cut_short(place, out, after=5, method_name=METHOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    before = os.umask(0o077)
    try:
        assert sessions.made(pipeline.resume(out)) == whole
    finally:
        os.umask(before)


def test_without_a_usable_checkpoint_training_starts_from_the_beginning_and_says_so(place, tmp_path, whole):
    out, said = tmp_path / "cut", []
    sessions.cut_short(place, out, after=5, method_name=METHOD)
    for path in out.glob("checkpoints/*/trained.safetensors"):
        path.unlink()
    folder = sessions.train(place, out, method_name=METHOD, on_event=said.append)
    assert "no usable checkpoint is left: training starts from the beginning" in map(str, said)
    assert any("step-00000005 is not used: trained.safetensors cannot be read" in str(line) for line in said)
    assert sessions.made(folder) == whole


def test_a_changed_log_is_found_and_an_older_checkpoint_used(place, tmp_path, whole):
    out, said = tmp_path / "cut", []
    sessions.cut_short(place, out, after=5, method_name=METHOD, save_steps=2)
    lines = (out / "metrics.jsonl").read_text().splitlines(keepends=True)
    (out / "metrics.jsonl").write_text("".join(lines[:-1]))
    folder = sessions.train(place, out, method_name=METHOD, save_steps=2, on_event=said.append)
    assert any("step-00000005 is not used: metrics.jsonl is not what was saved" in str(line) for line in said)
    assert sessions.made(folder) == whole


def test_the_schedule_changes_only_on_request_and_that_is_recorded(place, tmp_path):
    out, said = tmp_path / "cut", []
    sessions.cut_short(place, out, after=5, method_name=METHOD, **RANDOM)
    with pytest.raises(UserError, match=r"training\.learning_rate: None → 1e-05") as caught:
        sessions.train(place, out, method_name=METHOD, learning_rate=1e-5, **RANDOM)
    assert caught.value.code == ExitCode.MISMATCH
    assert "--change" in caught.value.fix
    folder = pipeline.resume(out, changes=["learning_rate=1e-5", "max_steps=14"], on_event=said.append)
    assert "changed: training.learning_rate 0.0006 → 1e-05" in map(str, said)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    rates = {line["step"]: line["lr"] for line in lines if "lr" in line}
    assert rates[5] > 1e-5 >= rates[6]
    assert max(rates) == 14
    kept = json.loads(folder.config.read_text())["changes"]
    assert [(change["option"], change["to"], change["step"]) for change in kept] == [
        ("training.learning_rate", 1e-5, 5),
        ("training.max_steps", 14, 5),
    ]
    assert json.loads(folder.result.read_text())["changes"] == kept
    with pytest.raises(UserError, match="the run is finished: nothing in it can change"):
        pipeline.resume(out, changes=["learning_rate=1e-4"])
    with pytest.raises(UserError, match="asked for something else") as caught:
        sessions.train(place, out, method_name=METHOD, max_steps=99)
    assert caught.value.fix == "choose another --out", "a finished run cannot be resumed"


def test_a_change_holds_in_later_sessions(place, tmp_path):
    out = tmp_path / "cut"
    sessions.cut_short(place, out, after=5, method_name=METHOD)
    stop_request = interrupts.StopRequest()

    def on_event(event):
        if isinstance(event, run_events.StepCompleted) and event.step == 8:
            stop_request.number = 2

    with pytest.raises(interrupts.Interrupted):
        pipeline.resume(out, changes=["learning_rate=1e-5"], on_event=on_event, stop=stop_request)
    folder = sessions.train(place, out, method_name=METHOD)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert all(line["lr"] <= 1e-5 for line in lines if line["step"] > 5 and "lr" in line)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed=1", "seed cannot change inside a run"),
        ("batch_tokens=60", "batch_tokens cannot change"),
        ("learning_rate=-1", "training.learning_rate = -1"),
    ],
)
def test_what_cannot_change(place, tmp_path, change, message):
    out = tmp_path / "cut"
    sessions.cut_short(place, out, after=1, method_name=METHOD)
    with pytest.raises(UserError, match=message):
        pipeline.resume(out, changes=[change])


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match="no run here"):
        pipeline.resume(tmp_path)


def test_a_copied_run_continues_too(place, tmp_path, whole):
    sessions.cut_short(place, tmp_path / "cut", after=5, method_name=METHOD)
    shutil.copytree(tmp_path / "cut", tmp_path / "a folder, moved")
    assert sessions.made(pipeline.resume(tmp_path / "a folder, moved")) == whole


def test_every_checkpoint_is_complete(place, tmp_path):
    """Two are kept, each complete by itself: the best weights are in both."""
    folder = sessions.train(place, tmp_path / "run", method_name=METHOD, save_steps=3)
    assert len(list(folder.checkpoints.iterdir())) == checkpoint.KEEP_LAST == 2
    for path in folder.checkpoints.iterdir():
        assert "MANIFEST.json" in {file.name for file in path.iterdir()}


def other_data(place, out):
    lines = (place / "tickets.csv").read_text().splitlines(keepends=True)
    lines[20] = lines[20].replace("1", "one")
    (place / "tickets.csv").write_text("".join(lines))


def more_data(place, out):
    with open(place / "tickets.csv", "a") as handle:
        handle.write("where is my other parcel,shipping\n")


def other_weights(place, out):
    name, weights = "model.safetensors", load_file(place / "gpt2" / "model.safetensors")
    key = next(iter(weights))
    weights[key] = weights[key] + 0.001
    save_file(weights, place / "gpt2" / name, metadata={"format": "pt"})


def other_tokenizer(place, out):
    path = place / "gpt2" / "tokenizer.json"
    path.write_text(path.read_text().replace('"add_prefix_space": false', '"add_prefix_space": true'))


def edited_config(place, out):
    config = json.loads((out / "config.json").read_text())
    config["request"]["settings"]["seed"] = 4
    (out / "config.json").write_text(json.dumps(config))


def edited_rate(place, out):
    config = json.loads((out / "config.json").read_text())
    for choice in config["choices"]:
        if choice["option"] == "training.learning_rate":
            choice["value"] = 0.5
    (out / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_data, r"data: validation has 6 rows as before, the first other one is tickets\.csv:21"),
        (more_data, r"data: train has 44 → 45 rows \(\+1\)|data: .* rows as before, the first other one is"),
        (other_weights, r"model: model\.safetensors is another one \("),
        (other_tokenizer, "tokenizer: the same texts become other tokens"),
        (edited_config, r"seed: 0 → 4"),
        (edited_rate, r"training\.learning_rate: 0\.0006 → 0\.5"),
    ],
)
def test_what_changed_at_rest_is_refused_before_a_step(place, tmp_path, change, message):
    own = tmp_path / "place"
    shutil.copytree(place / "gpt2", own / "gpt2")
    shutil.copy(place / "tickets.csv", own)
    out, events = tmp_path / "cut", []
    sessions.cut_short(own, out, after=5, method_name=METHOD)
    change(own, out)
    with pytest.raises(UserError, match=message) as caught:
        pipeline.resume(out, on_event=events.append)
    assert caught.value.code == ExitCode.MISMATCH
    assert not any(isinstance(event, run_events.StepCompleted) for event in events)
    assert (out / "checkpoints" / "step-00000005").is_dir(), "nothing of the run was touched"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"seed": 4}, "seed: 0 → 4"),
        ({"tokens_per_micro_batch": 60}, "training.tokens_per_micro_batch: 120 → 60"),
        ({"precision": "bfloat16"}, "training.precision: 'float32' → 'bfloat16'"),
        ({"options": {"num_layers": 1}}, "method.num_layers: None → 1"),
        ({"method_name": "full"}, f"method: '{METHOD}' → 'full'"),
        ({"data": {"max_length": 9}}, "data.max_length: None → 9"),
    ],
)
def test_another_command_for_the_same_folder_is_refused_with_the_difference(place, tmp_path, extra, message):
    out = tmp_path / "cut"
    sessions.cut_short(place, out, after=1, method_name=METHOD)
    with pytest.raises(UserError, match="the run that is here was asked for something else") as caught:
        sessions.train(place, out, **{"method_name": METHOD, **extra})
    assert message in caught.value.what
    assert caught.value.code == ExitCode.MISMATCH


def test_other_versions_are_reported_and_the_run_continues(place, tmp_path, monkeypatch, whole):
    out, said = tmp_path / "cut", []
    sessions.cut_short(place, out, after=5, method_name=METHOD)
    honest = hardware.environment()
    honest["versions"]["torch"] = "99.0"
    monkeypatch.setattr(hardware, "environment", lambda: honest)
    pipeline.resume(out, on_event=said.append)
    assert any("will not be bit for bit" in str(line) and "→ 99.0" in str(line) for line in said)


def test_a_checkpoint_of_another_run_is_set_aside(place, tmp_path, whole):
    sessions.cut_short(place, tmp_path / "mine", after=5, method_name=METHOD)
    sessions.cut_short(place, tmp_path / "yours", after=8, method_name=METHOD, seed=1)
    shutil.copytree(tmp_path / "yours" / "checkpoints" / "step-00000008", tmp_path / "mine" / "checkpoints" / "step-00000008")
    said = []
    folder = sessions.train(place, tmp_path / "mine", method_name=METHOD, on_event=said.append)
    assert any("step-00000008 is not used: it is of another run (seed: 1 → 0" in str(line) for line in said)
    assert "continues after step 5, from step-00000005" in map(str, said)
    assert sessions.made(folder) == whole


def test_a_loss_that_is_not_finite_stops_the_run_names_its_rows_and_is_never_saved(place, tmp_path, whole, monkeypatch):
    """Weights that become no numbers after step 5: step 6 is not applied, and what is on disk is from before."""
    honest, calls, out = training_step.compute_gradients, [], tmp_path / "run"

    def poisoned(prepared_model, parts, **extra):
        calls.append(parts)
        if len(calls) == 6:
            next(iter(prepared_model.trainable().values())).data.fill_(float("nan"))
        return honest(prepared_model, parts, **extra)

    with monkeypatch.context() as patch:
        patch.setattr(training_step, "compute_gradients", poisoned)
        with pytest.raises(UserError, match=r"step 6: loss nan, gradient norm nan at learning rate .* was not applied") as caught:
            sessions.train(place, out, method_name=METHOD, save_steps=1)
    assert caught.value.code == ExitCode.NON_FINITE
    named = caught.value.where.split(", ")
    assert len(named) == sum(len(part.rows) for part in calls[5])
    assert all(re.fullmatch(r"tickets\.csv:\d+", place) for place in named)
    kept = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000005"]
    for path in out.glob("checkpoints/*/*.safetensors"):
        assert all(torch.isfinite(tensor.float()).all() for tensor in load_file(path).values())
    assert sessions.made(sessions.train(place, out, method_name=METHOD, save_steps=3)) == whole


def test_what_the_message_offers_works_even_before_the_first_checkpoint(place, tmp_path, monkeypatch):
    """A loss that is not finite in the first step: the same run with a lower learning rate, from its beginning."""
    honest, out = training_step.compute_gradients, tmp_path / "run"

    def poisoned(prepared_model, parts, **extra):
        prepared_model.trainable_module.get_parameter(next(iter(prepared_model.trainable()))).data.fill_(float("nan"))
        return honest(prepared_model, parts, **extra)

    with monkeypatch.context() as patch:
        patch.setattr(training_step, "compute_gradients", poisoned)
        with pytest.raises(UserError, match="step 1: loss nan") as caught:
            sessions.train(place, out, method_name=METHOD)
    (change,) = re.findall(rf"`finewright train --resume {re.escape(str(out))} --change (learning_rate=\S+)`", caught.value.fix)
    folder = pipeline.resume(out, changes=[change])
    assert json.loads(folder.result.read_text())["changes"][0]["to"] == 0.0003
