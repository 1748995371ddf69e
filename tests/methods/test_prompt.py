"""Prompt tuning."""

import pytest
import torch
from peft import PeftModel
from test_contract import prepared, step

import tiny
from finewright import anatomy as anatomies
from finewright import methods
from finewright.errors import UserError


def test_gpt2_trains_tokens_times_hidden():
    assert prepared("prompt", tokens=20).num_trainable() == 20 * 32 + 32 * 3


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_every_architecture_takes_it(kind):
    tuned = prepared("prompt", kind=kind, tokens=5)
    assert tuned.prompt.shape == (5, 32)
    config = tuned.owner.peft_config["default"]
    assert (config.token_dim, config.num_layers, config.num_attention_heads) == (32, 3, 4)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "roberta", "distilbert"])
def test_plain_peft_agrees_for_one_unpadded_text(kind, tmp_path):
    tuned = prepared("prompt", kind=kind, tokens=5)
    step(tuned, times=3)
    methods.make("prompt", {"tokens": 5}).save(tuned, tmp_path)
    tuned.owner.eval()
    plain = PeftModel.from_pretrained(tiny.network(kind, packed=False), str(tmp_path)).eval()
    for one in tiny.texts([4, 9]):
        ids = torch.tensor([one])
        with torch.no_grad():
            theirs = plain(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        torch.testing.assert_close(tiny.scores(tuned, [one]), theirs, atol=1e-5, rtol=0)


def test_plain_peft_pools_a_pad_token_in_a_padded_batch_and_ours_does_not(tmp_path):
    """The trap that the card warns of: it must be real, or the card is wrong."""
    tuned = prepared("prompt", tokens=5)
    step(tuned, times=3)
    methods.make("prompt", {"tokens": 5}).save(tuned, tmp_path)
    tuned.owner.eval()
    plain = PeftModel.from_pretrained(tiny.network("gpt2", packed=False), str(tmp_path)).eval()
    short, long = tiny.texts([3, 8])
    padded = torch.tensor([short + [0] * 5, long])
    mask = torch.tensor([[1] * 3 + [0] * 5, [1] * 8])
    with torch.no_grad():
        theirs = plain(input_ids=padded, attention_mask=mask).logits
    ours, alone = tiny.scores(tuned, [short, long]), tiny.scores(tuned, [short])
    assert (theirs[0] - alone[0]).abs().max() > 1e-4
    torch.testing.assert_close(ours[:1], alone, atol=1e-5, rtol=0)
    assert "pools the last" in methods.kind("prompt").card_note


def test_starts_from_words_of_the_vocabulary():
    tuned = prepared("prompt", tokens=4)
    words = tuned.network.get_input_embeddings().weight
    assert all((words == row).all(dim=1).any() for row in tuned.prompt)


def test_starts_from_a_text():
    net = tiny.network("gpt2")

    class Origin:
        name, revision = "tiny", ""

        @staticmethod
        def tokenizer(text):
            return {"input_ids": [5, 9]} if text else {"input_ids": []}

    method = methods.make("prompt", {"tokens": 3, "init": "text", "text": "which team"})
    tuned = method.prepare(net, anatomy=anatomies.of(net.config), head=("score",), origin=Origin)
    assert torch.equal(tuned.prompt, net.get_input_embeddings().weight[[5, 9, 5]])
    empty = methods.make("prompt", {"init": "text"})
    with pytest.raises(UserError, match=r"method\.text: init=text wants words"):
        empty.prepare(tiny.network("gpt2"), anatomy=anatomies.of(net.config), head=("score",), origin=Origin)
