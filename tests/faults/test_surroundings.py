"""The environment of a run changes: its folder is removed, the terminal closes, the clock jumps, names are odd, no home."""

import errno
import fcntl
import functools
import json
import os
import pty
import resource
import shutil
import signal
import sys
import termios
import time

import pytest
import torch

from finewright.cli import console, main, signals
from finewright.core import events
from finewright.core.errors import ExitCode, UserError
from finewright.runs import checkpoint, model_folder, pipeline
from finewright.runs.checkpoint_manager import CheckpointManager
from finewright.runs.folder import RunFolder
from finewright.training import memory_meter
from finewright.training import step as training_step
from support import killer, sessions
from support.faults import Killed, faulty

METHOD = "freeze"  # the quickest
ODD = [
    "with space",
    "-leading-dash",
    "näme-日本",
    "🧵",
    "a'b\"c`d",
    "100%s{x}",
    "new\nline",
    "semi;colon & $HOME",
    "x" * 200,
    ".hidden",
    "[bold]red[/bold]",
    "*?",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with sessions.quickly():
        yield sessions.place(tmp_path_factory.mktemp("surroundings"))


@pytest.fixture(scope="module")
def whole(place):
    return sessions.made(sessions.train(place, place / "whole", method_name=METHOD, save_steps=3))


def after(step, act):
    """A listener that acts once, after that step."""

    def on_event(event):
        if isinstance(event, events.StepCompleted) and event.step == step:
            act()

    return on_event


def command(place, out, *words):
    """The program's own main in this process, which is a fork: its exit code ends the process."""
    memory_meter.measure_memory = killer.unwatched
    fast = [
        "training.tokens_per_micro_batch=120",
        "training.num_threads=1",
        "training.precision=float32",
        "training.logging_steps=1",
    ]
    given = ["train", place / "tickets.csv", "--model", place / "gpt2", "--method", METHOD, "--out", out]
    given += [word for option in fast for word in ("--set", option)]
    sys.argv = ["finewright", *map(str, given), *words]
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    try:
        main.main()
    except SystemExit as ended:
        sys.stdout.flush()
        os._exit(ended.code or 0)
    os._exit(0)


def forked(work):
    """Number of a new process that does it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(99)
    return child


def waited_for(path, child):
    """Until a run at work has made the file."""
    while not path.exists() and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.05)


# P7


@pytest.mark.parametrize("logging_steps", [1, 100], ids=["found by the log", "found by the checkpoint"])
def test_a_folder_that_is_removed_meanwhile_ends_the_run_and_is_not_made_again(place, tmp_path, logging_steps):
    out = tmp_path / "run"
    options = {"method_name": METHOD, "save_steps": 2, "logging_steps": logging_steps, "evals_per_epoch": 1}
    with pytest.raises(UserError, match="the run's folder was removed or replaced") as caught:
        sessions.train(place, out, on_event=after(5, lambda: shutil.rmtree(out)), **options)
    assert caught.value.code == ExitCode.DISK
    assert not out.exists()


def test_a_folder_that_vanishes_after_the_last_step_leaves_no_half_run(place, tmp_path, monkeypatch):
    out, moved, honest = tmp_path / "run", tmp_path / "moved", model_folder.save_model

    def move(*args, **options):
        honest(*args, **options)
        out.rename(moved)

    monkeypatch.setattr(model_folder, "save_model", move)
    with pytest.raises(UserError) as caught:
        sessions.train(place, out, method_name=METHOD, save_steps=3)
    assert caught.value.code == ExitCode.DISK
    assert not RunFolder(out).complete
    assert not RunFolder(moved).complete


def test_a_folder_that_is_removed_after_the_last_commit_is_not_made_again(place, tmp_path, monkeypatch):
    out, honest = tmp_path / "run", CheckpointManager.restore_best

    def remove(checkpoints):
        step = honest(checkpoints)
        shutil.rmtree(out)
        return step

    monkeypatch.setattr(CheckpointManager, "restore_best", remove)
    with pytest.raises(UserError, match="the run's folder was removed or replaced"):
        sessions.train(place, out, method_name=METHOD, save_steps=3)
    assert not out.exists()


@pytest.mark.faults
def test_a_folder_that_is_put_back_continues(place, tmp_path, whole):
    out, aside = tmp_path / "run", tmp_path / "aside"
    with pytest.raises(UserError, match="put it back, then the same command continues"):
        sessions.train(place, out, method_name=METHOD, save_steps=3, on_event=after(7, lambda: out.rename(aside)))
    aside.rename(out)
    assert sessions.made(sessions.train(place, out, method_name=METHOD, save_steps=3)) == whole


def test_a_disk_that_turns_read_only_is_one_message_and_the_run_continues_later(place, tmp_path, whole, capsys):
    """With the program's own message; the system answers every change with EROFS from step 5 on."""
    broken = []

    def refuse(name, args):
        if broken:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    out = tmp_path / "run"
    with faulty(refuse), pytest.raises(UserError) as caught:
        sessions.train(place, out, method_name=METHOD, save_steps=3, on_event=after(5, lambda: broken.append(True)))
    assert console.explain(caught.value) == 7
    said = capsys.readouterr().err
    assert "Read-only file system" in said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 3
    assert sessions.made(sessions.train(place, out, method_name=METHOD, save_steps=3)) == whole


# P2


def test_a_run_that_is_killed_after_every_checkpoint_needs_one_session_more_than_it_has_checkpoints(
    place, tmp_path, monkeypatch, whole
):
    honest, out, steps = checkpoint.save_checkpoint, tmp_path / "run", [0]

    def last_act(*args, **options):
        honest(*args, **options)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_checkpoint", last_act)
        while steps[-1] < 12:
            with pytest.raises(Killed):
                sessions.train(place, out, method_name=METHOD, save_steps=6, evals_per_epoch=2)
            steps.append(RunFolder(out).committed_step)
            assert steps[-1] > steps[-2]
    assert sessions.made(sessions.train(place, out, method_name=METHOD, save_steps=6)) == whole


# P11


def test_a_step_that_lasts_longer_than_a_supervisor_waits_is_dropped(place, tmp_path, monkeypatch):
    """The program itself, stopped in the middle of a micro-batch that would take ten minutes."""
    out, told, honest, calls = tmp_path / "run", tmp_path / "told", torch.Tensor.backward, []

    def endless(tensor, *args, **more):
        calls.append(tensor)
        if len(calls) == 4:
            (tmp_path / "stuck").write_text("")
            time.sleep(600)
        return honest(tensor, *args, **more)

    def work():
        monkeypatch.setattr(torch.Tensor, "backward", endless)
        monkeypatch.setattr(signals, "GRACE_S", 0.2)
        os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT), 2)
        command(place, out, "--set", "training.max_steps=12")

    child = forked(work)
    waited_for(tmp_path / "stuck", child)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGTERM
    assert told.read_text().splitlines()[-2:] == [
        "stopped; step 3 is saved, resume with:",
        f"  finewright train --resume {out}",
    ]


