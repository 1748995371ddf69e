"""A save that is killed, refused or out of disk space at every single system call: the checkpoint before is never lost."""

import errno
import itertools
import shutil

import pytest
import torch

from finewright.core import files as file_system
from finewright.core import jsonl
from finewright.core.errors import ExitCode, UserError
from finewright.runs import checkpoint
from finewright.runs import folder as run_folder
from finewright.runs.schema import MetricsLine, RequestRecord, RunConfigFile
from support import power
from support.faults import Kill, Killed, Refuse, faulty, tree
from support.saves import groups, save


@pytest.fixture
def before(tmp_path):
    """A folder with three commits' history, so that the next save also removes one."""
    root = tmp_path / "before"
    for step in (1, 2):
        checkpoint.save_checkpoint(root, step=step, groups=groups(step), metadata={"note": step})
    return root


def attempt(before, root, fault):
    """The third save on a copy with a fault; what was raised."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(before, root)
    with faulty(fault):
        try:
            save(root)
        except (Killed, UserError) as error:
            return error
    return None


def require_nothing_lost(before, root):
    """The newest checkpoint is the third, complete, or the second, as it was; then the third can be saved and is the newest."""
    found = checkpoint.load_latest(root, notify=pytest.fail)
    assert found is not None
    assert found.step in (2, 3)
    assert torch.equal(found.tensors("trained")["a"], groups(found.step)["trained"]["a"])
    if found.step == 2:
        assert {name: data for name, data in tree(root).items() if name.startswith("step-00000002/")} == {
            name: data for name, data in tree(before).items() if name.startswith("step-00000002/")
        }
        save(root)
    names = sorted(path.name for path in root.iterdir())
    assert names[-1] == "step-00000003"
    assert not [name for name in names if not name.startswith("step-")], "nothing half done stays"
    return found.step


@pytest.mark.parametrize("torn", [False, True], ids=["before the call", "half of the write done"])
def test_killed_at_every_call_of_a_save(tmp_path, before, torn):
    found = []
    for at in itertools.count(1):
        if attempt(before, tmp_path / "killed", Kill(at, torn=torn)) is None:
            break
        found.append(require_nothing_lost(before, tmp_path / "killed"))
    assert len(found) > 25
    assert found == sorted(found), "from one call on it is the new commit, and never the old one again"
    assert set(found) == {2, 3}


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT], ids=errno.errorcode.get)
def test_refused_at_every_call_of_a_save(tmp_path, before, number, for_ever):
    """The error is one message with the exit code of a disk; nobody takes a refused save for one that was made."""
    root, told = tmp_path / "refused", 0
    for at in itertools.count(1):
        fault = Refuse(at, number, for_ever=for_ever)
        raised = attempt(before, root, fault)
        if fault.calls < at:
            break
        committed = (root / "step-00000003").is_dir()
        if raised is None:
            assert committed, f"call {at} was refused and nobody said so"
        else:
            assert isinstance(raised, UserError)
            assert raised.code == ExitCode.DISK
            told += 1
        require_nothing_lost(before, root)
    assert told > 15


def test_a_failed_sync_is_not_tried_again(tmp_path, before):
    """After a failure the system may call data safe that is lost: the save has failed, and nothing of it is used."""
    root = tmp_path / "sync"
    for at in itertools.count(1):
        names = []

        def fault(name, args, at=at, names=names):
            names.append(name)
            if name == "fsync" and names.count("fsync") == at:
                raise OSError(errno.EIO, "Input/output error")

        raised = attempt(before, root, fault)
        if names.count("fsync") < at:
            break
        if "rename" not in names:
            assert raised is not None
            assert "Input/output error" in raised.what
            assert names.count("fsync") == at
            assert not (root / "step-00000003").exists()
        require_nothing_lost(before, root)
    assert at > 6


def newest_after(recorder, root):
    """Yield (number of calls made, newest intact checkpoint) for every state that a power cut may leave."""
    for at, files in recorder.states():
        power.put(files, root)
        newest = checkpoint.load_latest(root, notify=lambda text: None)
        if newest is not None:
            assert torch.equal(newest.tensors("trained")["a"], groups(newest.step)["trained"]["a"])
        yield at, newest.step if newest else None
        shutil.rmtree(root)


def recorded(before, recorder, work=save):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_system, "os", recorder)
        work(before)
    return recorder


def test_the_power_fails_at_every_call_of_a_save(tmp_path, before):
    """Of what was not synced any part may be there. The commit before is found, or the new one; once saved, the new one."""
    recorder = recorded(before, power.Recorder(before))
    found = list(newest_after(recorder, tmp_path / "after"))
    assert {step for _, step in found} == {2, 3}
    assert {step for at, step in found if at == recorder.calls} == {3}, "a save that returned is on the medium"
    assert len(found) > 50


def begin_and_commit(place):
    """A run from its new folder on: its request, a line of its log, a checkpoint with the length of the log."""
    folder = run_folder.create_run(out=place / "runs" / "mine", name="")
    request = {"source": "t.csv", "test": None, "settings": {}, "method": "lora", "method_options": {}}
    folder.write(folder.config, RunConfigFile(request=RequestRecord.model_validate(request)))
    folder.append(MetricsLine(step=1, epoch=0.5))
    sealed = jsonl.digest(folder.metrics)
    checkpoint.save_checkpoint(folder.checkpoints, step=1, groups=groups(1), metadata={"log": sealed})
    folder.release()


def test_the_power_fails_in_a_new_run(tmp_path):
    """The checkpoint is found through all the folders above it, and the log is not shorter than the checkpoint says."""
    (tmp_path / "before").mkdir()
    recorder, ends = recorded(tmp_path / "before", power.Recorder(tmp_path / "before"), begin_and_commit), 0
    for at, files in recorder.states():
        power.put(files, tmp_path / "after")
        folder = run_folder.RunFolder(tmp_path / "after" / "runs" / "mine")
        found = checkpoint.load_latest(folder.checkpoints, notify=lambda text: None)
        if at == recorder.calls:
            ends += 1
            assert found is not None
            assert folder.config.exists()
        if found is not None:
            assert jsonl.check(folder.metrics, found.metadata["log"]) == ""
        shutil.rmtree(tmp_path / "after")
    assert ends > 0


def test_a_save_that_did_not_wait_for_the_medium_would_be_found_out(tmp_path, before):
    class Careless(power.Recorder):
        def _after_fsync(self, *_):
            pass

    recorder = recorded(before, Careless(before))
    assert {step for at, step in newest_after(recorder, tmp_path / "after") if at == recorder.calls} != {3}
