"""Layer freezing."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

from finewright import methods
from finewright.core.errors import UserError
from support import tiny
from support.prepared import prepared

HEAD = 768 * 2


def gpt2_small(**options):
    with torch.device("meta"):
        net = GPT2ForSequenceClassification(GPT2Config(num_labels=2))
    return methods.build_method("freeze", options).prepare(tiny.base_network(net))


@pytest.mark.parametrize(("num_layers", "count"), [(1, 7_089_408), (2, 14_177_280), (3, 21_265_152), (4, 28_353_024)])
def test_top_layers_and_final_norm_of_gpt2_small(num_layers, count):
    assert count == num_layers * 7_087_872 + 1_536
    assert gpt2_small(num_layers=num_layers).num_trainable() == count + HEAD


def test_the_default_is_three_layers_at_most_half_of_them():
    assert gpt2_small().num_trainable() == 21_265_152 + HEAD
    prepared_model = prepared("freeze")  # a tiny GPT-2 of three layers
    per_layer = sum(p.numel() for p in prepared_model.network.transformer.h[2].parameters())
    assert prepared_model.num_trainable() == per_layer + 2 * 32 + 32 * 3


def test_a_fraction_takes_the_nearest_whole_layer_and_says_so():
    prepared_model = gpt2_small(trainable_fraction=0.16)
    assert prepared_model.num_trainable() == 21_265_152 + HEAD
    assert "top 3 layers: 17.1% of the parameters is the nearest to 16.0%" in prepared_model.notes[0]


def test_embeddings_can_be_trained_too():
    assert gpt2_small(num_layers=3, embeddings=True).num_trainable() == 21_265_152 + 38_597_376 + 786_432 + HEAD


def test_more_layers_than_the_model_has_are_refused():
    with pytest.raises(UserError, match=r"method\.num_layers: wanted the top 4 layers trained, the model has 3"):
        prepared("freeze", num_layers=4)


def test_saved_folder_loads_in_transformers(tmp_path):
    prepared_model = prepared("freeze", num_layers=1)
    methods.build_method("freeze", {}).save(prepared_model, tmp_path)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in prepared_model.network.state_dict().items())
