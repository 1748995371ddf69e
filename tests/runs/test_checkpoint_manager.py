"""When the state is saved, and what is never saved."""

import math
from types import SimpleNamespace

import pytest
import torch

from finewright.core.errors import ExitCode, UserError
from finewright.runs import checkpoint, checkpoint_manager
from finewright.runs import folder as run_folder
from finewright.runs.checkpoint_manager import CheckpointManager
from finewright.training import optimizer
from finewright.training.memory_meter import MemoryMeter
from finewright.training.state import EvaluatedStep, TrainState
from support import tiny

RUN = {"data": {}, "schedule": {}, "labels": ["a"]}


@pytest.fixture
def folder(tmp_path):
    made = run_folder.create_run(out=tmp_path / "run", name="")
    yield made
    made.release()


def build_manager(folder, *, every_steps=None, clock=lambda: 0.0, fingerprint=None):
    prepared_model = tiny.prepared_model("gpt2")
    state = TrainState(prepared_model, optimizer.build_optimizer(prepared_model, lr=1e-3, weight_decay=0.0))
    return CheckpointManager(
        folder,
        state,
        fingerprint=fingerprint or RUN,
        environment={},
        every_steps=every_steps,
        meter=MemoryMeter("cpu"),
        clock=clock,
    )


def test_by_steps(folder):
    one = build_manager(folder, every_steps=3)
    one.state.progress.step = 3
    assert one.is_due()
    one.state.progress.step = 4
    assert not one.is_due()


def test_a_pause_is_no_training_time(folder):
    now = SimpleNamespace(seconds=10.0)
    one = build_manager(folder, clock=lambda: now.seconds)
    now.seconds = 12.0
    with one.paused():
        now.seconds = 100.0
    now.seconds = 101.0
    assert one.seconds == 3.0


def test_by_time_and_never_more_than_its_share(folder, monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    one = build_manager(folder, clock=lambda: now.seconds)
    one.state.progress.step = 1
    now.seconds = checkpoint_manager.LEAST_SECONDS - 1
    assert not one.is_due()
    now.seconds = checkpoint_manager.LEAST_SECONDS
    assert one.is_due()
    honest = checkpoint.save_checkpoint

    def slow(*args, **options):
        now.seconds += 10
        return honest(*args, **options)

    monkeypatch.setattr(checkpoint, "save_checkpoint", slow)
    one.commit()
    far = math.ceil(10 / checkpoint_manager.MOST_SHARE)
    now.seconds += far - 1
    assert not one.is_due()
    now.seconds += 1
    assert one.is_due()
    assert (one.saving_seconds, one.seconds) == (10, checkpoint_manager.LEAST_SECONDS + 10 + far)


def test_the_same_step_is_saved_once(folder):
    one = build_manager(folder)
    one.state.progress.step = 1
    one.commit()
    before = (folder.checkpoints / "step-00000001" / "MANIFEST.json").stat().st_mtime_ns
    one.commit()
    assert (folder.checkpoints / "step-00000001" / "MANIFEST.json").stat().st_mtime_ns == before


def test_the_best_weights_go_along(folder):
    one = build_manager(folder)
    name, parameter = next(iter(one.state.prepared_model.trainable().items()))
    progress = one.state.progress
    for step in range(1, 6):
        parameter.data.fill_(float(step))
        progress.step = step
        if step == 2:
            progress.best = EvaluatedStep(2, 0.1, {"accuracy": 1.0, "loss": 0.0})
        one.commit()
    other = build_manager(folder)
    assert other.restore(notify=lambda sentence, **kind: None)
    assert torch.equal(dict(other.state.prepared_model.trainable())[name], torch.full_like(parameter, 5.0))
    assert other.restore_best() == 2
    assert torch.equal(dict(other.state.prepared_model.trainable())[name], torch.full_like(parameter, 2.0))
    assert other.num_sessions == 2


def test_weights_that_are_not_finite_are_never_saved(folder):
    one = build_manager(folder)
    one.state.progress.step = 1
    next(iter(one.state.prepared_model.trainable().values())).data[0, 0] = float("nan")
    with pytest.raises(UserError, match="after step 1 trained weights are not finite; they are not saved") as caught:
        one.commit()
    assert caught.value.code == ExitCode.NON_FINITE
    assert not folder.checkpoints.exists()


def test_a_checkpoint_of_another_run_is_never_used(folder):
    one = build_manager(folder, fingerprint=RUN | {"labels": ["b"]})
    one.state.progress.step = 1
    one.commit()
    said = []
    assert not build_manager(folder).restore(notify=lambda sentence, **kind: said.append(sentence))
    assert "step-00000001 is not used: it is of another run (labels: −'b', +'a')" in said[0]


def test_a_disk_too_small_is_refused_before_the_first_step(folder, monkeypatch):
    monkeypatch.setattr(type(folder), "free_bytes", lambda self: 1000)
    with pytest.raises(UserError, match=r"checkpoints and result take up to \d+ MB, 0 MB are free") as caught:
        build_manager(folder).check_disk_space(result_bytes=0)
    assert caught.value.code == ExitCode.DISK


def test_the_result_needs_disk_space_too(folder, monkeypatch):
    """A method that trains little may still leave a whole model."""
    monkeypatch.setattr(type(folder), "free_bytes", lambda self: 10**9)
    build_manager(folder).check_disk_space(result_bytes=5 * 10**8)
    with pytest.raises(UserError, match=r"take up to 2,0\d\d MB"):
        build_manager(folder).check_disk_space(result_bytes=2 * 10**9)
