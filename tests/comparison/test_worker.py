"""The work of a comparison, called as its processes call it."""

import errno
import json
import os
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from finewright import methods
from finewright.comparison import worker
from finewright.core import files as file_system
from finewright.core import hardware, interrupts, units
from finewright.core.config import DataConfig
from finewright.core.errors import ExitCode, UserError
from finewright.core.events import StepCompleted
from finewright.core.interrupts import Interrupted
from finewright.inference.predictor import Predictor
from finewright.runs import verify
from finewright.runs.folder import RunFolder
from finewright.training import memory_meter
from support import killer, sessions, tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("worker")
    tiny.folder(root / "gpt2")
    tiny.tickets(root / "tickets.csv", count=60)
    return root


def recorded():
    events = []
    return events, events.append


def test_rows_and_token_ids_are_read_once(place, monkeypatch):
    options = DataConfig().model_dump()
    request = {"model": str(place / "gpt2"), "data": [(str(place / "tickets.csv"), options)] * 2}
    prepared = worker.Worker()
    prepared.prepare(request)
    dataset = prepared.cache.read(str(place / "tickets.csv"), options=DataConfig())
    known = prepared.cache.ids(str((place / "gpt2").resolve()))
    assert set(known) == {row.text for rows in (dataset.train, dataset.validation, dataset.test) for row in rows}
    monkeypatch.setattr("finewright.data.dataset.read_dataset", None)
    options = {"training": {"max_steps": 3, "num_threads": 1}, "method": {"rank": 2}}
    before = dict(known)
    request = {"model": str(place / "gpt2"), "data": str(place / "tickets.csv"), "method": "lora", "options": options}
    found, _ = worker.plan_method(request, cache=prepared.cache)
    assert known == before
    assert found.training_plan.plan.trainable_parameters == 3 * 2 * (2 * 32 + 32 * 2) + 32 * 2
    assert len(found.training_plan.schedule.steps) == 3


def test_planning_needs_no_weights(place, tmp_path):
    shutil.copytree(place / "gpt2", tmp_path / "shape", ignore=shutil.ignore_patterns("*.safetensors"))
    request = {"model": str(tmp_path / "shape"), "data": [(str(place / "tickets.csv"), DataConfig().model_dump())]}
    planner = worker.Worker()
    planner.prepare(request)
    out = tmp_path / "plan.json"
    request = {"kind": "plan", "model": str(tmp_path / "shape"), "data": str(place / "tickets.csv"), "out": str(out)}
    planner.perform(request | {"method": "lora", "options": QUICK}, lambda event: None)
    assert json.loads(out.read_text())["methods"]["lora"]["plan"]["steps"] == 2


QUICK = {"training": {"max_steps": 2, "num_threads": 1}}


def planned(place, out, method, options):
    request = {"kind": "plan", "model": str(place / "gpt2"), "data": str(place / "tickets.csv")}
    worker.Worker().perform(request | {"method": method, "options": options, "out": str(out)}, lambda event: None)
    return json.loads(out.read_text())["methods"][method]


def test_a_method_that_cannot_be_planned_is_answered_with_its_reason(place, tmp_path):
    found = planned(place, tmp_path / "a.json", "freeze", {"method": {"num_layers": 99}, "training": {"num_threads": 1}})
    assert "wanted the top 99 layers trained, the model has 3" in found["error"]
    assert planned(place, tmp_path / "b.json", "lora", QUICK)["plan"]["peak_memory_bytes"] > 0


def test_setups_are_fitted_to_the_budget(place, tmp_path):
    roomy = planned(place, tmp_path / "a.json", "lora", QUICK)["plan"]
    given = int(0.9 * roomy["peak_memory_bytes"])
    tight = planned(place, tmp_path / "b.json", "lora", QUICK | {"memory_budget": units.format_bytes_exactly(given)})["plan"]
    assert tight["peak_memory_bytes"] < roomy["peak_memory_bytes"]
    assert tight["budget_bytes"] == given


def test_a_method_whose_packages_are_missing_is_answered_with_the_fix(place, tmp_path, monkeypatch):
    monkeypatch.setattr("finewright.models.quantization.missing_packages", lambda: ["bitsandbytes"])
    answer = planned(place, tmp_path / "a.json", "qlora", {})["error"]
    assert "qlora needs bitsandbytes, not installed here" in answer
    assert "pip install" in answer


