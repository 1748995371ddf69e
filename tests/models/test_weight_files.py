"""What is wrong with weight files, and how it is said."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from finewright.core.errors import UserError
from finewright.models import hub, weight_files
from support import tiny

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 205584\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("model"))


def copy_of(folder, path):
    path.mkdir()
    for file in folder.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


def sharded(folder, path):
    """The same model in two shards with an index."""
    copy_of(folder, path)
    state = load_file(path / "model.safetensors")
    names, index = sorted(state), {}
    (path / "model.safetensors").unlink()
    for number, part in enumerate((names[:5], names[5:]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: state[name] for name in part}, path / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return path


def refusal(folder):
    with pytest.raises(UserError) as caught:
        hub.resolve_model(str(folder))
    return f"{caught.value.what} → {caught.value.fix}"


def test_shapes_are_those_of_the_tensors(model, tmp_path):
    expected = {name: tuple(tensor.shape) for name, tensor in load_file(model / "model.safetensors").items()}
    for folder in (model, sharded(model, tmp_path / "shards")):
        assert {name: shape for name, (_, shape) in weight_files.stored_shapes(folder).items()} == expected


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_a_shard_that_is_cut_short_is_named(model, tmp_path, keep):
    folder = sharded(model, tmp_path / "shards")
    assert hub.resolve_model(str(folder)).path == folder
    path = folder / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    said = refusal(folder)
    assert said.startswith("model-00002-of-00002.safetensors is ")
    assert ("cut short" in said) == (keep not in (0, 4))
    assert said.endswith("download the model again")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POINTER, r"model.safetensors is a Git LFS pointer, not the weights it stands for (`git lfs pull` fetches them)"),
        ("<!DOCTYPE html><html><body>Sign in</body></html>", "model.safetensors is a web page, not weights"),
        ("\n\n <html></html>", "model.safetensors is a web page, not weights"),
    ],
)
def test_what_is_no_weights_at_all_is_called_by_its_name(model, tmp_path, content, message):
    folder = copy_of(model, tmp_path / "odd")
    (folder / "model.safetensors").write_text(content)
    assert refusal(folder).startswith(message)


@pytest.mark.parametrize("table", [b"[]", b'{"a": 1}', b'{"a": {"shape": 2, "data_offsets": [0, 1]}}', b"{" * 90_000])
def test_a_damaged_table_of_tensors_is_a_user_error(model, tmp_path, table):
    folder = copy_of(model, tmp_path / "odd")
    (folder / "model.safetensors").write_bytes(len(table).to_bytes(8, "little") + table)
    assert refusal(folder).startswith("model.safetensors ")
    assert weight_files.stored_shapes(folder) == {}


@pytest.mark.slow
def test_the_command_for_a_pickle_converts_it(model, tmp_path):
    folder = copy_of(model, tmp_path / "it's old")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    said = refusal(folder)
    command = said.split("`")[1]
    assert "t.GPT2LMHeadModel.from_pretrained" in command
    assert command.startswith("python -c ")
    subprocess.run(["bash", "-c", command.replace("python", sys.executable, 1)], check=True, capture_output=True)
    assert hub.resolve_model(str(folder)).path == folder
    before, after = load_file(model / "model.safetensors"), load_file(folder / "model.safetensors")
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_class_name_that_is_code_does_not_reach_the_command(model, tmp_path):
    folder = copy_of(model, tmp_path / "odd")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["X; import os"]}
    (folder / "config.json").write_text(json.dumps(config))
    assert "t.AutoModel.from_pretrained" in refusal(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "more.safetensors"])
def test_a_pipe_among_the_weights_is_refused_before_anybody_waits_for_its_writer(model, tmp_path, name):
    folder = copy_of(model, tmp_path / "m")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert f"{name} is not a regular file" in refusal(folder)
    assert folder / name not in weight_files.list_safetensors(folder)
