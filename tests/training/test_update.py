"""Memory that runs out: the same update in smaller passes, and in the end the same result as if it had been asked for."""

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
from support import lives

ERRORS = (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with lives.quickly():
        yield lives.place(tmp_path_factory.mktemp("update"))


@pytest.fixture
def small(monkeypatch):
    """Memory for so many texts in a pass."""

    def set_limit(most, *, error=ERRORS[0]):
        honest = step.compute_gradients

        def limited(prepared_model, parts, **options):
            if type(parts[0].ids) is torch.Tensor and max(len(part.rows) for part in parts) > most:  # a plan traces others
                raise error
            return honest(prepared_model, parts, **options)

        monkeypatch.setattr(step, "compute_gradients", limited)

    return set_limit


@pytest.mark.parametrize("way", [name for name in methods.method_names() if name != "scratch"])
def test_the_result_is_that_of_a_run_that_was_asked_for_smaller_passes(place, tmp_path, monkeypatch, way):
    honest, failures, said = step.compute_gradients, [*ERRORS[:2]], []

    def twice_too_much(prepared_model, parts, **options):
        if failures and type(parts[0].ids) is torch.Tensor:  # a plan traces others
            torch.rand(7)  # what was drawn before memory ran out must not matter
            raise failures.pop()
        return honest(prepared_model, parts, **options)

    with monkeypatch.context() as patch:
        patch.setattr(step, "compute_gradients", twice_too_much)
        folder = lives.train(place, tmp_path / "short", way=way, on_event=said.append)
    told = [line for line in said if str(line).startswith("out of memory in step 1: ")]
    assert len(told) == sum(isinstance(event, events.MicroBatchesSplit) for event in said) == 2
    assert "the updates stay the same" in told[0]
    assert json.loads(folder.result.read_text())["micro_batch_splits"] == 2
    asked = lives.train(place, tmp_path / "asked", way=way, micro_batch_splits=2)
    assert lives.made(folder) == lives.made(asked)


def test_every_update_has_the_texts_it_would_have_had(place, tmp_path, small):
    def rows(out, said):
        lives.train(place, out, on_event=said.append)
        return [(event.step, event.result.num_rows) for event in said if isinstance(event, events.StepCompleted)]

    plenty = rows(tmp_path / "plenty", [])
    small(9)
    assert rows(tmp_path / "short", []) == plenty


def test_smaller_passes_are_remembered_by_later_lives(place, tmp_path, small):
    small(9)
    whole = lives.made(lives.train(place, tmp_path / "whole", save_steps=3))
    lives.cut_short(place, tmp_path / "cut", after=5, save_steps=3)
    said = []
    assert lives.made(lives.train(place, tmp_path / "cut", save_steps=3, on_event=said.append)) == whole
    assert not [event for event in said if isinstance(event, events.MicroBatchesSplit)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_when_one_text_is_too_much_it_says_so(place, tmp_path, small, error):
    small(0, error=error)
    with pytest.raises(UserError, match=r"out of memory with one text at a time, the longest of \d+ tokens") as caught:
        lives.train(place, tmp_path / "run")
    assert caught.value.code == ExitCode.OUT_OF_MEMORY
    assert "data.max_length" in caught.value.fix


def test_another_error_is_not_taken_for_memory(place, tmp_path, small):
    small(0, error=RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        lives.train(place, tmp_path / "run")


def test_smaller_passes_want_the_lengths_of_their_own_rows_alone(monkeypatch):
    def all_rows(_):
        raise AssertionError("the lengths of all rows were looked up")

    monkeypatch.setattr(packing.EncodedSplit, "lengths", property(all_rows))
    encoded = packing.EncodedSplit([[1] * length for length in (9, 2, 2, 3, 1)], [], [0] * 5)
    prepared_model, progress = SimpleNamespace(prompt_tokens=4), SimpleNamespace(micro_batch_splits=1)
    state = SimpleNamespace(device=torch.device("cpu"), prepared_model=prepared_model, progress=progress)
    made = step.UpdateAttempt(state, encoded, passes=((1, 2, 0), (4, 3)), task=None, lr=1.0, max_grad_norm=1.0)
    assert made.passes == ((1, 2), (0,), (4,), (3,))


def test_no_memory_for_the_optimizers_state_ends_the_run_before_any_weight_is_changed(place, tmp_path, monkeypatch):
    honest, out, said, made = optimizer_module._moments, tmp_path / "run", [], []

    def second_is_too_much(parameter):
        made.append(parameter)
        if len(made) == 2:
            raise ERRORS[1]
        return honest(parameter)

    with monkeypatch.context() as patch:
        patch.setattr(optimizer_module, "_moments", second_is_too_much)
        with pytest.raises(UserError, match=r"making room for the optimizer's state of [\d,]+ trained numbers") as caught:
            lives.train(place, out, on_event=said.append)
    assert caught.value.code == ExitCode.OUT_OF_MEMORY
    assert "adamw8bit" in caught.value.fix
    assert not [event for event in said if isinstance(event, events.MicroBatchesSplit | events.StepCompleted)]
    assert lives.made(lives.train(place, out)) == lives.made(lives.train(place, tmp_path / "whole"))


def test_an_update_that_broke_off_among_the_weights_is_never_made_again(place, tmp_path, monkeypatch):
    """A second try would change those twice that were changed already."""
    honest, out, said, tries = torch.optim.AdamW.step, tmp_path / "run", [], []

    def breaks_off(optimizer, *arguments):
        tries.append(optimizer)
        if len(tries) == 3:
            next(iter(optimizer.state)).data.add_(1.0)
            raise ERRORS[0]
        return honest(optimizer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", breaks_off)
        with pytest.raises(UserError, match="step 3: out of memory while the weights were being changed") as caught:
            lives.train(place, out, save_steps=1, on_event=said.append)
    assert caught.value.code == ExitCode.OUT_OF_MEMORY
    assert f"`finewright train --resume {out}` goes on" in caught.value.fix
    assert len(tries) == 3
    assert not [event for event in said if isinstance(event, events.MicroBatchesSplit)]
    assert max(path.name for path in (out / "checkpoints").iterdir()) == "step-00000002"
    whole = lives.train(place, tmp_path / "whole", save_steps=1)
    assert lives.made(lives.train(place, out, save_steps=1)) == lives.made(whole)
