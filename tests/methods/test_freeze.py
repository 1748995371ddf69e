"""Layer freezing."""

import pytest
import torch
from test_contract import prepared
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

from finewright import anatomy, methods
from finewright.errors import UserError

HEAD = 768 * 2


def gpt2_small(**knobs):
    with torch.device("meta"):
        net = GPT2ForSequenceClassification(GPT2Config(num_labels=2))
    return methods.make("freeze", knobs).prepare(net, anatomy=anatomy.of(net.config), head=("score",), origin=None)


@pytest.mark.parametrize(("blocks", "count"), [(1, 7_089_408), (2, 14_177_280), (3, 21_265_152), (4, 28_353_024)])
def test_top_blocks_and_final_norm_of_gpt2_small(blocks, count):
    assert count == blocks * 7_087_872 + 1_536
    assert gpt2_small(blocks=blocks).num_trainable() == count + HEAD


def test_by_default_three_blocks_at_most_half_of_them():
    assert gpt2_small().num_trainable() == 21_265_152 + HEAD
    tuned = prepared("freeze")  # a tiny GPT-2 of three blocks
    per_block = sum(p.numel() for p in tuned.network.transformer.h[2].parameters())
    assert tuned.num_trainable() == per_block + 2 * 32 + 32 * 3


def test_a_share_takes_the_nearest_whole_block_and_says_so():
    tuned = gpt2_small(share=0.16)
    assert tuned.num_trainable() == 21_265_152 + HEAD
    assert "top 3 blocks: 17.1% of the parameters is the nearest to 16.0%" in tuned.notes[0]


def test_embeddings_can_be_trained_too():
    assert gpt2_small(blocks=3, embeddings=True).num_trainable() == 21_265_152 + 38_597_376 + 786_432 + HEAD


def test_more_blocks_than_there_are():
    with pytest.raises(UserError, match=r"method\.blocks: wanted the top 4 blocks trained, the model has 3"):
        prepared("freeze", blocks=4)


def test_saved_folder_loads_in_transformers(tmp_path):
    tuned = prepared("freeze", blocks=1)
    methods.make("freeze", {}).save(tuned, tmp_path)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in tuned.network.state_dict().items())
