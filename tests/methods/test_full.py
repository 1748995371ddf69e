"""Full fine-tuning."""

import torch
from test_contract import prepared
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

from finewright import anatomy, methods


def test_gpt2_small_trains_124439808_and_the_head():
    with torch.device("meta"):
        net = GPT2ForSequenceClassification(GPT2Config(num_labels=2))
    tuned = methods.make("full", {}).prepare(net, anatomy=anatomy.of(net.config), head=("score",), origin=None)
    assert tuned.num_trainable() == 124_439_808 + 768 * 2


def test_saved_folder_loads_in_transformers(tmp_path):
    tuned = prepared("full")
    methods.make("full", {}).save(tuned, tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    theirs = again.state_dict()
    for name, tensor in tuned.network.state_dict().items():
        assert torch.equal(theirs[name], tensor), name
