"""Private names of PyTorch: this version has them, and each has a fallback for a version that has not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import finewright
from finewright.models import torch_compat
from finewright.models.attention import varlen


@pytest.fixture
def no_operators(monkeypatch):
    monkeypatch.setattr(torch_compat, "find_operator", lambda name: None)


def test_operators_are_found_by_name():
    assert torch_compat.find_operator("aten._softmax_backward_data") is torch.ops.aten._softmax_backward_data
    assert len(torch_compat.flash_attention_operators()) == 2
    assert torch_compat.find_operator("aten._no_such_operator") is None


def test_without_flash_attention_its_probe_says_no(no_operators):
    varlen.is_usable.cache_clear()
    assert torch_compat.flash_attention_operators() == ()
    assert not varlen.is_usable(64, device="cpu")
    varlen.is_usable.cache_clear()


def test_the_gradient_of_a_softmax_needs_no_operator(monkeypatch):
    torch.manual_seed(0)
    gradient, output = torch.randn(2, 3, 5), torch.randn(2, 3, 5).softmax(-1)
    found = torch_compat.softmax_backward(gradient, output)
    monkeypatch.setattr(torch_compat, "find_operator", lambda name: None)
    torch.testing.assert_close(torch_compat.softmax_backward(gradient, output), found)


def test_without_packed_products_none_are_used(monkeypatch):
    def refuse(*_):
        raise AttributeError("no such operator")

    monkeypatch.setattr(torch_compat, "pack_weight", refuse)
    torch_compat.can_pack.cache_clear()
    assert not torch_compat.can_pack(torch.float32)
    torch_compat.can_pack.cache_clear()


def test_a_tensors_version_changes_when_it_is_written():
    tensor = torch.zeros(2)
    before = torch_compat.tensor_version(tensor)
    assert torch_compat.tensor_version(tensor) == before
    tensor.add_(1)
    assert torch_compat.tensor_version(tensor) != before
    assert torch_compat.tensor_version(object()) != torch_compat.tensor_version(object())


def test_hooks_are_seen_and_compiled_calls_forgotten():
    module = torch.nn.Linear(2, 2)
    assert not torch_compat.has_hooks(module)
    handle = module.register_forward_pre_hook(lambda *_: None)
    assert torch_compat.has_hooks(module)
    handle.remove()
    assert torch_compat.has_hooks(object()), "a module that does not say is taken to have some"
    module.compile(backend="eager")
    torch_compat.forget_compiled(module)
    assert module._compiled_call_impl is None


def test_types_for_tracing_are_there():
    fake_tensor, mode, _ = torch_compat.fake_tensor_types()
    with mode():
        assert type(torch.empty(2)) is fake_tensor
    assert issubclass(mode, torch_compat.dispatch_mode_type())


def test_allocations_are_recorded_or_none_says_that_they_cannot_be(monkeypatch):
    end = torch_compat.record_memory()
    torch.empty(1000)
    assert any(event.name() == "[memory]" and event.nbytes() == 4000 for event in end().events())
    monkeypatch.delattr(torch.autograd, "_prepare_profiler")
    assert torch_compat.record_memory() is None


PRIVATE = re.compile(
    r"torch(\.\w+)*\._|from torch[\w.]* import .*\b_|import .*\bFakeTensor|ops\.\w+\._"
    r"|getattr\(torch[\w.]*, \"_|\._(version|parameters|buffers|modules|forward_hooks|forward_pre_hooks|compiled_call_impl)\b"
)
ALLOWED = {"models/torch_compat.py", "core/hardware.py"}
"""`hardware` lies below `models`; it asks for one name, and does without it."""


def test_no_other_module_uses_private_names():
    root = Path(finewright.__file__).parent
    files = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*.py")}
    found = {name for name, text in files.items() if not name.startswith("assets/") and PRIVATE.search(text)}
    assert found == ALLOWED


@pytest.mark.parametrize(
    "line",
    [
        "from torch._C._profiler import RecordScope",
        "from torch.autograd import _enable_profiler",
        "from torch.utils._python_dispatch import TorchDispatchMode",
        "torch.ops.aten._softmax(states)",
        "for name in part._parameters:",
        "from somewhere import FakeTensorMode",
    ],
)
def test_each_of_these_would_be_found(line):
    assert PRIVATE.search(line)
    assert not PRIVATE.search("torch.ops.aten.linear(states); module.named_parameters(); self._torch_threads")


def test_a_plan_is_traced_alike_without_attention_in_one_kernel():
    """Such a PyTorch is another process's: operators are looked up once."""
    code = (
        "from finewright.models import torch_compat\n"
        "known = torch_compat.find_operator\n"
        "torch_compat.find_operator = lambda name: None if 'flash' in name or '_' in name.split('.')[1][:1] else known(name)\n"
        "import torch\n"
        "from finewright.planning.tracer import memory\n"
        "with memory.without_memory() as tracer:\n"
        "    states = torch.empty(3, 4) @ torch.empty(4, 5)\n"
        "    assert states.softmax(-1).shape == (3, 5)\n"
        "print(tracer.work.flops, memory._ATTENTION)"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "120 ()"
