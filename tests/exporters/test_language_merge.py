"""Merging adapters of language models: plain transformers loads the result, and the loss of the test rows stays."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from finewright import api
from finewright.exporters import merge
from finewright.runs.run import open_run
from support import chatters, preferred, sessions
from support.commands import call

SHORT = "{% for message in messages %}{{ message['content'] }}<|endoftext|>{% endfor %}"
TURNS = (("user", "pay"), ("assistant", "ship it"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("merged-chats")
    chatters.folder(root / "llama")
    chatters.folder(root / "short", template=SHORT)
    chats = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in preferred.rows()]
    preferred.write(root / "chats.jsonl", chats)
    preferred.write(root / "pairs.jsonl", preferred.rows())
    preferred.write(root / "judged.jsonl", preferred.judged())
    with pytest.MonkeyPatch.context() as patch, sessions.quickly():
        patch.setenv("FINEWRIGHT_CACHE", str(root / "store"))
        yield root


def train(place, out, data, model="llama", **changes):
    options = {"training.max_steps": 3, "training.precision": "float32", "training.num_threads": 1}
    options |= {"training.learning_rate": 0.01, "data.max_length": 100, **changes}
    return api.train(data, model=str(place / model), method="lora", output_dir=out, options=options).folder


def ask(model, tokenizer):
    ids = tokenizer("where is my parcel", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


@pytest.mark.parametrize("source", ["chats.jsonl", "pairs.jsonl", "judged.jsonl"])
@pytest.mark.parametrize("has_data", [True, False])
def test_an_adapter_of_a_language_model_is_merged(place, tmp_path, source, has_data):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    data = Path(shutil.copy(place / source, tmp_path))
    run = train(place, tmp_path / "run", data)
    if not has_data:
        data.unlink()
    found = merge.export_merged(run)
    test = open_run(run.path).result.metrics.test
    assert found.exact
    assert found.metric.name == "loss"
    assert found.num_rows >= 1
    assert found.change.metric_after == pytest.approx(found.metric_before, rel=1e-4)
    if source == "chats.jsonl":
        assert found.metric_before == pytest.approx(test.loss, rel=1e-4)
    merged = AutoModelForCausalLM.from_pretrained(found.folder, dtype=torch.float32)
    adapter = AutoPeftModelForCausalLM.from_pretrained(run.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(found.folder)
    assert torch.allclose(ask(merged, tokenizer), ask(adapter, tokenizer), atol=1e-4)


def test_the_rows_are_read_as_the_run_read_them(place, tmp_path):
    """Several answers of a conversation, and a system prompt that each row gets."""
    lines = [
        {"messages": [{"role": role, "content": f"{text} {number}"} for role, text in (*TURNS, *TURNS)]} for number in range(30)
    ]
    changes = {"data.system_prompt": "pay"}
    run = train(place, tmp_path / "run", preferred.write(tmp_path / "chats.jsonl", lines), "short", **changes)
    code, out, _ = call("export", run.path, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["metric"] == "loss"
    assert found["metric_before"] == pytest.approx(open_run(run.path).result.metrics.test.loss, rel=1e-4)
    assert found["metric_after"] == pytest.approx(found["metric_before"], rel=1e-4)
