"""The forward pass: which states the head reads, and where a prompt stands."""

from dataclasses import replace

import pytest
import torch

from finewright import methods
from finewright.data.layout import PackedLayout
from finewright.models import architectures, forward, last_layer
from support import tiny


def prompted(kind, **changes):
    """A network with a prompt whose architecture is changed."""
    net = tiny.network(kind)
    architecture = replace(architectures.architecture_of(net.config), **changes)
    torch.manual_seed(3)
    method = methods.build_method("prompt", {"num_virtual_tokens": 4})
    return method.prepare(tiny.base_network(net, architecture=architecture))


def last_states(prepared_model, text):
    """The last layer's states of one text behind its prompt, by transformers alone, shape (P + T, H)."""
    body = prepared_model.network.get_submodule(prepared_model.architecture.body)
    states_TH = torch.cat([prepared_model.prompt, prepared_model.network.get_input_embeddings()(torch.tensor(text))])
    return body(inputs_embeds=states_TH[None], layout=PackedLayout((len(states_TH),)), use_cache=False).last_hidden_state[0]


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_an_encoder_has_the_prompt_before_every_text_however_it_pools(pooling):
    """Its prompt tokens see the text after them, so they differ from text to text."""
    prepared_model = prompted("bert", pooling=pooling)
    assert not forward.shares_prefix(prepared_model.architecture)
    texts = tiny.texts([3, 5, 5, 9])
    found = tiny.scores(prepared_model, texts)
    for text, scores in zip(texts, found, strict=True):
        with torch.no_grad():
            states_TH = last_states(prepared_model, text)
            state = states_TH[-1] if pooling == "last" else states_TH[4:].mean(0)
            head = forward.HEADS["pooler"](prepared_model.network, prepared_model.architecture, state[None])
        torch.testing.assert_close(scores, head[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_decoder_has_one_prompt_for_all_texts_however_it_pools(pooling):
    assert forward.shares_prefix(prompted("gpt2", pooling=pooling).architecture)


@pytest.mark.parametrize("prompt", [False, True], ids=["plain", "prompt"])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "bloom"])
def test_a_mean_is_the_same_alone_and_in_a_batch(kind, prompt):
    """BLOOM's texts are padded: padding is no part of the mean."""
    prepared_model = prompted(kind, pooling="mean") if prompt else tiny.prepared_model(kind)
    prepared_model.architecture = replace(prepared_model.architecture, pooling="mean")
    texts = tiny.texts([5, 1, 9, 5, 3])
    together = tiny.scores(prepared_model, texts)
    alone = torch.cat([tiny.scores(prepared_model, [text]) for text in texts])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=1e-5)
    assert together.std(dim=0).max() > 1e-3


def test_a_mean_takes_a_texts_own_tokens():
    states_TH, layout = torch.arange(14.0).view(7, 2), PackedLayout((1, 2, 2))
    prefixed = PackedLayout((1, 2, 2), prefix=2)
    assert forward._pool(states_TH, prefixed, pooling="mean", num_before=0).tolist() == [[4, 5], [7, 8], [11, 12]]
    assert forward._pool(states_TH[:5], layout, pooling="mean", num_before=0).tolist() == [[0, 1], [3, 4], [7, 8]]
    assert forward._pool(states_TH[:4], PackedLayout((2, 2)), pooling="mean", num_before=1).tolist() == [[2, 3], [6, 7]]
    assert torch.equal(forward._pool(states_TH, prefixed, pooling="none", num_before=0), states_TH[2:])


@pytest.mark.parametrize("pooling", ["mean", "none"])
def test_a_head_that_reads_all_tokens_needs_the_whole_last_layer(pooling):
    architecture = replace(architectures.architecture_of(tiny.CONFIGS["gpt2"]()), pooling=pooling)
    assert last_layer.install_pooled_last_layer(tiny.network("gpt2"), architecture=architecture) is None


@pytest.mark.parametrize("kind", ["gpt2", "bert", "bloom"])
def test_a_head_that_reads_every_token_does_not_read_the_prompt(kind):
    """Shared by a row, before each text, and in padded rows."""
    head_spec = tiny.head_spec(reads="every-token")
    torch.manual_seed(3)
    method = methods.build_method("prompt", {"num_virtual_tokens": 4})
    prepared_model = method.prepare(tiny.base_network(tiny.network(kind), head_spec=head_spec))
    prepared_model.trainable_module.eval()
    assert prepared_model.runtime.reads == "every-token"
    texts = tiny.texts([3, 5])
    with torch.no_grad():
        outputs_TC = forward.compute_logits(prepared_model, torch.tensor([*texts[0], *texts[1]]), PackedLayout((3, 5)))
        states = [last_states(prepared_model, text)[4:] for text in texts]
        head = forward.HEADS[prepared_model.architecture.head_kind]
        expected_TC = head(prepared_model.network, prepared_model.architecture, torch.cat(states))
    assert outputs_TC.shape == (8, 3), "one output for each token of a text, none for the prompt's"
    torch.testing.assert_close(outputs_TC, expected_TC, atol=1e-5, rtol=0)
