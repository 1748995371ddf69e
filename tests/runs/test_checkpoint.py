"""Checkpoints are saved completely or not at all, the newest intact one is found, and a changed byte is detected."""

import errno
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from finewright.core import files
from finewright.core.errors import ExitCode, UserError
from finewright.runs import checkpoint

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2), "half": torch.ones(3, dtype=torch.bfloat16)}
STATE = {"moments": torch.zeros(0), "step": torch.tensor(4.0), "random": torch.arange(9, dtype=torch.uint8)}
GROUPS = {"trained": WEIGHTS, "state": STATE}


def save(root, step, **metadata):
    return checkpoint.save_checkpoint(root, step=step, groups=GROUPS, metadata={"note": "x", **metadata})


def steps(root):
    return sorted(path.name for path in root.iterdir())


def newest(root, **options):
    said = []
    return checkpoint.load_latest(root, notify=said.append, **options), said


def test_what_is_saved_is_what_is_loaded(tmp_path):
    saved = save(tmp_path, 3, accuracy=0.5)
    assert saved.path.name == "step-00000003"
    found, said = newest(tmp_path)
    assert (found.step, found.metadata, said) == (3, {"note": "x", "accuracy": 0.5}, [])
    for group, tensors in GROUPS.items():
        loaded = found.tensors(group)
        assert loaded.keys() == tensors.keys()
        assert all(torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_its_files_are_ordinary_safetensors(tmp_path):
    save(tmp_path, 1)
    loaded = load_file(tmp_path / "step-00000001" / "trained.safetensors")
    assert torch.equal(loaded["a"], WEIGHTS["a"])


def test_two_stay_and_older_ones_go_by_step_not_by_time(tmp_path):
    for step in (900, 3, 1000000000, 20):
        save(tmp_path, step)
    assert steps(tmp_path) == ["step-00000900", "step-1000000000"]


def test_a_group_is_carried_over_from_an_earlier_one(tmp_path):
    first = save(tmp_path, 1)
    second = checkpoint.save_checkpoint(
        tmp_path, step=2, groups={"trained": {}}, metadata={}, carried={"best": (first, "trained")}
    )
    shutil.rmtree(first.path)
    assert torch.equal(second.tensors("best")["a"], WEIGHTS["a"])
    assert second.has("best")
    assert not second.has("state")


def test_damage_is_not_carried_over(tmp_path):
    first = save(tmp_path, 1)
    flip(first.path / "trained.safetensors", 100)
    with pytest.raises(UserError, match=r"trained\.safetensors: the file is not what was saved"):
        checkpoint.save_checkpoint(tmp_path, step=2, groups={}, metadata={}, carried={"best": (first, "trained")})
    assert steps(tmp_path) == ["step-00000001"]


def flip(path, offset, *, bit=0):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


FILES = ("trained.safetensors", "state.safetensors", "MANIFEST.json")


def test_three_hundred_damages_are_all_found_and_named(tmp_path):
    """Flipped bits, cut ends, added ends, missing files, in every file: the commit before is used instead."""
    for step in (1, 2):
        save(tmp_path / "good", step)
    generator = torch.Generator().manual_seed(0)
    damages = 0
    for name in FILES:
        size = (tmp_path / "good" / "step-00000002" / name).stat().st_size
        offsets = torch.randint(size, (84,), generator=generator).tolist()
        for index, offset in enumerate([*range(16), *offsets, size - 1]):
            root = tmp_path / "damaged"
            shutil.copytree(tmp_path / "good", root)
            path = root / "step-00000002" / name
            flip(path, offset, bit=index % 8)
            if index % 5 == 1:
                path.write_bytes(path.read_bytes()[:offset])
            elif index % 25 == 2:
                path.write_bytes(path.read_bytes() + b"\0")
            elif index % 25 == 3:
                path.unlink()
            found, said = newest(root)
            assert found is not None
            assert found.step == 1, (name, offset)
            assert len(said) == 1
            assert said[0].startswith(f"checkpoint step-00000002 is not used: {name} ")
            assert (root / ".bad-step-00000002").is_dir()
            shutil.rmtree(root)
            damages += 1
    assert damages == 303


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_commit_is_found(tmp_path, name):
    save(tmp_path, 1)
    checkpoint.save_checkpoint(
        tmp_path, step=2, groups={"trained": {"a": torch.ones(2, 3)}, "state": STATE | {"step": torch.ones(1)}}, metadata={}
    )
    shutil.copy(tmp_path / "step-00000001" / name, tmp_path / "step-00000002" / name)
    found, said = newest(tmp_path)
    assert (found.step, len(said)) == (1, 1)


def test_what_the_caller_refuses_is_set_aside_too(tmp_path):
    save(tmp_path, 1, run="mine")
    save(tmp_path, 2, run="yours")
    found, said = newest(tmp_path, fault_of=lambda metadata: "" if metadata["run"] == "mine" else "it is of another run")
    assert found.step == 1
    assert said == ["checkpoint step-00000002 is not used: it is of another run (kept as .bad-step-00000002)"]


def test_names_of_damaged_ones_do_not_collide(tmp_path):
    for _ in range(2):
        save(tmp_path, 1)
        flip(tmp_path / "step-00000001" / "MANIFEST.json", 5)
        assert newest(tmp_path)[0] is None
    assert steps(tmp_path) == [".bad-step-00000001", ".bad-step-00000001-2"]


def test_a_newer_schema_is_refused_and_not_renamed(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SCHEMA", 2)
    save(tmp_path, 1)
    monkeypatch.setattr(checkpoint, "SCHEMA", 1)
    with pytest.raises(UserError, match=r"written by a newer Finewright \(schema 2, known here: 1\)"):
        newest(tmp_path)
    assert steps(tmp_path) == ["step-00000001"]


def test_drafts_are_swept(tmp_path):
    save(tmp_path, 1)
    (tmp_path / ".tmp-00000002-abc").mkdir()
    (tmp_path / ".tmp-00000002-abc" / "trained.safetensors").write_bytes(b"half")
    assert newest(tmp_path)[0].step == 1
    assert steps(tmp_path) == ["step-00000001"]


def test_nothing_there_is_nothing(tmp_path):
    assert newest(tmp_path / "none") == (None, [])
    assert not checkpoint.has_any(tmp_path / "none")


def test_a_full_disk_keeps_the_older_one_and_leaves_nothing_behind(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(UserError, match=r"cannot save the checkpoint: No space left on device; [\d,]+ MB are free") as caught:
        save(tmp_path, 2)
    assert caught.value.code == ExitCode.DISK
    assert steps(tmp_path) == ["step-00000001"]


def test_the_manifest_says_what_is_where(tmp_path):
    saved = save(tmp_path, 7)
    manifest = json.loads((saved.path / "MANIFEST.json").read_text())
    assert (manifest["schema"], manifest["step"], manifest["note"]) == (1, 7, "x")
    assert manifest["files"].keys() == {"trained.safetensors", "state.safetensors"}
