"""The tokenizer that is saved with a model: padding, and faults of its config."""

import json

import pytest

from finewright.core.errors import UserError
from finewright.models import hub, loading
from support import tiny

LABELS = ("a", "b")


def load(folder):
    base = loading.load_model(hub.resolve_model(str(folder)), head_spec=tiny.head_spec(LABELS))
    notes = [note for note in base.notes if note.startswith("padding: ")]
    return base.network.config.pad_token_id, base.origin.tokenizer, notes


def edit(folder, file, **changes):
    path = folder / file
    written = {key: value for key, value in (json.loads(path.read_text()) | changes).items() if value is not ...}
    path.write_text(json.dumps(written))


@pytest.mark.parametrize("stated", [-1, 0, 5, 7])
def test_padding_that_only_the_config_names_is_one_id_in_both(tmp_path, stated):
    """0 is the end-of-text token, 4 unknown, 5 and 7 are ordinary tokens, which texts would lose if they became special."""
    folder = tiny.folder(tmp_path, kind="llama")
    edit(folder, "config.json", pad_token_id=stated)
    pad, tokenizer, notes = load(folder)
    assert (pad, tokenizer.pad_token_id) == (0, 0)
    assert len(notes) == (stated != 0)
    if notes:
        said = f"the model's config says {stated}, its tokenizer nothing; 0 is saved in both"
        assert notes == [f"padding: {said} for other programs, none is used here"]


@pytest.mark.parametrize("stated", [-1, 0, 4, 3])
def test_the_tokenizers_own_padding_is_kept(tmp_path, stated):
    folder = tiny.folder(tmp_path, kind="llama")
    edit(folder, "config.json", pad_token_id=stated)
    edit(folder, "tokenizer_config.json", pad_token="<pad>")
    pad, tokenizer, notes = load(folder)
    assert (pad, tokenizer.pad_token_id, len(notes)) == (1, 1, 1)


def test_a_special_token_that_the_config_names_is_taken(tmp_path):
    folder = tiny.folder(tmp_path, kind="llama")
    edit(folder, "config.json", pad_token_id=1)
    pad, tokenizer, notes = load(folder)
    assert (pad, tokenizer.pad_token_id, notes) == (1, 1, [])


def test_the_unknown_token_is_no_padding(tmp_path):
    folder = tiny.folder(tmp_path, kind="llama")
    edit(folder, "config.json", pad_token_id=4)
    pad, tokenizer, _ = load(folder)
    assert (pad, tokenizer.pad_token_id) == (0, 0)


def test_what_positions_are_counted_from_does_not_change(tmp_path):
    folder = tiny.folder(tmp_path, kind="roberta")
    edit(folder, "tokenizer_config.json", pad_token="<|endoftext|>")
    pad, tokenizer, notes = load(folder)
    assert (pad, tokenizer.pad_token_id, len(notes)) == (1, 1, 1)
    edit(folder, "config.json", pad_token_id=-1)
    with pytest.raises(UserError, match="positions are counted from pad_token_id, which is missing"):
        load(folder)


def test_a_token_that_ends_every_text_is_no_padding(tmp_path):
    """transformers looks for the last token that is not padding: it would read every text one token short."""
    from tokenizers import processors

    folder = tiny.folder(tmp_path, kind="llama")
    _, tokenizer, _ = load(folder)
    end = processors.TemplateProcessing(single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)])
    tokenizer.backend_tokenizer.post_processor = end
    tokenizer.save_pretrained(folder)
    pad, tokenizer, _ = load(folder)
    assert tokenizer("where is it")["input_ids"][-1] == 0
    assert pad == tokenizer.pad_token_id == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eos_token": {"content": "x", "special": True}}, "eos_token: an object without \"__type\": \"AddedToken\""),
        ({"eos_token": ["x"]}, r'eos_token: wanted a string or an AddedToken, found ["x"]'),
        ({"extra_special_tokens": [{"special": True}]}, "extra_special_tokens[0]: an AddedToken without content"),
        ({"added_tokens_decoder": {"0": "x"}}, "added_tokens_decoder[0]: an AddedToken without content"),
        ({"added_tokens_decoder": {"zero": {"content": "x"}}}, "added_tokens_decoder[zero]: wanted a token id as the key"),
    ],
)  # fmt: skip
def test_a_fault_names_the_file_and_the_entry(tmp_path, changes, message):
    folder = tiny.folder(tmp_path)
    edit(folder, "tokenizer_config.json", **changes)
    with pytest.raises(UserError) as caught:
        load(folder)
    assert caught.value.what.startswith(f"no tokenizer: tokenizer_config.json: {message}")


def test_a_tokenizer_config_that_is_no_json_is_named(tmp_path):
    folder = tiny.folder(tmp_path)
    (folder / "tokenizer_config.json").write_text("{'eos_token': 1}")
    with pytest.raises(UserError, match=r"no tokenizer: tokenizer_config\.json is not JSON"):
        load(folder)


def test_a_tokenizer_without_the_models_special_tokens_is_noted(tmp_path):
    bert, llama = tiny.folder(tmp_path / "bert", kind="bert"), tiny.folder(tmp_path / "llama", kind="llama")
    source = hub.resolve_model(str(bert))
    assert not any("special token" in note for note in loading.load_model(source, head_spec=tiny.head_spec(LABELS)).notes)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (bert / file).write_bytes((llama / file).read_bytes())
    notes = loading.load_model(source, head_spec=tiny.head_spec(LABELS)).notes
    assert any(note.startswith("warning: the head reads the first token of a text") for note in notes)
