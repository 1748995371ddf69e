"""Full fine-tuning."""

import torch
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

from finewright import methods
from support import tiny
from support.prepared import prepared


def test_gpt2_small_trains_124439808_and_the_head():
    with torch.device("meta"):
        net = GPT2ForSequenceClassification(GPT2Config(num_labels=2))
    prepared_model = methods.build_method("full", {}).prepare(tiny.base_network(net))
    assert prepared_model.num_trainable() == 124_439_808 + 768 * 2


def test_saved_folder_loads_in_transformers(tmp_path):
    prepared_model = prepared("full")
    methods.build_method("full", {}).save(prepared_model, tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    theirs = again.state_dict()
    for name, tensor in prepared_model.network.state_dict().items():
        assert torch.equal(theirs[name], tensor), name


def test_a_large_model_makes_half_as_many_updates_on_few_rows():
    method = methods.build_method("full", {})
    assert [method.least_updates(parameters) for parameters in (22_000_000, 135_000_000)] == [250, 125]