def test_the_machine_is_described(tmp_path):
    worker.Worker().perform({"kind": "machine", "out": str(tmp_path / "machine.json")}, lambda event: None)
    found = json.loads((tmp_path / "machine.json").read_text())
    assert found["device"] == hardware.detect().device
    assert found["cpu_count"] >= 1
    assert found["memory_bytes"] > 10**8


STEPS = {
    "max_steps": 8,
    "tokens_per_micro_batch": 120,
    "precision": "float32",
    "num_threads": 1,
    "logging_steps": 1,
    "save_steps": 2,
}


class Here:
    """Stands for the clean process of a run, because forking here would be no clean copy: the one that all tests share."""

    def __init__(self, work):
        self.ask = verify._answer_in_process.get()

    def __call__(self, request):
        self.ask(request)

    def close(self):
        pass


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """The profiler has threads, which a fork does not take along."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_meter, "measure_memory", killer.unwatched)
        patch.setattr(worker, "CleanProcess", Here)
        yield


def trained(place, out, *, notify=lambda event: None, **changes):
    request = {"id": "m", "kind": "train", "model": str(place / "gpt2"), "method": "lora", "out": str(out)}
    options = {"training": STEPS | changes}
    worker.Worker().perform(request | {"options": options, "data": str(place / "tickets.csv")}, notify)


@contextmanager
def signalled(number, *, after):
    """Send this process a signal after that many updates within this block."""
    honest = worker._Progress.__call__

    def report(self, event):
        honest(self, event)
        if getattr(event, "step", 0) == after and isinstance(event, StepCompleted):
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker._Progress, "__call__", report)
        yield


@pytest.fixture(scope="module")
def runs(place):
    """(a whole run, one whose process was killed after five steps)."""
    trained(place, place / "whole")

    def work():
        with signalled(signal.SIGKILL, after=5):
            trained(place, place / "killed")

    assert killer.run_session(work, seconds=None) is None
    return RunFolder(place / "whole"), RunFolder(place / "killed")


@pytest.fixture
def killed(runs, tmp_path):
    return RunFolder(shutil.copytree(runs[1].path, tmp_path / "killed"))


def test_a_killed_run_resumes_from_its_checkpoint_and_with_its_learning_rate(place, runs, killed, monkeypatch):
    """Even if the default rate has changed since."""
    assert killed.committed_step == 4
    monkeypatch.setattr(methods.get_method("lora"), "learning_rate", 7e-4)
    events, notify = recorded()
    trained(place, killed.path, notify=notify)
    assert [event["message"] for event in events if event["event"] == "said"] == ["resumes after step 4"]
    assert sessions.made(killed) == sessions.made(runs[0])


def damage(killed):
    killed.config.write_bytes(killed.config.read_bytes()[:200])


def change(killed):
    config = json.loads(killed.config.read_text())
    config["request"]["settings"]["memory_budget"] = "3GB"
    killed.config.write_text(json.dumps(config))


@pytest.mark.parametrize("free", [10**12, 0])
def test_speeds_are_measured_in_turn_with_one_thread(runs, tmp_path, monkeypatch, free):
    """Models that do not fit into the memory together are measured one after the other."""
    scored, threads = [], torch.get_num_threads()

    def score(predictor, texts):
        scored.append((id(predictor), torch.get_num_threads()))
        alive.append(predictor)

    alive = []
    monkeypatch.setattr(Predictor, "score", score)
    monkeypatch.setattr(hardware, "free_bytes", lambda device: free)
    outs = {name: str(tmp_path / f"{name}.json") for name in ("a", "b")}
    paths = dict(zip(outs, map(str, [runs[0].path, runs[0].path]), strict=True))
    try:
        torch.set_num_threads(2)
        worker.Worker().perform({"kind": "speed", "runs": paths, "outs": outs}, lambda event: None)
    finally:
        torch.set_num_threads(threads)
    first, last = scored[0][0], scored[-1][0]
    rounds = worker.SPEED_ROUNDS + 1
    assert [one for one, _ in scored] == ([first, last] * rounds if free else [first] * rounds + [last] * rounds)
    assert first != last
    assert {number for _, number in scored} == {1}
    for out in outs.values():
        found = json.loads(Path(out).read_text())
        assert found["threads"] == 1
        assert found["texts_per_second"] > 0


def other_device(killed):
    config = json.loads(killed.config.read_text())
    config["fingerprint"]["device"] = "cuda"
    killed.config.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (damage, "not readable: "),
        (change, "the run that is here was asked for something else:\n  memory_budget: '3GB' → None"),
        (other_device, "the run was started with something else:\n  device: 'cuda' → 'cpu'"),
    ],
)
def test_a_run_that_cannot_resume_starts_again(place, runs, killed, how, why):
    how(killed)
    events, notify = recorded()
    trained(place, killed.path, notify=notify)
    (message,) = [event["message"] for event in events if event["event"] == "said"]
    assert message.startswith(f"cannot resume, starts again: {why}")
    assert sessions.made(killed) == sessions.made(runs[0])


def test_a_run_whose_checkpoints_are_all_damaged_starts_again(place, runs, killed):
    for file in killed.checkpoints.glob("*/trained.safetensors"):
        file.write_bytes(b"")
    trained(place, killed.path)
    result, files = sessions.made(killed), sessions.made(runs[0])
    assert result == files


def test_sigterm_lets_the_step_end_and_saves_it(place, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted), signalled(signal.SIGTERM, after=5):
        trained(place, tmp_path / "r")
    assert RunFolder(tmp_path / "r").committed_step == 5
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_step_that_takes_too_long_after_sigterm_is_dropped_and_the_one_before_saved(place, runs, tmp_path, monkeypatch):
    """In its sixth backward pass."""
    honest, calls = torch.Tensor.backward, []

    def endless(tensor, *args, **extra):
        calls.append(tensor)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
            until = time.monotonic() + 2
            while time.monotonic() < until:
                time.sleep(0.01)
        return honest(tensor, *args, **extra)

    monkeypatch.setattr(worker, "_SECONDS_FOR_A_STEP", 0.05)
    monkeypatch.setattr(torch.Tensor, "backward", endless)
    with pytest.raises(Interrupted):
        trained(place, tmp_path / "r")
    assert RunFolder(tmp_path / "r").committed_step == 5
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    trained(place, tmp_path / "r")
    assert sessions.made(RunFolder(tmp_path / "r")) == sessions.made(runs[0])


def test_the_wait_for_an_end_is_longer_than_an_end_may_take():
    assert worker._SECONDS_FOR_A_STEP < interrupts.PATIENCE_S < worker._SECONDS_FOR_AN_END


def test_an_error_in_a_resumed_run_is_raised_and_its_folder_stays(place, killed, monkeypatch):
    def fails(*args, **extra):
        raise UserError("scores differ", code=ExitCode.MISMATCH)

    monkeypatch.setattr(verify, "verify_saved_model", fails)
    with pytest.raises(UserError, match="scores differ"):
        trained(place, killed.path)
    assert killed.committed_step == 8


def test_only_a_run_is_resumed(tmp_path):
    run = RunFolder(tmp_path / "r")
    assert not worker._was_begun(run)
    run.path.mkdir()
    assert not worker._was_begun(run)
    (run.checkpoints / "step-00000001").mkdir(parents=True)
    (run.path / ".draft-result.json").write_text("{")
    assert worker._was_begun(run)
    (run.path / "thesis.doc").write_text("x")
    with pytest.raises(UserError, match=r"the folder has something else: thesis\.doc"):
        worker._was_begun(run)
    (run.path / "thesis.doc").unlink()
    run.result.write_text("{}")
    assert not worker._was_begun(run), "a finished run stays"


def test_a_run_in_use_is_left_alone(tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "r")
    (run.checkpoints / "step-00000001").mkdir(parents=True)
    run.lock()
    monkeypatch.setattr(worker, "_SECONDS_FOR_AN_END", 0.0)
    for use in (worker._was_begun, worker._remove):
        with pytest.raises(UserError, match="locked by pid") as caught:
            use(RunFolder(run.path))
        assert caught.value.code == ExitCode.MISMATCH
    run.release()
    assert run.has_checkpoint


def test_a_process_that_still_saves_its_step_is_awaited(tmp_path):
    run = RunFolder(tmp_path / "r")
    (run.checkpoints / "step-00000001").mkdir(parents=True)
    run.lock()
    threading.Timer(0.15, run.release).start()
    assert worker._was_begun(RunFolder(run.path))


def test_without_file_locks_there_is_no_wait(tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "r")
    (run.checkpoints / "step-00000001").mkdir(parents=True)
    calls = []

    def refused(number):
        calls.append(number)
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(file_system, "lock", refused)
    monkeypatch.setattr(worker, "_SECONDS_FOR_AN_END", 0.3)
    with pytest.raises(UserError, match="cannot lock the run for this process: No locks available"):
        worker._was_begun(run)
    assert len(calls) == 1
