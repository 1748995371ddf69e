"""Heads that score every token: equal to transformers' own classes, for every architecture that has one."""

import pytest
import torch

from finewright.core.errors import UserError
from finewright.data import packing
from finewright.data.tokenization import TokenRows
from finewright.models import architectures, forward, network_class
from finewright.models.attention import packed
from finewright.models.head_spec import TOKEN_CLASSIFICATION
from finewright.models.prepared import PreparedModel, Runtime
from support import families, tiny

LENGTHS = (3, 7, 5)


def _has_class(kind):
    try:
        network_class.class_of(tiny.build_config(kind), auto_model=TOKEN_CLASSIFICATION)
    except UserError:
        return False
    return True


KINDS = sorted({**families.CONFIGS, **tiny.CONFIGS})


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_class_of_transformers(kind):
    if not _has_class(kind):
        with pytest.raises(UserError, match="no class that scores every token"):
            architectures.architecture_for(tiny.build_config(kind), auto_model=TOKEN_CLASSIFICATION)
        return
    torch.manual_seed(0)
    config = tiny.build_config(kind)
    config.num_labels = 5
    if config.pad_token_id is None:
        config.pad_token_id = 0
    network = network_class.from_config(config, auto_model=TOKEN_CLASSIFICATION).eval()
    if getattr(config, "attn_logit_softcapping", None):
        network.set_attn_implementation("eager")
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    texts = [torch.randint(5, 300, (length,)) for length in LENGTHS]
    with torch.no_grad():
        stock = [network(input_ids=text[None], attention_mask=torch.ones_like(text)[None]).logits[0] for text in texts]
    architecture = architectures.architecture_for(config, auto_model=TOKEN_CLASSIFICATION)
    if not architecture.not_packable:
        packed.register()
        network.set_attn_implementation(packed.NAME)
    network.config.use_cache = False
    model = PreparedModel(
        network=network, trainable_module=network, architecture=architecture, runtime=Runtime(reads="every-token")
    )
    lengths = torch.tensor(LENGTHS, dtype=torch.int32).numpy()
    flat = torch.cat(texts).int().numpy()
    split = packing.EncodedSplit(
        TokenRows(flat, lengths), [*LENGTHS], [None] * 3, trained=TokenRows(flat > 0, lengths), tags=TokenRows(flat % 5, lengths)
    )
    batch = packing.collate(split, range(3))
    assert batch.targets.tolist() == [int(token) % 5 for row in batch.rows for token in texts[row]]
    with torch.no_grad():
        scores = forward.compute_outputs(model, batch)
    for place, row in enumerate(batch.rows):
        torch.testing.assert_close(scores[place, : LENGTHS[row]], stock[row].float(), rtol=1e-4, atol=1e-5)
        assert not scores[place, LENGTHS[row] :].any(), "zeros follow"
