"""Cached outputs of frozen layers: the same results as running the layers for every batch."""

import os
import threading
from dataclasses import replace

import pytest
import torch

from finewright import methods
from finewright.core import cache
from finewright.core.errors import ExitCode, UserError
from finewright.data import packing
from finewright.data.layout import PackedLayout
from finewright.models import acceleration, architectures, frozen_cache, kernels
from finewright.models import prepared as prepared_module
from finewright.models.forward import compute_logits
from finewright.tasks.text_classification import TextClassification
from finewright.training import optimizer as optimizer_module
from finewright.training.step import train_step
from support import tiny

KINDS = [kind for kind in tiny.CONFIGS if not architectures.architecture_of(tiny.CONFIGS[kind]()).not_packable]
LENGTHS = [2, 9, 4, 4, 7, 1, 3]
TASK = TextClassification(("a", "b", "c"))
METHODS = {"top layer": ("freeze", {"num_layers": 1}), "adapters in the top two": ("lora", {"num_layers": 2})}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "cache"))


def encoded():
    return packing.EncodedSplit(tiny.texts(LENGTHS), LENGTHS, [0, 1, 2, 0, 1, 2, 0])


def prepared(kind="gpt2", name="freeze", *, cached=False, bfloat16=False, **options):
    base = tiny.base_network(tiny.network(kind))
    torch.manual_seed(3)
    prepared_model = methods.build_method(name, options).prepare(base)
    if bfloat16:
        prepared_module.use_bfloat16(prepared_model)
    acceleration.accelerate(prepared_model)
    prepared_model.runtime.num_frozen_layers = frozen_cache.count_frozen_layers(prepared_model)
    if cached:
        prepared_model.runtime.frozen_prefix = frozen_cache.FrozenPrefix(
            base.network, layers=base.architecture.layers, num_layers=prepared_model.runtime.num_frozen_layers
        )
    return prepared_model


def fill(prepared_model, *, where="memory", dtype=torch.float32, rows=None):
    rows = rows or encoded()
    return replace(rows, cached_states=frozen_cache.build_cache(prepared_model, rows, where=where, dtype=dtype))


def train(prepared_model, rows, *, steps=5):
    """Losses of some updates with dropout, and the weights after them."""
    optimizer = optimizer_module.build_optimizer(prepared_model, lr=1e-2, weight_decay=0.01)
    torch.manual_seed(11)
    losses = []
    for step in range(steps):
        prepared_model.train()
        part = packing.collate(rows, [(step + index) % len(LENGTHS) for index in (0, 2, 3)])
        losses.append(train_step(prepared_model, [part], task=TASK, optimizer=optimizer, lr=1e-2, max_grad_norm=1.0).loss)
    return losses, {name: parameter.detach().clone() for name, parameter in prepared_model.trainable().items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_training_from_the_cache_is_the_same(kind, method):
    name, options = METHODS[method]
    losses, weights = train(prepared(kind, name, **options), encoded())
    prepared_model = prepared(kind, name, cached=True, **options)
    cached_losses, cached_weights = train(prepared_model, fill(prepared_model))
    assert max(losses) - min(losses) > 1e-3
    exact = kernels.can_pack(torch.float32) and kind == "gpt2"  # a packed product's rows do not depend on the other rows
    assert cached_losses == pytest.approx(losses, abs=0 if exact else 1e-5)
    for key, weight in weights.items():
        torch.testing.assert_close(cached_weights[key], weight, atol=0 if exact else 1e-4, rtol=0, msg=key)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_from_the_cache_are_the_same(kind):
    plain, prepared_model = prepared(kind), prepared(kind, cached=True)
    expected = tiny.scores(plain, encoded().ids)
    batch = packing.collate(fill(prepared_model), range(len(LENGTHS)))
    with torch.no_grad():
        scores = compute_logits(prepared_model, batch.ids, batch.layout, batch.states)
    torch.testing.assert_close(scores, expected[list(batch.rows)], atol=1e-6, rtol=0)
    assert torch.equal(tiny.scores(prepared_model, encoded().ids), tiny.scores(plain, encoded().ids)), (
        "texts outside the cache still run"
    )


def test_the_frozen_layers_do_not_run_again():
    prepared_model = prepared(cached=True)
    rows = fill(prepared_model)
    prepared_model.network.transformer.h[0].register_forward_hook(lambda *_: pytest.fail("ran again"))
    train(prepared_model, rows, steps=1)
    with pytest.raises(pytest.fail.Exception, match="ran again"):
        train(prepared_model, encoded(), steps=1)


def test_a_file_gives_the_same_states_as_memory():
    prepared_model = prepared(cached=True)
    in_memory, in_file = fill(prepared_model), fill(prepared_model, where="file")
    assert isinstance(in_file.cached_states.storage, int)
    for rows in ([0], [6, 1, 1], [5, 4, 3, 2]):
        assert torch.equal(in_memory.cached_states.rows(rows), in_file.cached_states.rows(rows))
        assert len(in_file.cached_states.rows(rows)) == sum(LENGTHS[row] for row in rows)


def test_if_memory_runs_out_batches_are_smaller(monkeypatch):
    expected, honest, most, sizes = fill(prepared(cached=True)), frozen_cache.FrozenPrefix.run, 2, []

    def limited(self, prepared_model, ids_T, layout):
        if len(layout.lengths) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(layout.lengths))
        return honest(self, prepared_model, ids_T, layout)

    monkeypatch.setattr(frozen_cache.FrozenPrefix, "run", limited)
    monkeypatch.setattr(cache, "lookup", lambda *_: None)
    found = fill(prepared(cached=True))
    assert (max(sizes), sum(sizes)) == (2, len(LENGTHS))
    torch.testing.assert_close(found.cached_states.rows(range(7)), expected.cached_states.rows(range(7)))
    most = 0
    with pytest.raises(UserError, match="running the frozen layers over one text of 9 tokens") as caught:
        fill(prepared(cached=True))
    assert caught.value.code == ExitCode.OUT_OF_MEMORY


