"""Attention in one kernel: the same as length by length. The operator needs a GPU; here a definition of it runs on the CPU."""

from functools import partial

import pytest
import torch

from finewright.data.layout import PackedLayout
from finewright.models import acceleration, forward
from finewright.models.attention import packed, varlen
from finewright.models.attention.packed import AttentionSpec
from finewright.models.attention.tiled import MaskSpec
from finewright.planning.tracer import memory
from support import flash_kernel, tiny

LENGTHS = (1, 3, 3, 8)
MASKS = [MaskSpec(causal=False), MaskSpec(causal=True), MaskSpec(causal=True, window=2), MaskSpec(causal=False, window=2)]


@pytest.fixture
def kernel():
    """The operator on a CPU, without a cached result of its probe."""
    varlen.is_usable.cache_clear()
    with flash_kernel.on_a_cpu():
        yield
    varlen.is_usable.cache_clear()


@pytest.fixture
def on_a_gpu(kernel, monkeypatch):
    """Run the probe for a GPU on the CPU."""
    monkeypatch.setattr(varlen, "is_usable", partial(varlen.is_usable, device="cpu"))


def forward_and_backward(how, layout, *, dtype=torch.bfloat16, **given):
    drawn = torch.Generator().manual_seed(5)
    rows = layout.prefix + sum(layout.lengths)
    states = [torch.randn(heads, rows, 16, generator=drawn).to(dtype).requires_grad_() for heads in (4, 2, 2)]
    made = how(
        *states, layout, AttentionSpec(**{"reads": None, "mask": MaskSpec(causal=True), "scale": 0.25, "dropout": 0.0, **given})
    )
    weights = torch.randn(made.shape, generator=drawn)
    return [made.float(), *(one.float() for one in torch.autograd.grad((made * weights).sum(), states))]


@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize("reads", [None, "first", "last"])
@pytest.mark.parametrize("prefix", [0, 5])
@pytest.mark.usefixtures("kernel")
def test_outputs_and_gradients_equal_those_of_length_by_length(mask, reads, prefix):
    if prefix and not mask.causal:
        pytest.skip("a prefix is what causal texts share")
    layout = PackedLayout(LENGTHS, prefix=prefix)
    found, wanted = (
        forward_and_backward(how, layout, reads=reads, mask=mask) for how in (varlen.attend, packed.attend_by_length)
    )
    assert found[0].shape == wanted[0].shape
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=0.04, rtol=0.02)


@pytest.mark.parametrize("given", [{"softcap": 0.5}, {"sinks": torch.tensor([1.0, -1.0, 0.0, 2.0])}], ids=["softcap", "sinks"])
@pytest.mark.usefixtures("kernel")
def test_what_the_kernel_cannot_do_runs_length_by_length(given):
    found, wanted = (
        forward_and_backward(how, PackedLayout(LENGTHS), **given) for how in (varlen.attend, packed.attend_by_length)
    )
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.usefixtures("kernel")
def test_float32_states_run_length_by_length():
    found, wanted = (
        forward_and_backward(how, PackedLayout(LENGTHS), dtype=torch.float32) for how in (varlen.attend, packed.attend_by_length)
    )
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.usefixtures("kernel")
def test_a_correct_kernel_is_used():
    assert varlen.is_usable(16, device="cpu")
    assert not varlen.is_usable(20, device="cpu")
    assert not varlen.is_usable(264, device="cpu")


def _changed(**change):
    """The operator with some arguments changed."""

    def there(*values, **options):
        *states, dropout, causal, debug = values
        given = {"dropout": dropout, "causal": causal, **options}
        given |= {key: make(given.get(key)) for key, make in change.items()}
        return flash_kernel.forward(*states, given.pop("dropout"), given.pop("causal"), debug, **given)

    return there


def _forgetful(*values, **options):
    """It returns another seed than it used."""
    attended, sums, seed, *others = flash_kernel.forward(*values, **options)
    return attended, sums, seed.to(torch.int64).add(1).to(seed.dtype), *others


def _rounding(*values, **options):
    """It drops nothing, but probabilities are rounded as on a GPU, and their sums are not quite 1."""
    attended, *others = _changed(dropout=lambda _: 0.0)(*values, **options)
    return attended + 0.004 * torch.randn(attended.shape).sign().to(attended.dtype), *others


WRONG = {
    "sees what comes later": _changed(causal=lambda _: False),
    "sees beyond its window": _changed(window_size_left=lambda _: None),
    "another scale": _changed(scale=lambda scale: 1.3 * scale),
    "drops nothing": _changed(dropout=lambda _: 0.0),
    "drops nothing, and rounds": _rounding,
    "drops something else on the backward pass": _forgetful,
}


