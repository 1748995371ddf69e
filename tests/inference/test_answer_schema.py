"""Answers by a JSON schema: whatever the network, they fit."""

import importlib
import json

import pytest
import torch

from finewright.core.errors import UserError
from finewright.inference.language_model import load_language_model
from support import chatters, tiny

SCHEMA = {
    "type": "object",
    "properties": {"team": {"enum": ["billing", "shipping"]}, "urgent": {"type": "boolean"}},
    "required": ["team", "urgent"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_language_model(chatters.folder(tmp_path_factory.mktemp("model") / "gpt2", kind="gpt2"))


def test_a_tokenizer_that_cannot_be_used_is_refused(tmp_path):
    pytest.importorskip("llguidance")
    with pytest.raises(UserError, match="cannot use this tokenizer: can't determine decoder type"):
        load_language_model(tiny.folder(tmp_path / "gpt2")).generate("ship it", json_schema=SCHEMA)


def test_without_the_package_the_message_says_how_to_install_it(model, monkeypatch):
    own = importlib.import_module

    def missing(name, *rest):
        if name.startswith("llguidance"):
            raise ImportError(name)
        return own(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"need the package `llguidance`\n.*finewright\[schema\]"):
        model.generate("where is my parcel", json_schema=SCHEMA)


def test_a_random_network_answers_by_the_schema_alone_and_in_a_batch(model):
    pytest.importorskip("llguidance")
    prompts = ["where is my parcel", "refund my pay please", "ship it"]
    found = model.generate(prompts, json_schema=SCHEMA, max_new_tokens=60)
    for answer in found:
        value = json.loads(answer.text)
        assert set(value) == {"team", "urgent"}
        assert value["team"] in ("billing", "shipping")
        assert isinstance(value["urgent"], bool)
        assert answer.text == json.dumps(value)
        assert answer.finish_reason == "stop"
    assert [model.generate(one, json_schema=SCHEMA, max_new_tokens=60)[0] for one in prompts] == found
    drawn = model.generate(prompts, json_schema=SCHEMA, max_new_tokens=60, temperature=3.0)
    assert all(json.loads(one.text)["team"] in ("billing", "shipping") for one in drawn)


def test_an_answer_that_is_cut_says_so(model):
    pytest.importorskip("llguidance")
    (answer,) = model.generate("ship it", json_schema=SCHEMA, max_new_tokens=4)
    assert (answer.finish_reason, answer.num_tokens) == ("length", 4)


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"type": "object", "properties": 3}])
def test_a_wrong_schema_is_refused(model, schema):
    pytest.importorskip("llguidance")
    with pytest.raises(UserError, match="the schema cannot be followed"):
        model.generate("ship it", json_schema=schema)


def test_tokens_beyond_the_tokenizer_are_forbidden():
    pytest.importorskip("llguidance")
    from finewright.inference.answer_schema import SchemaMatcher

    class Allows:
        def compute_bitmask(self):
            return bytes([0b00000101])

        def is_error(self):
            return False

    logits = torch.zeros(10)
    SchemaMatcher(Allows()).forbid(logits)
    assert torch.isfinite(logits).nonzero().flatten().tolist() == [0, 2]
