"""Matrices in four bits: which are quantized, and that gradients flow after an evaluation."""

import json

import pytest
import torch

from finewright.core.errors import UserError
from finewright.data.layout import PackedLayout
from finewright.models import forward, hub, loading, quantization
from finewright.models.prepared import PreparedModel
from finewright.models.quantization import FourBit
from support import tiny

pytest.importorskip("bitsandbytes")
LABELS = ("a", "b", "c")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return hub.resolve_model(str(tiny.folder(tmp_path_factory.mktemp("quantization") / "gpt2")))


def load(source, *, bfloat16=False, four_bit=None):
    return loading.load_model(source, head_spec=tiny.head_spec(LABELS), four_bit=four_bit or FourBit(), bfloat16=bfloat16)


def scores(network, base):
    ids = torch.arange(12) + 5
    return forward.compute_logits(
        PreparedModel(network=network, trainable_module=network, architecture=base.architecture), ids, PackedLayout((5, 7))
    )


def test_only_matrices_of_the_layers_are_quantized(source):
    network = load(source).network
    packed = {name for name, p in network.named_parameters() if p.dtype == torch.uint8}
    matrices = {
        f"transformer.h.{layer}.{name}.weight"
        for layer in range(3)
        for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    assert packed == matrices
    assert network.score.weight.dtype == network.transformer.wte.weight.dtype == torch.float32


def test_scores_change_a_little(source):
    base, plain = load(source), loading.load_model(source, head_spec=tiny.head_spec(LABELS))
    base.network.score.weight.data.copy_(plain.network.score.weight)
    with torch.no_grad():
        far = (scores(base.network.eval(), base) - scores(plain.network.eval(), plain)).abs().max()
    assert 0 < far < 0.3


@pytest.mark.parametrize("bfloat16", [False, True])
def test_gradients_flow_after_an_evaluation(source, bfloat16):
    base = load(source, bfloat16=bfloat16)
    network = base.network
    network.eval()
    with torch.inference_mode():
        scores(network, base)
    network.train()
    network.requires_grad_(False)
    embeddings = network.transformer.wte.weight.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        scores(network, base).sum().backward()
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0


def test_quantization_is_deterministic(source):
    first, second = (load(source).network.state_dict() for _ in range(2))
    packed = [name for name in first if "attn" in name or "mlp" in name]
    assert packed
    assert all(torch.equal(first[name], second[name]) for name in packed)


@pytest.mark.parametrize("four_bit", [FourBit(), FourBit("fp4", False)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_dequantised_weights_are_those_of_the_products(tmp_path, kind, dtype, four_bit):
    from transformers import AutoModelForCausalLM

    folder = tiny.folder(tmp_path / kind, kind=kind)
    AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).save_pretrained(folder)
    found = hub.resolve_model(str(folder))
    packed, dense = load(found, four_bit=four_bit).network, loading.load_model(found, head_spec=tiny.head_spec(LABELS)).network
    before = {name: weight.clone() for name, weight in dense.state_dict().items()}
    quantization.dequantise(packed, into=dense)
    changed = {name for name, weight in dense.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {name for name, p in packed.named_parameters() if p.dtype == torch.uint8}
    for name in sorted(changed):
        path = name.removesuffix(".weight")
        states = torch.randn(7, packed.get_submodule(path).in_features)
        with torch.no_grad():
            expected, ours = packed.get_submodule(path)(states), dense.get_submodule(path)(states)
        torch.testing.assert_close(ours, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("double", [False, True])
def test_the_meta_model_takes_as_many_bytes_as_the_real_one(source, double):
    from finewright.models import meta

    four_bit = FourBit(double=double)
    real = load(source, four_bit=four_bit).network
    meta_network = meta.meta_model(source, head_spec=tiny.head_spec(LABELS), four_bit=four_bit).network

    def num_bytes(module):
        return sum(t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()])

    held = num_bytes(real)
    for module in real.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            held += state.absmax.nbytes + state.code.nbytes
            held += state.state2.absmax.nbytes + state.state2.code.nbytes if double else 0
    assert num_bytes(meta_network) == pytest.approx(held, rel=0.01)


def test_the_settings_are_saved_and_a_damaged_file_is_refused(tmp_path):
    assert quantization.read_quantization(tmp_path) is None
    quantization.write_quantization(tmp_path, FourBit("fp4", False), skip=["score"], bfloat16=True)
    saved = json.loads((tmp_path / quantization.FILE).read_text())
    assert (saved["skip_modules"], saved["compute_dtype"]) == (["score"], "bfloat16")
    assert quantization.read_quantization(tmp_path) == FourBit("fp4", False)
    for text in ("{", "[]", json.dumps({"kind": "nf3", "double": True}), json.dumps({"kind": "nf4"})):
        (tmp_path / quantization.FILE).write_text(text)
        with pytest.raises(UserError, match=r"quantization\.json: cannot be read"):
            quantization.read_quantization(tmp_path)


def test_missing_packages_are_named_with_the_install_command(source, monkeypatch):
    monkeypatch.setattr(quantization, "missing_packages", lambda: ["bitsandbytes"])
    with pytest.raises(
        UserError, match=r"four-bit weights need bitsandbytes, not installed here\n  → pip install 'finewright\[qlora\]'"
    ):
        load(source)
