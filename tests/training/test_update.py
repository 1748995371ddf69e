"""Running out of memory: the same update in smaller micro-batches, with the result of a run that was configured so."""

import json
from types import SimpleNamespace

import pytest
import torch

from finewright import methods
from finewright.core import events
from finewright.core.errors import ExitCode, UserError
from finewright.data import packing
from finewright.training import optimizer as optimizer_module
from finewright.training import step
from support import sessions

ERRORS = (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with sessions.quickly():
        yield sessions.place(tmp_path_factory.mktemp("update"))


@pytest.fixture
def small(monkeypatch):
    """Limit the memory to `most` texts in a micro-batch."""

    def set_limit(most, *, error=ERRORS[0]):
        original = step.compute_gradients

        def limited(prepared_model, batches, **options):
            traced = type(batches[0].ids) is not torch.Tensor  # while planning
            if not traced and max(len(batch.rows) for batch in batches) > most:
                raise error
            return original(prepared_model, batches, **options)

        monkeypatch.setattr(step, "compute_gradients", limited)

    return set_limit


SPLIT = [name for name in methods.method_names() if name != "scratch" and methods.get_method(name).objective == "task"]


@pytest.mark.parametrize("method", SPLIT)
def test_the_result_equals_that_of_a_run_configured_with_smaller_micro_batches(place, tmp_path, monkeypatch, method):
    original, failures, notes = step.compute_gradients, [*ERRORS[:2]], []

    def fail_twice(prepared_model, batches, **options):
        if failures and type(batches[0].ids) is torch.Tensor:  # not while a plan is traced
            torch.rand(7)  # random numbers drawn before the failure must not matter
            raise failures.pop()
        return original(prepared_model, batches, **options)

    with monkeypatch.context() as patch:
        patch.setattr(step, "compute_gradients", fail_twice)
        folder = sessions.train(place, tmp_path / "short", method_name=method, on_event=notes.append)
    splits = [line for line in notes if str(line).startswith("out of memory in step 1: ")]
    assert len(splits) == sum(isinstance(event, events.MicroBatchesSplit) for event in notes) == 2
    assert "the updates stay the same" in str(splits[0])
    assert json.loads(folder.result.read_text())["micro_batch_splits"] == 2
    configured = sessions.train(place, tmp_path / "configured", method_name=method, micro_batch_splits=2)
    assert sessions.made(folder) == sessions.made(configured)


def test_splitting_does_not_change_the_texts_of_an_update(place, tmp_path, small):
    def rows(out, notes):
        sessions.train(place, out, on_event=notes.append)
        return [(event.step, event.result.num_rows) for event in notes if isinstance(event, events.StepCompleted)]

    plenty = rows(tmp_path / "plenty", [])
    small(9)
    assert rows(tmp_path / "short", []) == plenty


def test_a_resumed_run_uses_the_smaller_micro_batches(place, tmp_path, small):
    small(9)
    whole = sessions.made(sessions.train(place, tmp_path / "whole", save_steps=3))
    sessions.cut_short(place, tmp_path / "cut", after=5, save_steps=3)
    notes = []
    assert sessions.made(sessions.train(place, tmp_path / "cut", save_steps=3, on_event=notes.append)) == whole
    assert not [event for event in notes if isinstance(event, events.MicroBatchesSplit)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_single_text_that_does_not_fit_is_an_error(place, tmp_path, small, error):
    small(0, error=error)
    with pytest.raises(UserError, match=r"out of memory with one text at a time, the longest of \d+ tokens") as caught:
        sessions.train(place, tmp_path / "run")
    assert caught.value.code == ExitCode.OUT_OF_MEMORY
    assert "data.max_length" in caught.value.fix


def test_other_errors_are_not_treated_as_out_of_memory(place, tmp_path, small):
    small(0, error=RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        sessions.train(place, tmp_path / "run")


def test_splitting_reads_only_the_lengths_of_its_own_rows(monkeypatch):
    def all_rows(_):
        raise AssertionError("the lengths of all rows were read")

    monkeypatch.setattr(packing.EncodedSplit, "lengths", property(all_rows))
    encoded = packing.EncodedSplit([[1] * length for length in (9, 2, 2, 3, 1)], [], [0] * 5)
    prepared_model, progress = SimpleNamespace(prompt_tokens=4), SimpleNamespace(micro_batch_splits=1)
    state = SimpleNamespace(device=torch.device("cpu"), prepared_model=prepared_model, progress=progress)
    update = step.UpdateAttempt(state, encoded, micro_batches=((1, 2, 0), (4, 3)), task=None, lr=1.0, max_grad_norm=1.0)
    assert update.micro_batches == ((1, 2), (0,), (4,), (3,))


def test_no_memory_for_the_optimizer_state_is_an_error_before_any_weight_changes(place, tmp_path, monkeypatch):
    original, out, notes, calls = optimizer_module._build_moments, tmp_path / "run", [], []

    def fail_at_second_call(parameter):
        calls.append(parameter)
        if len(calls) == 2:
            raise ERRORS[1]
        return original(parameter)

    with monkeypatch.context() as patch:
        patch.setattr(optimizer_module, "_build_moments", fail_at_second_call)
        with pytest.raises(UserError, match=r"allocating the optimizer's state for [\d,]+ trained parameters") as caught:
            sessions.train(place, out, on_event=notes.append)
    assert caught.value.code == ExitCode.OUT_OF_MEMORY
    assert "adamw8bit" in caught.value.fix
    assert not [event for event in notes if isinstance(event, events.MicroBatchesSplit | events.StepCompleted)]
    assert sessions.made(sessions.train(place, out)) == sessions.made(sessions.train(place, tmp_path / "whole"))


def test_an_update_that_failed_while_changing_weights_is_not_repeated(place, tmp_path, monkeypatch):
    """A second attempt would change some weights twice."""
    original, out, notes, calls = torch.optim.AdamW.step, tmp_path / "run", [], []

    def fail_at_third_call(optimizer, *arguments):
        calls.append(optimizer)
        if len(calls) == 3:
            next(iter(optimizer.state)).data.add_(1.0)
            raise ERRORS[0]
        return original(optimizer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", fail_at_third_call)
        with pytest.raises(UserError, match="step 3: out of memory while the weights were being changed") as caught:
            sessions.train(place, out, save_steps=1, on_event=notes.append)
    assert caught.value.code == ExitCode.OUT_OF_MEMORY
    assert f"`finewright train --resume {out}` continues" in caught.value.fix
    assert len(calls) == 3
    assert not [event for event in notes if isinstance(event, events.MicroBatchesSplit)]
    assert max(path.name for path in (out / "checkpoints").iterdir()) == "step-00000002"
    whole = sessions.train(place, tmp_path / "whole", save_steps=1)
    assert sessions.made(sessions.train(place, out, save_steps=1)) == sessions.made(whole)


def test_an_update_of_pairs_is_never_split(place, tmp_path, monkeypatch):
    """Its pairs would be lost: memory that runs out ends the run with a message."""
    original = step.compute_gradients

    def fail(prepared_model, batches, **how):
        if type(batches[0].ids) is torch.Tensor:  # the plan's are fake
            raise torch.OutOfMemoryError("no")
        return original(prepared_model, batches, **how)

    monkeypatch.setattr(step, "compute_gradients", fail)
    with pytest.raises(UserError, match="out of memory while texts were compared"):
        sessions.train(place, tmp_path / "run", method_name="contrastive")


def test_options_of_micro_batches_are_named_where_they_mean_nothing(place, tmp_path):
    said = []
    sessions.train(place, tmp_path / "run", method_name="contrastive", micro_batch_splits=2, on_event=said.append, max_steps=2)
    assert any("training.micro_batch_splits" in str(event) and "without effect" in str(event) for event in said)
