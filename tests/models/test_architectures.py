"""Where things are."""

import pytest

from finewright.core.errors import UserError
from finewright.models import architectures
from finewright.models.architectures import base
from support import tiny


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_every_part_is_where_the_anatomy_says(kind):
    net = tiny.network(kind)
    architecture = architectures.architecture_of(net.config)
    block = net.get_submodule(architecture.blocks)[0]
    for modules in architecture.parts.values():
        for name in modules:
            assert block.get_submodule(name).weight.ndim == 2
    for name in (architecture.body, architecture.final_norm, architecture.pooler, *architecture.head):
        assert not name or net.get_submodule(name) is not None
    assert set(tiny.CONFIGS) == set(architectures.architecture_names()), "every known architecture has a tiny network"


def test_fused_rows_of_thirds_and_of_interleaved_heads():
    gpt2, neox = tiny.CONFIGS["gpt2"](), tiny.CONFIGS["gpt_neox"]()
    assert base.fused_rows(architectures.architecture_of(gpt2), gpt2, "value") == list(range(64, 96))
    rows = base.fused_rows(architectures.architecture_of(neox), neox, "value")
    assert rows[:9] == [16, 17, 18, 19, 20, 21, 22, 23, 40]  # 4 heads of width 8: q, k, v of head 0, then of head 1


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "bloom"])
def test_fused_rows_part_the_projection(kind):
    config = tiny.CONFIGS[kind]()
    parts = [base.fused_rows(architectures.architecture_of(config), config, part) for part in ("query", "key", "value")]
    assert sorted(sum(parts, [])) == list(range(96))


def test_roberta_counts_positions_from_its_padding_id():
    config = tiny.CONFIGS["roberta"]()
    architecture = architectures.architecture_of(config)
    assert architecture.first_position == 2
    assert base.max_text_length(config, architecture) == 64


def test_unknown_architecture_names_the_known_ones():
    with pytest.raises(UserError, match=r"model_type: the architecture 'gpt3' is not known\n.*did you mean 'gpt2'"):
        architectures.architecture_of(type("Config", (), {"model_type": "gpt3"}))
