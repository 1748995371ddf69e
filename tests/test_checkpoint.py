"""Checkpoints."""

import json

import pytest
import torch

from finewright import checkpoint
from finewright.errors import ExitCode, UserError

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


def test_what_is_saved_is_what_is_loaded(tmp_path):
    folder = checkpoint.save(tmp_path, step=3, weights=WEIGHTS, state={"accuracy": 0.5})
    assert folder.name == "step-00000003"
    loaded = checkpoint.load_weights(folder)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in WEIGHTS.items())
    assert json.loads((folder / "MANIFEST.json").read_text())["state"] == {"accuracy": 0.5}


def test_older_ones_go_only_after_the_new_one_stands(tmp_path):
    checkpoint.save(tmp_path, step=3, weights=WEIGHTS, state={})
    checkpoint.save(tmp_path, step=9, weights=WEIGHTS, state={})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000009"]


@pytest.mark.parametrize("offset", [0, 9, 60, -1])
def test_a_flipped_bit_is_found_and_the_file_named(tmp_path, offset):
    path = checkpoint.save(tmp_path, step=1, weights=WEIGHTS, state={}) / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.safetensors: the file is not what was saved") as caught:
        checkpoint.load_weights(path.parent)
    assert caught.value.code == ExitCode.MISMATCH


def test_missing_files(tmp_path):
    folder = checkpoint.save(tmp_path, step=1, weights=WEIGHTS, state={})
    (folder / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="not what was saved"):
        checkpoint.load_weights(folder)
    (folder / "MANIFEST.json").write_text("{")
    with pytest.raises(UserError, match=r"MANIFEST\.json: the manifest cannot be read"):
        checkpoint.load_weights(folder)


def test_a_full_disk_keeps_the_older_one_and_leaves_nothing_behind(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, step=1, weights=WEIGHTS, state={})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match="cannot save the checkpoint: No space left on device") as caught:
        checkpoint.save(tmp_path, step=2, weights=WEIGHTS, state={})
    assert caught.value.code == ExitCode.DISK
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