# P13


def test_a_terminal_that_is_closed_ends_the_run_after_a_step_that_is_saved(place, tmp_path):
    """A terminal of its own, at whose other end nobody is any more: SIGHUP comes, and nothing can be shown."""
    out = tmp_path / "run"
    ours, theirs = pty.openpty()

    def work():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests under nohup has it ignored, by all that follow
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        for descriptor in (0, 1, 2):
            os.dup2(theirs, descriptor)
        os.close(ours)
        os.close(theirs)
        command(place, out, "--set", "training.epochs=500", "--set", "training.early_stopping_patience=0")

    child = forked(work)
    os.close(theirs)
    waited_for(out / "metrics.jsonl", child)
    os.close(ours)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGHUP
    step = RunFolder(out).committed_step
    assert step > 0
    said = []
    assert pipeline.resume(out, changes=[f"max_steps={step + 2}"], on_event=said.append).complete
    assert f"continues after step {step:,}, from step-{step:08d}" in map(str, said)


def test_who_reads_the_output_may_stop_reading(place, tmp_path):
    """As in `finewright train … 2>&1 | head -1`: the run continues unseen to its end."""
    out = tmp_path / "run"
    reads, writes = os.pipe()

    def work():
        os.close(reads)
        os.dup2(writes, 1)
        os.dup2(writes, 2)
        command(place, out, "--set", "training.max_steps=12")

    child = forked(work)
    os.close(writes)
    os.read(reads, 1)
    os.close(reads)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert RunFolder(out).complete


def test_who_reads_the_errors_may_stop_reading_and_the_object_is_still_complete(place, tmp_path):
    out, told = tmp_path / "run", tmp_path / "told.json"
    reads, writes = os.pipe()

    def work():
        os.close(reads)
        os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(writes, 2)
        command(place, out, "--set", "training.max_steps=12", "--json")

    child = forked(work)
    os.close(writes)
    os.read(reads, 1)
    os.close(reads)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert json.loads(told.read_text())["run"] == str(out)


# P14


def test_a_clock_that_jumps_changes_nothing(place, tmp_path, monkeypatch, whole):
    """Ten years back in the middle of a session, and checkpoints whose times say the opposite of their steps."""
    out, honest, shift = tmp_path / "run", time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: honest() + shift[0])
    sessions.cut_short(place, out, after=7, method_name=METHOD, save_steps=3)
    for age, path in enumerate(sorted((out / "checkpoints").iterdir())):
        for file in (*path.iterdir(), path):
            os.utime(file, (4_000_000_000 - age * 2_000_000_000,) * 2)
    said = []

    def on_event(event):
        said.append(event)
        after(9, lambda: shift.append(shift.pop() - 10 * 365 * 86400))(event)

    folder = sessions.train(place, out, method_name=METHOD, save_steps=3, on_event=on_event)
    assert "continues after step 7, from step-00000007" in map(str, said)
    assert sessions.made(folder) == whole
    seconds = [json.loads(line)["seconds"] for line in folder.timings.read_text().splitlines()]
    assert seconds == sorted(seconds)
    assert min(seconds) >= 0


