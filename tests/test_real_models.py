"""Two real small models, where they lie beside the project."""

from pathlib import Path

import pytest
import torch

from finewright.data import packing
from finewright.models import hub, loading
from finewright.models.prepared import PreparedModel
from support import tiny

SHARED = Path(__file__).resolve().parents[2] / "shared" / "models"
TEXTS = [
    "Where is my parcel?",
    "Ünïcödé — 日本語 🙂",
    "a",
    "The quick brown fox jumps over the lazy dog, again and again, until it is tired of it.",
    "once upon a time</s> there was",
]


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "stories260K"])
def test_a_text_scores_the_same_alone_in_a_batch_and_in_transformers(name):
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name} is not beside the project")
    base = loading.load_model(
        hub.resolve_model(str(SHARED / name)), head_spec=tiny.head_spec(("a", "b", "c"), pooling="standard")
    )
    prepared_model = PreparedModel(network=base.network.eval(), trainable_module=base.network, architecture=base.architecture)
    ids = packing.encode_texts(base.origin.tokenizer, TEXTS, limit=64).ids.tolist()
    together = tiny.scores(prepared_model, ids)
    alone = torch.cat([tiny.scores(prepared_model, [one]) for one in ids])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    base.network.set_attn_implementation("eager")
    for index, one in enumerate(ids):
        with torch.no_grad():
            expected = base.network(
                input_ids=torch.tensor([one]), attention_mask=torch.ones(1, len(one), dtype=torch.long)
            ).logits
        torch.testing.assert_close(together[index : index + 1], expected, atol=1e-5, rtol=0)