def count_prefix_runs(prepared_model, rows, **extra):
    seen = []
    handle = prepared_model.network.transformer.h[0].register_forward_hook(lambda *_: seen.append(1))
    fill(prepared_model, rows=rows, **extra)
    handle.remove()
    return len(seen)


def test_runs_over_the_same_tokens_and_weights_share_what_was_computed():
    assert count_prefix_runs(prepared(cached=True), encoded()) == 1
    assert count_prefix_runs(prepared(cached=True), encoded()) == 0
    assert count_prefix_runs(prepared(cached=True), encoded(), where="file") == 0
    assert count_prefix_runs(prepared(cached=True, name="lora", num_layers=1), encoded()) == 0, (
        "another method, the same frozen layers"
    )


def test_what_was_just_computed_is_not_read_again(monkeypatch):
    lookups, honest = [], cache.lookup
    monkeypatch.setattr(cache, "lookup", lambda *given: lookups.append(given) or honest(*given))
    fill(prepared(cached=True))
    assert len(lookups) == 2  # before and after waiting for others


@pytest.mark.parametrize("where", ["memory", "file"])
def test_concurrent_fills_compute_the_states_once(monkeypatch, where):
    """The first is delayed until the second waits."""
    honest, runs, said, waiting = frozen_cache._run_texts, [], [], threading.Event()

    def slow(*arguments, **extra):
        runs.append(1)
        assert waiting.wait(30), "the second computes it too"
        yield from honest(*arguments, **extra)

    def notify(sentence):
        said.append(sentence)
        waiting.set()

    monkeypatch.setattr(frozen_cache, "_run_texts", slow)
    networks, rows, found = [prepared(cached=True) for _ in range(2)], encoded(), {}

    def work(number):
        found[number] = frozen_cache.build_cache(networks[number], rows, where=where, dtype=torch.float32, notify=notify)

    both = [threading.Thread(target=work, args=[number]) for number in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert (len(runs), said) == (1, [frozen_cache.WAITS])
    assert torch.equal(found[0].rows(range(7)), found[1].rows(range(7)))
    assert [place.name[0] for place in (cache.cache_folder() / "trunk").iterdir()] != ["."], "no lock is left"


def test_other_tokens_weights_layers_or_dtypes_are_another_entry():
    base = encoded()
    count_prefix_runs(prepared(cached=True), base)
    other_tokens = replace(base, ids=[[*base.ids[0][:-1], 7], *base.ids[1:]])
    assert count_prefix_runs(prepared(cached=True), other_tokens) == 1
    assert count_prefix_runs(prepared(cached=True), base, dtype=torch.bfloat16) == 1
    assert count_prefix_runs(prepared(cached=True, bfloat16=True), base) == 1
    assert count_prefix_runs(prepared(cached=True, num_layers=2), base) == 1
    changed = prepared(cached=True)
    changed.network.transformer.h[0].ln_1.bias.data[0] += 1
    assert count_prefix_runs(changed, base) == 1
    above = prepared(cached=True)
    above.network.transformer.h[2].ln_1.bias.data[0] += 1
    assert count_prefix_runs(above, base) == 0


def test_a_truncated_file_is_computed_again(tmp_path):
    prepared_model = prepared(cached=True)
    whole = fill(prepared_model).cached_states.rows([0])
    file = next(cache.cache_folder().glob("trunk/*/states.bin"))
    file.write_bytes(file.read_bytes()[:-1])
    assert count_prefix_runs(prepared_model, encoded()) == 1
    assert torch.equal(fill(prepared_model).cached_states.rows([0]), whole)


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_flipped_bit_in_the_cache_is_never_trained_on(where):
    prepared_model = prepared(cached=True)
    whole = fill(prepared_model, where=where).cached_states.rows([0])
    file = next(cache.cache_folder().glob("trunk/*/states.bin"))
    content = bytearray(file.read_bytes())
    content[1] ^= 1
    file.write_bytes(content)
    assert torch.equal(fill(prepared_model, where=where).cached_states.rows([0]), whole)
    assert count_prefix_runs(prepared_model, encoded(), where=where) == 0, "the repaired entry is used"


def test_only_a_file_needs_a_writable_cache(monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "taken"))
    prepared_model = prepared(cached=True)
    assert len(fill(prepared_model).cached_states.rows([0])) == LENGTHS[0]
    with pytest.raises(OSError, match="taken"):
        fill(prepared_model, where="file")


