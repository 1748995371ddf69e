"""Configs inside the package."""

import pytest

from finewright.models import hub, meta
from support import tiny

COUNTS = {  # published parameters of the causal models, with the output matrix if it is not tied
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "bert-base-uncased": 109_482_240,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "mistral-7b": 7_241_732_096,
}


def test_every_bundled_config_is_counted():
    folder = hub.find_bundled_config("gpt2").parent
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(COUNTS)


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_a_config_gives_the_published_number_of_parameters(name):
    base = meta.meta_model(
        hub.ModelSource(hub.find_bundled_config(name), name, ""), head_spec=tiny.head_spec(("a", "b")), tokenizer=False
    )
    config = base.network.config
    head = sum(p.numel() for part in base.architecture.head for p in base.network.get_submodule(part).parameters())
    output = 0 if config.tie_word_embeddings or name.startswith("bert") else config.vocab_size * config.hidden_size
    assert base.total_parameters - head + output == COUNTS[name]


def test_a_hub_id_finds_the_same_config_and_an_unknown_name_none():
    assert hub.find_bundled_config("meta-llama/Llama-2-7b-hf") == hub.find_bundled_config("llama-2-7b")
    assert hub.find_bundled_config("openai-community/gpt2") == hub.find_bundled_config("gpt2")
    assert hub.find_bundled_config("nobody/nothing") is None
    assert hub.find_bundled_config("../configs/gpt2") is None
    assert hub.find_bundled_config("") is None
