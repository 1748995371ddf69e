"""Prompt tuning."""

import pytest
import torch
from peft import PeftModel

from finewright import methods
from finewright.core.errors import UserError
from support import tiny
from support.prepared import prepared, step


def test_gpt2_trains_virtual_tokens_times_hidden_size():
    assert prepared("prompt", num_virtual_tokens=20).num_trainable() == 20 * 32 + 32 * 3


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_every_architecture_supports_it(kind):
    prepared_model = prepared("prompt", kind=kind, num_virtual_tokens=5)
    assert prepared_model.prompt.shape == (5, 32)
    config = prepared_model.trainable_module.peft_config["default"]
    assert (config.token_dim, config.num_layers, config.num_attention_heads) == (32, 3, 4)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "roberta", "distilbert"])
def test_plain_peft_agrees_for_one_unpadded_text(kind, tmp_path):
    prepared_model = prepared("prompt", kind=kind, num_virtual_tokens=5)
    step(prepared_model, times=3)
    methods.build_method("prompt", {"num_virtual_tokens": 5}).save(prepared_model, tmp_path)
    prepared_model.trainable_module.eval()
    plain = PeftModel.from_pretrained(tiny.network(kind, packed=False), str(tmp_path)).eval()
    for one in tiny.texts([4, 9]):
        ids = torch.tensor([one])
        with torch.no_grad():
            theirs = plain(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        torch.testing.assert_close(tiny.scores(prepared_model, [one]), theirs, atol=1e-5, rtol=0)


def test_plain_peft_pools_a_pad_token_in_a_padded_batch_and_ours_does_not(tmp_path):
    """The model card warns of this difference, so it must be real."""
    prepared_model = prepared("prompt", num_virtual_tokens=5)
    step(prepared_model, times=3)
    methods.build_method("prompt", {"num_virtual_tokens": 5}).save(prepared_model, tmp_path)
    prepared_model.trainable_module.eval()
    plain = PeftModel.from_pretrained(tiny.network("gpt2", packed=False), str(tmp_path)).eval()
    short, long = tiny.texts([3, 8])
    padded = torch.tensor([short + [0] * 5, long])
    mask = torch.tensor([[1] * 3 + [0] * 5, [1] * 8])
    with torch.no_grad():
        theirs = plain(input_ids=padded, attention_mask=mask).logits
    ours, alone = tiny.scores(prepared_model, [short, long]), tiny.scores(prepared_model, [short])
    assert (theirs[0] - alone[0]).abs().max() > 1e-4
    torch.testing.assert_close(ours[:1], alone, atol=1e-5, rtol=0)
    assert "pools the last" in methods.get_method("prompt").card_note


def test_starts_from_words_of_the_vocabulary():
    prepared_model = prepared("prompt", num_virtual_tokens=4)
    words = prepared_model.network.get_input_embeddings().weight
    assert all((words == row).all(dim=1).any() for row in prepared_model.prompt)


def test_starts_from_a_text():
    net = tiny.network("gpt2")

    class Origin:
        name, revision = "tiny", ""

        @staticmethod
        def tokenizer(text):
            return {"input_ids": [5, 9]} if text else {"input_ids": []}

    method = methods.build_method("prompt", {"num_virtual_tokens": 3, "init_weights": "text", "text": "which team"})
    prepared_model = method.prepare(tiny.base_network(net, origin=Origin))
    assert torch.equal(prepared_model.prompt, net.get_input_embeddings().weight[[5, 9, 5]])
    empty = methods.build_method("prompt", {"init_weights": "text"})
    with pytest.raises(UserError, match=r"method\.text: init_weights=text needs words"):
        empty.prepare(tiny.base_network(tiny.network("gpt2"), origin=Origin))