def test_bfloat16_takes_half_the_memory_and_is_close():
    prepared_model = prepared(cached=True)
    exact, half = fill(prepared_model).cached_states, fill(prepared_model, dtype=torch.bfloat16).cached_states
    assert half.storage.nbytes * 2 == exact.storage.nbytes
    torch.testing.assert_close(half.rows([1]), exact.rows([1]), atol=0, rtol=2**-8)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("full", {}, 0),
        ("freeze", {"num_layers": 1}, 2),
        ("freeze", {"num_layers": 2}, 1),
        ("freeze", {"num_layers": 0}, 2),
        ("freeze", {"num_layers": 1, "embeddings": True}, 0),
        ("lora", {}, 0),
        ("lora", {"num_layers": 1}, 2),
        ("prompt", {}, 0),
    ],
)
@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_number_of_frozen_layers(kind, name, options, expected):
    assert frozen_cache.count_frozen_layers(prepared(kind, name, **options)) == expected


def test_padded_architectures_have_no_frozen_layers():
    prepared_model = methods.build_method("freeze", {"num_layers": 1}).prepare(tiny.base_network(tiny.network("bloom")))
    assert frozen_cache.count_frozen_layers(prepared_model) == 0


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_dropout_is_off_in_frozen_layers_only(kind):
    prepared_model = prepared(kind)
    prepared_model.train()
    layers = prepared_model.network.get_submodule(prepared_model.architecture.layers)
    assert [layer.training for layer in layers] == [False, False, True]
    assert not any(m.training for m in layers[0].modules())
    assert all(m.training for m in layers[2].modules())
    embedding_dropout = (
        prepared_model.network.transformer.drop if kind == "gpt2" else prepared_model.network.bert.embeddings.dropout
    )
    assert not embedding_dropout.training
    assert prepared_model.network.training


def test_a_failed_forward_pass_leaves_the_network_whole():
    prepared_model = prepared(cached=True)
    before = list(prepared_model.network.transformer.h)
    with pytest.raises(RuntimeError):
        compute_logits(prepared_model, torch.tensor([1, 2]), PackedLayout((2,)), torch.zeros(2, 31))
    assert list(prepared_model.network.transformer.h) == before
    assert set(prepared_model.network.state_dict()) == set(prepared().network.state_dict())


def test_the_file_is_closed_with_the_last_reference_to_the_states():
    rows = fill(prepared(num_layers=1, cached=True), where="file")
    descriptor = rows.cached_states.storage
    os.fstat(descriptor)
    again = replace(rows, targets=[])
    del rows
    assert len(again.cached_states.rows([0, 1])) == sum(LENGTHS[:2])
    del again
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_with_frozen_weights_in_bfloat16_the_cache_changes_nothing(kind):
    options = {"num_layers": 1, "bfloat16": True}
    losses, weights = train(prepared(kind, **options), encoded())
    prepared_model = prepared(kind, cached=True, **options)
    cached_losses, cached_weights = train(prepared_model, fill(prepared_model))
    assert cached_losses == pytest.approx(losses, abs=1e-6)
    for key, weight in weights.items():
        torch.testing.assert_close(cached_weights[key], weight, atol=1e-5, rtol=0, msg=key)
    exact, _ = train(prepared(kind, num_layers=1), encoded())
    assert losses != exact, "the weights were in float32"
    half = prepared(kind, cached=True, **options)
    assert train(half, fill(half, dtype=torch.bfloat16))[0] == pytest.approx(losses, abs=0.02), "states of 8 bits of precision"