# P16


def goes_on_in(place, folder, name, whole):
    sessions.cut_short(place, folder / name, after=5, method_name=METHOD)
    assert sessions.made(pipeline.resume(folder / name)) == whole


def test_a_folder_of_an_odd_name_continues(place, tmp_path, whole):
    goes_on_in(place, tmp_path, "- ö日🧵 'a\"b` %s {x} $HOME;&*?\n[bold]" + "x" * 150, whole)


@pytest.mark.faults
@pytest.mark.parametrize("name", ODD)
def test_every_odd_name_continues(place, tmp_path, whole, name):
    goes_on_in(place, tmp_path, name, whole)


def test_a_link_and_a_leading_dash_are_resumed_by_the_command(place, tmp_path, monkeypatch, whole):
    sessions.cut_short(place, tmp_path / "-real", after=5, method_name=METHOD)
    monkeypatch.chdir(tmp_path)

    def work():
        memory_meter.measure_memory = killer.unwatched
        sys.argv = ["finewright", "train", "--resume", "-run", "--json"]
        main.main()

    (tmp_path / "-run").symlink_to("-real")
    child = forked(lambda: _exit_as(work))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sessions.made(RunFolder(tmp_path / "-real")) == whole


def _exit_as(work):
    try:
        work()
    except SystemExit as ended:
        os._exit(ended.code or 0)
    os._exit(0)


# P17, P18, P19, M3


def test_without_a_home_or_a_cache_that_can_be_written(place, tmp_path, monkeypatch, whole):
    """A file stands where the cache would be, which stops root too."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    monkeypatch.delenv("FINEWRIGHT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert sessions.made(sessions.train(place, tmp_path / "run", method_name=METHOD, save_steps=3)) == whole


def test_without_file_descriptors_it_ends_with_a_message_and_continues_later(place, tmp_path, whole):
    out, told = tmp_path / "run", tmp_path / "told.json"

    def exhaust():
        lowest = os.open(os.devnull, os.O_RDONLY)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    def work():
        memory_meter.measure_memory = killer.unwatched
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            sessions.train(place, out, method_name=METHOD, save_steps=3, on_event=after(5, exhaust))
        except UserError as error:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            told.write_text(json.dumps([int(error.code), str(error)]))
        os._exit(0)

    os.waitpid(forked(work), 0)
    code, message = json.loads(told.read_text())
    assert code == ExitCode.DISK
    assert "Too many open files" in message
    assert sessions.made(sessions.train(place, out, method_name=METHOD, save_steps=3)) == whole


def test_a_run_that_is_paused_keeps_its_folder_and_continues(place, tmp_path, whole):
    out = tmp_path / "run"

    def work():
        memory_meter.measure_memory = killer.unwatched
        pause = after(5, lambda: os.kill(os.getpid(), signal.SIGSTOP))
        sessions.train(place, out, method_name=METHOD, save_steps=3, on_event=pause)
        os._exit(0)

    child = forked(work)
    assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
    with pytest.raises(UserError, match=f"locked by pid {child} "):
        sessions.train(place, out, method_name=METHOD, save_steps=3)
    os.kill(child, signal.SIGCONT)
    assert os.waitpid(child, 0)[1] == 0
    assert sessions.made(RunFolder(out)) == whole


def test_a_run_that_the_system_killed_for_memory_can_continue_in_smaller_micro_batches(place, tmp_path, monkeypatch):
    """A kill does not say its reason, so this must be requested: by itself it would change the result of a killed run."""
    out = tmp_path / "run"
    last = after(5, lambda: os.kill(os.getpid(), signal.SIGKILL))
    work = functools.partial(sessions.train, place, out, method_name=METHOD, save_steps=2, on_event=last)
    assert killer.run_session(lambda: (setattr(memory_meter, "measure_memory", killer.unwatched), work()), seconds=60) is None
    honest, passes = training_step.compute_gradients, []

    def counted(prepared_model, parts, **options):
        passes.append(len(parts))
        return honest(prepared_model, parts, **options)

    monkeypatch.setattr(training_step, "compute_gradients", counted)
    folder = pipeline.resume(out, changes=["micro_batch_splits=1"])
    assert passes == [2] * 8
    assert json.loads(folder.result.read_text())["changes"][0]["option"] == "training.micro_batch_splits"
