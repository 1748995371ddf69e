"""Low-rank updates beside weights in four bits."""

import json
from types import SimpleNamespace

import pytest
import torch

from finewright import api, methods
from finewright.models import hub, loading, size
from finewright.models.quantization import FourBit
from finewright.runs import run as run_module
from support import tiny

pytest.importorskip("bitsandbytes")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("qlora")
    tiny.folder(root / "gpt2")
    options = {"training.max_steps": 6, "training.num_threads": 1, "training.evals_per_epoch": 3, "training.head_start": "random"}
    return root, api.train(
        tiny.tickets(root / "tickets.csv"), model=root / "gpt2", method="qlora", output_dir=root / "run", options=options
    )


def test_it_has_loras_trainable_parameters():
    net = tiny.network("gpt2")
    prepared_model = methods.build_method("qlora", {"rank": 4}).prepare(tiny.base_network(net))
    assert prepared_model.num_trainable() == 3 * 2 * 4 * (32 + 32) + 3 * 32


def test_it_is_verified_in_a_new_process_and_predicts_again(finished):
    _, run = finished
    assert run.result.verification_difference == 0
    assert run.result.trainable_parameters == 3 * 2 * 8 * (32 + 32) + 2 * 32
    (first,) = run.predict(["where is my parcel"])
    (again,) = run_module.open_run(run.path).predict(["where is my parcel"])
    assert first == again


def test_total_parameters_are_counted_before_quantization(finished):
    _, run = finished
    assert run.result.total_parameters == 3 * 12_704 + (320 + 64) * 32 + 64 + 64


def test_every_layer_gets_a_gradient(finished):
    """If bitsandbytes repacked weights in an evaluation, lower layers would get none."""
    from safetensors.torch import load_file

    _, run = finished
    state = load_file(run.path / "model" / "adapter_model.safetensors")
    moved = [name for name, tensor in state.items() if "lora_B" in name and tensor.abs().sum() > 0]
    assert len(moved) == 3


def test_plain_peft_loads_it_on_the_quantized_base(finished):
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig

    root, run = finished
    folder = run.path / "model"
    settings = json.loads((folder / "quantization.json").read_text())
    packing = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=settings["kind"],
        bnb_4bit_use_double_quant=settings["double"],
        bnb_4bit_compute_dtype=getattr(torch, settings["compute_dtype"]),
        llm_int8_skip_modules=settings["skip_modules"],
    )
    base = AutoModelForSequenceClassification.from_pretrained(
        root / "gpt2",
        config=AutoConfig.from_pretrained(folder / "base_config"),
        quantization_config=packing,
        device_map={"": "cpu"},
        dtype=torch.float32,
    )
    for module in base.modules():  # bitsandbytes repacks for prediction where a matrix has 64 columns; here they have 32
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    model = PeftModel.from_pretrained(base, folder).eval()
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder)("charged twice")["input_ids"]])
    with torch.no_grad():
        theirs = model(ids).logits.softmax(-1)[0]
    (ours,) = run.predict(["charged twice"])
    labels = model.config.id2label
    rounded = 1e-5 if run.folder.read_json(run.folder.config)["precision"] == "float32" else 2e-2
    assert [ours["probabilities"][labels[index]] for index in range(2)] == pytest.approx(theirs.tolist(), abs=rounded)


def test_dora_on_quantized_weights_is_refused(tmp_path):
    from finewright import api
    from finewright.core.errors import UserError

    tiny.folder(tmp_path / "gpt2")
    options = {"method.dora": True}
    with pytest.raises(UserError, match=r"method\.dora: DoRA needs the norm"):
        api.plan(model=tmp_path / "gpt2", method="qlora", options=options)


@pytest.mark.parametrize("double", [True, False], ids=["packed", "plain"])
def test_measured_memory_counts_the_scales(tmp_path, double):
    """They are neither parameters nor buffers."""
    source = hub.resolve_model(str(tiny.folder(tmp_path / "gpt2")))
    network = loading.load_model(source, head_spec=tiny.head_spec(["a", "b"]), four_bit=FourBit(double=double)).network
    listed = {tensor.data_ptr(): tensor.nbytes for tensor in (*network.parameters(), *network.buffers())}
    states = [parameter.quant_state for parameter in network.parameters() if hasattr(parameter, "quant_state")]
    scales = [tensor for state in states for tensor in (state.absmax, state.code)]
    scales += [tensor for state in states if state.nested for tensor in (state.offset, state.state2.absmax, state.state2.code)]
    hidden = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in scales}
    assert len(states) == 3 * 4
    assert size.held_bytes(network, SimpleNamespace(state={})) == sum(listed.values()) + sum(hidden.values())
