"""Compiled modules compute what the plain ones do, and end with the run.

The compiler's last stage is left out here: it needs a C++ compiler or a GPU.
"""

import json

import pytest
import torch
from torch._dynamo.utils import counters

from finewright.core.errors import UserError
from finewright.data.layout import PackedLayout
from finewright.models import acceleration, forward, kernels
from support import sessions, tiny

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # the compiler looks for it
LENGTHS = (2, 4, 4, 7)


@pytest.fixture(autouse=True)
def without_last_compiler_stage(monkeypatch):
    monkeypatch.setattr(acceleration, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def prepared(kind, name, *, device="cuda"):
    prepared_model = tiny.prepared(kind, name, bfloat16=True)
    acceleration.accelerate(prepared_model, device=device)
    prepared_model.trainable_module.eval()
    return prepared_model


def scores_and_gradients(prepared_model, lengths=LENGTHS):
    ids = torch.tensor([token for one in tiny.texts(list(lengths)) for token in one])
    prepared_model.trainable_module.zero_grad()
    scores = forward.compute_logits(prepared_model, ids, PackedLayout(lengths))
    scores.pow(2).sum().backward()
    return [scores.detach(), *(parameter.grad.clone() for parameter in prepared_model.trainable().values())]


@pytest.mark.parametrize("checkpointing", [False, True], ids=["saved", "checkpointed"])
@pytest.mark.parametrize("name", ["lora", "full"])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_scores_and_gradients_are_the_same(kind, name, checkpointing):
    plain, prepared_model = prepared(kind, name), prepared(kind, name)
    acceleration.use_gradient_checkpointing(prepared_model, on=checkpointing)
    prepared_model.trainable_module.train(checkpointing)  # layers are checkpointed in training only
    plain.trainable_module.train(checkpointing)
    for module in (*plain.trainable_module.modules(), *prepared_model.trainable_module.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    acceleration.start_compiling(prepared_model)
    for lengths in (LENGTHS, (3, 5, 6)):
        for one, other in zip(scores_and_gradients(prepared_model, lengths), scores_and_gradients(plain, lengths), strict=True):
            torch.testing.assert_close(one, other, atol=2e-2 * float(other.abs().max()) + 1e-6, rtol=0)
    assert counters["stats"]["unique_graphs"] > 0, "something was compiled"
    assert not counters["graph_break"], "nothing fell apart"


def test_code_is_compiled_once_for_rows_of_every_length():
    prepared_model = prepared("gpt2", "lora")
    acceleration.start_compiling(prepared_model)
    scores_and_gradients(prepared_model, (2, 3))
    graphs = counters["stats"]["unique_graphs"]
    for length in range(4, 14):
        scores_and_gradients(prepared_model, (2, length))
    assert counters["stats"]["unique_graphs"] == graphs


def test_attention_and_packed_products_are_not_compiled():
    prepared_model = prepared("gpt2", "lora")
    layers = prepared_model.network.transformer.h
    expected = [part for layer in layers[:-1] for part in (layer.ln_1, layer.ln_2, layer.mlp)]
    assert set(map(id, acceleration.compiled_parts(prepared_model))) == set(map(id, expected))
    acceleration.accelerate(prepared_model)
    if kernels.can_pack(torch.bfloat16):
        assert {type(part).__name__ for part in acceleration.compiled_parts(prepared_model)} == {"LayerNorm"}


def test_after_training_the_plain_modules_run():
    prepared_model = prepared("gpt2", "full")
    acceleration.start_compiling(prepared_model)
    assert any(module._compiled_call_impl for module in prepared_model.network.modules())
    acceleration.stop_compiling(prepared_model)
    assert not any(module._compiled_call_impl for module in prepared_model.network.modules())


def test_a_machine_that_cannot_compile_gets_an_error(monkeypatch):
    monkeypatch.setattr(acceleration, "BACKEND", "no such thing")
    with pytest.raises(UserError, match=r"PyTorch cannot compile here") as caught:
        acceleration.start_compiling(prepared("gpt2", "full"))
    assert caught.value.where == "training.compile"


@pytest.mark.parametrize("message", ["", "no such thing\nand where it was looked for"])
def test_the_error_has_the_compilers_first_line_or_its_type(monkeypatch, message):
    def refuse(*_, **__):
        raise AssertionError(message)

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(UserError) as caught:
        acceleration.start_compiling(prepared("gpt2", "full"))
    assert caught.value.what == f"PyTorch cannot compile here ({message.partition(chr(10))[0] or 'AssertionError'})"


def test_with_no_module_to_compile_there_is_a_note(monkeypatch):
    monkeypatch.setattr(acceleration, "compiled_parts", lambda prepared_model: iter(()))
    (note,) = acceleration.start_compiling(prepared("gpt2", "full"))
    assert note.startswith("training.compile: nothing is compiled")


def test_a_run_with_compiled_modules_is_verified_like_any_other(tmp_path):
    with sessions.quickly():
        place = sessions.place(tmp_path)
        plain = sessions.train(place, tmp_path / "plain", method_name="full")
        found = sessions.train(place, tmp_path / "compiled", method_name="full", compile="on")
    assert counters["stats"]["unique_graphs"] > 0
    assert json.loads(found.result.read_text())["verification_difference"] == 0
    losses = [[line["loss"] for line in one.read_lines(one.metrics) if "loss" in line] for one in (found, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
