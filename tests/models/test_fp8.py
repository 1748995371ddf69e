"""Checkpoints in eight-bit floating point are dequantised once, with their scales."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from finewright.core.errors import UserError
from finewright.models import fp8, hub
from support import tiny

BLOCK = 16


def quantise(matrix, kind):
    """(numbers in float8, scales, the matrix that both mean)."""
    rows, columns = matrix.shape
    if kind == "blocks":
        padded = torch.zeros(-(-rows // BLOCK) * BLOCK, -(-columns // BLOCK) * BLOCK)
        padded[:rows, :columns] = matrix
        parts = padded.view(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK)
        scale = parts.abs().amax(dim=(1, 3)).clamp(min=1e-6) / 448
        whole = scale.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[:rows, :columns]
    elif kind == "rows":
        scale = matrix.abs().amax(dim=1, keepdim=True) / 448
        whole = scale.expand_as(matrix)
    else:
        scale = matrix.abs().max() / 448
        whole = scale.expand_as(matrix)
    numbers = (matrix / whole).to(torch.float8_e4m3fn)
    return numbers, scale, numbers.float() * whole


def make(folder, kind, *, without_scales=False, files=1):
    """A folder in float8, and the plain weights that it means."""
    plain = tiny.folder(folder / "plain", kind="llama")
    state, stored, meant = load_file(plain / "model.safetensors"), {}, {}
    suffix = "weight_scale_inv" if kind == "blocks" else "weight_scale"
    for name, tensor in state.items():
        if "_proj" not in name:
            stored[name] = meant[name] = tensor
            continue
        numbers, scale, meant[name] = quantise(tensor.float(), kind)
        stored[name] = numbers
        if not without_scales:
            stored[name.removesuffix("weight") + suffix] = scale
    out = folder / "float8"
    shutil.copytree(plain, out)
    (out / "model.safetensors").unlink()
    names = sorted(stored)
    parts = [{name: stored[name].contiguous() for name in names[start::files]} for start in range(files)]
    titles = ["model.safetensors"] if files == 1 else [f"model-{n + 1:05d}-of-{files:05d}.safetensors" for n in range(files)]
    for title, part in zip(titles, parts, strict=True):
        save_file(part, out / title, metadata={"format": "pt"})
    if files > 1:
        index = {name: title for title, part in zip(titles, parts, strict=True) for name in part}
        (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config = json.loads((out / "config.json").read_text())
    method = {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]}
    if kind != "blocks":
        method = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    (out / "config.json").write_text(json.dumps(config | {"quantization_config": method}))
    return out, meant


@pytest.mark.parametrize("kind", ["blocks", "rows", "matrix"])
@pytest.mark.parametrize("files", [1, 3])
def test_weights_are_numbers_times_scales(tmp_path, kind, files):
    folder, meant = make(tmp_path, kind, files=files)
    source = hub.resolve_model(str(folder))
    assert source.name == str(folder.resolve())
    assert "float8, dequantised to bfloat16" in source.note
    found = {}
    for file in source.path.glob("*.safetensors"):
        found |= load_file(file)
    assert found.keys() == meant.keys()
    for name, tensor in meant.items():
        torch.testing.assert_close(found[name].float(), tensor.float(), atol=0, rtol=2**-8)
    assert "quantization_config" not in json.loads((source.path / "config.json").read_text())
    assert hub.resolve_model(str(folder)).path == source.path, "converted once"


def test_the_network_loads_and_trains_from_it(tmp_path):
    import finewright

    folder, _ = make(tmp_path, "blocks")
    tiny.tickets(tmp_path / "tickets.csv")
    options = {"training.max_steps": 2, "training.num_threads": 1}
    run = finewright.train(
        tmp_path / "tickets.csv", model=str(folder), method="lora", output_dir=tmp_path / "run", options=options
    )
    assert run.result.verification_difference == 0
    assert run.predict(["where is my parcel"])[0]["label"]


def test_config_alone_needs_no_weights(tmp_path):
    folder, _ = make(tmp_path, "matrix")
    (folder / "model.safetensors").unlink()
    source = hub.resolve_model(str(folder), weights=False)
    assert not list(source.path.glob("*.safetensors"))
    with pytest.raises(UserError, match="no \\*.safetensors"):
        hub.resolve_model(str(folder))


def test_a_matrix_without_scales_is_refused(tmp_path):
    folder, _ = make(tmp_path, "rows", without_scales=True)
    with pytest.raises(UserError, match="is stored in float8 without its scales"):
        hub.resolve_model(str(folder))


def test_other_quantized_weights_are_still_refused(tmp_path):
    folder, _ = make(tmp_path, "matrix")
    config = json.loads((folder / "config.json").read_text())
    for method in ({"quant_method": "gptq"}, {"quant_method": "compressed-tensors", "format": "pack-quantized"}):
        (folder / "config.json").write_text(json.dumps(config | {"quantization_config": method}))
        assert fp8.read_settings(folder) is None
        with pytest.raises(UserError, match="weights are quantized"):
            hub.resolve_model(str(folder))
