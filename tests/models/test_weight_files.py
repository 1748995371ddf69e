"""What is wrong with weight files, and how it is said."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from finewright.core.errors import UserError
from finewright.models import hub, loading, weight_files
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


def stored_as(folder, path, dtype):
    """The same model with its weights rounded to another type."""
    copy_of(folder, path)
    state = {name: tensor.to(dtype) for name, tensor in load_file(path / "model.safetensors").items()}
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    return path


@pytest.mark.parametrize(("dtype", "said"), [(torch.bfloat16, "bfloat16"), (torch.float16, "float16")])
def test_weights_in_16_bits_are_loaded_in_float32_and_that_is_said(model, tmp_path, dtype, said):
    folder = stored_as(model, tmp_path / "half", dtype)
    source = hub.resolve_model(str(folder))
    assert source.note == f"weights: stored in {said}, loaded in float32"
    assert hub.resolve_model(str(model)).note == ""
    network = loading.load_model(source, head_spec=tiny.head_spec(("a", "b"))).network
    original = load_file(model / "model.safetensors")["transformer.h.0.mlp.c_fc.weight"]
    found = network.transformer.h[0].mlp.c_fc.weight
    assert found.dtype == torch.float32
    assert torch.equal(found, original.to(dtype).float())


def test_quantized_weights_are_refused_by_name_as_their_scales_would_be_left_out(model, tmp_path):
    folder = stored_as(model, tmp_path / "fp8", torch.float8_e4m3fn)
    said = refusal(folder)
    assert said.startswith("model.safetensors holds weights in F8_E4M3, for instance transformer.h.0.attn.c_attn.bias")
    assert "in float32, float16 or bfloat16" in said
    folder = copy_of(model, tmp_path / "gptq")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq", "bits": 4}}))
    assert refusal(folder).startswith("the checkpoint's weights are quantized (gptq)")
    with pytest.raises(UserError, match="quantized"):
        hub.resolve_model(str(folder), weights=False)


def test_masks_of_whole_numbers_are_no_quantized_weights(model, tmp_path):
    folder = copy_of(model, tmp_path / "masks")
    state = load_file(folder / "model.safetensors") | {"transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.uint8)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert hub.resolve_model(str(folder)).path == folder
    state["transformer.h.0.mlp.c_fc.weight"] = torch.ones(4, 4, dtype=torch.uint8)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert "holds weights in U8, for instance transformer.h.0.mlp.c_fc.weight" in refusal(folder)


def test_a_model_in_shards_computes_the_same_and_a_missing_shard_is_named(model, tmp_path):
    folder = sharded(model, tmp_path / "shards")
    whole, parts = (
        loading.load_model(hub.resolve_model(str(one)), head_spec=tiny.head_spec(("a", "b"))) for one in (model, folder)
    )
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, parts.network.state_dict()[name]), name
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "1 of 2 weight files are missing, for instance model-00002-of-00002.safetensors" in refusal(folder)


def test_a_model_of_texts_and_images_is_refused_by_name(model, tmp_path):
    """Its text part has other names in the weights: read as a text model, all of it would be random."""
    folder = copy_of(model, tmp_path / "images")
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3"}
    config |= {"text_config": {"model_type": "gemma3_text", "hidden_size": 32}, "vision_config": {"hidden_size": 32}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"a model of texts and something else \('gemma3', its text part 'gemma3_text'\)"):
        loading.load_model(hub.resolve_model(str(folder)), head_spec=tiny.head_spec(("a", "b")))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "F32", "shape": ["a"], "data_offsets": [0, 4]}, "has a damaged table of tensors"),
        ({"dtype": "", "shape": [1], "data_offsets": [0, 4]}, "holds weights in "),
    ],
)
def test_a_table_with_odd_values_is_refused(model, tmp_path, entry, message):
    folder = copy_of(model, tmp_path / "odd")
    header = json.dumps({"wte.weight": entry}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert message in refusal(folder)


@pytest.mark.parametrize("name", [1, "../model-00001-of-00002.safetensors"])
def test_an_index_names_files_of_its_folder_alone(model, tmp_path, name):
    folder = sharded(model, tmp_path / "shards")
    (folder / "model-00001-of-00002.safetensors").rename(tmp_path / "model-00001-of-00002.safetensors")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"] = dict.fromkeys(index["weight_map"], name)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    if isinstance(name, str):
        assert "1 of 1 weight files are missing" in refusal(folder)
    else:
        with pytest.raises(UserError, match="lacks|cannot load the weights"):
            loading.load_model(hub.resolve_model(str(folder)), head_spec=tiny.head_spec(("a", "b")))