@pytest.mark.parametrize("there", WRONG.values(), ids=WRONG)
def test_a_wrong_kernel_is_not_used(there):
    varlen.is_usable.cache_clear()
    with flash_kernel.on_a_cpu(there):
        assert not all([*varlen._is_right(16, "cpu"), varlen._drops_alike(16, "cpu")]), "it runs, and is seen to be wrong"
        assert not varlen.is_usable(16, device="cpu")
    varlen.is_usable.cache_clear()


def test_a_missing_kernel_is_not_used():
    varlen.is_usable.cache_clear()
    assert not varlen.is_usable(16, device="cpu")
    assert torch.cuda.is_available() or not varlen.is_usable(16)


def prepared(kind, name, *, device="cuda", bfloat16=True):
    prepared_model = tiny.prepared(kind, name, bfloat16=bfloat16)
    acceleration.accelerate(prepared_model, device=device)
    prepared_model.trainable_module.eval()
    return prepared_model


def scores_and_gradients(prepared_model):
    ids = torch.tensor([token for one in tiny.texts(list(LENGTHS)) for token in one])
    scores = forward.compute_logits(prepared_model, ids, PackedLayout(LENGTHS))
    scores.pow(2).sum().backward()
    return [scores.detach(), *(parameter.grad for parameter in prepared_model.trainable().values())]


@pytest.mark.parametrize("name", ["freeze", "lora", "full", "prompt"])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "qwen3", "gpt_neox", "bert"])
@pytest.mark.usefixtures("on_a_gpu")
def test_scores_and_gradients_are_the_same(kind, name):
    prepared_model = prepared(kind, name)
    assert prepared_model.network.config._attn_implementation == varlen.NAME
    plain = prepared(kind, name)
    plain.network.set_attn_implementation(packed.NAME)
    for one, other in zip(scores_and_gradients(prepared_model), scores_and_gradients(plain), strict=True):
        spread = float(other.abs().max())
        torch.testing.assert_close(one, other, atol=0.08 * spread + 1e-4, rtol=0)


@pytest.mark.usefixtures("on_a_gpu")
def test_the_description_says_whether_and_why_not(monkeypatch):
    assert (
        "one kernel"
        in dict(line[:2] for line in acceleration.describe_acceleration(prepared("gpt2", "lora"), device="cuda")).values()
    )
    plain = prepared("gpt2", "lora", bfloat16=False)
    assert (
        "fast.attention",
        "length by length",
        "the kernel for all texts at once needs bfloat16",
    ) in acceleration.describe_acceleration(plain, device="cuda")
    monkeypatch.setattr(varlen, "is_usable", lambda width: False)
    refused = {line[0]: line for line in acceleration.describe_acceleration(prepared("gpt2", "lora"), device="cuda")}[
        "fast.attention"
    ]
    assert refused[1] == "length by length"
    assert "heads of 8" in refused[2]
    for prepared_model, device in ((prepared("gpt2", "lora", device="cpu"), "cpu"), (prepared("bloom", "lora"), "cuda")):
        assert "fast.attention" not in {line[0] for line in acceleration.describe_acceleration(prepared_model, device=device)}


def traced(how, lengths, **change):
    """Trace the work and the memory peak of attention, forward and backward."""
    with memory.without_memory() as ledger:
        states = [torch.empty(12, sum(lengths), 64, dtype=torch.bfloat16).requires_grad_() for _ in range(3)]
        given = {"reads": None, "mask": MaskSpec(causal=True), "scale": 0.1, "dropout": 0.1} | change
        how(*states, PackedLayout(lengths), AttentionSpec(**given)).sum().backward()
        return ledger.work, sum(ledger.peak({}, rest="all").values())


def test_a_plan_has_its_work_and_memory():
    """Seven products for every pair of query and key, and no memory for scores."""
    work, peak = traced(varlen.attend, (512,) * 4)
    assert dict(work.matmul_flops) == {"bfloat16 batched": 7 * 2 * 4 * 12 * 512 * 512 * 64 // 2}
    states = 4 * 512 * 12 * 64 * 2
    assert peak < 12 * states
    groups, more = traced(packed.attend_by_length, (512,) * 4)
    assert more > 1.2 * peak
    assert groups.num_operations > 3 * work.num_operations


def test_a_single_query_sees_all_of_its_text():
    flops = {
        whole: traced(varlen.attend, (512,) * 4, reads="last", mask=MaskSpec(causal=not whole))[0].flops
        for whole in (True, False)
    }
    assert flops[True] == 7 * 2 * 4 * 12 * 512 * 64
    assert flops[False] == pytest.approx(flops[True], rel=2e-3)
