"""GGUF files: what they hold is what the model computes, and what cannot be read is refused before anything is trained."""

import contextlib
import dataclasses
import json
import random
import struct
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

gguf = pytest.importorskip("gguf")

from finewright.core import cache  # noqa: E402
from finewright.core.errors import ExitCode, UserError  # noqa: E402
from finewright.models import adapter_folder, hub, loading, meta, provenance  # noqa: E402
from finewright.models.gguf import convert, families, reader  # noqa: E402
from support import gguf_files, tiny  # noqa: E402

KINDS = ("llama", "qwen2", "qwen3", "gpt2", "gemma", "gemma2", "gemma3_text", "phi3")
NO_DEFAULT = {
    "gemma2": {"query_pre_attn_scalar": 8, "sliding_window": 4, "attn_logit_softcapping": 0.5, "final_logit_softcapping": 2.0},
    "gemma3_text": {"query_pre_attn_scalar": 8, "sliding_window": 4, "num_hidden_layers": 6},
    "phi3": {"sliding_window": 4, "rope_theta": 5000.0},
}
"""Values that a file holds, or that llama.cpp knows without it."""
IDS = [7, 20, 33, 41, 9, 60, 7]
TEXTS = ["where is my parcel", "It's 1234 new\n\n jackets,  don't!", "Ünïcödé — 日本語 🙂<|endoftext|>tent", " x", ""]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Tiny models with weights that no mistake leaves as they are."""
    from transformers import AutoConfig, AutoModelForCausalLM

    found = {}
    for kind in KINDS:
        folder = tiny.folder(tmp_path_factory.mktemp(kind), kind=kind)
        net = AutoModelForCausalLM.from_pretrained(folder)
        if kind in NO_DEFAULT:
            written = json.loads((folder / "config.json").read_text())
            plain = {
                name: value for name, value in written.items() if name not in ("layer_types", "rope_parameters", "model_type")
            }
            config = AutoConfig.for_model(kind, **(plain | NO_DEFAULT[kind]))
            if kind == "gemma3_text":
                config.rope_parameters["full_attention"] |= {"rope_type": "linear", "factor": 8.0}
            net = AutoModelForCausalLM.from_config(config)
        torch.manual_seed(3)
        for parameter in net.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        net.save_pretrained(folder)
        found[kind] = folder
    return found


def refusal(path, **options):
    with pytest.raises(UserError) as caught:
        hub.resolve_model(str(path), **options)
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_computes_what_the_folder_it_was_written_from_computes(places, kind, tmp_path):
    path = gguf_files.write(places[kind], tmp_path / "model.gguf")
    source = hub.resolve_model(str(path))
    assert (source.name, source.revision) == (str(path), "")
    expected, found = (gguf_files.logits(folder, IDS) for folder in (places[kind], source.path))
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    base = loading.load_model(source, head_spec=tiny.head_spec(("a", "b")))
    same = loading.load_model(hub.resolve_model(str(places[kind])), head_spec=tiny.head_spec(("a", "b")))
    assert base.total_parameters == same.total_parameters
    assert base.new == base.architecture.head, "nothing but the head is random"


def changed(path, **values):
    """The table of a file with other values."""
    file = reader.read_file(path)
    return dataclasses.replace(file, metadata=file.metadata | {name.replace("__", "."): value for name, value in values.items()})


@pytest.mark.parametrize(("kind", "layers"), [("gemma2", 46), ("gemma3_text", 62)])
def test_the_largest_gemma_divides_its_scores_by_another_root(places, kind, layers, tmp_path):
    path, name = gguf_files.write(places[kind], tmp_path / "model.gguf"), gguf_files.NAMES.get(kind, kind)
    heads = {f"{name}__block_count": layers, f"{name}__embedding_length": 96}
    assert families.read_config(changed(path, **heads))["query_pre_attn_scalar"] == 96 // 4
    assert families.read_config(changed(path))["query_pre_attn_scalar"] == 8, "a head's width"


def test_another_pattern_of_windows_is_refused_and_so_is_none(places, tmp_path):
    path = gguf_files.write(places["gemma3_text"], tmp_path / "model.gguf")
    assert families.read_config(changed(path, gemma3__attention__sliding_window_pattern=6))["sliding_window"] == 4
    for other in (5, [True, False]):
        with pytest.raises(UserError, match="sliding_window_pattern is"):
            families.read_config(changed(path, gemma3__attention__sliding_window_pattern=other))
    with pytest.raises(UserError, match="sliding_window is 0"):
        families.read_config(changed(path, gemma3__attention__sliding_window=0))


def test_the_sums_of_gemmas_norms_are_undone_in_every_type():
    sums = np.array([1.5, 0.75, 3.0], dtype=np.float32)
    for stored in (sums, sums.astype(np.float16), (sums.view(np.uint32) >> 16).astype(np.uint16)):
        found = families._subtract_one(stored, {})
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, sums - 1)


def test_positions_of_a_long_phi3_are_refused(places, tmp_path):
    file = reader.read_file(gguf_files.write(places["phi3"], tmp_path / "model.gguf"))
    more = file.tensors | {"rope_factors_long.weight": file.tensors["output_norm.weight"]}
    with pytest.raises(UserError, match=r"rope_factors_long\.weight has no place in the architecture 'phi3'"):
        families.tensor_names(dataclasses.replace(file, tensors=more))


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_numbers_in_16_bits_stay_as_they_are(places, kind, tmp_path):
    source = hub.resolve_model(str(gguf_files.write(places["llama"], tmp_path / "half.gguf", kind=kind)))
    dtype = {"F16": torch.float16, "BF16": torch.bfloat16}[kind]
    original = load_file(places["llama"] / "model.safetensors")
    for name, tensor in load_file(source.path / "model.safetensors").items():
        matrix = tensor.ndim == 2
        assert tensor.dtype == (dtype if matrix else torch.float32)
        expected = original[name].to(dtype).float() if matrix else original[name]
        torch.testing.assert_close(tensor.float(), expected, atol=0, rtol=0)
    assert source.note.startswith(f"weights: {kind} GGUF; the converted copy takes ")


def test_blocks_are_dequantised_and_rotary_pairs_put_back(places, tmp_path):
    """One matrix, from the bytes of the file: blocks of a scale in float16 and 32 signed bytes."""
    path = gguf_files.write(places["llama"], tmp_path / "q8.gguf", kind="Q8_0")
    source = hub.resolve_model(str(path))
    assert source.note.startswith("weights: Q8_0 GGUF, dequantised to float32; ")
    tensor = next(one for one in gguf.GGUFReader(path).tensors if one.name == "blk.1.attn_q.weight")
    blocks = np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), dtype=[("scale", "<f2"), ("numbers", "i1", 32)])
    rows = (blocks["scale"].astype(np.float32)[:, None] * blocks["numbers"].astype(np.float32)).reshape(32, 32)
    heads, half = 4, 4
    expected = np.empty_like(rows)
    for head in range(heads):
        for pair in range(half):
            for side in (0, 1):
                expected[head * 8 + side * half + pair] = rows[head * 8 + 2 * pair + side]
    found = load_file(source.path / "model.safetensors")["model.layers.1.self_attn.q_proj.weight"].numpy()
    np.testing.assert_array_equal(found, expected)
    original = load_file(places["llama"] / "model.safetensors")["model.layers.1.self_attn.q_proj.weight"].numpy()
    assert 0 < np.abs(found - original).max() < 0.01


def test_transformers_reads_the_same(places, tmp_path):
    pytest.importorskip("accelerate")
    from transformers import AutoModelForCausalLM

    path = gguf_files.write(places["llama"], tmp_path / "q8.gguf", kind="Q8_0")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = theirs(torch.tensor([IDS])).logits
    torch.testing.assert_close(gguf_files.logits(hub.resolve_model(str(path)).path, IDS), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q6_K", "Q3_K", "Q2_K", "Q4_0", "Q5_1", "IQ4_NL"])
def test_every_usual_type_is_read_as_the_package_reads_it(kind, tmp_path):
    wanted = gguf.GGMLQuantizationType[kind]
    per_block, block_bytes = gguf.GGML_QUANT_SIZES[wanted]
    generator = np.random.default_rng(0)
    raw = generator.integers(0, 60, size=(3, 512 // per_block * block_bytes), dtype=np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "one.gguf", "llama")
    writer.add_tensor("token_embd.weight", raw, raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = reader.read_file(tmp_path / "one.gguf")
    assert (file.kind, file.tensors["token_embd.weight"].shape) == (kind, (3, 512))
    found = reader.read_tensor(file, "token_embd.weight")
    np.testing.assert_array_equal(found, gguf.quants.dequantize(raw, wanted))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_tokenizer_cuts_texts_as_the_original(places, kind, tmp_path):
    from transformers import AutoTokenizer

    source = hub.resolve_model(str(gguf_files.write(places[kind], tmp_path / "model.gguf")), weights=False)
    assert not list(source.path.glob("*.safetensors")), "a plan needs no weights"
    original, found = AutoTokenizer.from_pretrained(places[kind]), AutoTokenizer.from_pretrained(source.path)
    for text in TEXTS:
        assert found(text)["input_ids"] == original(text)["input_ids"], text
        assert found.decode(found(text)["input_ids"]) == text
    assert (found.eos_token, found.unk_token) == ("<|endoftext|>", "<unk>")
    assert found.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "x"


def test_tokens_around_a_text_are_those_the_file_asks_for(places, tmp_path):
    from transformers import AutoTokenizer

    more = {"tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}
    source = hub.resolve_model(str(gguf_files.write(places["llama"], tmp_path / "model.gguf", more=more)), weights=False)
    ids = AutoTokenizer.from_pretrained(source.path)("tent")["input_ids"]
    assert (ids[0], ids[-1]) == (2, 0)
    assert len(ids) > 2


def test_a_vocabulary_with_scores_is_merged_best_first(tmp_path):
    from finewright.models.gguf import tokenizer

    pieces = ["<unk>", "<s>", "</s>", "<0xF0>", "▁", "a", "b", "c", "ab", "bc", "▁ab", "abc"]
    kinds = [2, 3, 3, 6] + [1] * 8
    names = {"tokens": pieces, "token_type": kinds, "scores": [0.0] * 8 + [-2.0, -1.0, -3.0, -4.0], "model": "llama"}
    special = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    metadata = {f"tokenizer.ggml.{name}": value for name, value in (names | special).items()}
    file = reader.GgufFile(tmp_path / "x.gguf", {"general.architecture": "llama"} | metadata, {})
    tokenizer.save_tokenizer(file, tmp_path)
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(tmp_path)
    assert found.convert_ids_to_tokens(found("abc ab")["input_ids"]) == ["<s>", "▁", "abc", "▁ab"], "bc comes before ab"
    assert found.convert_ids_to_tokens(found("")["input_ids"]) == ["<s>"]


def test_the_positions_of_llama_3_are_found_from_its_divisors(tmp_path):
    scaling = {"factor": 32.0, **families._LLAMA3}
    divisors = families._llama3_divisors(scaling, theta=500_000.0, head_width=64).astype(np.float32)
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = LlamaConfig(
        hidden_size=2048, num_attention_heads=32, head_dim=64, rope_parameters=scaling | {"rope_theta": 500_000.0}
    )
    stretched = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0].numpy()
    plain = 500_000.0 ** -(np.arange(0, 64, 2) / 64)
    np.testing.assert_allclose(plain / stretched, divisors, rtol=1e-4)
    for values, message in ((divisors, ""), (np.linspace(1, 9, 32, dtype=np.float32), "positions are not known here")):
        path = tmp_path / f"{len(message)}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_tensor("rope_freqs.weight", values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        if message:
            with pytest.raises(UserError, match=message):
                families._rope_scaling(reader.read_file(path), theta=500_000.0, head_width=64)
        else:
            assert families._rope_scaling(reader.read_file(path), theta=500_000.0, head_width=64) == scaling


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"llama.rope.scaling.type": "yarn"}, "stretches positions by 'yarn'"),
        ({"llama.expert_count": 8}, "mixture of experts"),
        ({"llama.logit_scale": 0.5}, "sets llama.logit_scale"),
        ({"tokenizer.ggml.pre": "novel"}, "its tokenizer cuts texts by 'novel'; known: "),
        ({"tokenizer.ggml.model": "rwkv"}, "its tokenizer is of the kind 'rwkv'"),
        ({"general.architecture": "mamba"}, "the architecture 'mamba' cannot be read from a GGUF file; known: gemma, "),
        ({"split.count": 3}, "is one of 3 parts of a model"),
        ({"llama.block_count": 0}, "llama.block_count is 0, wanted 1 or more"),
        ({"tokenizer.ggml.eos_token_id": 5000}, "its eos_token is number 5000"),
        ({"tokenizer.ggml.bos_token_id": -1}, "its bos_token is number -1"),
        ({"tokenizer.ggml.pre": ["gpt-2"]}, "holds values that do not fit together: "),
        ({"llama.attention.head_count": [4, 4, 4]}, "llama.attention.head_count is [4, 4, 4], wanted one number"),
        ({"split.count": "several"}, "is one of several parts of a model"),
    ],
)  # fmt: skip
def test_what_would_compute_something_else_is_refused(places, more, message, tmp_path, monkeypatch):
    path = gguf_files.write(places["llama"], tmp_path / "model.gguf")
    read = reader._parse

    def change(path, cursor):
        file = read(path, cursor)
        return reader.GgufFile(path, file.metadata | more, file.tensors)

    if "split.count" in more:
        path = gguf_files.write(places["llama"], tmp_path / "model.gguf", more=more)
    else:
        monkeypatch.setattr(reader, "_parse", change)
    error = refusal(path, weights=False)
    assert message in error.what
    assert (error.where, error.code) == (str(path), ExitCode.MISMATCH)
    assert error.fix


def test_heads_that_do_not_divide_a_matrix_are_refused(places, tmp_path, monkeypatch):
    path = gguf_files.write(places["llama"], tmp_path / "model.gguf")
    read = reader._parse
    odd = {"llama.attention.head_count_kv": 3}
    monkeypatch.setattr(
        reader, "_parse", lambda *given: dataclasses.replace(found := read(*given), metadata=found.metadata | odd)
    )
    error = refusal(path)
    assert (error.where, error.code) == (str(path), ExitCode.MISMATCH)
    assert "holds values that do not fit together: cannot reshape" in error.what


def test_a_tensor_without_a_place_is_refused_and_so_is_one_that_is_missing(places, tmp_path):
    path = gguf_files.write(places["qwen2"], tmp_path / "odd.gguf")
    content = path.read_bytes().replace(b"blk.1.attn_q.bias", b"blk.1.attn_x.bias")
    path.write_bytes(content)
    assert "its tensor blk.1.attn_x.bias has no place in the architecture 'qwen2'" in refusal(path).what
    path = gguf_files.write(places["llama"], tmp_path / "less.gguf", leave_out="blk.2.ffn_up.weight")
    with pytest.raises(UserError, match=r"lacks 1 tensor of the model, for instance model\.layers\.2\.mlp\.up_proj\.weight"):
        loading.load_model(hub.resolve_model(str(path)), head_spec=tiny.head_spec(("a", "b")))


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.05, 0.5, 0.99999])
def test_a_file_that_is_cut_short_is_refused_before_training(places, share, tmp_path):
    path = gguf_files.write(places["llama"], tmp_path / "model.gguf")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    error = refusal(path, weights=False)
    assert "cut short" in error.what or "not in the GGUF format" in error.what
    assert error.where == str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "is a Git LFS pointer"),
        (b"<!doctype html>" + b" " * 50, "is a web page, not a model"),
        (b"PK\x03\x04" + bytes(60), "is not in the GGUF format"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(60), "is GGUF version 1, wanted 2 or 3"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(60), "the other byte order"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60) + bytes(60), "its table of tensors is not whole"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(60), "holds no tensors"),
    ],
)
def test_what_is_no_such_file_is_called_by_its_name(content, message, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert message in refusal(path).what


def test_a_damaged_table_is_a_user_error_whatever_the_damage(places, tmp_path):
    content = gguf_files.write(places["llama"], tmp_path / "model.gguf").read_bytes()
    generator, path = random.Random(0), tmp_path / "damaged.gguf"
    for _ in range(300):
        spoilt = bytearray(content)
        for _ in range(3):
            spoilt[generator.randrange(4, 9000)] = generator.randrange(256)
        path.write_bytes(spoilt)
        with contextlib.suppress(UserError):
            file = reader.read_file(path)
            families.read_config(file), families.tensor_names(file)


def test_without_the_package_quantized_files_name_the_way_to_it(places, tmp_path, monkeypatch):
    plain = gguf_files.write(places["llama"], tmp_path / "plain.gguf")
    packed = gguf_files.write(places["llama"], tmp_path / "packed.gguf", kind="Q8_0")
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert hub.resolve_model(str(plain)).path.is_dir()
    error = refusal(packed, weights=False)
    assert (error.fix, error.code) == ('pip install "finewright[gguf]"', ExitCode.USAGE)


def test_a_folder_with_one_such_file_is_that_model(places, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = gguf_files.write(places["llama"], folder / "a.gguf")
    source = hub.resolve_model(str(folder))
    assert source == hub.ModelSource(hub.resolve_model(str(path)).path, str(folder), "", note=source.note)
    gguf_files.write(places["llama"], folder / "b.gguf")
    error = refusal(folder)
    assert "the folder holds 2 GGUF files: a.gguf, b.gguf" in error.what
    assert str(path) in error.fix


def test_a_file_is_converted_once_and_again_when_it_changes(places, tmp_path, monkeypatch):
    path = gguf_files.write(places["llama"], tmp_path / "model.gguf")
    first = hub.resolve_model(str(path))
    monkeypatch.setattr(convert, "_create", lambda *given, **options: pytest.fail("converted again"))
    convert._found.clear()
    assert hub.resolve_model(str(path)) == hub.resolve_model(str(path), weights=False) == first
    monkeypatch.undo()
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "cache"))
    gguf_files.write(places["llama"], path, kind="Q8_0")
    other = hub.resolve_model(str(path))
    assert other.path != first.path
    (other.path / "model.safetensors").write_bytes(b"spoilt")
    assert hub.resolve_model(str(path)).path == other.path
    assert load_file(other.path / "model.safetensors"), "a damaged copy is made anew"


def test_no_room_is_an_error_of_the_disk(places, tmp_path, monkeypatch):
    path = gguf_files.write(places["llama"], tmp_path / "model.gguf")
    monkeypatch.setattr(cache, "free_bytes", lambda: 1000)
    error = refusal(path)
    assert error.code == ExitCode.DISK
    assert "where 1,000 are free" in error.what
    assert "FINEWRIGHT_CACHE" in error.fix
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "file" / "inside"))
    error = refusal(path)
    assert error.code == ExitCode.DISK
    assert "cannot be stored" in error.what


def test_a_disk_that_fills_up_while_it_is_written_leaves_nothing(places, tmp_path, monkeypatch):
    import safetensors.torch

    def fail(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    path = gguf_files.write(places["llama"], tmp_path / "model.gguf")
    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    error = refusal(path)
    assert error.code == ExitCode.DISK
    assert "No space left on device" in error.what
    assert [one for one in (tmp_path / "cache" / "models").iterdir() if one.is_dir()] == []


def test_a_large_model_is_written_in_shards(places, tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "_SHARD_BYTES", 50_000)
    source = hub.resolve_model(str(gguf_files.write(places["llama"], tmp_path / "model.gguf")))
    assert len(list(source.path.glob("model-0*.safetensors"))) > 2
    torch.testing.assert_close(gguf_files.logits(source.path, IDS), gguf_files.logits(places["llama"], IDS), atol=1e-6, rtol=0)


def test_a_model_in_use_outlives_the_bound_of_the_cache(places, tmp_path, monkeypatch):
    source = hub.resolve_model(str(gguf_files.write(places["llama"], tmp_path / "model.gguf")))
    monkeypatch.setattr(cache, "MOST_BYTES", 0)
    with cache.create("other", "a" * 64) as place:
        (place / "file").write_bytes(b"x" * 100)
    assert source.path.is_dir()
    monkeypatch.setattr(cache, "KEPT_SECONDS", -1)
    cache.evict(keep=cache.cache_folder() / "other" / ("a" * 64))
    assert not source.path.is_dir()


def test_an_adapter_finds_its_base_by_the_file_after_the_cache_is_emptied(places, tmp_path, monkeypatch):
    path = gguf_files.write(places["llama"], tmp_path / "model.gguf", kind="Q8_0")
    source = hub.resolve_model(str(path))
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    adapter_folder.finish(folder, source)
    written = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert written == str(source.path), "other programs read the converted folder"
    assert provenance.base_name(folder) == str(path)
    monkeypatch.setenv("FINEWRIGHT_CACHE", str(tmp_path / "another"))
    adapter = type("Adapter", (), {"base_model_name_or_path": written, "revision": None})()
    found = adapter_folder.find_base(folder, adapter)
    assert found.name == source.name
    assert found.path != source.path
    with pytest.raises(UserError, match="this is an adapter") as caught:
        hub.resolve_model(str(folder))
    assert f"--model {path}" in caught.value.fix or "--model model.gguf" in caught.value.fix
    gguf_files.write(places["llama"], path)
    with pytest.raises(UserError, match="not the one the adapter was trained on"):
        adapter_folder.find_base(folder, adapter)


def test_a_plan_needs_the_config_alone(places, tmp_path):
    source = hub.resolve_model(str(gguf_files.write(places["llama"], tmp_path / "model.gguf", kind="Q8_0")), weights=False)
    planned = meta.meta_model(source, head_spec=tiny.head_spec(("a", "b")))
    whole = loading.load_model(hub.resolve_model(str(places["llama"])), head_spec=tiny.head_spec(("a", "b")))
    assert planned.total_parameters == whole.total_parameters
