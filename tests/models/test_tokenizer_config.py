"""The tokenizer that is saved with a model: padding, and faults of its config."""

import json

import pytest
import torch

from finewright.core.errors import UserError
from finewright.data import packing
from finewright.models import hub, loading, meta, tokenizer_config, tokenizer_files
from finewright.models.prepared import PreparedModel
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


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_special_tokens_that_the_tokenizer_forgets_are_added(tmp_path, kind):
    """What transformers 5 makes of some XLM-R and mDeBERTa tokenizers: the tokens are there, the rule that adds them is not."""
    folder = tiny.folder(tmp_path / "model", kind=kind)
    whole = meta.load_tokenizer_if_any(folder)("where is my parcel")["input_ids"]
    edit(folder, "tokenizer.json", post_processor=None)
    base = loading.load_model(hub.resolve_model(str(folder)), head_spec=tiny.head_spec(LABELS))
    tokenizer = base.origin.tokenizer
    assert tokenizer("where is my parcel")["input_ids"] == whole
    assert (whole[0], whole[-1]) == (2, 3)
    added = "tokenizer: it put no [CLS] and [SEP] around a text, as the model was trained with; they are added"
    assert base.notes.count(added) == 1
    assert not any(note.startswith("warning") for note in base.notes)
    assert meta.load_tokenizer_if_any(folder)("where is my parcel")["input_ids"] == whole, "a plan counts the same tokens"
    tokenizer.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert meta.load_tokenizer_if_any(tmp_path / "saved")("where is my parcel")["input_ids"] == whole


def test_a_tokenizer_that_pads_on_the_left_changes_no_score_and_is_saved_padding_on_the_right(tmp_path):
    folder = tiny.folder(tmp_path / "model", kind="llama")
    texts = ["where is my parcel", "refund", "please send the new invoice when it does arrive"]

    def scores(together):
        base = loading.load_model(hub.resolve_model(str(folder)), head_spec=tiny.head_spec(LABELS))
        model = PreparedModel(network=base.network.eval(), trainable_module=base.network, architecture=base.architecture)
        ids = packing.encode_texts(base.origin.tokenizer, texts, limit=64).ids.tolist()
        found = tiny.scores(model, ids) if together else torch.cat([tiny.scores(model, [one]) for one in ids])
        tokenizer_config.prepare_for_saving(base.origin.tokenizer, network=base.network, max_length=64, truncation_side="right")
        base.origin.tokenizer.save_pretrained(tmp_path / "saved")
        return found

    expected = scores(together=True)
    edit(folder, "tokenizer_config.json", padding_side="left")
    for together in (True, False):
        torch.testing.assert_close(scores(together), expected, atol=1e-5, rtol=0)
    assert json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())["padding_side"] == "right"


def test_added_tokens_without_embeddings_are_refused_with_both_sizes(tmp_path):
    from transformers import AutoTokenizer

    folder = tiny.folder(tmp_path, kind="llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<new {number}>" for number in range(30)])
    tokenizer.save_pretrained(folder)
    size = len(tokenizer)
    with pytest.raises(
        UserError, match=f"the tokenizer has {size} tokens, the model has embeddings for {tiny.VOCABULARY}"
    ) as caught:
        load(folder)
    assert size > tiny.VOCABULARY
    assert "resize_token_embeddings" in caught.value.fix


def test_a_tokenizer_without_a_fast_version_is_used_and_named(tmp_path):
    folder = tiny.folder(tmp_path, kind="roberta")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("".join(f"{word} {99 - index}\n" for index, word in enumerate(tiny.WORDS.split())))
    (folder / "bpe.codes").write_text("".join(f"{word[0]} {word[1]} 1\n" for word in ("where", "is")))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PhobertTokenizer"}')
    base = loading.load_model(hub.resolve_model(str(folder)), head_spec=tiny.head_spec(LABELS))
    assert "tokenizer: PhobertTokenizer has no fast version, so texts are cut one by one, in Python" in base.notes
    ids = packing.encode_texts(base.origin.tokenizer, ["where is it", "<s>where is it"], limit=64).ids.tolist()
    assert ids[0] == ids[1] == base.origin.tokenizer("where is it")["input_ids"]


@pytest.mark.parametrize(
    ("file", "content", "hidden", "message", "fix"),
    [
        ("tokenizer.model", b"\n\x0e\n\x05<unk>", "sentencepiece", "tokenizer.model is a SentencePiece model", "[sentencepiece]"),
        ("spiece.model", b"\n\x0e\n\x05<unk>", "google.protobuf", "spiece.model is a SentencePiece model", "[sentencepiece]"),
        ("tokenizer.model", b"aGVsbG8= 0\n", "", "seems to be in the tiktoken format", "tokenizer.json"),
        ("tekken.json", b"{}", "", "tekken.json alone: this format is not read", "tokenizer.json"),
    ],
)
def test_a_vocabulary_that_cannot_be_read_names_the_way_out(tmp_path, monkeypatch, file, content, hidden, message, fix):
    folder = tiny.folder(tmp_path, kind="llama")
    (folder / "tokenizer.json").unlink()
    (folder / file).write_bytes(content)
    real = tokenizer_files._is_there
    monkeypatch.setattr(tokenizer_files, "_is_there", lambda name: name != hidden and real(name))
    with pytest.raises(UserError) as caught:
        load(folder)
    assert message in caught.value.what
    assert fix in caught.value.fix


@pytest.mark.parametrize("kind", ["xlm-roberta", "llama"])
def test_a_converted_vocabulary_must_cut_texts_as_its_file_does(tmp_path, kind):
    sentencepiece = pytest.importorskip("sentencepiece")
    folder, prefix = tiny.folder(tmp_path / "model", kind=kind), tmp_path / "pieces"
    (tmp_path / "texts.txt").write_text("\n".join([tiny.WORDS] * 50))
    options = {"hard_vocab_limit": False, "minloglevel": 2, "vocab_size": 60, "model_type": "unigram"}
    if kind == "llama":
        options |= {"model_type": "bpe", "byte_fallback": True, "vocab_size": 310}
        options |= {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    sentencepiece.SentencePieceTrainer.train(input=str(tmp_path / "texts.txt"), model_prefix=str(prefix), **options)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    name = "sentencepiece.bpe.model" if kind == "xlm-roberta" else "tokenizer.model"
    (folder / name).write_bytes((tmp_path / "pieces.model").read_bytes())
    if kind == "xlm-roberta":
        original = sentencepiece.SentencePieceProcessor(model_file=str(folder / name))
        tokenizer = load(folder)[1]
        ids = tokenizer("where is my parcel", add_special_tokens=False)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(ids) == original.encode("where is my parcel", out_type=str)
    else:  # without a config that names its class, transformers leaves out the space before the first word
        with pytest.raises(UserError, match="no tokenizer that can be trusted: transformers cuts 'where is my parcel' into"):
            load(folder)
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
        load(folder)
