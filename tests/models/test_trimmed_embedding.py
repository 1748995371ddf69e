"""Trimmed embeddings: the same training, and the same saved state."""

import pytest
import torch

from finewright import methods
from finewright.data import packing
from finewright.data.layout import PackedLayout
from finewright.models import forward, trimmed_embedding
from finewright.tasks.text_classification import TextClassification
from finewright.training import optimizer as optimizer_module
from finewright.training.step import train_step
from support import tiny

TASK = TextClassification(("a", "b", "c"))
TEXTS = [[5, 9, 5, 1], [9, 30], [1, 2, 3, 30, 31, 5], [7]]
USED = sorted({token for text in TEXTS for token in text})


def prepared(kind="gpt2", name="full", **options):
    return methods.build_method(name, options).prepare(tiny.base_network(tiny.network(kind)))


def train(prepared_model, *, steps=6, weight_decay=0.0):
    encoded = packing.EncodedSplit(TEXTS, [len(one) for one in TEXTS], [0, 1, 2, 0])
    optimizer = optimizer_module.build_optimizer(prepared_model, lr=1e-2, weight_decay=weight_decay)
    prepared_model.trainable_module.train()
    for module in prepared_model.network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for step in range(steps):  # a token that a batch lacks must move by momentum all the same
        part = packing.collate(encoded, [step % 4, (step + 1) % 4])
        train_step(prepared_model, [part], task=TASK, optimizer=optimizer, lr=1e-2, max_grad_norm=1.0)
    prepared_model.trainable_module.eval()
    return prepared_model


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "roberta"])
def test_without_weight_decay_training_is_the_same(kind):
    """BERT's and Llama's embeddings name a padding row that never learns; here it is in use as a token."""
    plain, trimmed = prepared(kind), prepared(kind)
    before = plain.network.get_input_embeddings().weight.detach().clone()
    assert trimmed_embedding.trim_embedding(trimmed, USED) == len(USED)
    train(plain)
    train(trimmed)
    theirs, ours = plain.network.state_dict(), trimmed.network.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=2e-6, rtol=1e-5, msg=name)
    moved = (plain.network.get_input_embeddings().weight != before).any(dim=1).nonzero().flatten().tolist()
    assert set(moved) == set(USED) - {plain.network.get_input_embeddings().padding_idx}


def test_with_weight_decay_only_unused_rows_differ():
    plain, trimmed = prepared(), prepared()
    before = plain.network.transformer.wte.weight.detach().clone()
    trimmed_embedding.trim_embedding(trimmed, USED)
    train(plain, weight_decay=0.5)
    train(trimmed, weight_decay=0.5)
    ours, theirs = (prepared_model.network.state_dict()["transformer.wte.weight"] for prepared_model in (trimmed, plain))
    torch.testing.assert_close(ours[USED], theirs[USED], atol=2e-6, rtol=1e-5)
    idle = [token for token in range(320) if token not in USED]
    assert torch.equal(ours[idle], before[idle])
    assert not torch.equal(theirs[idle], before[idle])


def test_restored_rows_are_used_in_evaluation():
    """As when the best weights are restored from a checkpoint."""
    prepared_model = prepared()
    trimmed_embedding.trim_embedding(prepared_model, USED)
    saved = {name: parameter.detach().clone() for name, parameter in prepared_model.trainable().items()}
    scores = tiny.scores(prepared_model, TEXTS)
    train(prepared_model)
    assert not torch.allclose(tiny.scores(prepared_model, TEXTS), scores, atol=1e-3)
    with torch.no_grad():
        for name, parameter in prepared_model.trainable().items():
            parameter.copy_(saved[name])
    assert torch.equal(tiny.scores(prepared_model, TEXTS), scores)


def test_unused_tokens_have_their_old_embedding():
    plain, trimmed = prepared(), prepared()
    trimmed_embedding.trim_embedding(trimmed, USED)
    assert torch.equal(tiny.scores(trimmed, [[100, 5, 200]]), tiny.scores(plain, [[100, 5, 200]]))


def test_trainable_parameters_and_those_of_the_optimizer():
    plain, prepared_model = prepared(), prepared()
    trimmed_embedding.trim_embedding(prepared_model, USED)
    assert prepared_model.num_trainable() == plain.num_trainable()
    spared = (320 - len(USED)) * 32
    assert sum(p.numel() for p in prepared_model.trainable().values()) == plain.num_trainable() - spared


def test_a_meta_model_is_trimmed_alike():
    with torch.device("meta"):
        prepared_model = prepared()
    trimmed_embedding.trim_embedding(prepared_model, USED)
    assert prepared_model.num_trainable() == prepared().num_trainable()
    assert {name: p.shape for name, p in prepared_model.trainable().items()}["transformer.wte.rows"] == (len(USED), 32)
    assert all(p.is_meta for p in prepared_model.trainable_module.parameters())


def test_an_embedding_is_trimmed_only_if_it_saves_work():
    assert trimmed_embedding.trim_embedding(prepared(name="lora"), USED) == 0
    assert trimmed_embedding.trim_embedding(prepared(name="freeze"), USED) == 0
    assert trimmed_embedding.trim_embedding(prepared(), range(300)) == 0
    assert trimmed_embedding.trim_embedding(prepared(name="freeze", embeddings=True), USED) == len(USED)


def test_gradients_reach_the_rows_of_a_batch_alone():
    prepared_model = prepared()
    trimmed_embedding.trim_embedding(prepared_model, USED)
    prepared_model.trainable_module.train()
    forward.compute_logits(prepared_model, torch.tensor([9, 30]), PackedLayout((2,))).sum().backward()
    grad = prepared_model.network.transformer.wte.rows.grad
    assert {USED[row] for row in grad.any(dim=1).nonzero().flatten().tolist()} == {9, 30}
    assert prepared_model.network.transformer.wte.weight.grad is None


def test_an_embedding_tied_to_an_output_layer_is_not_trimmed():
    prepared_model = prepared()
    embedding = prepared_model.network.get_input_embeddings()
    prepared_model.network.lm_head = torch.nn.Linear(32, 320, bias=False)
    prepared_model.network.lm_head.weight = embedding.weight
    assert trimmed_embedding.trim_embedding(prepared_model, USED) == 0
    assert type(embedding) is torch.nn.Embedding
    assert embedding.weight.requires_grad
